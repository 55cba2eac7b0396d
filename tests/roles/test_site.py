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

from rigwright.roles.llamacpp.engine import ENGINE
from rigwright.roles.service.context import WrongInventory
from rigwright.roles.site import checks, deploy
from rigwright.roles.site import engines as known

from .machine import Machine, is_question
from .run import Run, run_deploy

ROOT = Path(__file__).parents[2]
AT_ONCE = {"fake_delay": 0, "fake_delay_jitter": 0}


@pytest.fixture
def run(model: Path) -> Iterator[Callable[..., Run]]:
    """Runs the file that a user runs, over one rig that serves `chat`."""

    def of(machine: Machine, *, dry: bool = False, **data: Any) -> Run:
        service = {"name": "chat", "model": str(model), "context": 2048}
        hosts = [("@fake/rig1", {"rig": {"services": [service]}, **AT_ONCE})]
        return run_deploy(
            hosts, [machine], lambda: runpy.run_path(str(ROOT / "deploys/site.py")) and None, dry=dry, data=data
        )

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


@pytest.mark.parametrize(
    ("failures", "status", "expected"),
    [
        ([], 0, checks.Checked("verify: 3 passed, 1 skipped")),
        (
            [{"subject": "rig1-chat", "check": "test_answers", "message": "HTTP 500", "outcome": "failed"}],
            1,
            checks.Checked(
                "verify: 3 passed, 1 failed, 1 skipped",
                ("rig1-chat: test_answers: HTTP 500", "all of it: rigwright verify home.py"),
            ),
        ),
    ],
)
def test_what_fails_is_named(failures, status, expected):
    """A line for each, and the command that shows more."""
    answer = {"passed": 3, "failed": len(failures), "skipped": 1, "checks": failures}
    assert checks.read(json.dumps(answer), "", status, by_hand="rigwright verify home.py") == expected


@pytest.mark.parametrize("out", ["", "[]", "{}", "Traceback", '{"checks": 3}'])
def test_checks_that_did_not_answer_are_failures(out):
    """Whatever ended them."""
    found = checks.read(out, "Error: rig1: unreachable\n", 1, by_hand="")
    assert found == checks.Checked("verify: the checks could not run", ("Error: rig1: unreachable",))


def test_engines_of_packages_come_behind_ours(monkeypatch):
    """By their entry points; none takes the place of one of ours."""
    other = SimpleNamespace(name="toy")
    points = [EntryPoint("toy", "x:y", known.GROUP), EntryPoint("llamacpp", "x:z", known.GROUP)]
    monkeypatch.setattr(known, "entry_points", lambda group: points)
    monkeypatch.setattr(EntryPoint, "load", lambda self: other)
    found = known.engines()
    assert found[0] is ENGINE and found[-1] is other and len({one.name for one in found}) == len(found)
