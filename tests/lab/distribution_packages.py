"""A distribution's packages: what a driver needs to be compiled, and the distribution's own driver, by suite.

Source: names and versions are those that Debian 12 and 13 had on rigs, and packages.ubuntu.com in 2026.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from . import driver_parts as parts
from .debs import Deb
from .driver_packages import LIB, LIBRARIES, deb, depends, instead
from .driver_parts import OPEN, PROPRIETARY, Part, branch

# The driver of Debian's own packages: its version, theirs, and what its open modules want.
DEBIANS = {
    "trixie": ("550.163.01", "550.163.01-2+b1", "550.163.01", "12.4"),
    "bookworm": ("535.309.01", "535.309.01-1~deb12u1+b1", "535.261.03", "11.8"),
}
# Canonical's, by branch, and where a branch that has ended leads to.
CANONICALS = {580: "580.178.04", 595: "595.91.07"}
TRANSITIONS = {590: 595}
# dkms, gcc, libc6-dev, the headers' meta package: a little newer than the real ones, so that apt prefers these.
TOOLS = {
    "trixie": ("3.2.2-99", "4:14.2.0-99", "2.41-99", "6.12.999-1"),
    "bookworm": ("3.0.10-99", "4:12.2.0-99", "2.36-99", "6.1.999-1"),
    "noble": ("3.0.11-99", "4:13.2.0-99", "2.39-99", "6.8.0-999.999"),
    "jammy": ("2.8.7-99", "4:11.2.0-99", "2.35-99", "5.15.0-999.999"),
}
RELEASES = {"noble": "24.04", "jammy": "22.04"}


def suite(release: str, kernel: str) -> Mapping[str, list[Deb]]:
    """A suite of Debian or Ubuntu, by component."""
    return _ubuntu(release, kernel) if release in RELEASES else _debian(release, kernel)


def _tools(release: str, kernel: str, meta_name: str) -> Iterator[Deb]:
    dkms, gcc, libc, meta = TOOLS[release]
    yield deb("dkms", dkms, parts.dkms(dkms.partition("-")[0]), source="dkms", Architecture="all")
    yield deb("gcc", gcc, parts.compiler(compiler_of_kernel()), source="gcc-defaults")
    yield deb("libc6-dev", libc, source="glibc")
    headers = parts.headers(kernel, f"usr/src/linux-headers-{kernel}")
    yield deb(f"linux-headers-{kernel}", meta, headers, parts.autoinstall(kernel), source="linux")
    yield deb(meta_name, meta, source="linux", Depends=f"linux-headers-{kernel}")
    yield deb("cuda-probe", "1", parts.probe(), source="cuda-probe")
    tools = parts.initramfs_tools("update-initramfs", "lsinitramfs")
    yield deb("initramfs-tools", "0.999", tools, source="initramfs-tools", Architecture="all")


def _debian(release: str, kernel: str) -> Mapping[str, list[Deb]]:
    version, own, open_version, cuda = DEBIANS[release]
    main = list(_tools(release, kernel, "linux-headers-amd64"))
    same = f"= {own}"
    behind = [deb(name, own, parts.library(file, version, LIB, behind="nvidia/current/"))
              for name, file in LIBRARIES.items()]  # fmt: skip
    support = Part({
        "etc/modules-load.d/nvidia.conf": "nvidia-drm\n",
        "etc/modprobe.d/nvidia.conf": "alias nvidia nvidia-current\nalias nvidia-uvm nvidia-current-uvm\n",
        "etc/modprobe.d/nvidia-options.conf": "#options nvidia-current NVreg_RegistryDwords=...\n",
    })  # fmt: skip
    wants = f"dkms, nvidia-installer-cleanup, {depends(['nvidia-kernel-support'], same)}"
    closed = parts.module_source(version, PROPRIETARY, name="nvidia-current", suffix="-current")
    non_free = [
        *behind,
        deb("nvidia-smi", own, parts.smi(), Depends=depends(["libnvidia-ml1"], same)),
        deb("nvidia-kernel-support", own, support, parts.no_nouveau("etc/modprobe.d"), Depends="nvidia-modprobe"),
        deb("nvidia-kernel-dkms", own, closed, Depends=wants, Conflicts="nvidia-open-kernel-dkms"),
        deb("nvidia-cuda-toolkit", f"{cuda}.131~99", parts.toolkit(cuda, "usr/lib/nvidia-cuda-toolkit"), _NVCC),
    ]
    opened = parts.module_source(
        open_version, OPEN, name="nvidia-current-open", suffix="-current-open", broken=release == "trixie"
    )
    gsp = f"firmware-nvidia-gsp (= {open_version})" if release == "bookworm" else "firmware-nvidia-gsp"
    contrib = [
        deb("nvidia-open-kernel-dkms", f"{open_version}-2+b1", opened, Depends=f"{wants}, {gsp}"),
        deb("nvidia-persistenced", f"{version}-1+b1", parts.persistenced(version, "nvpd"), Depends="libnvidia-cfg1"),
        deb("nvidia-installer-cleanup", "20240109+9", parts.installer_cleanup(), source="nvidia-support"),
        deb("nvidia-modprobe", "570.133.07-9", parts.modprobe(), source="nvidia-modprobe"),
    ]
    firmware = [deb("firmware-nvidia-gsp", version if release == "bookworm" else own)]
    return {"main": main, "contrib": contrib, "non-free": non_free, "non-free-firmware": firmware}


_NVCC = Part(links={"usr/bin/nvcc": "../lib/nvidia-cuda-toolkit/bin/nvcc"})


def _ubuntu(release: str, kernel: str) -> Mapping[str, list[Deb]]:
    found = [one for version in CANONICALS.values() for one in _canonicals(version, release)]
    for ended, now in TRANSITIONS.items():
        for rest in ("-open", ""):
            name = "nvidia-headless-no-dkms-{}-server{}"
            goes = f"{CANONICALS[now]}-0ubuntu0.{RELEASES[release]}.1"
            found.append(deb(name.format(ended, rest), goes, Depends=name.format(now, rest), Section="oldlibs"))
    return {"main": list(_tools(release, kernel, "linux-headers-generic")), "restricted": found}


def _canonicals(version: str, release: str) -> Iterator[Deb]:
    """Canonical's packages of a branch, in the form for servers, with modules that dkms compiles."""
    end, own = f"-{branch(version)}-server", f"{version}-0ubuntu0.{RELEASES[release]}.1"
    source, same = f"nvidia-graphics-drivers{end}", f"= {own}"

    def one(name: str, *held: Part, wants: str = "", rest: str = "") -> Deb:
        role = f"{name}-of-a-branch"
        fields = {"Depends": wants, "Provides": role, **instead(role)}
        return deb(f"{name}{end}{rest}", own, *held, source=source, **fields)

    yield one("libnvidia-compute", *(parts.library(file, version, LIB) for file in LIBRARIES.values()))
    yield one("nvidia-kernel-common", parts.no_nouveau(), parts.modprobe())
    needs = f"libnvidia-compute{end} ({same})"
    yield one("nvidia-utils", parts.smi(), wants=needs)
    yield one("nvidia-compute-utils", parts.persistenced(version, "nvidia-persistenced"), wants=needs)
    yield deb("nvidia-fabricmanager", own, parts.fabric_manager(version), source="fabric-manager")
    for rest, licence in (("-open", OPEN), ("", PROPRIETARY)):
        module = parts.module_source(version, licence)
        yield one("nvidia-dkms", module, wants=f"dkms, nvidia-kernel-common{end} ({same})", rest=rest)
        names = [f"libnvidia-compute{end}", f"nvidia-kernel-common{end}"]
        yield one("nvidia-headless-no-dkms", wants=depends(names, same), rest=rest)


def compiler_of_kernel() -> str:
    """The version of the compiler that the running kernel was built with: modules want the same."""
    found = re.search(r"gcc.*? (\d+\.\d+\.\d+)", Path("/proc/version").read_text())
    return found[1] if found else "14.2.0"
