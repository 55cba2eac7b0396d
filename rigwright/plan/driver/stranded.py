"""Drivers that are there and whose modules cannot be had for the kernel: what does not compile, or came compiled."""

from __future__ import annotations

import re
from typing import NamedTuple

from rigwright.plan.driver.machine import Machine
from rigwright.plan.driver.tables import release_of, version_of

# `kmod-nvidia-580.95.05-5.14.0-570.12.1`, as NVIDIA compiles and signs them for each kernel of RHEL.
_SIGNED = re.compile(r"(?P<stem>kmod-nvidia(?:-open)?-\d{3}\.[\d.]+)-(?P<kernel>\d{1,2}\.\d+\.\d+-.+)")
_LONGEST = 160
# What makes a build fail whose source is sound.
_OTHER_CAUSES = frozenset(("compiler_differs", "headers_missing", "no_space"))
# What no other headers or compiler mend: an interface that the kernel changed, a symbol that it keeps for GPL modules.
_REFUSED = re.compile(r"error: |(?:ERROR|FATAL): modpost: ")
_SPOKEN = re.compile(r"[^/\s]+:\d+:\d+: (?:fatal )?error: .*")
_OF_MACHINE = re.compile(r"Killed signal|No space left|internal compiler error|cannot allocate memory", re.IGNORECASE)
_VERSION = re.compile(r"[\w-]+/(?P<version>\d{3}\.[\d.]+\d)")


class Build(NamedTuple):
    """A version of the driver that the compiler refused for a kernel, with its word."""

    version: str
    kernel: str
    said: str
    flavours: frozenset[str]


def failed_build(machine: Machine) -> Build | None:
    """Modules that do not compile, though headers and compiler are right; None where nothing failed like that."""
    failures = {one.code: one for one in machine.software.failures}
    failure = failures.get("dkms_build_failed")
    if not failure or not _REFUSED.search(failure.said) or _OF_MACHINE.search(failure.said):
        return None
    if _OTHER_CAUSES & failures.keys():
        return None
    versions = [found["version"] for name in failure.names if (found := _VERSION.fullmatch(name))]
    version = versions[0] if versions else machine.userland
    kernel = next((name for name in failure.names if name in machine.software.kernels), machine.kernel)
    is_there = any(one.kernel == kernel and one.state == "installed" for one in machine.software.dkms)
    spoken = _SPOKEN.search(failure.said)
    said = (spoken[0] if spoken else failure.said)[:_LONGEST]
    flavours = {"open" if "open" in one.name else "proprietary" for one in machine.module_packages}
    build = Build(version or "", kernel, said, frozenset(flavours or ("open", "proprietary")))
    return build if version and kernel and not is_there else None


def lacks_modules(machine: Machine) -> bool:
    """Whether the modules came compiled, and none of them is for the running kernel."""
    mine = [one.name for one in machine.module_packages if one.state == "installed"]
    is_made_here = is_akmod(machine) or any("dkms" in name for name in mine)
    is_asked = "on_disk" in machine.software.answered - machine.software.is_partial
    if not mine or is_made_here or not is_asked or not machine.kernel:
        return False
    return not machine.loaded and not machine.is_container and not machine.has_module


def following_modules(machine: Machine) -> tuple[str, ...] | None:
    """The packages on RHEL that may have a module for the running kernel: newer ones; () where there are none.

    None where nobody asked the repositories for them.
    """
    mine = [one for one in machine.module_packages if one.state == "installed"]
    offered = {one.name for one in machine.software.offers}
    found: dict[str, None] = {}
    for one in mine:
        if signed := _SIGNED.fullmatch(one.name):
            same = f"{signed['stem']}-"
            found |= {name: None for name in offered if name.startswith(same) and _is_of(name[len(same) :], machine)}
        versions = [offer.version for offer in machine.software.offers if offer.name == one.name]
        if any(release_of(version.rpartition(":")[2]) > release_of(one.version) for version in versions):
            found[one.name] = None
    is_asked = any(name == one.name or name.startswith("kmod-nvidia") for name in offered for one in mine)
    return tuple(found) if found or is_asked else None


def is_akmod(machine: Machine) -> bool:
    """Whether akmods compile the modules, at each boot of a kernel that has none."""
    return any(one.name.startswith("akmod-") for one in machine.module_packages)


def is_stranded(machine: Machine) -> bool:
    """Whether the driver has to give way, as its modules cannot come for a kernel."""
    if is_akmod(machine):
        return False
    if failed := failed_build(machine):
        return machine.userland is None or version_of(machine.userland) == version_of(failed.version)
    is_el = machine.system is not None and machine.system.family in ("el", "fedora")
    return is_el and lacks_modules(machine) and following_modules(machine) == ()


def _is_of(kernel: str, machine: Machine) -> bool:
    return machine.kernel == kernel or machine.kernel.startswith(f"{kernel}.")


def older_compiler(machine: Machine) -> int | None:
    """The major version of gcc that built the kernel, where `cc` is an older one and modules are still to be built."""
    kernel, own = gcc(machine.software.kernel_compiler), gcc(machine.software.compiler)
    builds = any("dkms" in one.name for one in machine.module_packages)
    is_due = machine.kernel in machine.built_kernels and not machine.is_compiled
    return kernel if kernel and own and own < kernel and builds and is_due else None


def gcc(text: str | None) -> int | None:
    """The major version of a compiler: 12 of `gcc 12.3.0`."""
    found = re.search(r"(\d+)(?:\.\d+)*$", (text or "").strip())
    return int(found[1]) if found else None
