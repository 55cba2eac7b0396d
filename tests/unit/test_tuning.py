"""What a plan asks of the machine itself: only what a service gains by, each with its reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from rigwright.catalogue import load
from rigwright.hardware import Hardware
from rigwright.plan.engines.llamacpp.render import locks_memory
from rigwright.plan.occupants import Occupant
from rigwright.plan.reasons import Reason
from rigwright.plan.service import Flag, RigPlan
from rigwright.plan.tuning import GOVERNOR, SWAPPINESS, asked_by, tunings
from rigwright.resolve import resolve
from rigwright.spec.rig import parse_spec
from rigwright.view.answers.plan import plan_answer

Machine = Callable[..., Hardware]


def planned(hardware: Hardware, *, base: dict[str, Any] | None = None, **wish: Any) -> RigPlan:
    service = {"name": "chat", "model": "qwen3.5-35b-a3b", "engine": "llamacpp", **wish}
    return resolve(parse_spec("rig", {"services": [service], "base": base or {}}), hardware, is_preview=True).plan


def asked(plan: RigPlan) -> list[tuple[str, str]]:
    return [(one.name, one.value) for one in plan.tuning]


def test_gpu_that_holds_all_asks_nothing(machine: Machine) -> None:
    """Nor does a container, whose host decides."""
    assert asked(planned(machine(gpus=["RTX 3090"]))) == []
    bare = machine(ram_gib=64)
    inside = replace(bare, software=replace(bare.software, virtualization="lxc"))
    assert asked(planned(inside, gpu="none")) == []


def test_cpu_that_computes_asks_for_its_governor(machine: Machine) -> None:
    """A mapped file asks for no less swappiness: what Linux dropped instead would be the file."""
    plan = planned(machine(ram_gib=64), gpu="none")
    assert asked(plan) == [GOVERNOR]
    reason = plan.tuning[0].reason
    assert reason.because.startswith("the CPU computes all of chat, and a clock that follows the load comes late")
    assert plan_answer("rig", plan).plain()["tuning"] == [reason.model_dump()]


def test_experts_in_ram_ask_that_they_stay_there(machine: Machine) -> None:
    """They are no file that could be read again, but memory that is swapped out."""
    hardware = machine(gpus=["RTX 5080"], ram_gib=64)
    plan = planned(hardware)
    in_ram = plan.services[0].in_ram
    assert in_ram and asked(plan) == [GOVERNOR, SWAPPINESS]
    assert f"{in_ram} of chat lie in memory that Linux would swap out" in plan.tuning[1].reason.because
    assert asked(planned(hardware, flags={"--load-mode": "mlock"})) == [GOVERNOR]


def test_owner_keeps_the_machine_as_it_is(machine: Machine) -> None:
    """By one key, in a lock's plan too."""
    assert asked(planned(machine(ram_gib=64), gpu="none", base={"tune_host": False})) == []


def test_no_engine_has_a_flag_for_huge_pages() -> None:
    """So no plan asks for any; a release that has one makes this page of docs/services.md wrong."""
    for name in ("llamacpp_flags", "vllm_flags"):
        assert "huge" not in str(load(name)).lower()


def test_what_others_on_the_rig_ask_for_stays(machine: Machine) -> None:
    """A second inventory takes nothing away that a service of the first needs, by the flags in its record."""
    flags = [("--n-cpu-moe", "12"), ("--load-mode", "none")]
    assert asked_by(flags, has_gpus=True) == (GOVERNOR, SWAPPINESS)
    assert asked_by([("--load-mode", "mmap"), ("--device", "none")], has_gpus=False) == (GOVERNOR,)
    assert asked_by([("--n-gpu-layers", "all")], has_gpus=True) == ()
    beside = Occupant("theirs", tunings=(GOVERNOR, SWAPPINESS))
    found = tunings((), (beside,), machine(ram_gib=64))
    assert [(one.name, one.value) for one in found] == [GOVERNOR, SWAPPINESS]
    assert found[1].reason.because.startswith("theirs lie in memory")


@pytest.mark.parametrize(("name", "value"), [("--mlock", None), ("--load-mode", "mlock")])
def test_memory_is_locked_in_each_spelling(name: str, value: str | None) -> None:
    """Releases before b11434 have a flag of its own."""
    flag = Flag(name=name, value=value, reason=Reason(choice=name, because=""))
    assert locks_memory([flag]) and not locks_memory([])
