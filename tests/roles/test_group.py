"""Rigs that serve one model together: who has lost another one starts anew, and nobody else does."""

from __future__ import annotations

import json
import subprocess
import time
from typing import Any

import pytest

from rigwright.records.group import group_of
from rigwright.records.reading import read_record
from rigwright.resolve.watch import watch_of

from .test_watch import Bench, record, rig  # noqa: F401

pytestmark = pytest.mark.runs("service/watch.sh", "service/group.sh", "service/answer.sh")

UNIT = "rigwright-chat.service"
# As vLLM's workers and its head show it. Source: `ss -Htn` on two rigs under vLLM 0.32.0.
JOINED = "0 0 [::ffff:10.0.0.2]:48506 [::ffff:10.0.0.1]:29501\n"
_SS = """
printf '%s\\n' "$*" >>@HOME@/ss.asked
case $* in *close-wait*) cat @HOME@/ss.closed ;; *) cat @HOME@/ss ;; esac
"""
NEW = [f"restart {UNIT}"]


def grouped(rank: int, **more: Any) -> str:
    """The record of one of two rigs."""
    members = [{"rig": f"rig{place}", "address": f"10.0.0.{place}", "interface": "e0"} for place in (1, 2)]
    part = {"name": "big", "rank": rank, "members": members, "port": 29501, "gbits_per_second": 10.0}
    own = {"health": "http://10.0.0.1:8080/health", "watch_seconds": 0 if rank else 300, "cluster": part}
    return record(**(own | more))


def member(bench: Bench, rank: int) -> Bench:
    """A rig of the group that is whole."""
    bench.put("etc/rigwright/chat.json", grouped(rank))
    bench.put("ss", JOINED)
    bench.put("ss.closed", "")
    path = bench.home / "bin" / "ss"
    path.write_text(f"#!/bin/sh\n{_SS}\n".replace("@HOME@", str(bench.home)))
    path.chmod(0o755)
    return bench


def test_whole_group_is_left_alone(rig: Bench) -> None:  # noqa: F811
    """Both look by the connection of the engine itself, each from its side."""
    for rank, asked in (
        (0, "state established dst 10.0.0.2 sport = :29501"),
        (1, "state established dst 10.0.0.1 dport = :29501"),
    ):
        found = member(rig, rank)
        found.put("ss.asked", "")
        assert [found.turn(after=4) for _ in range(3)] == [[]] * 3
        assert f"-Htn {asked}" in (found.home / "ss.asked").read_text()


@pytest.mark.parametrize(("rank", "why"), [(0, "one of its group has gone"), (1, "its head has gone")])
def test_who_has_lost_another_starts_anew(rig: Bench, rank: int, why: str) -> None:  # noqa: F811
    """Twice in a row: what begins to close is not there for a moment."""
    found = member(rig, rank)
    assert found.turn() == []
    found.put("ss", "")
    assert found.turn(after=4) == []
    assert found.turn(after=4) == [f"<3>{UNIT}: {why}: it starts anew", *NEW]
    # The new one has not met anybody yet.
    assert [found.turn(after=60) for _ in range(3)] == [[]] * 3


def test_a_moment_without_a_connection_is_no_loss(rig: Bench) -> None:  # noqa: F811
    """It is there again at the next look."""
    found = member(rig, 1)
    found.turn()
    for said in ("", JOINED, "", JOINED):
        found.put("ss", said)
        assert found.turn(after=4) == []


def test_a_group_that_starts_is_not_hurried(rig: Bench) -> None:  # noqa: F811
    """A model loads for as long as it takes, whoever is not there yet."""
    found = member(rig, 1)
    found.put("ss", "")
    found.put("completion", "0.000000 0.000214")
    assert [found.turn(after=100) for _ in range(5)] == [[]] * 5


def test_a_head_that_died_between_two_looks_is_lost(rig: Bench) -> None:  # noqa: F811
    """It had met this rig, and nobody saw it: the connection that it closed is there."""
    found = member(rig, 1)
    found.put("ss", "")
    found.put("ss.closed", JOINED)
    assert found.turn() == [] and found.turn(after=4) == [f"<3>{UNIT}: its head has gone: it starts anew", *NEW]


def test_a_head_that_is_out_of_reach_is_lost(rig: Bench) -> None:  # noqa: F811
    """The network is cut, and its connection does not know yet: whoever followed it waits for another one."""
    found = member(rig, 1)
    found.turn()
    found.put("completion", "0.000000 4.001")
    assert found.turn(after=8) == [] and found.turn(after=8) == []
    assert found.turn(after=8) == [f"<3>{UNIT}: its head is out of reach for 20 s: it starts anew", *NEW]


def test_a_deploy_on_the_rig_comes_first(rig: Bench) -> None:  # noqa: F811
    """While it switches the group nobody else does."""
    found = member(rig, 1)
    found.turn()
    found.put("ss", "")
    found.turn(after=4)
    with subprocess.Popen(
        ["flock", str(found.home / "run/rigwright.lock"), "sleep", "5"], stdin=subprocess.DEVNULL
    ) as held:
        time.sleep(0.5)
        assert found.turn(after=4) == []
        held.kill()


def test_head_may_be_silent_where_the_inventory_says_so(rig: Bench) -> None:  # noqa: F811
    """With `watch_seconds` 0 it is looked at for its group alone: no completion is asked for."""
    found = member(rig, 0)
    found.put("etc/rigwright/chat.json", grouped(0, watch_seconds=0))
    found.put("slots", "000 0.001200")
    assert [found.turn(after=400) for _ in range(4)] == [[]] * 4
    assert (found.home / "asked").read_text() == ""


@pytest.mark.parametrize(
    "part",
    [
        {"rank": 2, "members": [{"address": "10.0.0.1"}, {"address": "10.0.0.2"}], "port": 1},
        {"rank": 0, "members": [{"address": "$(reboot)"}], "port": 29501},
        {"rank": True, "members": [{"address": "10.0.0.1"}], "port": 29501},
        {"rank": 0, "members": "10.0.0.1", "port": 29501},
        [1],
    ],
)
def test_damaged_group_is_none(part: Any) -> None:
    """A record that somebody edited says of no group, and nothing in it is run."""
    assert group_of(part) is None


def test_groups_are_looked_at_more_often_than_others() -> None:
    """A lost rig is to be noticed within fifteen seconds."""
    alone, together = (watch_of("chat", read_record(text)).timer for text in (record(), grouped(1)))
    assert "OnUnitInactiveSec=30" in alone and "OnUnitInactiveSec=4" in together
    assert watch_of("chat", read_record(json.dumps({"engine": "vllm"}))).timer == ""
    service = watch_of("chat", read_record(grouped(1))).service
    assert "IPAddressAllow=localhost 10.0.0.1" in service


def test_follower_is_where_its_head_is() -> None:
    """What a follower's record says of where it listens is where its head does."""
    found = read_record(grouped(1, flags=[{"name": "--headless", "value": None}], replicas=[{"port": 8080}]))
    assert found and (found.host, found.port) == ("10.0.0.1", 8080)
