"""CPUs near the GPUs, over SSH: a service on a card of a machine with two sockets, whose CPUs the rig may not have."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rigwright.lab.hardware import MACHINES

pytestmark = pytest.mark.lab

TOY = Path(__file__).parent / "toy"
UNIT = "rigwright-parrot.service"
# The machine that tests run on has the first node's, and none of the second's.
_LSCPU = """Architecture: x86_64
CPU(s): 64
Model name: AMD EPYC 7302 16-Core Processor
Thread(s) per core: 2
Core(s) per socket: 16
Socket(s): 2
NUMA node(s): 2
NUMA node0 CPU(s): 0-31
NUMA node1 CPU(s): 2032-2063
"""


@pytest.fixture(scope="module")
def rig(workshop: Any, trixie: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A rig with a card on each of two nodes."""
    machine = tmp_path_factory.mktemp("dual") / "2x-rtx3090-two-sockets"
    shutil.copytree(MACHINES / "2x-rtx3090", machine)
    (machine / "lscpu.txt").write_text(_LSCPU)
    for file, old, new in (
        ("topo.txt", "NV4\t X \t0-15\t0", "NV4\t X \t2032-2063\t1"),
        ("lspci.txt", "NUMA node: 0", "NUMA node: 1"),
    ):
        before, after = (machine / file).read_text().rsplit(old, 1)
        (machine / file).write_text(before + new + after)
    name = workshop.boot("sockets", from_snapshot=trixie.snapshot, hardware=str(machine))
    workshop.on(name, "systemctl disable -q --now rigwright-demo")
    yield name
    workshop.lab.down([name])


def wish(workshop: Any, gpu: int) -> dict[str, Any]:
    service = {"name": "parrot", "port": 9000, "engine": "toychat", "gpu": gpu}
    return {"services": [service | {"model": str(workshop.directory / "tiny.gguf"), "context": 2048}]}


def test_service_keeps_to_the_cpus_of_its_gpu(workshop: Any, rig: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It starts where none of them is there, a second run changes nothing, and another card means other CPUs."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(TOY), os.environ.get("PYTHONPATH", "")])))
    toy = "../tests/lab/toy/deploys/toy"
    for gpu, cpus in ((1, "2032-2063"), (0, "0-31")):
        said = workshop.rigwright("plan", "--why", str(workshop.inventory(wish(workshop, gpu), rig))).output
        assert f"NUMA node {gpu}, on which GPU {gpu} hangs" in " ".join(said.split()), said
        assert gpu or "parrot CPUs: 2032-2063 -> 0-31" in said, said
        done = workshop.deploy(wish(workshop, gpu), rig, deploy=toy)
        assert done.code == 0 and "Serve parrot" in done.changed, done.output
        assert workshop.deploy(wish(workshop, gpu), rig, deploy=toy).changed == set()
        assert (
            workshop.on(rig, f"systemctl is-active {UNIT}; systemctl show -P AllowedCPUs {UNIT}") == f"active\n{cpus}"
        )
        assert "Hello from the toy." in workshop.on(rig, "curl -sS -d '{}' http://127.0.0.1:9000/say")
    # As the dry run of an engine would be started.
    walls = "-p AllowedCPUs=2032-2063 -p LimitMEMLOCK=infinity"
    assert workshop.on(rig, f"systemd-run -q --wait --pipe --collect {walls} echo within") == "within"
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "-k", "planned_cpus", "--pyargs"]
    command += ["rigwright.roles.service.verify", "--rigs", str(workshop.inventory(wish(workshop, 0), rig))]
    checked = subprocess.run(command, capture_output=True, text=True, env=workshop.environment, cwd="/")
    assert checked.returncode == 0 and "1 passed" in checked.stdout, checked.stdout
    has_cpusets = "cpuset" in workshop.on(rig, "cat /sys/fs/cgroup/cgroup.controllers", check=False).split()
    assert has_cpusets or f"the control groups of this rig keep {UNIT} to no CPUs" in checked.stdout, checked.stdout
