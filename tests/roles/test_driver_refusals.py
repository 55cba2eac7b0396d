"""What a deploy of a driver refuses before it touches anything."""

from __future__ import annotations

import pytest

from rigwright.hardware import Hardware
from rigwright.plan.driver import Driver, DriverPlan, Step
from rigwright.roles.base.facts import Rig
from rigwright.roles.nvidia.deploy import refusal
from rigwright.roles.nvidia.reading import Asked, Simulation

INSTALL = Step("install", "driver 580", ("nvidia-driver-cuda",))


def rig(uid: int = 0, os_id: str = "debian") -> Rig:
    return Rig(Hardware(os_id=os_id, os_version="13"), uid, "systemd")


def plan(*steps: Step) -> Asked:
    return Asked(DriverPlan("install", Driver(580, "open", "nvidia"), steps=steps))


def test_what_can_be_done_is_done():
    assert refusal(rig(), plan(INSTALL)) == []
    assert refusal(rig(uid=1000, os_id="arch"), Asked(DriverPlan("ok"))) == []


@pytest.mark.parametrize(
    ("found", "asked", "options", "said"),
    [
        (rig(uid=1000), plan(INSTALL), {}, "the SSH user is not root"),
        (rig(os_id="arch"), plan(INSTALL), {}, "arch 13 is not known here"),
        (rig(), plan(INSTALL), {"may_install": False}, "missing packages: nvidia-driver-cuda; install them, or set"),
        (rig(), plan(Step("install", "bring all on one")), {}, "no deploy does this yet: bring all on one"),
        (rig(), plan(Step("firmware", "firmware again")), {}, "no deploy does this yet: firmware"),
        (
            rig(),
            Asked(plan(INSTALL).plan, simulation=Simulation(failure=("E: held broken packages",))),
            {},
            "its package manager refuses that, and nothing was touched",
        ),
        (
            rig(),
            Asked(plan(INSTALL).plan, simulation=Simulation(leaving=("ollama", "nvidia-driver-pinning-590"))),
            {},
            "installing it would take away ollama, which the plan does not",
        ),
        (
            rig(),
            Asked(plan(INSTALL).plan, simulation=Simulation(refusal=("no answer",)), is_second_choice=True),
            {},
            "NVIDIA's repository could not be asked, and nothing was touched: no answer",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said(found, asked, options, said):
    assert refusal(found, asked, **options)[0].startswith(said)
