"""A real vLLM for CPUs over two rigs, each layer on both: deployed, broken, whole again. `make lab-vllm`, ten minutes.

Most of the time is vLLM's own start: what is stated is how soon a loss is noticed, and that it ends by itself.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .test_cluster import KEY, Cluster
from .test_vllm_cpu import LOCK, told
from .test_vllm_cpu import wheels as wheels
from .tiny_qwen import write_tiny_qwen

pytestmark = [pytest.mark.lab, pytest.mark.vllm]

# On a machine with two cores that does other things too.
_START_SECONDS, _NOTICED_SECONDS, _NOTICED_CUT_SECONDS = 600, 25, 60


class RealCluster(Cluster):
    """Two rigs with the real one."""

    wheels: Path

    def vllm(self, directory: str) -> dict[str, str]:
        """The community's build, by its lock."""
        return {"lock": str(LOCK), "wheels": str(self.wheels), "device": "cpu"}

    def noticed(self, place: int, since: int) -> float:
        """How many seconds after that a rig started anew by itself."""
        log = f"journalctl --since @{since} -o short-unix --no-pager -g 'it starts anew' | head -n 1"
        found = re.match(r"[\d.]+", self.on(place, log))
        return float(found[0]) - since if found else float("inf")

    def now(self) -> int:
        """The time on the rigs."""
        return int(self.on(0, "date +%s"))


@pytest.fixture(scope="module")
def cluster(workshop: Any, wheels: Path) -> Iterator[RealCluster]:
    """Two rigs that serve."""
    place = Path(workshop.directory) / "real"
    place.mkdir()
    write_tiny_qwen(place / "model")
    (place / "key").write_text(f"{KEY}\n")
    (place / "key").chmod(0o600)
    names = [workshop.boot(name, os="bookworm") for name in ("real1", "real2")]
    found = RealCluster(workshop, names, place)
    found.wheels = wheels
    yield found
    workshop.lab.down(names)


def test_two_rigs_serve_as_one(cluster: RealCluster) -> None:
    """From blank rigs to a completion, verified; a second run changes nothing."""
    began = time.monotonic()
    data = cluster.data(start_timeout_seconds=_START_SECONDS)
    first = cluster.deploy(data)
    assert first.code == 0, first.output
    told(f"two blank rigs serve after {time.monotonic() - began:.0f} s")
    assert '"choices"' in cluster.ask(60)
    second = cluster.deploy(data)
    assert (second.code, second.changed) == (0, set()), second.output
    checked = cluster.workshop.rigwright("verify", str(cluster.inventory(data)))
    assert checked.code == 0, checked.output


@pytest.mark.parametrize(("lost", "by"), [(0, 1), (1, 0)], ids=["head", "worker"])
def test_whoever_is_killed_all_start_anew(cluster: RealCluster, lost: int, by: int) -> None:
    """The other one notices, though the head's health is green without its worker."""
    before, since = cluster.processes(), cluster.now()
    cluster.on(lost, "systemctl kill -s KILL rigwright-big")
    if lost:
        health = cluster.on(0, f"curl -s -o /dev/null -w '%{{http_code}}' http://{cluster.head}:8000/health")
        assert health == "200"
    took = cluster.wait_anew(before, _START_SECONDS)
    who = "worker" if lost else "head"
    told(f"{who} killed: noticed after {cluster.noticed(by, since):.0f} s, back after {took:.0f} s")
    assert cluster.noticed(by, since) < _NOTICED_SECONDS


def test_a_new_head_meets_no_stale_worker(cluster: RealCluster) -> None:
    """Restarted by hand; with the old worker it would never become ready."""
    before, since = cluster.processes(), cluster.now()
    cluster.on(0, "systemctl restart rigwright-big")
    took = cluster.wait_anew(before, _START_SECONDS)
    told(f"head restarted: noticed after {cluster.noticed(1, since):.0f} s, back after {took:.0f} s")


def test_a_network_that_is_cut_and_back(cluster: RealCluster) -> None:
    """Packets are dropped for a while; what was one group is one again."""
    before, since = cluster.processes(), cluster.now()
    cluster.workshop.rigwright("lab", "fault", cluster.names[1], "no-network")
    while cluster.processes()[1] == before[1] and cluster.now() - since < _NOTICED_CUT_SECONDS:
        time.sleep(1)
    told(f"network cut: noticed after {cluster.noticed(1, since):.0f} s")
    assert cluster.processes()[1] != before[1]
    cluster.workshop.rigwright("lab", "fault", cluster.names[1], "clear")
    told(f"back {cluster.wait_anew(before, _START_SECONDS):.0f} s after it was there again")
