"""Names of packages: of which source, branch and flavour a driver and a toolkit are made.

Source: packages.ubuntu.com, the gpu-driver-container of NVIDIA, its installation guide; Debian's were installed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from rigwright.hardware.software import Flavour
from rigwright.plan.driver.kernels import headers_meta
from rigwright.plan.driver.machine import Machine
from rigwright.plan.driver.tables import System, version_of
from rigwright.plan.driver.values import Source
from rigwright.plan.driver.wheels import wheels

# Kernels for which Canonical compiles and signs modules, by the end of their release.
_PREBUILT_FLAVOURS = re.compile(
    r"-((?:generic|lowlatency|aws|azure|gcp|oracle|nvidia|nvidia-lowlatency)(?:-64k)?|azure-fde|gke|kvm|ibm|oem)$"
)
# Builds of the mainline archive, which has no other modules: `6.15.2-061502-generic`.
_MAINLINE = re.compile(r"-0\d{5}(?:rc\d+)?-")
# The kernel that a release came with: a newer one is of its hardware enablement stack.
_FIRST_KERNELS = {"22.04": (5, 15), "24.04": (6, 8), "26.04": (7, 0)}
# The packages by whose versions the branches of a repository are told.
OFFERED = {
    "nvidia": re.compile(r"^(?:nvidia-driver-cuda|nvidia-(?:open|headless-no-dkms-open|driver)|libnvidia-compute-\d+"
                         r"|nvidia-dkms-\d+.*|nvidia-kernel-(?:open-)?dkms|kmod-nvidia.*|cuda-drivers.*"
                         r"|nvidia-driver-pinning-\d+|nvidia-utils-\d+)$"),
    "distro": re.compile(r"^(?:nvidia-headless-no-dkms-\d+.*|nvidia-utils-\d+.*|nvidia-kernel-dkms|libcuda1"
                         r"|nvidia-dkms-\d+.*|kmod-nvidia.*|nvidia-driver.*|nvidia-smi)$"),
}  # fmt: skip
# A driver's packages on Ubuntu: `libnvidia-compute-580`, `nvidia-utils-580-server`; NVIDIA's have none from 590 on.
_BRANCHED = re.compile(
    r"(?:(?:lib)?nvidia-(?!driver-pinning)[a-z0-9-]+?|xserver-xorg-video-nvidia|cuda-drivers)"
    r"-(?P<branch>\d{3})(?P<server>-server)?(?:-open)?"
)
# Those that Canonical names alike for servers and for screens.
_OF_BOTH = re.compile(r"nvidia-(?:fabricmanager|imex)-|libnvidia-nscq-")
_UNBRANCHED = re.compile(
    r"libnvidia-(?:cfg1|common|compute|decode|encode|extra|fbc1|gl|gpucomp)|xserver-xorg-video-nvidia|cuda-drivers"
    r"|nvidia-(?:open|utils|compute-utils|firmware|(?:dkms|driver|headless|headless-no-dkms|kernel-common|kernel-source)"
    r"(?:-open)?)"
)


class Bill(NamedTuple):
    """Packages by what they are for."""

    pin: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    driver: tuple[str, ...] = ()
    is_built: bool = False
    has_prebuilt: bool = False


def kernel_flavour(machine: Machine, system: System) -> str | None:
    """`generic`, `generic-hwe-24.04`, `aws`: for which meta package the running kernel's modules are compiled."""
    found = _PREBUILT_FLAVOURS.search(machine.kernel)
    if not found or _MAINLINE.search(machine.kernel):
        return None if machine.kernel else "generic"
    flavour = found[1]
    names = {one.name for one in machine.packages}
    hwe = f"{flavour}-hwe-{system.version}"
    first = _FIRST_KERNELS.get(system.version)
    is_newer = bool(first) and version_of(machine.kernel)[:2] > (first or ())
    return hwe if f"linux-image-{hwe}" in names or (flavour == "generic" and is_newer) else flavour


def bill(machine: Machine, system: System, source: Source, branch: int, modules: Flavour) -> Bill:
    """What has to be installed for a driver of this branch and flavour from that source."""
    headers = _headers(machine, system)
    is_open = modules == "open"
    if system.family == "ubuntu" and source == "distro":
        server = f"{branch}-server{'-open' if is_open else ''}"
        rest = (f"nvidia-utils-{branch}-server", f"nvidia-compute-utils-{branch}-server")
        if flavour := kernel_flavour(machine, system):
            names: tuple[str, ...] = (
                f"linux-modules-nvidia-{server}-{flavour}",
                f"nvidia-headless-no-dkms-{server}",
                *rest,
            )
            return Bill(driver=names, has_prebuilt=True)
        names = (f"nvidia-dkms-{server}", f"nvidia-headless-no-dkms-{server}", *rest)
        return Bill(headers=headers, driver=names, is_built=True)
    if system.family == "ubuntu":
        if branch >= 590:
            names = (f"nvidia-headless-no-dkms{'-open' if is_open else ''}", f"nvidia-dkms{'-open' if is_open else ''}")
        else:
            dkms = f"nvidia-dkms-{branch}{'-open' if is_open else ''}"
            names = (f"libnvidia-compute-{branch}", f"nvidia-utils-{branch}", f"nvidia-compute-utils-{branch}", dkms)
        return Bill(_pin(machine, branch), headers, names, is_built=True)
    if system.family == "debian" and source == "distro":
        dkms = "nvidia-open-kernel-dkms" if is_open else "nvidia-kernel-dkms"
        names = (dkms, "nvidia-smi", "libcuda1", "nvidia-persistenced", "libnvidia-ptxjitcompiler1")
        return Bill(headers=headers, driver=names, is_built=True)
    if system.family == "debian":
        dkms = "nvidia-kernel-open-dkms" if is_open else "nvidia-kernel-dkms"
        return Bill(_pin(machine, branch), headers, ("nvidia-driver-cuda", dkms, "nvidia-persistenced"), is_built=True)
    if source == "redhat":
        return Bill(driver=("kmod-nvidia", "nvidia-driver-cuda"), has_prebuilt=True)
    dkms = "kmod-nvidia-open-dkms" if is_open else "kmod-nvidia-latest-dkms"
    names = ("nvidia-driver-cuda", dkms, "nvidia-persistenced")
    if system.row.get("has_streams"):
        return Bill((f"nvidia-driver:{branch}-{'open' if is_open else 'dkms'}",), headers, names, is_built=True)
    return Bill(("python3-dnf-plugin-versionlock",), headers, names, is_built=True)


def not_beside(names: Iterable[str], source: Source, branch: int) -> Iterator[str]:
    """Of an Ubuntu's packages those of a driver that are not of this source and branch, as their names say."""
    is_server = source == "distro"
    is_named = is_server or branch < 590
    for name in names:
        if found := _BRANCHED.fullmatch(name):
            is_of_the_other_kind = bool(found["server"]) != is_server and not _OF_BOTH.match(name)
            is_other = not is_named or int(found["branch"]) != branch or is_of_the_other_kind
        else:
            is_other = is_named and bool(_UNBRANCHED.fullmatch(name))
        if is_other:
            yield name


def fabric_packages(system: System, source: Source, branch: int, version: str | None, *, is_nvlink5: bool) -> list[str]:
    """Fabric Manager of the same version, and what NVLink 5 wants beside it."""
    is_suffixed = system.family == "ubuntu" and branch < 580
    name = f"nvidia-fabricmanager{f'-{branch}' if is_suffixed else ''}"
    exact = f"{name}={version}*" if version else name
    return [exact, *(("nvlsm", "infiniband-diags") if is_nvlink5 else ())]


def toolkit_packages(source: str, version: str, architecture: str = "x86_64") -> tuple[str, ...]:
    """A toolkit without a driver: never `cuda`, which brings one."""
    if source == "pypi":
        made = wheels(version, architecture)
        return tuple(made.sums) if made else ()
    if source == "distro":
        # The second has the compiler that this nvcc takes for what runs on the CPU, the default being too new for it.
        return ("nvidia-cuda-toolkit", "nvidia-cuda-toolkit-gcc")
    return (f"cuda-toolkit-{version.replace('.', '-')}",)


def _pin(machine: Machine, branch: int) -> tuple[str, ...]:
    """NVIDIA's own pin of a branch, where it has one; apt's preferences keep to it either way."""
    name = f"nvidia-driver-pinning-{branch}"
    return () if machine.is_offered(name) is False else (name,)


def _headers(machine: Machine, system: System) -> tuple[str, ...]:
    kernel = machine.kernel
    own = machine.headers(kernel)
    if system.family in ("el", "fedora"):
        return (own if kernel else "kernel-devel", "kernel-headers", "gcc", "make", "dkms")
    meta = (headers_meta(kernel, machine.hardware.architecture),) if system.family == "debian" else ()
    is_had = kernel and machine.has_headers(own) is not False
    return (*((own,) if is_had else ()), *meta, "gcc", "libc6-dev", "dkms")
