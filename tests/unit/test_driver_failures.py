"""Installations that went wrong in the field: each is seen before anything is touched, said, and has a way out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from rigwright.hardware.capture import read_files
from rigwright.hardware.software import DkmsModule, Package, Software
from rigwright.hardware.values import Gpu, Hardware
from rigwright.plan.driver import DriverPlan, DriverWish, Need, plan_driver

CASES = yaml.safe_load((Path(__file__).parent / "data/driver_failures.yml").read_text())
BUILDS = DriverWish(needs=(Need("llama.cpp", is_built=True),))


def planned(case: dict[str, Any]) -> DriverPlan:
    return plan_driver(read_files(case["files"]), BUILDS if case.get("wish") else DriverWish())


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_failure_is_seen_and_mended(case: dict[str, Any]) -> None:
    """Verdict, codes, what is said and what to do, the steps in their order."""
    plan = planned(case)
    codes = [problem.code for problem in plan.problems]
    assert plan.verdict == case["verdict"], (codes, plan.steps)
    assert set(case["codes"]) <= set(codes), codes
    ours = [problem for problem in plan.problems if problem.code in case["codes"]]
    said, do = " ".join(problem.what for problem in ours), " ".join(problem.do for problem in ours)
    assert all(word in said for word in case.get("what", ())), said
    assert case.get("do", "") in do, do
    kinds = [step.kind for step in plan.steps]
    places = [kinds.index(kind) for kind in case.get("steps", ())]
    assert places == sorted(places), kinds
    assert not set(kinds) & set(case.get("not", ()))
    if "driver" in case:
        assert f"{plan.driver.source} {plan.driver.branch} {plan.driver.modules}" == case["driver"]
    if "packages" in case:
        assert list(plan.driver.packages) == case["packages"]
    if "cuda" in case:
        assert f"{plan.cuda.source} {plan.cuda.version}" == case["cuda"]
    if plan.verdict == "refuse":
        assert plan.refused and plan.steps == () and not plan.reboot
    assert plan.reboot is case.get("reboot", plan.reboot)


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_every_problem_is_for_people(case: dict[str, Any]) -> None:
    """One line each: lower case, no full stop, and something to do."""
    for problem in planned(case).problems:
        for text in (problem.what, problem.do):
            assert text and "\n" not in text and not text.endswith("."), problem


@pytest.mark.parametrize("state", ["installed", "added"])
def test_modules_that_were_compiled_want_no_other_compiler(state):
    """Ubuntu's kernel of gcc 13 and gcc 12: a warning of dkms, where it compiles all the same."""
    software = Software(
        answered=frozenset({"dkms", "packages", "loaded_modules"}),
        packages=(Package("nvidia-kernel-open-dkms", "580.95.05-1"), Package("libcuda1", "580.95.05-1")),
        dkms=(DkmsModule("nvidia", "580.95.05", state, "6.8.0-90-generic"),),
        userland_version="580.95.05", kernel_compiler="gcc 13.3.0", compiler="gcc 12.3.0",
    )  # fmt: skip
    gpu = Gpu(index=0, pci_address="0000:01:00.0", pci_id="10de:2204", vendor="NVIDIA")
    machine = Hardware(
        os_id="ubuntu", os_version="24.04", kernel="6.8.0-90-generic", gpu_count=1, gpus=(gpu,), software=software
    )
    codes = [problem.code for problem in plan_driver(machine).problems]
    assert ("compiler_differs" in codes) == (state == "added")


def test_filtered_packages_are_let_through_before_they_are_installed():
    """Of dnf's modular filtering: what it filtered cannot be installed before that is switched off."""
    case = next(one for one in CASES if one["name"].startswith("packages of AlmaLinux 10 filtered"))
    steps = planned(case).steps
    names = [step.kind for step in steps]
    lifted = next(place for place, step in enumerate(steps) if "module_hotfixes" in step.what)
    assert names.index("repository") < lifted < names.index("install")
