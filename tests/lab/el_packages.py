"""Packages of NVIDIA's repositories for RHEL and what is built on it, and of the distribution what they need.

Source: the names are those of rigwright/plan/driver/packages.py; streams those of NVIDIA's installation guide. To dkms
the open modules are `nvidia-open`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from . import driver_parts as parts
from .distribution_packages import compiler_of_kernel
from .driver_packages import TOOLKITS
from .driver_parts import OPEN, PROPRIETARY, Part
from .rpms import Group, Rpm

LIB = "usr/lib64"
VERSIONS = {9: "9.7", 10: "10.1"}


def driver(version: str, major: int) -> Group:
    """A driver in NVIDIA's repository."""
    same = f"= 3:{version}"
    daemon = parts.persistenced(version, "nvidia-persistenced")
    daemon.installed = daemon.installed.replace("systemctl restart nvidia-persistenced || true", ":")
    libraries = [parts.library(name, version, LIB) for name in ("libcuda.so.1", "libnvidia-ptxjitcompiler.so.1")]
    kmod = {"Provides": f"nvidia-kmod {same}", "Requires": f"dkms >= 3.1.8, nvidia-kmod-common {same}"}
    wants = f"nvidia-driver-cuda-libs {same}, nvidia-modprobe {same}"
    rpms = [
        Rpm("nvidia-driver-cuda-libs", parts.together(*libraries), {"Requires": f"libnvidia-ml {same}"}),
        Rpm("libnvidia-ml", parts.library("libnvidia-ml.so.1", version, LIB)),
        Rpm("libnvidia-cfg", parts.library("libnvidia-cfg.so.1", version, LIB)),
        Rpm("nvidia-driver-cuda", parts.smi(), {"Requires": wants}),
        Rpm("nvidia-modprobe", parts.modprobe()),
        Rpm("nvidia-persistenced", daemon, {"Requires": f"libnvidia-cfg {same}"}),
        Rpm("nvidia-kmod-common", parts.no_nouveau()),
        Rpm("kmod-nvidia-open-dkms", parts.module_source(version, OPEN, name="nvidia-open"),
            kmod | {"Conflicts": "kmod-nvidia-latest-dkms"}),
        Rpm("kmod-nvidia-latest-dkms", parts.module_source(version, PROPRIETARY),
            kmod | {"Conflicts": "kmod-nvidia-open-dkms"}),
        Rpm("nvidia-open", fields={"Requires": f"nvidia-driver-cuda {same}, kmod-nvidia-open-dkms {same}"}),
        Rpm("cuda-drivers", fields={"Requires": f"nvidia-driver-cuda {same}, kmod-nvidia-latest-dkms {same}"}),
        Rpm("nvidia-fabricmanager", parts.fabric_manager(version)),
    ]  # fmt: skip
    return Group("nvidia-driver-lab", version, f"1.el{major}", rpms, epoch=3)


def toolkits() -> Iterator[Group]:
    """Toolkits, without a driver."""
    for version in TOOLKITS:
        name = f"cuda-toolkit-{version.replace('.', '-')}"
        yield Group(
            f"{name}-lab", f"{version}.1", "1", [Rpm(name, parts.toolkit(version, f"usr/local/cuda-{version}"))]
        )


def streams_of(groups: Sequence[Group]) -> dict[str, list[str]]:
    """The streams of the module nvidia-driver: of each branch, and of the newest."""
    found = {}
    newest = max(groups, key=lambda group: [int(part) for part in group.version.split(".")])
    for group in groups:
        for flavour, rolling, others in (
            ("open", "open-dkms", ("kmod-nvidia-latest-dkms", "cuda-drivers")),
            ("dkms", "latest-dkms", ("kmod-nvidia-open-dkms", "nvidia-open")),
        ):
            names = [group.nevra(rpm) for rpm in group.rpms if rpm.name not in others]
            found[f"{parts.branch(group.version)}-{flavour}"] = names
            if group is newest:
                found[rolling] = names
    return found


def distribution(major: int, kernel: str) -> Iterator[Group]:
    """What is installed on every such system, and what modules are compiled with; dkms is EPEL's."""
    version = VERSIONS[major]
    release = f"system-release = {version}, system-release(releasever) = {major}"
    base = [
        Rpm("setup"),
        Rpm("filesystem", Part({"etc/ld.so.conf.d/lib64.conf": "/usr/lib64\n"}, installed="/sbin/ldconfig\n")),
        Rpm("bash", fields={"Provides": "/bin/sh"}),
        Rpm("rocky-release", Part({f"etc/pki/rpm-gpg/RPM-GPG-KEY-Rocky-{major}": ""}), {"Provides": release}),
        Rpm("make"),
        Rpm("gcc", parts.compiler(compiler_of_kernel())),
        Rpm("epel-release"),
        Rpm("dracut", parts.initramfs_tools("dracut", "lsinitrd")),
        Rpm("kernel-headers"),
        Rpm(f"kernel-devel-{kernel}", parts.headers(kernel, f"usr/src/kernels/{kernel}"), {"Provides": "kernel-devel"}),
        Rpm("python3-dnf-plugin-versionlock"),
        Rpm("cuda-probe", parts.probe()),
    ]
    yield Group("base-lab", version, f"1.el{major}", base)
    yield Group(
        "dkms-lab", "3.2.2", f"1.el{major}", [Rpm("dkms", parts.dkms("3.2.2"), {"Requires": "gcc, make, kernel-devel"})]
    )
