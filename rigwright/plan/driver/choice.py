"""Source, branch and modules: the first that the GPUs, the kernel, the firmware and the archive take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from rigwright.hardware.software import Flavour
from rigwright.hardware.values import Problem
from rigwright.plan.driver.limits import Allowed
from rigwright.plan.driver.machine import Machine
from rigwright.plan.driver.packages import OFFERED, Bill, bill
from rigwright.plan.driver.stranded import failed_build
from rigwright.plan.driver.tables import (
    System,
    branches,
    default_flavour,
    is_signed_by_redhat,
    kernel_problem,
    needs_newer_dkms,
    preferred_branches,
    version_of,
)
from rigwright.plan.driver.values import DriverWish, Source

_SIGNING = (
    "take modules that the distribution signed (Ubuntu, RHEL 10.1 and newer); or enrol the key of dkms once, at the "
    "console: mokutil --import /var/lib/dkms/mok.pub, reboot; or switch Secure Boot off in the firmware"
)


class Offered(NamedTuple):
    """What a source has: the newest version of each branch, '' where only the branch is known; and who says so."""

    source: Source
    versions: Mapping[int, str]
    is_asked: bool


class Chosen(NamedTuple):
    """A driver that can be installed."""

    source: Source
    branch: int
    modules: Flavour
    version: str
    bill: Bill
    is_asked: bool


class Choice(NamedTuple):
    """The driver to install, None where none can be; what would be the best; what speaks against; what is assumed."""

    chosen: Chosen | None
    wanted: Chosen | None
    problems: tuple[Problem, ...]
    assumed: tuple[str, ...]


def choose(machine: Machine, system: System, allowed: Allowed, wish: DriverWish) -> Choice:
    """The first driver of the best source that nothing speaks against."""
    refused: list[Problem] = []
    wanted: Chosen | None = None
    offers = [_offered(machine, system, source) for source in _sources(machine, system, wish)]
    for offered in offers:
        for branch, modules in _drivers(offered, allowed, machine):
            version = offered.versions[branch] or branches()[branch].newest
            packages = bill(machine, system, offered.source, branch, modules)
            against = list(_against(machine, system, offered.source, version, modules, packages))
            found = Chosen(offered.source, branch, modules, version, packages, offered.is_asked)
            wanted = wanted or found
            if not against:
                notes = tuple(_unoffered(offers, offered, allowed, system, machine))
                return Choice(found, found, notes, _assumed(found))
            refused += against
    why = tuple(_first_of_each(refused)) or (_nothing_offered(offers, allowed, system),)
    return Choice(None, wanted, why, ())


def _sources(machine: Machine, system: System, wish: DriverWish) -> list[Source]:
    """Those of the release, the best first; what is installed already stays with the source that it came from."""
    if wish.source:
        return [wish.source]
    if machine.software.barred and not machine.has_nvidias_repository and system.family in ("debian", "ubuntu"):
        # The pin may be meant against any driver: what its owner did not set up is no way past it.
        return ["distro"]
    if system.family == "ubuntu":
        found: list[Source] = ["distro", "nvidia"]
    elif system.family == "debian":
        found = ["nvidia", "distro"]
    else:
        found = ["redhat", "nvidia"] if is_signed_by_redhat(machine.hardware) else ["nvidia"]
    mine = machine.installed_source
    return sorted(found, key=lambda source: source != mine)


def _offered(machine: Machine, system: System, source: Source) -> Offered:
    if source == "redhat":
        return Offered(source, {580: ""}, is_asked=False)
    kind: Literal["nvidia", "distro"] = "nvidia" if source == "nvidia" else "distro"
    asked = machine.offered_branches(kind, OFFERED[kind])
    if asked is not None:
        return Offered(source, asked, is_asked=True)
    if source == "nvidia":
        seen = system.seen_branches or tuple(branches())
        return Offered(source, dict.fromkeys((one for one in seen if one in branches()), ""), is_asked=False)
    if system.prebuilt:
        return Offered(source, dict.fromkeys(system.prebuilt, ""), is_asked=False)
    own = system.distro
    return Offered(source, {own["branch"]: str(own["version"])} if own else {}, is_asked=False)


def _branches(offered: Offered, allowed: Allowed, machine: Machine) -> list[int]:
    """Those that are there and allowed, in the order of preference; that of the installed driver first."""
    order = list(preferred_branches())
    # What came after the catalogue; and of a release's own packages the one that it has, however old.
    order += sorted(one for one in offered.versions if one > max(order))
    order += sorted((one for one in offered.versions if offered.source == "distro" and one not in order), reverse=True)
    # A branch that has ended is taken only where it is asked for.
    order += [one for one in (allowed.first,) if allowed.first == allowed.last and one not in order]
    found = [one for one in order if one in offered.versions]
    fitting = [one for one in found if any(allowed.takes(one, flavour) for flavour in allowed.flavours)]
    return sorted(fitting, key=lambda one: one != machine.installed_branch)


def _drivers(offered: Offered, allowed: Allowed, machine: Machine) -> list[tuple[int, Flavour]]:
    """Branches with their modules: NVIDIA's default flavour of each before any other, and that of the installed one."""
    found = [
        (branch, modules)
        for branch in _branches(offered, allowed, machine)
        for modules in allowed.flavours
        # Red Hat signs the open ones.
        if allowed.takes(branch, modules) and (offered.source != "redhat" or modules == "open")
    ]
    installed = (machine.installed_branch, machine.flavour)

    def is_second_choice(branch: int, modules: Flavour) -> bool:
        return modules != default_flavour(branch) and allowed.takes(branch, default_flavour(branch))

    return sorted(found, key=lambda one: (one != installed, is_second_choice(*one)))


def _against(
    machine: Machine, system: System, source: Source, version: str, modules: Flavour, packages: Bill
) -> Iterator[Problem]:
    """What speaks against one driver."""
    if barred := [name for name in packages.driver if name in machine.software.barred]:
        what = f"apt's preferences keep {' '.join(barred[:3])} away (Pin-Priority below 0), which {system.title} has"
        do = "take that pin out of /etc/apt/preferences.d (grep -r nvidia), then deploy again"
        yield Problem("pinned_away", "/etc/apt/preferences.d", what, do)
        return
    if packages.has_prebuilt or machine.is_container:
        return
    broken = system.distro.get("broken", {}).get(modules) if source == "distro" else None
    if broken and version == str(system.distro["version"]):
        yield Problem("package_is_broken", f"{modules} modules", f"{broken}", "take proprietary ones, or NVIDIA's")
        return
    failed = failed_build(machine)
    if failed and version_of(failed.version) == version_of(version) and modules in failed.flavours:
        yield uncompilable(failed.kernel, version, failed.said)
        return
    for kernel in machine.built_kernels:
        if why := kernel_problem(kernel, version, modules):
            yield uncompilable(kernel, version, why)
            return
    if source == "nvidia" and system.family == "debian" and (dkms := _newer_dkms(machine, system, version)):
        what = f"NVIDIA's packages of {version} want dkms {dkms} or newer, {system.title} has {system.row.get('dkms')}"
        do = "upgrade to Debian 13, or take the distribution's driver: source: distro"
        yield Problem("dkms_too_old", system.title, what, do)
    if machine.software.secure_boot and not machine.software.mok_enrolled:
        what = "Secure Boot takes signed modules alone, and does not know the key of those that dkms compiles here"
        yield Problem("secure_boot", "the firmware", what, _SIGNING)
    yield from _headers(machine, system)


def uncompilable(kernel: str, version: str, why: str) -> Problem:
    """Modules that will never compile for a kernel."""
    what = f"{version} does not compile for Linux {kernel}: {why}"
    return Problem("kernel_too_new_for_driver", kernel, what, "take a newer branch, or an older kernel")


def _newer_dkms(machine: Machine, system: System, version: str) -> str | None:
    """The dkms that is wanted and that neither the rig nor its repositories have."""
    have = [one.version for one in machine.packages if one.name == "dkms"]
    have += [one.version for one in machine.software.offers if one.name == "dkms"]
    wanted = [needs_newer_dkms(system, version, one) for one in have or [""]]
    return next(iter(wanted)) if all(wanted) else None


def _headers(machine: Machine, system: System) -> Iterator[Problem]:
    """The headers of the running kernel, where it was asked whether they can be had."""
    if "offers" not in machine.software.answered or not machine.kernel or system.family in ("el", "fedora"):
        return
    name = machine.headers(machine.kernel)
    if not machine.built_kernels:
        what = f"{name} is neither installed nor offered, and without it nothing compiles for the running kernel"
        do = "upgrade the kernel and reboot (apt full-upgrade), then deploy again"
        yield Problem("headers_missing", machine.kernel, what, do)


def _first_of_each(problems: Sequence[Problem]) -> list[Problem]:
    """Each code once; what the archive lacks for one flavour is not said where something stops all."""
    found = {problem.code: problem for problem in reversed(problems)}
    stopping = [problem for code, problem in found.items() if code != "package_is_broken"]
    return list(reversed(stopping or list(found.values())))


def _nothing_offered(offers: Sequence[Offered], allowed: Allowed, system: System) -> Problem:
    wanted = f"{allowed.first} to {allowed.last}" if allowed.last else f"{allowed.first} or newer"
    flavours = " or ".join(sorted(allowed.flavours))
    have = "; ".join(f"{_NAMES[one.source]}: {', '.join(map(str, sorted(one.versions))) or 'none'}" for one in offers)
    what = f"no branch {wanted} with {flavours} modules can be had for {system.title} ({have})"
    do = "take another release of the system, other GPUs, or NVIDIA's own installer, which rigwright leaves alone"
    return Problem("branch_not_offered", system.title, what, do)


_NAMES = {"nvidia": "NVIDIA's repository", "distro": "the distribution", "redhat": "Red Hat"}


def _unoffered(
    offers: Sequence[Offered], taken: Offered, allowed: Allowed, system: System, machine: Machine
) -> Iterator[Problem]:
    """That the better source has nothing for these GPUs."""
    for one in offers[: offers.index(taken)]:
        if not _branches(one, allowed, machine):
            have = ", ".join(map(str, sorted(one.versions))) or "none"
            most = f"{allowed.last} or older" if allowed.last else f"{allowed.first} or newer"
            what = f"{_NAMES[one.source]} for {system.title} has {have}, these GPUs want {most}"
            yield Problem("branch_not_offered", system.title, what, f"{_NAMES[taken.source]} is taken instead")


def _assumed(chosen: Chosen) -> tuple[str, ...]:
    if chosen.is_asked:
        return ()
    return (f"what {_NAMES[chosen.source]} offers today was not asked: what it was seen to have is assumed",)
