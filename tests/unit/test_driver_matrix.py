"""Which driver goes where: architecture × system × state, from tables that are written by hand beside the catalogue.

Each cell is `source branch modules`, or why it is refused. Sources of the table: NVIDIA's matrix of architectures and
branches, what the archives of the releases have, and what did and did not build on Debian 12 and 13.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any, NamedTuple

import pytest

from rigwright.hardware.software import Failure, KernelModule, Package, Software
from rigwright.hardware.values import Gpu, Hardware
from rigwright.plan.driver import DriverPlan, DriverWish, plan_driver

# PCI ids of cards that people serve from.
CARDS = {
    "Maxwell": "10de:17fd",
    "Pascal": "10de:1b06",
    "Volta": "10de:1db1",
    "Turing": "10de:1e04",
    "Ampere": "10de:2204",
    "Ada": "10de:2684",
    "Hopper": "10de:2330",
    "Blackwell": "10de:2b85",
}
OLD, MIDDLE, NEW = ("Maxwell", "Pascal", "Volta"), ("Turing", "Ampere", "Ada", "Hopper"), ("Blackwell",)


class System(NamedTuple):
    """A release with a kernel of its own, and what each generation of cards gets there."""

    os: str
    version: str
    kernel: str
    old: str
    middle: str
    new: str


SYSTEMS = {
    "ubuntu-22.04": System(
        "ubuntu", "22.04", "5.15.0-130-generic", "distro 580 proprietary", "distro 580 open", "distro 580 open"
    ),
    "ubuntu-24.04": System(
        "ubuntu", "24.04", "6.8.0-90-generic", "distro 580 proprietary", "distro 580 open", "distro 580 open"
    ),
    "ubuntu-26.04": System(
        "ubuntu", "26.04", "7.0.0-30-generic", "distro 580 proprietary", "distro 580 open", "distro 580 open"
    ),
    # NVIDIA's packages want a newer dkms than Debian 12 has; its own driver is older than Blackwell.
    "debian-12": System(
        "debian", "12", "6.1.0-56-amd64", "distro 535 proprietary", "distro 535 proprietary", "dkms_too_old"
    ),
    # NVIDIA's repository for Debian 13 begins with 590, which old cards are not driven by.
    "debian-13": System(
        "debian", "13", "6.12.117+deb13-amd64", "distro 550 proprietary", "nvidia 595 open", "nvidia 595 open"
    ),
    "rocky-9": System(
        "rocky", "9.6", "5.14.0-570.23.1.el9_6.x86_64", "nvidia 580 proprietary", "nvidia 580 open", "nvidia 580 open"
    ),
    "almalinux-10": System(
        "almalinux", "10.0", "6.12.0-55.9.1.el10_0.x86_64", "nvidia 580 proprietary", "nvidia 580 open",
        "nvidia 580 open",
    ),
    # Red Hat signs open modules itself.
    "rhel-10.1": System(
        "rhel", "10.1", "6.12.0-124.8.1.el10_1.x86_64", "nvidia 580 proprietary", "redhat 580 open", "redhat 580 open"
    ),
    "fedora-42": System(
        "fedora", "42", "6.14.0-63.fc42.x86_64", "nvidia 580 proprietary", "nvidia 580 open", "nvidia 580 open"
    ),
}  # fmt: skip
# Whose modules are compiled by the distribution, so that nothing is compiled here.
PREBUILT = ("ubuntu", "redhat")


def expected(system: System, card: str) -> str:
    return system.old if card in OLD else system.middle if card in MIDDLE else system.new


def machine(system: System, *cards: str, **software: Any) -> Hardware:
    """A machine that was asked everything, bare but for what is named."""
    known: dict[str, Any] = {
        "answered": frozenset({"packages", "loaded_modules", "dkms", "repositories", "holds"}),
        "secure_boot": False,
        "virtualization": "none",
    }
    gpus = tuple(
        Gpu(index=place, pci_address=f"0000:{place + 1:02x}:00.0", pci_id=CARDS[card], vendor="NVIDIA")
        for place, card in enumerate(cards)
    )
    return Hardware(
        os_id=system.os, os_version=system.version, kernel=system.kernel, architecture="x86_64",
        gpu_count=len(gpus), gpus=gpus, software=Software(**(known | software)),
    )  # fmt: skip


def said(plan: DriverPlan) -> str:
    return f"{plan.driver.source} {plan.driver.branch} {plan.driver.modules}"


def kinds(plan: DriverPlan) -> list[str]:
    return [step.kind for step in plan.steps]


ALL = [pytest.param(name, card, id=f"{name}-{card}") for name, card in product(SYSTEMS, CARDS)]


@pytest.mark.parametrize(("name", "card"), ALL)
def test_bare_machine(name: str, card: str) -> None:
    """Branch, modules, source; the steps in an order in which nothing is compiled before it can be."""
    system = SYSTEMS[name]
    plan, cell = plan_driver(machine(system, card)), expected(system, card)
    if " " not in cell:
        assert (plan.verdict, plan.refused, plan.steps) == ("refuse", (cell,), ())
        return
    assert (plan.verdict, said(plan), plan.refused) == ("install", cell, ())
    steps = kinds(plan)
    assert steps[-1] == "verify" and steps.index("install") < steps.index("persistence")
    is_built = not (system.os == "ubuntu" or cell.startswith("redhat"))
    assert ("dkms" in steps) == is_built == ("headers" in steps)
    if is_built:
        assert steps.index("headers") < steps.index("install") < steps.index("dkms")
    if cell.startswith("nvidia"):
        assert steps[:2] == ["repository", "pin"]
    assert "nouveau" not in steps and not plan.reboot
    assert any("open" in package for package in plan.driver.packages) == cell.endswith("open") or "redhat" in cell
    assert set(plan.held) <= set(plan.driver.packages) and plan.held


@pytest.mark.parametrize(("name", "card"), ALL)
def test_machine_with_nouveau(name: str, card: str) -> None:
    """The same driver, nouveau kept out, and a reboot."""
    system = SYSTEMS[name]
    plan, cell = plan_driver(machine(system, card, loaded_modules=("nouveau",))), expected(system, card)
    if " " in cell:
        assert (plan.verdict, said(plan), plan.reboot) == ("install", cell, True)
        steps = kinds(plan)
        assert steps.index("install") < steps.index("nouveau") < steps.index("reboot")
    else:
        assert plan.refused == (cell,) and not plan.reboot


@pytest.mark.parametrize(("name", "card"), ALL)
def test_secure_boot(name: str, card: str) -> None:
    """Modules that the distribution signed are taken; those that are compiled here stop everything before nouveau."""
    system = SYSTEMS[name]
    plan, cell = plan_driver(machine(system, card, secure_boot=True)), expected(system, card)
    if system.os == "ubuntu" or cell.startswith("redhat"):
        assert (plan.verdict, said(plan)) == ("install", cell)
    else:
        assert plan.verdict == "refuse" and "secure_boot" in plan.refused and plan.steps == ()
        way = next(problem.do for problem in plan.problems if problem.code == "secure_boot")
        assert "mokutil --import" in way and "Secure Boot off" in way and "signed" in way
    enrolled = plan_driver(machine(system, card, secure_boot=True, mok_enrolled=True))
    assert "secure_boot" not in enrolled.refused


def installed(system: System, cell: str, version: str, **software: Any) -> dict[str, Any]:
    """The driver of a cell, installed from its source and loaded."""
    source, _, flavour = cell.split()
    origin = "developer.download.nvidia.com/compute/cuda/repos/x" if source == "nvidia" else "archive"
    name = "libcuda1" if system.os == "debian" else "nvidia-driver-cuda"
    dkms = f"nvidia-{'open-' if flavour == 'open' else ''}kernel-dkms"
    packages = (Package(name, version, origin=origin), Package(dkms, version, origin=origin))
    own = KernelModule(version, flavour, system.kernel)  # type: ignore[arg-type]
    return {
        "packages": packages,
        "loaded": own,
        "on_disk": (own,),
        "userland_version": version,
        "loaded_modules": ("nvidia", "nvidia_uvm"),
        "cuda_error": 0,
        **software,
    }


VERSIONS = {"535": "535.309.01", "550": "550.163.01", "580": "580.178.04", "595": "595.91.07"}


def driven(hardware: Hardware) -> Hardware:
    """With a driver that answers for every GPU."""
    gpus = tuple(replace(gpu, state="ok", uuid=f"GPU-{gpu.index}") for gpu in hardware.gpus)
    return replace(hardware, gpus=gpus)


PLANNED = [param for param in ALL if " " in expected(SYSTEMS[param.values[0]], param.values[1])]  # type: ignore[index]


@pytest.mark.parametrize(("name", "card"), PLANNED)
def test_what_is_installed_as_planned_stays(name: str, card: str) -> None:
    """A second run changes nothing."""
    system, cell = SYSTEMS[name], expected(SYSTEMS[name], card)
    version = VERSIONS[cell.split()[1]]
    plan = plan_driver(driven(machine(system, card, **installed(system, cell, version))))
    assert (plan.verdict, plan.steps, plan.problems, plan.reboot) == ("ok", (), (), False)
    assert (plan.driver.version, plan.driver.modules) == (version, cell.split()[2])


@pytest.mark.parametrize(("name", "card"), PLANNED)
def test_upgrade_that_nobody_rebooted_for(name: str, card: str) -> None:
    """Libraries of one version, the module of another: reloaded where nothing uses a GPU, else rebooted."""
    system, cell = SYSTEMS[name], expected(SYSTEMS[name], card)
    version = VERSIONS[cell.split()[1]]
    facts = installed(system, cell, version) | {"loaded": KernelModule(f"{cell.split()[1]}.10")}
    plan = plan_driver(driven(machine(system, card, **facts)))
    assert (plan.verdict, plan.reboot, kinds(plan)[0]) == ("reboot", True, "reload")
    assert [problem.code for problem in plan.problems] == ["driver_library_mismatch"]
    assert f"{cell.split()[1]}.10" in plan.problems[0].what and version in plan.problems[0].what


@pytest.mark.parametrize(("name", "card"), PLANNED)
def test_driver_that_does_not_drive_the_card_is_replaced(name: str, card: str) -> None:
    """590 on Pascal, proprietary modules on Blackwell: what is there makes room, in one run."""
    system = SYSTEMS[name]
    wrong = "nvidia 590 proprietary" if card in OLD or card in NEW else "nvidia 390 proprietary"
    version = f"{wrong.split()[1]}.48.01"
    facts = installed(system, wrong, version) | {"loaded": None, "on_disk": (), "loaded_modules": ("nvidia",)}
    plan = plan_driver(machine(system, card, **facts))
    steps = kinds(plan)
    assert plan.verdict == "install"
    assert plan.driver.branch != int(wrong.split()[1]) or plan.driver.modules == "open"
    if said(plan).startswith("distro"):
        # Nothing of another source stays beside it.
        (removed,) = [step.packages for step in plan.steps if step.kind == "remove"]
        assert set(removed) == {package.name for package in facts["packages"]}
    if "remove" in steps:
        assert steps.index("pin" if "pin" in steps else "remove") <= steps.index("remove") < steps.index("install")


@pytest.mark.parametrize(("name", "card"), ALL)
def test_runfile_is_not_installed_over(name: str, card: str) -> None:
    """Refused with the way; with the owner's word it goes first."""
    system = SYSTEMS[name]
    hardware = machine(system, card, runfile=("/usr/bin/nvidia-uninstall",))
    plan = plan_driver(hardware)
    assert plan.verdict == "refuse" and "runfile_installed" in plan.refused and plan.steps == ()
    allowed = plan_driver(hardware, DriverWish(replaces_runfile=True))
    if " " in expected(system, card):
        assert kinds(allowed)[0] == "uninstall runfile" and "install" in kinds(allowed)


@pytest.mark.parametrize(("name", "card"), [param for param in ALL if param.values[0].startswith(("debian", "ubuntu"))])
def test_half_configured_packages_are_mended_first(name: str, card: str) -> None:
    """The module that did not compile goes, what it blocked is configured, and the right driver comes."""
    system = SYSTEMS[name]
    half = (
        Package("nvidia-open-kernel-dkms", "550.163.01-2", "half"),
        Package("linux-image-6.12.117+deb13-amd64", "6.12.117-1", "half"),
    )
    failure = Failure("dkms_build_failed", "nv-pci.c:237: too few arguments", ("nvidia-open-kernel-dkms",))
    plan = plan_driver(machine(system, card, packages=half, failures=(failure,)))
    if " " not in expected(system, card):
        assert plan.verdict == "refuse"
        return
    assert plan.verdict == "repair" and kinds(plan)[0] == "repair packages"
    assert "dpkg --purge --force-depends nvidia-open-kernel-dkms" in plan.steps[0].what
    assert said(plan) == expected(system, card)


@pytest.mark.parametrize(("name", "card"), list(product(SYSTEMS, OLD)))
def test_old_and_new_cards_exclude_each_other(name: str, card: str) -> None:
    """One kernel loads one module: said with both cards, before anything is touched."""
    plan = plan_driver(machine(SYSTEMS[name], card, "Ampere", "Blackwell"))
    assert (plan.verdict, plan.refused, plan.steps) == ("refuse", ("gpus_exclude_each_other",), ())
    (problem,) = plan.problems
    assert card in problem.what and "Blackwell" in problem.what and "another rig" in problem.do


@pytest.mark.parametrize(("name", "card"), list(product(SYSTEMS, OLD)))
def test_mixed_cards_get_what_all_of_them_take(name: str, card: str) -> None:
    """Pascal beside Ampere: proprietary modules, for both."""
    system = SYSTEMS[name]
    plan = plan_driver(machine(system, card, "Ampere"))
    assert (plan.verdict, said(plan)) == ("install", system.old)


def test_matrix_is_wide_enough() -> None:
    """Combinations of architecture, system and state in this file."""
    assert 6 * len(ALL) + 3 * len(PLANNED) - len(CARDS) * 5 + 2 * len(SYSTEMS) * len(OLD) > 400
