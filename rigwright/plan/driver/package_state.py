"""What is wrong with the packages of a driver and the repositories that they come from."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rigwright.hardware.software import Failure, Repository
from rigwright.hardware.sources.software_text import origin
from rigwright.hardware.values import Problem
from rigwright.plan.driver.machine import Machine, is_nvidias
from rigwright.plan.driver.room import is_boot_full, room_in_boot
from rigwright.plan.driver.stranded import failed_build, is_akmod, older_compiler
from rigwright.plan.driver.tables import System, branch_of, failure_row, version_of
from rigwright.plan.driver.values import Defect, DriverWish, Step


def of_packages(machine: Machine, system: System | None, wish: DriverWish, *, is_kept: bool) -> Iterator[Defect]:
    """All of them; `is_kept`: the driver that is there stays."""
    yield from _runfile(machine, wish)
    yield from _foreign_repositories(machine, system)
    yield from _keys(machine)
    yield from _origins(machine)
    yield from _failures(machine, system)
    yield from _half_configured(machine, is_replaced=bool(system) and not is_kept)


def _runfile(machine: Machine, wish: DriverWish) -> Iterator[Defect]:
    if not machine.software.runfile:
        return
    what = (
        f"NVIDIA's own installer put a driver here ({', '.join(machine.software.runfile[:3])}), which no package owns"
    )
    do = "nvidia-uninstall --silent, then deploy again; or write nvidia: {replaces_runfile: true}"
    problem = Problem("runfile_installed", machine.software.runfile[0], what, do)
    if wish.replaces_runfile:
        yield Defect(problem, "repair", (Step("uninstall runfile", "nvidia-uninstall --silent, and see it gone"),))
    else:
        yield Defect(problem, "refuse")


def _foreign_repositories(machine: Machine, system: System | None) -> Iterator[Defect]:
    """NVIDIA's repository of another release, as an application's installer leaves it; or one beside RPM Fusion."""
    mine = [one for one in machine.software.repositories if one.is_enabled and _release(one) is not None]
    fusion = next((one for one in machine.software.repositories if "rpmfusion" in (one.url + one.name).lower()), None)
    for one in mine:
        release = _release(one)
        if release and system and release != system.repository:
            name = one.file or one.name or one.url
            what = f"{name} is NVIDIA's repository for {release}, this is {system.title}"
            instead = (
                "then dnf distro-sync, and leave the driver to RPM Fusion" if fusion else f"use {system.repository}"
            )
            do = f"take it out, {instead}; rigwright removes no repository that it did not add"
            yield Defect(Problem("repository_of_other_release", name, what, do), "refuse")
    if fusion and mine and machine.driver_packages:
        what = "RPM Fusion and NVIDIA's repository both have a driver, and each upgrade makes them conflict"
        do = "keep one of them: dnf config-manager disable the other, then dnf distro-sync"
        yield Defect(Problem("two_driver_repositories", fusion.file or "rpmfusion", what, do), "refuse")


def _release(one: Repository) -> str | None:
    """For which release NVIDIA's repository is (`fedora39`), '' where it does not say; None of any other."""
    place = origin(one.url, one.suite)
    # Mirrors of NVIDIA's repositories keep their paths; a list of repositories has its identifiers alone.
    found = re.search(r"/repos/([a-z]+\d+)/", f"{place}/") if is_nvidias(place) else _IDENTIFIER.fullmatch(one.name)
    return found[1] if found else "" if is_nvidias(place) else None


_IDENTIFIER = re.compile(r"cuda-([a-z]+\d+)(?:-(?:x86_64|sbsa|aarch64|ppc64le))?")


def _keys(machine: Machine) -> Iterator[Defect]:
    """Two files that name one repository with different keys: apt then reads none of all its lists."""
    places: dict[tuple[str, str], list[Repository]] = {}
    for one in machine.software.repositories:
        # Recordings of before keep no key of deb822.
        if one.is_enabled and (one.file.endswith(".list") or (one.file.endswith(".sources") and one.signed_by)):
            places.setdefault((one.url.rstrip("/"), one.suite.rstrip("/")), []).append(one)
    for several in places.values():
        by_key = {one.signed_by: one for one in reversed(several)}
        if len(by_key) > 1:
            kept = next((one for one in by_key.values() if one.signed_by), several[0])
            others = [one.file for one in by_key.values() if one is not kept]
            names = ", ".join(f"{one.file} ({one.signed_by or 'no key'})" for one in by_key.values())
            what = f"{several[0].url} is named with different keys, and apt reads no list of packages at all: {names}"
            do = f"take out {' and '.join(others)}, keep {kept.file}, and see that apt-get update ends well"
            yield Defect(Problem("sources_unreadable", kept.file, what, do), "refuse")


def _origins(machine: Machine) -> Iterator[Defect]:
    """Driver packages of two sources, which depend on each other's versions."""
    by_origin: dict[bool, list[str]] = {}
    for one in machine.driver_packages:
        if one.origin:
            by_origin.setdefault(is_nvidias(one.origin), []).append(one.name)
    if len(by_origin) > 1:
        nvidia, distro = by_origin[True], by_origin[False]
        what = f"{nvidia[0]} is from NVIDIA's repository, {distro[0]} from the distribution"
        do = f"remove one side, for example: apt-get purge {' '.join(sorted(distro)[:4])}; then deploy again"
        yield Defect(Problem("origins_mixed", "packages", what, do), "refuse")
    elif not machine.is_driven:
        yield from _third(machine)
    found = {branch_of(one.version): one.name for one in machine.driver_packages if one.state == "installed"}
    numbers = {branch: name for branch, name in found.items() if branch}
    if len(numbers) > 1 and len(by_origin) < 2:
        what = " and ".join(f"{name} of branch {branch}" for branch, name in sorted(numbers.items()))
        step = Step("install", "bring all packages of the driver to one branch")
        yield Defect(Problem("branches_mixed", "packages", what, "bring them to one branch"), "repair", (step,))


def _third(machine: Machine) -> Iterator[Defect]:
    """A repository beside the distribution's, such as a PPA, that has half of the driver."""
    # The distribution's are told by name, others by address.
    theirs = [one for one in machine.driver_packages if "/" in one.origin and not is_nvidias(one.origin)]
    own = [one for one in machine.driver_packages if one.origin and "/" not in one.origin]
    if theirs and own and machine.hardware.os_id in ("debian", "ubuntu"):
        what = f"{theirs[0].name} {theirs[0].version} is from {theirs[0].origin}, {own[0].name} from {own[0].origin}"
        names = " ".join(sorted(one.name for one in theirs)[:4])
        do = f"remove one side, for example: apt-get purge {names}, and that repository (ppa-purge); then deploy again"
        yield Defect(Problem("origins_mixed", "packages", what, do), "refuse")


def _failures(machine: Machine, system: System | None) -> Iterator[Defect]:
    for failure in machine.software.failures:
        where = ", ".join(failure.names[:3]) or "packages"
        if failure.code in ("dkms_build_failed", "half_configured"):
            continue  # said with the packages
        if failure.code == "sources_unreadable" and any(_keys(machine)):
            continue  # said with the files
        if failure.code == "package_not_offered" and any(
            one.code == "filtered_by_module" for one in machine.software.failures
        ):
            continue  # dnf says it of what it filtered
        if failure.code == "headers_missing" and machine.kernel:
            yield from _asks_for_headers(machine, failure)
            continue
        code = "headers_missing" if _is_of_headers(machine, failure.said) else failure.code
        if row := failure_row(code):
            is_of_boot = code == "no_space" and (_OF_BOOT.search(failure.said) or is_boot_full(machine))
            do = room_in_boot(machine) if is_of_boot else _either(machine, failure) or row.do
            if code == "repository_key_refused" and system and f"/repos/{system.repository}/" in f"{where}/":
                do = "its key is not here, or an old one: install cuda-keyring (1.1), and never allow unsigned packages"
            if code == "sources_unreadable" and (files := [name for name in failure.names if name.startswith("/etc/")]):
                do = f"apt reads no list of packages at all: put {' and '.join(files)} right, or take it out"
            yield Defect(Problem(code, where, failure.said.rstrip("."), do), row.effect, row.steps)


def _asks_for_headers(machine: Machine, failure: Failure) -> Iterator[Defect]:
    """dkms, akmods or NVIDIA's installer found no headers: they come, unless the repositories have none."""
    kernel = next((name for name in failure.names if name in machine.software.kernels), machine.kernel)
    headers, row = machine.headers(kernel), failure_row("headers_missing")
    if row and machine.has_headers(headers) is False:
        yield Defect(Problem("headers_missing", kernel, failure.said.rstrip("."), row.do), row.effect)
    elif not machine.software.installed(headers) and not machine.software.dkms:  # else said with what dkms has
        step = Step("headers", f"install {headers}", (headers,))
        do = f"install {headers}, and compile the modules then"
        yield Defect(Problem("headers_missing", kernel, failure.said.rstrip("."), do), "repair", (step,))


# What writes an initramfs names itself, and no path.
_OF_BOOT = re.compile(r"initramfs|/boot\b|(?:zstd|cpio|lz4|pigz|gzip|xz|dracut)\b.*:")


def _either(machine: Machine, failure: Failure) -> str:
    """What to take out where dnf or dpkg says which package is here and which one does not come for it; else empty."""
    if failure.code != "origin_conflict" or not failure.names:
        return ""
    half = [one.name for one in machine.packages if one.state == "half"]
    if failure.names[0].startswith("/") and half:
        came, owner = " ".join(sorted(half)), failure.names[-1]
        return f"apt-get purge {came}, which came with the rival of {owner}, and its repository; or take {owner} out"
    if len(failure.names) < 3 or not failure.names[1].startswith("@"):
        return ""
    here, _, other = failure.names[:3]
    return f"dnf remove {here}, and deploy again; or leave {other} away, and let {here} follow the kernel"


def _is_of_headers(machine: Machine, said: str) -> bool:
    """Whether what a repository does not have are the headers of the running kernel."""
    names = rf"(?:{re.escape(machine.headers(machine.kernel))}|linux-headers-{re.escape(machine.kernel)})\b"
    absent = r"Unable to (?:find|locate)|No match|no installation candidate"
    return bool(machine.kernel and re.search(names, said) and re.search(absent, said))


def _not_compiled(machine: Machine, failure: Failure) -> Defect:
    """A build that ended, of packages that are whole: by the compiler's word, or for want of memory and the like."""
    failed, kernel = failed_build(machine), machine.kernel or "the kernel"
    if failed is None:
        what = f"the modules were not compiled: {failure.said}"
        do = f"see that headers, compiler, memory and room are there, then dkms autoinstall -k {kernel}"
        return Defect(Problem("dkms_build_failed", kernel, what, do), "repair")
    what = f"{failed.version} does not compile for {failed.kernel}: {failed.said}"
    if not is_akmod(machine):
        do = f"take a driver that does, or boot another kernel than {failed.kernel}"
        return Defect(Problem("dkms_build_failed", failed.kernel, what, do), "repair")
    do = f"dnf upgrade akmod-nvidia, where there is one that does; until then boot another kernel than {failed.kernel}"
    problem = Problem("dkms_build_failed", failed.kernel, what, do)
    offers = [one.version for one in machine.software.offers if one.name == "akmod-nvidia"]
    if any(version_of(one) > version_of(failed.version) for one in offers):
        return Defect(problem, "repair", (Step("install", "an akmod that compiles", ("akmod-nvidia",)),))
    return Defect(problem, "refuse")


def _half_configured(machine: Machine, *, is_replaced: bool) -> Iterator[Defect]:
    """dpkg was cut, or a module did not compile: until this is mended apt does nothing else."""
    half = [one for one in machine.packages if one.state == "half"]
    said = [one for one in machine.software.failures if one.code in ("dkms_build_failed", "half_configured")]
    names = list(
        dict.fromkeys(
            [*(one.name for one in half), *(name for one in said for name in one.names if not name.startswith("/"))]
        )
    )
    if not half and not said:
        return
    if not half and all(one.code == "dkms_build_failed" for one in said):
        yield _not_compiled(machine, said[0])
        return
    culprits = [name for name in names if "dkms" in name or re.match(r"nvidia-.*kernel", name)]
    because = next((f": {one.said}" for one in said if one.code == "dkms_build_failed"), "")
    if because and half and not culprits:
        # A kernel is half there as its modules did not compile, and will not be otherwise as long as they are tried.
        culprits = [one.name for one in machine.module_packages if "dkms" in one.name]
    what = f"{', '.join(names[:5]) or 'packages'} {'are' if len(names) > 1 else 'is'} half configured{because}"
    steps: tuple[Step, ...] = (Step("repair packages", "dpkg --configure -a"),)
    if because and not is_replaced and (gcc := older_compiler(machine)):
        do = f"install gcc-{gcc}, then dpkg --configure -a"
        steps = (Step("compiler", f"install gcc-{gcc}, and compile the modules with it", (f"gcc-{gcc}",)), *steps)
    elif culprits:
        purge = f"dpkg --purge --force-depends {' '.join(culprits)}"
        do = f"{purge}, dpkg --configure -a, apt-get -f install; then the modules that do compile"
        steps = (Step("repair packages", do),)
    else:
        do = "dpkg --configure -a, then apt-get -f install"
    code = "dkms_build_failed" if because else "half_configured"
    yield Defect(Problem(code, names[0] if names else "packages", what, do), "repair", steps)
