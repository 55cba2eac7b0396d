"""What packages of a driver hold, whatever the packages are called: libraries, tools, units, sources of modules."""

from __future__ import annotations

import functools
import re
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

FILES = Path(__file__).parent / "driver_files"
ABOUT = "usr/share/rigwright-lab"
OPEN, PROPRIETARY = "Dual MIT/GPL", "NVIDIA"
MODULES = ("nvidia", "nvidia-modeset", "nvidia-drm", "nvidia-uvm", "nvidia-peermem")
# Which CUDA a branch speaks. Source: release notes of the toolkits, tables 2 and 3.
CUDA = {535: 12020, 550: 12040, 570: 12080, 575: 12090, 580: 13000, 590: 13010, 595: 13020, 610: 13030, 615: 13040}
# What nvcc makes code for. Source: --list-gpu-code of the wheels on PyPI.
TARGETS = {
    "11.8": "35 37 50 52 53 60 61 62 70 72 75 80 86 87 89 90",
    "12.4": "50 52 53 60 61 62 70 72 75 80 86 87 89 90 90a",
    "12.8": "50 52 53 60 61 62 70 72 75 80 86 87 89 90 90a 100 100a 101 101a 120 120a",
    "12.9": "50 52 53 60 61 62 70 72 75 80 86 87 89 90 90a 100 100a 100f 101 101a 101f 103 103a 120 120a 121 121a",
    "13.0": "75 80 86 87 88 89 90 90a 100 100a 103 103a 110 110a 120 120a 121 121a",
}
# Debian 13's open modules for its own kernel. Source: a rig with Debian's headers.
BROKEN = """\
nv-pci.c: In function 'nv_resize_pcie_bars':
/var/lib/dkms/{module}/{version}/build/kernel-open/nvidia/nv-pci.c:237:9: error: too few arguments to function \
'pci_resize_resource'
  237 |     r = pci_resize_resource(pci_dev, NV_GPU_BAR1, requested_size);
"""


@dataclass
class Part:
    """Files and links by their paths, and what is run where they have come or before they go."""

    files: dict[str, str | bytes] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    installed: str = ""
    removed: str = ""

    @property
    def scripts(self) -> dict[str, str]:
        """As a Debian package has them."""
        found = {}
        if self.installed:
            found["postinst"] = f'#!/bin/sh\nset -e\n[ "$1" = configure ] || exit 0\n{self.installed}'
        if self.removed:
            found["prerm"] = f"#!/bin/sh\n{self.removed}"
        if any(".so." in path for path in self.files):
            found["triggers"] = "activate-noawait ldconfig\n"
        return found


def together(*held: Part) -> Part:
    """What one package holds of several parts."""
    whole = Part()
    for part in held:
        whole.files |= part.files
        whole.links |= part.links
        whole.installed += part.installed
        whole.removed += part.removed
    return whole


def branch(version: str) -> int:
    """580 of 580.178.04."""
    return int(version.partition(".")[0])


def tool(name: str) -> str:
    """A stand-in of our own."""
    return (FILES / name).read_text()


def library(name: str, version: str, lib: str, *, behind: str = "") -> Part:
    """`libcuda.so.1`: a real library that tells what the lab's kernel shows; Debian's lies in a folder behind."""
    file, place = name.replace(".so.1", f".so.{version}"), f"{lib}/{behind}"
    links = {f"{place}{name}": file} | ({f"{lib}/{name}": f"{behind}{name}"} if behind else {})
    return Part({f"{place}{file}": _compiled(name, version)}, links)


def probe() -> Part:
    """`cuda-probe`, which calls libcuda as programs do: a rig's python3-minimal cannot."""
    return Part({"usr/bin/cuda-probe": _made("probe.c", "-fPIE", "-pie")})


@functools.cache
def _compiled(name: str, version: str) -> bytes:
    meaning = (f'-DVERSION="{version}"', f"-DCUDA={CUDA[branch(version)]}")
    return _made("driver.c", "-shared", "-fPIC", *meaning, f"-Wl,-soname,{name}")


def _made(source: str, *options: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "made"
        command = ["gcc", "-Wall", "-Werror", "-O1", "-s", *options, "-o", str(target), str(FILES / source)]
        subprocess.run(command, check=True)
        return target.read_bytes()


def smi() -> Part:
    """nvidia-smi: the lab answers."""
    return Part({"usr/bin/nvidia-smi": tool("nvidia-smi")})


def modprobe() -> Part:
    """nvidia-modprobe, which makes the device nodes."""
    return Part({"usr/bin/nvidia-modprobe": tool("nvidia-modprobe")})


def persistenced(version: str, user: str) -> Part:
    """The daemon, started as its package comes: before ldconfig ran, so that it fails then."""
    unit = (
        "[Unit]\nDescription=NVIDIA Persistence Daemon\nWants=syslog.target\n\n"
        f"[Service]\nType=forking\nExecStart=/usr/bin/nvidia-persistenced --user {user}\n"
        "ExecStopPost=/bin/rm -rf /run/nvidia-persistenced\n\n[Install]\nWantedBy=multi-user.target\n"
    )
    account = f"id {user} >/dev/null 2>&1 || useradd --system --no-create-home --shell /usr/sbin/nologin {user}\n"
    files = {"usr/bin/nvidia-persistenced": tool("nvidia-persistenced"), f"{ABOUT}/persistenced-version": version}
    return _with_unit(Part(files), "nvidia-persistenced", unit, before=account)


def fabric_manager(version: str) -> Part:
    """The daemon of NVSwitches, which wants the driver's very version."""
    unit = (
        "[Unit]\nDescription=NVIDIA fabric manager service\n\n"
        "[Service]\nExecStart=/usr/bin/nvidia-fabricmanager\n\n[Install]\nWantedBy=multi-user.target\n"
    )
    files = {"usr/bin/nvidia-fabricmanager": tool("nvidia-fabricmanager"), f"{ABOUT}/fabricmanager-version": version}
    return _with_unit(Part(files), "nvidia-fabricmanager", unit)


def _with_unit(part: Part, name: str, unit: str, *, before: str = "") -> Part:
    part.files[f"usr/lib/systemd/system/{name}.service"] = unit
    up = f"systemctl daemon-reload; systemctl --quiet enable {name}; systemctl restart {name} || true"
    part.installed = f"{before}[ ! -d /run/systemd/system ] || {{ {up}; }}\n"
    part.removed = f"[ ! -d /run/systemd/system ] || systemctl --quiet disable --now {name}\n"
    return part


def no_nouveau(folder: str = "usr/lib/modprobe.d") -> Part:
    """Keeps nouveau from loading."""
    return Part({f"{folder}/nvidia-blacklists-nouveau.conf": "blacklist nouveau\noptions nouveau modeset=0\n"})


def module_source(version: str, license_: str, *, name: str = "nvidia", suffix: str = "", broken: bool = False) -> Part:
    """What dkms compiles as it comes, for each kernel with headers; the names of Debian's modules have a suffix."""
    source = f"usr/src/{name}-{version}"
    conf = f'PACKAGE_NAME="{name}"\nPACKAGE_VERSION="{version}"\nAUTOINSTALL="yes"\n'
    names = [re.sub("^nvidia", f"nvidia{suffix}", module) for module in MODULES]
    conf += "".join(f'BUILT_MODULE_NAME[{number}]="{module}"\n' for number, module in enumerate(names))
    files: dict[str, str | bytes] = {f"{source}/dkms.conf": conf, f"{source}/license": f"{license_}\n"}
    if broken:
        files[f"{source}/broken"] = BROKEN.format(module=name, version=version)
    installed = f"""\
echo 'Loading new {name}/{version} DKMS files...'
[ -e /var/lib/dkms/{name}/{version} ] || dkms add -m {name} -v {version}
for kernel in $( {{ uname -r; ls /lib/modules; }} 2>/dev/null | sort -u); do
    if [ -e "/lib/modules/$kernel/build" ]; then
        dkms install -m {name} -v {version} -k "$kernel"
    else
        echo "Module build for kernel $kernel was skipped since the kernel headers for this kernel do not seem to be" \\
            "installed."
    fi
done
"""
    return Part(files, installed=installed, removed=f"dkms remove -m {name} -v {version} --all || true\n")


def pin(version: str) -> Part:
    """The pin of a branch, `580`, or of one version, `580.178.04`."""
    glob = f"{version}.*" if version.isdigit() else f"{version}-*"
    text = f"Package: src:*nvidia*:any src:cuda-drivers:any\nPin: version {glob}\nPin-Priority: 1000\n"
    return Part({f"etc/apt/preferences.d/nvidia-driver-pinning-{version.replace('.', '-')}": text})


def toolkit(version: str, home: str) -> Part:
    """A toolkit: nvcc, and what it makes code for."""
    targets = "".join(f"sm_{one}\n" for one in TARGETS[version].split())
    about = {f"{home}/release": f"{version}\n", f"{home}/targets": targets}
    return Part({f"{home}/bin/nvcc": tool("nvcc"), **about})


def headers(kernel: str, source: str) -> Part:
    """What modules are compiled with."""
    return Part({f"{source}/Makefile": "# none\n"}, {f"usr/lib/modules/{kernel}/build": f"/{source}"})


def autoinstall(kernel: str) -> Part:
    """Debian's hook: dkms compiles what it has as headers come."""
    return Part(installed=f"! command -v dkms >/dev/null || dkms autoinstall -k {kernel}\n")


def compiler(version: str) -> Part:
    """A compiler that can say its version."""
    return Part({"usr/bin/gcc": tool("gcc"), f"{ABOUT}/gcc-version": f"{version}\n"}, {"usr/bin/cc": "gcc"})


def dkms(version: str) -> Part:
    """dkms itself."""
    return Part({"usr/sbin/dkms": tool("dkms"), f"{ABOUT}/dkms-version": f"{version}\n"})


def initramfs_tools(*names: str) -> Part:
    """What makes an initramfs, which is the list of what is in it, and what looks into it."""
    return Part({f"usr/sbin/{name}": tool(name) for name in names})


def installer_cleanup() -> Part:
    """What stops Debian's driver where NVIDIA's own installer was at work."""
    return Part(
        installed="""\
[ ! -e /usr/bin/nvidia-installer ] || dpkg -S /usr/bin/nvidia-installer >/dev/null 2>&1 || exit 30
"""
    )
