"""deploys/site.py on rigs of pyinfra's fake connector: which engines it takes, what it asks, what checks make of it."""

from __future__ import annotations

import gc
import json
import runpy
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rigwright.hardware.values import Gpu, Hardware
from rigwright.plan.driver import DriverWish, Need
from rigwright.roles.base.facts import Rig
from rigwright.roles.base.failures import WrongInventory
from rigwright.roles.llamacpp.engine import ENGINE
from rigwright.roles.nvidia.deploy import with_driver
from rigwright.roles.nvidia.operations import Task
from rigwright.roles.service.context import current_context
from rigwright.roles.service.deploy import probe_of
from rigwright.roles.site import checks, deploy, operations
from rigwright.roles.site import engines as known
from rigwright.spec.driver import NvidiaSettings

from .machine import CPU_ONLY, SYSTEM, Machine, is_question
from .run import Run, run_deploy

ROOT = Path(__file__).parents[2]
AT_ONCE = {"fake_delay": 0, "fake_delay_jitter": 0}


@pytest.fixture
def run(model: Path) -> Iterator[Callable[..., Run]]:
    """Runs the file that a user runs, over one rig that serves `chat`."""

    def site() -> None:
        runpy.run_path(str(ROOT / "deploys/site.py"))

    def of(machine: Machine, *, deploy: Callable[[], None] = site, dry: bool = False, **data: Any) -> Run:
        service = {"name": "chat", "model": str(model), "context": 2048}
        hosts = [("@fake/rig1", {"rig": {"services": [service]}, **AT_ONCE})]
        return run_deploy(hosts, [machine], deploy, dry=dry, data=data)

    yield of
    gc.unfreeze()


def names(operations: list[str]) -> list[str]:
    return [name.removeprefix("Site | ") for name in operations]


def test_rig_without_a_gpu_is_served_at_once(run):
    """No driver has to come: all is planned before the first operation, and a dry run says so."""
    machine = Machine()
    assert names(run(machine, dry=True).would_change())[-1] == "Serve chat"
    done = run(machine)
    assert names(done.changed())[-2:] == ["Build llama.cpp", "Serve chat"] and not done.failed


def test_rig_that_has_everything_is_asked_once(run):
    """Driver and services are read in the same question."""
    machine = Machine()
    run(machine)
    again = run(machine)
    assert again.changed() == [] and not again.failed
    assert len(again.commands()) == 1 and is_question(again.commands()[0])


def after_the_driver() -> None:
    """What follows a driver that had to come."""
    context = current_context()
    probe = probe_of(context, [ENGINE])
    task = Task(DriverWish(), NvidiaSettings(), probe=with_driver(probe))
    later = operations.Later(task, context, [ENGINE], probe)
    operations.plan_again(later=later, name="Plan")
    operations.serve_now(later=later, name="Serve")


def test_what_is_served_is_planned_among_the_operations(run):
    """Nothing of it is known before; a step that fails fails the rig, and nothing follows."""
    machine = Machine()
    assert run(machine, deploy=after_the_driver, dry=True).would_change() == ["Plan", "Serve"]
    done = run(machine, deploy=after_the_driver)
    assert {"Plan", "Build llama.cpp", "Serve chat"} <= set(done.changed()) and "chat" in machine.deployed

    broken = run(Machine(breaks="llamacpp/build.sh"), deploy=after_the_driver)
    assert broken.failed == {"rig1"} and "Serve chat" not in broken.changed()
    small = run(Machine(sources=CPU_ONLY | {"system.txt": SYSTEM.format(1 << 10)}), deploy=after_the_driver)
    assert small.failed == {"rig1"} and "Serve" not in small.changed()
    for one in (broken, small):
        said = "\n".join(line for lines in one.said.values() for line in lines)
        assert "Traceback" not in said and "Unexpected error" not in said, said


@pytest.mark.parametrize("init", ["sysvinit", "systemd"])
def test_machine_that_can_serve_nothing_is_refused_before_its_driver_comes(run, init):
    """Its first question is its last."""
    done = run(Machine(init=init))
    assert bool(done.failed) == (init != "systemd")
    if done.failed:
        assert done.changed() == [] and len(done.commands()) == 1


def test_checks_that_cannot_run_are_told_before_any_rig_is_touched(run, monkeypatch):
    """Nobody waits an hour to hear it; who wants none says so."""
    monkeypatch.setattr(deploy, "lacking", lambda: "testinfra")
    with pytest.raises(WrongInventory, match=r"testinfra is not installed; pip install .* --data verify=false"):
        run(Machine())
    with pytest.raises(WrongInventory, match=r"verify: 'no' is neither true nor false"):
        run(Machine(), verify="no")
    assert not run(Machine(), verify=False).failed


def row(outcome: str, rig: str = "rig1", message: str | None = None) -> dict[str, str | None]:
    return {"rig": rig, "subject": f"{rig}-chat", "check": "test_answers", "outcome": outcome, "message": message}


def test_what_fails_is_named():
    """A line for each, and the command that shows more; another rig, of a group of this name, is no matter of it."""
    good = [row("passed"), row("passed"), row("skipped"), row("failed", "rig2", "HTTP 500")]
    found = checks.read(json.dumps({"checks": good}), "", 1, rig="rig1", by_hand="")
    assert found == checks.Checked("verify: 2 passed, 1 skipped")
    bad = json.dumps({"checks": [row("passed"), row("failed", message="HTTP 500")]})
    assert checks.read(bad, "", 1, rig="rig1", by_hand="rigwright verify home.py") == checks.Checked(
        "verify: 1 passed, 1 failed",
        ("rig1-chat: test_answers: HTTP 500", "all of it: rigwright verify home.py"),
    )


@pytest.mark.parametrize("out", ["", "[]", "{}", "Traceback", '{"checks": 3}', '{"checks": []}'])
def test_checks_that_did_not_answer_are_failures(out):
    """Whatever ended them."""
    found = checks.read(out, "Error: rig1: unreachable\n", 1, rig="rig1", by_hand="")
    assert found == checks.Checked("verify: the checks could not run", ("Error: rig1: unreachable",))


def test_checks_that_ended_early_are_failures():
    """With rows that all passed."""
    found = checks.read(json.dumps({"checks": [row("passed")]}), "INTERNALERROR\n", 1, rig="rig1", by_hand="")
    assert found == checks.Checked("verify: the checks could not run", ("INTERNALERROR",))


@pytest.mark.parametrize(
    ("capability", "system", "first"),
    # wheels have CUDA 13, which makes no code for Pascal
    [("8.6", "debian-12", False), ("6.1", "debian-12", True)],
)
def test_toolkit_comes_first_where_it_is_nvidias_alone(capability, system, first):
    """A driver that answers keeps nothing waiting for wheels, which come where something is built."""
    gpu = Gpu(index=0, vendor="NVIDIA", name="NVIDIA GPU", vram_bytes=24 << 30, state="ok", uuid="GPU-0", mig=False,
              compute_capability=capability)  # fmt: skip
    name, _, version = system.partition("-")
    hardware = Hardware(name, version, "", "6.12", "x86_64", gpus=(gpu,), gpu_count=1, driver_version="580.95.05")
    task = Task(DriverWish(needs=(Need("llama.cpp", is_built=True),)), NvidiaSettings())
    rig = Rig(hardware, uid=0, init="systemd")
    plan = task.plan(rig)
    assert plan.verdict == "install" and deploy.comes_first(task, rig, plan.cuda) == first


def test_engines_of_packages_come_behind_ours(monkeypatch):
    """By their entry points; none takes the place of one of ours."""
    other = SimpleNamespace(name="toy")
    points = [EntryPoint("toy", "x:y", known.GROUP), EntryPoint("llamacpp", "x:z", known.GROUP)]
    monkeypatch.setattr(known, "entry_points", lambda group: points)
    monkeypatch.setattr(EntryPoint, "load", lambda self: other)
    found = known.engines()
    assert found[0] is ENGINE and found[-1] is other and len({one.name for one in found}) == len(found)
