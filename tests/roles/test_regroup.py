"""The way back of a service of several rigs: all of them in one operation, or none of them and a line for each."""

from __future__ import annotations

import base64
import gc
import json
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pyinfra
import pytest
from pyinfra.api.host import Host
from pyinfra.api.state import State
from pyinfra.context import ctx_host, ctx_state

from rigwright.plan.service import ClusterMember, ClusterPart
from rigwright.resolve.instance import Instance
from rigwright.roles.service import context, rollback

from .machine import Machine
from .run import Run, run_deploy
from .test_rollback import BACK, ROOT, TELL, changed, context_of, deploy, said

CHAT, BIG = {"name": "chat", "port": 8090}, {"name": "big"}
DATA = {"cluster": {"name": "big", "service": {"model": "m"}}}
NAMES = ("@fake/rig1", "@fake/rig2")


def grouped(machine: Machine, rank: int, *, names: tuple[str, ...] = NAMES, **more: Any) -> Machine:
    """The rig as one of several that serve big: what it runs, and what it ran before, if that is kept."""
    members = [
        {"rig": name, "address": f"10.0.0.{place}", "interface": "e0"} for place, name in enumerate(names, start=1)
    ]
    part = {"name": "big", "rank": rank, "members": members, "port": 29501, "gbits_per_second": 10.0}
    for key in [key for key in ("record", "saved.record") if key in machine.deployed["big"]]:
        record = json.loads(base64.b64decode(machine.deployed["big"][key]))
        changes = {"cluster": part} | (more if key == "saved.record" else {})
        machine.deployed["big"][key] = base64.b64encode(json.dumps(record | changes).encode()).decode()
    return machine


@pytest.fixture(autouse=True)
def unfrozen() -> Iterator[None]:
    """A deploy freezes what was imported, for it is the last thing that its process does."""
    yield
    gc.unfreeze()


@pytest.fixture
def rigs(model: Path) -> tuple[Machine, Machine]:
    """Two rigs that serve big together and had another context before; the first serves chat too."""
    found = Machine(), Machine()
    for machine, own in zip(found, ([CHAT], []), strict=True):
        deploy(machine, model, *own, BIG)
        deploy(machine, model, *({**one, "context": 1024} for one in (*own, BIG)))
    return grouped(found[0], 0), grouped(found[1], 1)


def back(*rigs: tuple[Machine, Any]) -> Run:
    """The file that a user runs, as the command line does: rigs at once, and operations by their lines."""
    hosts = [
        (f"@fake/rig{number}", {"rig": rig, **DATA, "fake_delay": 0, "fake_delay_jitter": 0})
        for number, (_, rig) in enumerate(rigs, start=1)
    ]
    file = str(ROOT / "deploys/rollback.py")
    return run_deploy(hosts, [machine for machine, _ in rigs], lambda: runpy.run_path(file), load=_side_by_side)


def _side_by_side(state: State, deploy: Callable[[], None]) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pyinfra, "is_cli", True)
        for module in (context, rollback):
            patched.setattr(module, "inventory_argument", lambda: None)
        with ctx_state.use(state):
            hosts = state.inventory.get_active_hosts()
            gevent.joinall([state.pool.spawn(_on, host, deploy) for host in hosts], raise_error=True)


def _on(host: Host, deploy: Callable[[], None]) -> None:
    with ctx_host.use(host):
        deploy()


def back_both(rigs: tuple[Machine, Machine]) -> Run:
    return back((rigs[0], {"services": [CHAT]}), (rigs[1], {}))


def test_all_rigs_go_back_in_one_operation(rigs: tuple[Machine, Machine]) -> None:
    """Whatever else goes back on one of them; and forth again."""
    for tokens in ("2048", "1024"):
        done = back_both(rigs)
        assert not done.failed, done.said
        assert (changed(done), changed(done, "rig2")) == (
            [BACK.format("chat"), BACK.format("big")],
            [BACK.format("big")],
        )
        assert [context_of(machine, "big") for machine in rigs] == [tokens, tokens]
        keys = [[key for key in done._of(rig) if done._name(key).endswith("of big")] for rig in ("rig1", "rig2")]
        assert keys[0] == keys[1] and len(keys[0]) == 1
        grouped(rigs[0], 0), grouped(rigs[1], 1)


def test_called_for_some_it_goes_back_on_none(rigs: tuple[Machine, Machine]) -> None:
    """--limit, or a rig that is gone: one line; what is that rig's alone goes back."""
    done = back((rigs[0], {"services": [CHAT]}))
    assert changed(done) == [BACK.format("chat"), TELL] and done.failed == {"rig1"}
    (line,) = said(done)
    assert line == (
        "big goes back on all of its rigs or on none, and @fake/rig2 is not in this run or has none of it; see there, "
        "or name @fake/rig1, @fake/rig2 in --limit"
    )
    assert context_of(rigs[0], "big") == "1024"


def test_rig_that_gives_no_answer_keeps_the_others_from_it(rigs: tuple[Machine, Machine]) -> None:
    """Nobody waits for one that failed."""
    rigs[1].breaks = "question"
    done = back_both(rigs)
    assert changed(done) == [BACK.format("chat"), TELL] and done.failed == {"rig1", "rig2"}
    assert any("@fake/rig2 is not in this run" in line for line in said(done))


def test_rig_without_a_way_back_keeps_the_others_from_it(rigs: tuple[Machine, Machine], model: Path) -> None:
    """One that came to the cluster later; it says so of itself."""
    later = Machine()
    deploy(later, model, BIG)
    done = back_both((rigs[0], grouped(later, 1)))
    assert changed(done) == [BACK.format("chat"), TELL] and changed(done, "rig2") == [TELL]
    assert any("@fake/rig2 keeps nothing that it would go back to with the others" in line for line in said(done))
    assert said(done, "rig2")[-1:] == ["no earlier release is kept of big; deploy the version you want instead"]


def test_rigs_never_go_back_to_releases_that_differ(rigs: tuple[Machine, Machine]) -> None:
    """One of them was deployed to once more than the other: both stay, and each names the other."""
    grouped(rigs[1], 1, engine_version="b1")
    done = back_both(rigs)
    assert [context_of(machine, "big") for machine in rigs] == ["1024", "1024"]
    assert done.failed == {"rig1", "rig2"}
    assert any("@fake/rig1 keeps nothing that it would go back to" in line for line in said(done, "rig2"))


def test_group_that_was_is_as_whole_as_the_one_that_is(rigs: tuple[Machine, Machine]) -> None:
    """A rig that serves alone now does not go back to a part of what others no longer serve."""
    record = json.loads(base64.b64decode(rigs[0].deployed["big"]["record"]))
    del record["cluster"]
    rigs[0].deployed["big"]["record"] = base64.b64encode(json.dumps(record).encode()).decode()
    done = back((rigs[0], {"services": [BIG]}))
    assert changed(done) == [TELL] and done.failed == {"rig1"}


def test_switch_of_a_group_is_one_operation(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever else one of its rigs serves: else a rig waited for others that begin when it has ended."""
    members = tuple(ClusterMember(rig=name, address="127.0.0.1", interface="lo") for name in NAMES)
    part = ClusterPart(name="big", rank=0, members=members, port=29501, gbits_per_second=1.0)
    monkeypatch.setattr(Instance, "cluster", property(lambda own: part if own.service == "big" else None))
    rows = [{"model": str(model), "context": 2048, **one} for one in (CHAT, BIG)]
    hosts = [
        (name, {"rig": {"services": own}, "fake_delay": 0, "fake_delay_jitter": 0})
        for name, own in zip(NAMES, (rows, rows[1:]), strict=True)
    ]
    file = str(ROOT / "deploys/llamacpp.py")
    done = run_deploy(hosts, [Machine(), Machine()], lambda: runpy.run_path(file), load=_side_by_side)
    assert not done.failed, done.said
    keys = [[key for key in done._of(rig) if done._name(key) == "Serve big"] for rig in ("rig1", "rig2")]
    assert keys[0] == keys[1] and len(keys[0]) == 1
    assert [name for name in done.changed() if name.startswith("Serve ")] == ["Serve chat", "Serve big"]
