"""Packages of a driver under the names of each repository: NVIDIA's for Debian and Ubuntu, Debian's own.

Source: the names are those of rigwright/plan/driver/packages.py; NVIDIA's want each other with `>=`, so that without a
pin the newest branch comes (https://forums.developer.nvidia.com/t/353805).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

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


def _deb(name: str, version: str, *held: Part, source: str = "nvidia-graphics-drivers", **fields: str) -> Deb:
    whole = Part()
    for part in held:
        whole.files |= part.files
        whole.links |= part.links
        whole.installed += part.installed
        whole.removed += part.removed
    named = {key.replace("_", "-"): value for key, value in fields.items()}
    return Deb(name, version, {"Source": source, **named}, whole.files, whole.links, whole.scripts)


def _depends(names: tuple[str, ...] | list[str], relation: str) -> str:
    return ", ".join(f"{name} ({relation})" for name in names)


def _instead(*names: str) -> dict[str, str]:
    """This package takes the place of those."""
    return {"Conflicts": ", ".join(names), "Replaces": ", ".join(names)}


def pinning(version: str, revision: str) -> Iterator[Deb]:
    """The packages that hold a branch, or one version of it."""
    for held in (str(branch(version)), version):
        fields = {"Provides": "nvidia-driver-pinning", "Architecture": "all", **_instead("nvidia-driver-pinning")}
        name = f"nvidia-driver-pinning-{held}"
        yield _deb(name, f"{version}-{revision}", parts.pin(held), source="driver-pinning", **fields)


def nvidia_for_debian(version: str) -> Iterator[Deb]:
    """A driver in NVIDIA's repository for Debian."""
    own, newer, number = f"{version}-1", f">= {version}", branch(version)
    yield from pinning(version, "1")
    for name, file in LIBRARIES.items():
        yield _deb(name, own, parts.library(file, version, LIB))
    yield _deb("nvidia-modprobe", own, parts.modprobe(), source="nvidia-modprobe")
    daemon = parts.persistenced(version, "nvpd")
    yield _deb("nvidia-persistenced", own, daemon, source="nvidia-persistenced", Depends=f"libnvidia-cfg1 ({newer})")
    wanted = ("libcuda1", "libnvidia-ml1", "libnvidia-ptxjitcompiler1", "nvidia-modprobe")
    yield _deb("nvidia-driver-cuda", own, parts.smi(), Depends=_depends(wanted, newer), **_instead("nvidia-smi"))
    yield _deb("nvidia-kernel-support", own, parts.no_nouveau())
    yield _deb("firmware-nvidia-gsp", own)
    for name, licence, other in (
        ("nvidia-kernel-open-dkms", OPEN, "nvidia-kernel-dkms"),
        ("nvidia-kernel-dkms", PROPRIETARY, "nvidia-kernel-open-dkms"),
    ):
        wants = f"dkms (>= 3.1.8), {_depends(('nvidia-kernel-support', 'firmware-nvidia-gsp'), newer)}"
        fields = {"Depends": wants, **_instead(other, "nvidia-open-kernel-dkms")}
        yield _deb(name, own, parts.module_source(version, licence), **fields)
    rest = ("nvidia-driver-cuda", "nvidia-persistenced")
    for name, kernel in (("nvidia-open", "nvidia-kernel-open-dkms"), ("cuda-drivers", "nvidia-kernel-dkms")):
        for full in (name, f"{name}-{number}"):
            yield _deb(full, own, source="cuda-drivers", Depends=_depends((*rest, kernel), newer))
    yield from _fabric(version, own)


def nvidia_for_ubuntu(version: str) -> Iterator[Deb]:
    """A driver in NVIDIA's repository for Ubuntu: names have the branch in them up to 580, none from 590 on."""
    own, number = f"{version}-1ubuntu1", branch(version)
    end = f"-{number}" if number < 590 else ""
    same = f"= {own}"
    source = f"nvidia-graphics-drivers{end}"
    yield from pinning(version, "1ubuntu1")

    def one(name: str, *held: Part, depends: str = "", rest: str = "") -> Deb:
        # The same thing of another branch, and this of the other flavour, have other names.
        role = f"{name}-of-a-branch"
        fields = {"Depends": depends, "Provides": role, **_instead(role)}
        return _deb(f"{name}{end}{rest}", own, *held, source=source, **fields)

    libraries = [parts.library(file, version, LIB) for file in LIBRARIES.values()]
    yield one("libnvidia-compute", *libraries)
    yield one("nvidia-kernel-common", parts.no_nouveau(), parts.modprobe())
    wants = f"libnvidia-compute{end} ({same})"
    yield one("nvidia-utils", parts.smi(), depends=wants)
    yield one("nvidia-compute-utils", parts.persistenced(version, "nvidia-persistenced"), depends=wants)
    for rest, licence in (("-open", OPEN), ("", PROPRIETARY)):
        wants = f"dkms (>= 3.0), nvidia-kernel-common{end} ({same})"
        yield one("nvidia-dkms", parts.module_source(version, licence), depends=wants, rest=rest)
        names = [f"{name}{end}" for name in ("libnvidia-compute", "nvidia-utils", "nvidia-compute-utils")]
        yield one("nvidia-headless-no-dkms", depends=_depends(names, same), rest=rest)
        wants = _depends([f"nvidia-headless-no-dkms{end}{rest}", f"nvidia-dkms{end}{rest}"], same)
        yield _deb(f"nvidia-open{end}" if rest else f"cuda-drivers{end}", own, source="cuda-drivers", Depends=wants)
    yield from _fabric(version, own, suffix=end if number < 580 else "")


def _fabric(version: str, own: str, suffix: str = "") -> Iterator[Deb]:
    yield _deb(f"nvidia-fabricmanager{suffix}", own, parts.fabric_manager(version), source="nvidia-fabricmanager")
    yield _deb("nvlsm", f"{branch(version)}.1-1", source="nvlsm")


def nvidia_toolkits() -> Iterator[Deb]:
    """Toolkits without a driver, and `cuda`, which brings one."""
    for version in TOOLKITS:
        dashed, home = version.replace(".", "-"), f"usr/local/cuda-{version}"
        part = parts.toolkit(version, home)
        number = version.replace(".", "")
        part.installed = f"update-alternatives --quiet --install /usr/local/cuda cuda /{home} {number}\n"
        part.removed = f"update-alternatives --quiet --remove cuda /{home}\n"
        yield _deb(f"cuda-toolkit-{dashed}", f"{version}.1-1", part, source="cuda")
        wants = f"cuda-toolkit-{dashed}, cuda-drivers"
        yield _deb(f"cuda-{dashed}", f"{version}.1-1", source="cuda", Depends=wants)
    yield _deb("cuda", f"{version}.1-1", source="cuda", Depends=f"cuda-{dashed}")


# The driver of Debian's own packages: its version, theirs, and what its open modules want.
DEBIANS = {
    "trixie": ("550.163.01", "550.163.01-2+b1", "550.163.01", "12.4"),
    "bookworm": ("535.309.01", "535.309.01-1~deb12u1+b1", "535.261.03", "11.8"),
}
# dkms, gcc, libc6-dev, the headers' meta package: a little newer than Debian's, so that apt prefers these.
TOOLS = {
    "trixie": ("3.2.2-99", "4:14.2.0-99", "2.41-99", "6.12.999-1"),
    "bookworm": ("3.0.10-99", "4:12.2.0-99", "2.36-99", "6.1.999-1"),
}


def debian(release: str, kernel: str) -> Mapping[str, list[Deb]]:
    """A suite of Debian, by component: what a driver needs to be compiled, and Debian's own driver."""
    version, own, open_version, _ = DEBIANS[release]
    dkms, gcc, libc, meta = TOOLS[release]
    main = [
        _deb("dkms", dkms, parts.dkms(dkms.partition("-")[0]), source="dkms", Architecture="all"),
        _deb("gcc", gcc, parts.compiler(_compiler_of_kernel()), source="gcc-defaults"),
        _deb("libc6-dev", libc, source="glibc"),
        _deb(f"linux-headers-{kernel}", meta, parts.headers(kernel), source="linux"),
        _deb("linux-headers-amd64", meta, source="linux", Depends=f"linux-headers-{kernel}"),
        _deb("initramfs-tools", "0.999", parts.initramfs_tools(), source="initramfs-tools", Architecture="all"),
    ]
    same = f"= {own}"
    behind = [_deb(name, own, parts.library(file, version, LIB, behind="nvidia/current/"))
              for name, file in LIBRARIES.items()]  # fmt: skip
    support = Part({
        "etc/modprobe.d/nvidia.conf": "alias nvidia nvidia-current\nalias nvidia-uvm nvidia-current-uvm\n",
        "etc/modprobe.d/nvidia-options.conf": "#options nvidia-current NVreg_RegistryDwords=...\n",
    })  # fmt: skip
    wants = f"dkms, nvidia-installer-cleanup, {_depends(['nvidia-kernel-support'], same)}"
    closed = parts.module_source(version, PROPRIETARY, name="nvidia-current", suffix="-current")
    non_free = [
        *behind,
        _deb("nvidia-smi", own, parts.smi(), Depends=_depends(["libnvidia-ml1"], same)),
        _deb("nvidia-kernel-support", own, support, parts.no_nouveau("etc/modprobe.d")),
        _deb("nvidia-kernel-dkms", own, closed, Depends=wants, Conflicts="nvidia-open-kernel-dkms"),
    ]
    opened = parts.module_source(
        open_version, OPEN, name="nvidia-current-open", suffix="-current-open", broken=release == "trixie"
    )
    gsp = f"firmware-nvidia-gsp (= {open_version})" if release == "bookworm" else "firmware-nvidia-gsp"
    contrib = [
        _deb("nvidia-open-kernel-dkms", f"{open_version}-2+b1", opened, Depends=f"{wants}, {gsp}"),
        _deb("nvidia-persistenced", f"{version}-1+b1", parts.persistenced(version, "nvpd"), Depends="libnvidia-cfg1"),
        _deb("nvidia-installer-cleanup", "20240109+9", parts.installer_cleanup(), source="nvidia-support"),
        _deb("nvidia-modprobe", "570.133.07-9", parts.modprobe(), source="nvidia-modprobe"),
    ]
    firmware = [_deb("firmware-nvidia-gsp", version if release == "bookworm" else own)]
    return {"main": main, "contrib": contrib, "non-free": non_free, "non-free-firmware": firmware}


def _compiler_of_kernel() -> str:
    """The version of the compiler that the running kernel was built with: modules want the same."""
    found = re.search(r"gcc.*? (\d+\.\d+\.\d+)", Path("/proc/version").read_text())
    return found[1] if found else "14.2.0"
