"""Which driver goes where: architecture × system × state, from tables that are written by hand beside the catalogue.

Each cell is `source branch modules`, or why it is refused. Sources of the table: NVIDIA's matrix of architectures and
branches, what the archives of the releases have, and what did and did not build on Debian 12 and 13.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any, NamedTuple

import pytest

from rigwright.hardware.software import Failure, KernelModule, Offer, Package, Software
from rigwright.hardware.values import Gpu, Hardware, Problem
from rigwright.plan.driver import DriverPlan, DriverWish, Need, plan_driver
from rigwright.plan.driver.tables import branch_of, version_of
from rigwright.plan.driver.values import Source

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


ELSEWHERE = [
    ("no GPU", lambda hardware: replace(hardware, gpus=(), gpu_count=0), "ok", "none None none", ""),
    (
        "a card that a virtual machine has",
        lambda hardware: replace(hardware, problems=(Problem("gpu_passed_through", "0000:01:00.0", "vfio", "x"),)),
        "ok", "none None none", "",
    ),
    ("WSL", lambda hardware: _with(hardware, virtualization="wsl"), "ok", "host None none", ""),
    (
        "a container of a host with a driver",
        lambda hardware: _with(hardware, virtualization="lxc", loaded=KernelModule("580.95.05", "open")),
        "install", "host 580 none", "",
    ),
    (
        "a container of a bare host", lambda hardware: _with(hardware, virtualization="docker"), "refuse",
        "none None none", "host_has_no_driver",
    ),
    (
        "a part of a GPU",
        lambda hardware: replace(hardware, gpus=(replace(hardware.gpus[0], name="NVIDIA A100-4C"),)),
        "refuse", "none None none", "vgpu_guest",
    ),
    (
        "a Jetson without its driver",
        lambda hardware: replace(hardware, kernel="5.15.148-tegra", architecture="aarch64"),
        "refuse", "factory None open", "factory_driver_missing",
    ),
    ("a system that nobody knows", lambda hardware: replace(hardware, os_id="nixos", os_version="26.05"), "refuse",
     "none None none", "system_unknown"),
    ("GPUs that nobody listed", lambda hardware: replace(hardware, gpus=(), gpu_count=None), "refuse", "none None none",
     "gpus_unknown"),
]  # fmt: skip


def _with(hardware: Hardware, **software: Any) -> Hardware:
    return replace(hardware, software=replace(hardware.software, **software))


@pytest.mark.parametrize(("what", "change", "verdict", "driver", "code"), ELSEWHERE, ids=[row[0] for row in ELSEWHERE])
@pytest.mark.parametrize("name", ["ubuntu-24.04", "debian-13", "rocky-9"])
def test_machine_whose_driver_is_not_ours(
    name: str, what: str, change: Callable[[Hardware], Hardware], verdict: str, driver: str, code: str
) -> None:
    """Left alone, or given the libraries alone; nothing of the kernel is touched."""
    plan = plan_driver(change(machine(SYSTEMS[name], "Ampere")))
    assert (plan.verdict, said(plan)) == (verdict, driver)
    assert plan.refused == ((code,) if code else ()) and not plan.reboot
    assert not {"nouveau", "dkms", "headers", "reboot"} & set(kinds(plan))


OFFERED = [
    # card, what NVIDIA's repository for Debian 13 has today, what comes
    ("Ampere", ("590.48.01", "595.71.05"), "nvidia 595 open"),
    ("Ampere", ("580.126.09", "590.48.01", "595.71.05"), "nvidia 580 open"),
    ("Ampere", ("590.48.01",), "nvidia 590 open"),
    ("Ampere", ("620.11.01",), "nvidia 620 open"),
    ("Pascal", ("580.126.09", "595.71.05"), "nvidia 580 proprietary"),
    ("Pascal", ("590.48.01", "595.71.05"), "distro 550 proprietary"),
    ("Blackwell", ("575.57.08", "580.126.09"), "nvidia 580 open"),
    # 580.95 does not compile for Debian 13's kernel, whose pci_resize_resource changed.
    ("Ampere", ("580.95.05", "595.71.05"), "nvidia 595 open"),
    ("Volta", ("580.95.05",), "nvidia 580 proprietary"),
]


@pytest.mark.parametrize(("card", "versions", "cell"), OFFERED)
def test_plan_goes_by_what_is_offered_today(card: str, versions: tuple[str, ...], cell: str) -> None:
    """Not by a belief: NVIDIA's repository for Debian 13 had no 580 for months."""
    url = "https://developer.download.nvidia.com/compute/cuda/repos/debian13/x86_64"
    offers = [Offer("nvidia-driver-cuda", f"{version}-1", url) for version in versions]
    offers.append(Offer("nvidia-kernel-dkms", "550.163.01-2", "http://archive.example/debian trixie/non-free"))
    offers.append(Offer("linux-headers-6.12.117+deb13-amd64", "6.12.117-1", "http://archive.example/debian"))
    hardware = machine(SYSTEMS["debian-13"], card, offers=tuple(offers))
    hardware = _with(hardware, answered=hardware.software.answered | {"offers"})
    plan = plan_driver(hardware)
    assert (plan.verdict, said(plan)) == ("install", cell)
    if cell.startswith("nvidia"):
        assert plan.driver.version in versions and not plan.assumed


STREAMS = [
    # what NVIDIA's repository for RHEL 9 has as streams, of which the newest is the default; the branch, its version
    (("latest-dkms", "open-dkms", "580-dkms", "580-open", "595-open"), (580, "580.178.04")),
    (("latest-dkms", "open-dkms", "595-dkms", "595-open"), (595, "595.91.07")),
    (("latest", "580", "595-open"), (595, "595.91.07")),
]


@pytest.mark.parametrize(("streams", "driver"), STREAMS)
def test_stream_that_is_not_enabled_is_offered(streams: tuple[str, ...], driver: tuple[int, str]) -> None:
    """dnf lists packages of the default stream alone, seen with a real dnf; the plan enables the one it wants."""
    url = "https://developer.download.nvidia.com/compute/cuda/repos/rhel9/x86_64"
    offers = [Offer("module:nvidia-driver", stream, url) for stream in streams]
    offers.append(Offer("nvidia-driver-cuda", "3:595.91.07-1.el9", url))
    hardware = machine(SYSTEMS["rocky-9"], "Ampere", offers=tuple(offers))
    plan = plan_driver(_with(hardware, answered=hardware.software.answered | {"offers"}))
    assert (plan.driver.branch, plan.driver.version) == driver
    assert f"nvidia-driver:{driver[0]}-open" in plan.driver.packages


OF_580 = "libnvidia-compute-580 nvidia-utils-580 nvidia-kernel-common-580 nvidia-dkms-580-open"
OF_580_SERVER = (
    "libnvidia-compute-580-server nvidia-kernel-common-580-server linux-modules-nvidia-580-server-open-generic"
)
OF_590 = "libnvidia-compute nvidia-utils nvidia-kernel-common nvidia-headless-no-dkms-open nvidia-dkms-open"
BRANCH_CHANGES = [
    # installed, the wish, which of it goes
    (OF_580, ("nvidia", 590), OF_580),
    (OF_590, ("nvidia", 580), OF_590),
    (
        "nvidia-driver-570-open nvidia-fabricmanager-570 libnvidia-nscq-570 libnvidia-compute-570",
        ("distro", 580),
        "nvidia-driver-570-open nvidia-fabricmanager-570 libnvidia-nscq-570 libnvidia-compute-570",
    ),
    # The same for servers and for screens; packages of one name are upgraded.
    (f"{OF_580_SERVER} nvidia-fabricmanager-595 libnvidia-nscq-595", ("distro", 595), OF_580_SERVER),
    (OF_590, ("nvidia", 595), ""),
    (OF_580, ("distro", 580), OF_580),
    (OF_580_SERVER, ("distro", 595), OF_580_SERVER),
    (OF_580_SERVER, ("nvidia", 580), OF_580_SERVER),
]


@pytest.mark.parametrize(("installed", "wish", "goes"), BRANCH_CHANGES)
def test_ubuntus_packages_of_another_branch_go(installed: str, wish: tuple[Source, int], goes: str) -> None:
    """What apt would take away for the new ones is planned: a deploy takes away nothing else. Seen with a real apt."""
    named = ("nvidia-driver-pinning-580", "nvidia-container-toolkit", "libnvidia-container1", "nvidia-cuda-toolkit")
    origin = "Ubuntu" if "server" in installed else "developer.download.nvidia.com/compute/cuda/repos/ubuntu2404"
    version = "590.48.01-1ubuntu1" if installed == OF_590 else "580.126.09-1ubuntu1"
    packages = [Package(name, version, origin=origin) for name in installed.split()]
    packages += [Package(name, "1") for name in named]
    plan = plan_driver(
        machine(SYSTEMS["ubuntu-24.04"], "Ampere", packages=tuple(packages)), DriverWish(source=wish[0], branch=wish[1])
    )
    assert (plan.driver.source, plan.driver.branch) == wish, plan
    assert {name for step in plan.steps if step.kind == "remove" for name in step.packages} == set(goes.split())


def test_kernel_whose_headers_are_gone_stops_everything() -> None:
    """Mirrors drop the headers of a kernel that still runs: upgraded and rebooted first."""
    offers = (
        Offer("linux-headers-amd64", "6.12.120-1", "http://archive.example/debian"),
        Offer("nvidia-driver-cuda", "595.71.05-1", "https://developer.download.nvidia.com/compute/cuda/repos/debian13"),
    )
    hardware = machine(SYSTEMS["debian-13"], "Ampere", offers=offers)
    plan = plan_driver(_with(hardware, answered=hardware.software.answered | {"offers"}))
    assert plan.verdict == "refuse" and "headers_missing" in plan.refused
    (problem,) = [problem for problem in plan.problems if problem.code == "headers_missing"]
    assert "linux-headers-6.12.117+deb13-amd64" in problem.what and "reboot" in problem.do


BUILDS = (Need("llama.cpp", is_built=True),)
TOOLKITS = [
    # system, cards, the driver's branch, what comes
    ("ubuntu-24.04", ("Ampere",), "pypi 13.0"),
    ("ubuntu-24.04", ("Blackwell",), "pypi 13.0"),
    ("ubuntu-24.04", ("Pascal",), "nvidia 12.9"),
    ("ubuntu-24.04", ("Pascal", "Ampere"), "nvidia 12.9"),
    ("ubuntu-22.04", ("Turing",), "pypi 13.0"),
    # The newest that driver 535 knows whole.
    ("debian-12", ("Ampere",), "distro 11.8"),
    ("debian-13", ("Ampere",), "pypi 13.0"),
    # glibc 2.41 wants CUDA 13, which makes no code for Pascal; Debian's own 12.4 is mended for it.
    ("debian-13", ("Pascal",), "distro 12.4"),
    ("fedora-42", ("Pascal",), "none None"),
]


@pytest.mark.parametrize(("name", "cards", "cell"), TOOLKITS)
def test_toolkit_goes_with_cards_driver_and_c_library(name: str, cards: tuple[str, ...], cell: str) -> None:
    """Only where something is built; where none fits, everything stops before the driver is touched."""
    hardware = machine(SYSTEMS[name], *cards)
    plan = plan_driver(hardware, DriverWish(needs=BUILDS))
    assert f"{plan.cuda.source} {plan.cuda.version}" == cell
    assert (plan.refused == ("no_toolkit_fits",)) == cell.startswith("none")
    assert plan_driver(hardware).cuda.version is None


def test_engine_that_wants_a_newer_driver_than_a_card_has() -> None:
    """vLLM's wheels want 580; a card that ends there is served, one wish more is refused."""
    hardware = machine(SYSTEMS["ubuntu-24.04"], "Pascal")
    assert plan_driver(hardware, DriverWish(needs=(Need("vLLM", driver=580),))).verdict == "install"
    refused = plan_driver(hardware, DriverWish(needs=(Need("an engine", driver=590),)))
    assert refused.refused == ("engine_needs_newer_driver",) and "none after 580" in refused.problems[0].what


WISHES = [
    ("Ampere", DriverWish(modules="proprietary"), "distro 580 proprietary", ""),
    ("Ampere", DriverWish(branch=595), "distro 595 open", ""),
    ("Ampere", DriverWish(source="nvidia"), "nvidia 580 open", ""),
    ("Blackwell", DriverWish(modules="proprietary"), "", "modules_do_not_fit"),
    ("Pascal", DriverWish(modules="open"), "", "modules_do_not_fit"),
    ("Pascal", DriverWish(branch=595), "", "branch_does_not_fit"),
    ("Blackwell", DriverWish(branch=550), "", "branch_does_not_fit"),
    ("Ampere", DriverWish(branch=620, modules="proprietary"), "", "branch_does_not_fit"),
]


@pytest.mark.parametrize(("card", "wish", "cell", "code"), WISHES)
def test_wish_is_obeyed_or_refused_with_what_goes(card: str, wish: DriverWish, cell: str, code: str) -> None:
    """Nobody gets another driver than the one that was asked for, in silence."""
    plan = plan_driver(machine(SYSTEMS["ubuntu-24.04"], card), wish)
    assert (said(plan) if cell else plan.refused) == (cell or (code,))
    assert plan.verdict == ("install" if cell else "refuse")


def test_version_of_any_length_is_read() -> None:
    """Python refuses numbers of thousands of digits; whoever made the package may not."""
    assert version_of("3:580.95.05-0ubuntu1") == (580, 95, 5)
    assert version_of("9" * 5000) == (999999999,) and branch_of("9" * 5000 + ".1") is None


def test_matrix_is_wide_enough() -> None:
    """Combinations of architecture, system and state in this file."""
    assert 6 * len(ALL) + 3 * len(PLANNED) - len(CARDS) * 5 + 2 * len(SYSTEMS) * len(OLD) > 400
