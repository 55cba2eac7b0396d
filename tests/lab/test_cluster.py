"""Several rigs for one model, with a stand-in for vLLM: deployed, refused, switched, broken and whole again."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import REPOSITORY
from .tiny_qwen import write_tiny_qwen
from .vllm_stand_in import settings, write_wheel

pytestmark = pytest.mark.lab

KEY = "sk-cluster-0123456789"
_INVENTORY = """
import json
from rigwright.lab.inventory import lab_hosts

rigs = ([one for one in lab_hosts() if one[0] in {names!r}], json.loads({data!r}))
"""
# From a lost process to the start of all: a look is due every 4 s, two in a row count, on machines that are busy.
_NOTICED_SECONDS = 25


class Cluster:
    """Two rigs, and the commands that their owner types."""

    def __init__(self, workshop: Any, names: list[str], place: Path) -> None:
        self.workshop, self.names, self.place = workshop, names, place

    @property
    def head(self) -> str:
        """The address of the first."""
        return next(str(rig.address) for rig in self.workshop.lab.rigs() if rig.name == self.names[0])

    def data(self, *, wheels: str = "wheels", cluster: dict[str, Any] | None = None, **service: Any) -> dict[str, Any]:
        """The data of the group."""
        row = {
            "model": str(self.place / "model"),
            "port": 8000,
            "context": 512,
            "api_key_file": str(self.place / "key"),
        }
        network = f"{self.head.rpartition('.')[0]}.0/24"
        whole = {"name": "big", "network": network, "service": row | service} | (cluster or {})
        return {"rig": {"vllm": self.vllm(wheels)}, "cluster": whole}

    def vllm(self, directory: str) -> dict[str, str]:
        """How vLLM gets onto the rigs: by the wheels in a directory."""
        return settings(self.place / directory)

    def inventory(self, data: dict[str, Any] | None = None) -> Path:
        """The inventory as a file."""
        path = Path(self.workshop.directory) / "cluster.py"
        path.write_text(_INVENTORY.format(names=self.names, data=json.dumps(data or self.data())))
        return path

    def deploy(self, data: dict[str, Any] | None = None, *arguments: str) -> Any:
        """pyinfra from start to end."""
        command = ["pyinfra", "-y", *arguments, str(self.inventory(data)), str(REPOSITORY / "deploys" / "vllm.py")]
        return self.workshop._finish(self.workshop._start(*command))

    def on(self, place: int, script: str) -> str:
        """A script on one of them."""
        return str(self.workshop.on(self.names[place], script, check=False))

    def ask(self, seconds: int = 5) -> str:
        """What the head answers, asked by the other rig."""
        head = f"-H 'Authorization: Bearer {KEY}' -H 'Content-Type: application/json' -m {seconds}"
        body = json.dumps({"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 4})
        return self.on(1, f"curl -sS {head} -d '{body}' http://{self.head}:8000/v1/chat/completions")

    def processes(self) -> list[str]:
        """The start of each that runs."""
        return [self.on(place, "systemctl show -P InvocationID rigwright-big") for place in (0, 1)]

    def wait_anew(self, before: list[str], seconds: float = 90) -> float:
        """How long it takes until both were started anew and the head answers."""
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            now = self.processes()
            if all(old != new for old, new in zip(before, now, strict=True)) and '"choices"' in self.ask(20):
                return time.monotonic() - began
            time.sleep(0.5)
        logs = [self.on(place, "journalctl -n 40 --no-pager; cat /run/rigwright.watch/*") for place in (0, 1)]
        raise AssertionError("\n".join([*self.processes(), *before, *logs]))


@pytest.fixture(scope="module")
def cluster(workshop: Any) -> Iterator[Cluster]:
    """Two blank rigs, and what their owner has: a wheel, its lock, a model, a key."""
    place = Path(workshop.directory) / "cluster"
    write_wheel(place / "wheels")
    write_tiny_qwen(place / "model")
    (place / "key").write_text(f"{KEY}\n")
    (place / "key").chmod(0o600)
    names = [workshop.boot(name, os="trixie") for name in ("node1", "node2")]
    yield Cluster(workshop, names, place)
    workshop.lab.down(names)


def test_wrong_clusters_are_a_line_and_touch_no_rig(cluster: Cluster) -> None:
    """A rig left out, a network that is not there, rigs one after the other."""
    said = cluster.deploy(None, "--limit", cluster.names[0])
    assert said.code != 0 and f"cluster big: {cluster.names[1]} gave no answer" in said.output, said.output
    said = cluster.deploy(cluster.data(cluster={"network": "10.99.0.0/24"}))
    assert said.code != 0 and "cluster.network: no address in 10.99.0.0/24; its own are" in said.output, said.output
    said = cluster.deploy(cluster.data(cluster={"networc": "x"}))
    assert said.code != 0 and "cluster.networc: unknown key; did you mean network?" in said.output, said.output
    assert [cluster.on(place, "ls /etc/rigwright /opt/rigwright") for place in (0, 1)] == ["", ""]


def test_both_serve_as_one_and_a_second_run_changes_nothing(cluster: Cluster) -> None:
    """Units on both, proven by one completion; plan and verify know it as one service of two rigs."""
    first = cluster.deploy()
    assert first.code == 0 and "Serve big" in first.changed, first.output
    assert "Hello" in cluster.ask()
    second = cluster.deploy()
    assert (second.code, second.changed) == (0, set()), second.output
    worker = cluster.on(1, "cat /etc/systemd/system/rigwright-big.service")
    assert "--headless" in worker and f"--master-addr {cluster.head}" in worker
    said = cluster.workshop.rigwright("plan", str(cluster.inventory()))
    assert said.code == 0 and said.output.count("2 rigs, 1 Gbit/s between them: a token crosses it") == 1, said.output
    assert "~ big" not in said.output and "+ big" not in said.output, said.output
    checked = cluster.workshop.rigwright("verify", str(cluster.inventory()))
    assert checked.code == 0, checked.output


def test_verify_says_which_rig_is_lost(cluster: Cluster) -> None:
    """With nobody to look after it the head goes on without its worker, and its health is green."""
    before = cluster.processes()
    for place in (0, 1):
        cluster.on(place, "systemctl stop rigwright.watch.big.timer")
    cluster.on(1, "systemctl stop rigwright-big")
    checked = cluster.workshop.rigwright("verify", str(cluster.inventory()), "--limit", cluster.names[0])
    assert checked.code != 0 and f"it is not joined with {cluster.names[1]}" in checked.output, checked.output
    cluster.on(1, "systemctl start rigwright-big")
    for place in (1, 0):
        cluster.on(place, "systemctl start rigwright.watch.big.timer")
    cluster.wait_anew(before)


@pytest.mark.parametrize("lost", [0, 1], ids=["head", "worker"])
def test_whoever_dies_all_start_anew(cluster: Cluster, lost: int) -> None:
    """Its head: what is left would live on for ever. A worker: the head's health stays green, and nothing answers."""
    before = cluster.processes()
    cluster.on(lost, "systemctl kill -s KILL rigwright-big")
    took = cluster.wait_anew(before)
    assert took < _NOTICED_SECONDS + 20, took


def test_a_head_that_starts_anew_gets_new_workers(cluster: Cluster) -> None:
    """Restarted by hand, it meets none that was joined with the one before."""
    before = cluster.processes()
    cluster.on(0, "systemctl restart rigwright-big")
    cluster.wait_anew(before)


def test_a_network_that_is_cut_and_back(cluster: Cluster) -> None:
    """The worker notices, and waits for a head that can be reached; once it can, both start anew."""
    before = cluster.processes()
    cluster.workshop.rigwright("lab", "fault", cluster.names[1], "no-network")
    began = time.monotonic()
    while cluster.processes()[1] == before[1] and time.monotonic() - began < 60:
        time.sleep(0.5)
    assert cluster.processes()[1] != before[1]
    cluster.workshop.rigwright("lab", "fault", cluster.names[1], "clear")
    cluster.wait_anew(before, 180)


def test_a_new_release_restarts_the_group_once(cluster: Cluster) -> None:
    """Both change in one run, and a request that is under way ends well."""
    before = cluster.processes()
    write_wheel(cluster.place / "newer", words="Hello again.")
    said = cluster.deploy(cluster.data(wheels="newer"))
    assert said.code == 0, said.output
    now = cluster.processes()
    assert all(old != new for old, new in zip(before, now, strict=True)) and "Hello again." in cluster.ask()
    time.sleep(15)
    assert cluster.processes() == now


def test_a_release_that_does_not_start_leaves_both_as_they_were(cluster: Cluster) -> None:
    """The head falls back, and so does its worker: they serve together again."""
    write_wheel(cluster.place / "broken", is_broken=True)
    said = cluster.deploy(cluster.data(wheels="broken", start_timeout_seconds=60))
    assert said.code != 0, said.output
    assert "Hello again." in cluster.ask(60)


def test_both_are_taken_away(cluster: Cluster) -> None:
    """Who is no longer in a cluster loses its part of it."""
    data = {"rig": {"services": [], "remove_orphans": True, "vllm": settings(cluster.place / "newer")}}
    said = cluster.deploy(data)
    assert said.code == 0, said.output
    for place in (0, 1):
        assert cluster.on(place, "ls /etc/systemd/system | grep rigwright") == ""
