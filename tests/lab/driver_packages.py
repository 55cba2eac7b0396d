"""Packages of a driver under the names of each repository: NVIDIA's for Debian and Ubuntu.

Source: the names are those of rigwright/plan/driver/packages.py; NVIDIA's want each other with `>=`, so that without a
pin the newest branch comes (https://forums.developer.nvidia.com/t/353805).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from . import driver_parts as parts
from .debs import Deb
from .driver_parts import OPEN, PROPRIETARY, Part, branch

LIB = "usr/lib/x86_64-linux-gnu"
LIBRARIES = {
    "libcuda1": "libcuda.so.1",
    "libnvidia-ml1": "libnvidia-ml.so.1",
    "libnvidia-cfg1": "libnvidia-cfg.so.1",
    "libnvidia-ptxjitcompiler1": "libnvidia-ptxjitcompiler.so.1",
}
TOOLKITS = ("12.8", "12.9", "13.0")


def deb(name: str, version: str, *held: Part, source: str = "nvidia-graphics-drivers", **fields: str) -> Deb:
    """A package of parts; fields are written as in Python, `Pre_Depends`."""
    whole = parts.together(*held)
    named = {key.replace("_", "-"): value for key, value in fields.items()}
    return Deb(name, version, {"Source": source, **named}, whole.files, whole.links, whole.scripts)


def depends(names: Iterable[str], relation: str) -> str:
    """All of these in that version: `libcuda1 (>= 580), nvidia-modprobe (>= 580)`."""
    return ", ".join(f"{name} ({relation})" for name in names)


def instead(*names: str) -> dict[str, str]:
    """This package takes the place of those."""
    return {"Conflicts": ", ".join(names), "Replaces": ", ".join(names)}


def pinning(version: str, revision: str) -> Iterator[Deb]:
    """The packages that hold a branch, or one version of it."""
    for held in (str(branch(version)), version):
        fields = {"Provides": "nvidia-driver-pinning", "Architecture": "all", **instead("nvidia-driver-pinning")}
        name = f"nvidia-driver-pinning-{held}"
        yield deb(name, f"{version}-{revision}", parts.pin(held), source="driver-pinning", **fields)


def nvidia_for_debian(version: str) -> Iterator[Deb]:
    """A driver in NVIDIA's repository for Debian."""
    own, newer, number = f"{version}-1", f">= {version}", branch(version)
    yield from pinning(version, "1")
    for name, file in LIBRARIES.items():
        yield deb(name, own, parts.library(file, version, LIB))
    yield deb("nvidia-modprobe", own, parts.modprobe(), source="nvidia-modprobe")
    daemon = parts.persistenced(version, "nvpd")
    yield deb("nvidia-persistenced", own, daemon, source="nvidia-persistenced", Depends=f"libnvidia-cfg1 ({newer})")
    wanted = ("libcuda1", "libnvidia-ml1", "libnvidia-ptxjitcompiler1", "nvidia-modprobe")
    yield deb("nvidia-driver-cuda", own, parts.smi(), Depends=depends(wanted, newer), **instead("nvidia-smi"))
    yield deb("nvidia-kernel-support", own, parts.no_nouveau())
    yield deb("firmware-nvidia-gsp", own)
    for name, licence, other in (
        ("nvidia-kernel-open-dkms", OPEN, "nvidia-kernel-dkms"),
        ("nvidia-kernel-dkms", PROPRIETARY, "nvidia-kernel-open-dkms"),
    ):
        wants = f"dkms (>= 3.1.8), {depends(('nvidia-kernel-support', 'firmware-nvidia-gsp'), newer)}"
        fields = {"Depends": wants, **instead(other, "nvidia-open-kernel-dkms")}
        yield deb(name, own, parts.module_source(version, licence), **fields)
    rest = ("nvidia-driver-cuda", "nvidia-persistenced")
    for name, kernel in (("nvidia-open", "nvidia-kernel-open-dkms"), ("cuda-drivers", "nvidia-kernel-dkms")):
        for full in (name, f"{name}-{number}"):
            yield deb(full, own, source="cuda-drivers", Depends=depends((*rest, kernel), newer))
    yield from _fabric(version, own)


def nvidia_for_ubuntu(version: str) -> Iterator[Deb]:
    """A driver in NVIDIA's repository for Ubuntu: names have the branch in them up to 580, none from 590 on."""
    own, number = f"{version}-1ubuntu1", branch(version)
    end = f"-{number}" if number < 590 else ""
    same = f"= {own}"
    source = f"nvidia-graphics-drivers{end}"
    yield from pinning(version, "1ubuntu1")

    def one(name: str, *held: Part, wants: str = "", rest: str = "") -> Deb:
        # The same thing of another branch, and this of the other flavour, have other names.
        role = f"{name}-of-a-branch"
        fields = {"Depends": wants, "Provides": role, **instead(role)}
        return deb(f"{name}{end}{rest}", own, *held, source=source, **fields)

    libraries = [parts.library(file, version, LIB) for file in LIBRARIES.values()]
    yield one("libnvidia-compute", *libraries)
    yield one("nvidia-kernel-common", parts.no_nouveau(), parts.modprobe())
    wants = f"libnvidia-compute{end} ({same})"
    yield one("nvidia-utils", parts.smi(), wants=wants)
    yield one("nvidia-compute-utils", parts.persistenced(version, "nvidia-persistenced"), wants=wants)
    for rest, licence in (("-open", OPEN), ("", PROPRIETARY)):
        wants = f"dkms (>= 3.0), nvidia-kernel-common{end} ({same})"
        yield one("nvidia-dkms", parts.module_source(version, licence), wants=wants, rest=rest)
        names = [f"{name}{end}" for name in ("libnvidia-compute", "nvidia-utils", "nvidia-compute-utils")]
        yield one("nvidia-headless-no-dkms", wants=depends(names, same), rest=rest)
        wants = depends([f"nvidia-headless-no-dkms{end}{rest}", f"nvidia-dkms{end}{rest}"], same)
        yield deb(f"nvidia-open{end}" if rest else f"cuda-drivers{end}", own, source="cuda-drivers", Depends=wants)
    yield from _fabric(version, own, suffix=end if number < 580 else "")


def _fabric(version: str, own: str, suffix: str = "") -> Iterator[Deb]:
    yield deb(f"nvidia-fabricmanager{suffix}", own, parts.fabric_manager(version), source="nvidia-fabricmanager")
    yield deb("nvlsm", f"{branch(version)}.1-1", source="nvlsm")


def nvidia_toolkits() -> Iterator[Deb]:
    """Toolkits without a driver, and `cuda`, which brings one."""
    for version in TOOLKITS:
        dashed, home = version.replace(".", "-"), f"usr/local/cuda-{version}"
        part = parts.toolkit(version, home)
        number = version.replace(".", "")
        part.installed = f"update-alternatives --quiet --install /usr/local/cuda cuda /{home} {number}\n"
        part.removed = f"update-alternatives --quiet --remove cuda /{home}\n"
        yield deb(f"cuda-toolkit-{dashed}", f"{version}.1-1", part, source="cuda")
        wants = f"cuda-toolkit-{dashed}, cuda-drivers"
        yield deb(f"cuda-{dashed}", f"{version}.1-1", source="cuda", Depends=wants)
    yield deb("cuda", f"{version}.1-1", source="cuda", Depends=f"cuda-{dashed}")
