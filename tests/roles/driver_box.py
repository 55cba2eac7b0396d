"""A rig for the scripts of the driver's role: real apt and dpkg in a folder, and stand-ins of the kernel's side.

A driver is packages of the test's own. What a kernel would answer, the stand-ins answer from files:
`lib/modules/KERNEL/nvidia.ko` holds the version of a module on the disk, `proc/driver/nvidia/version` that of the
loaded one, `proc/modules` the names of what is loaded.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rigwright.resources import role_text, script

from .apt_box import AptBox

KERNEL = "6.12.0-amd64"
# Where a rig has what the scripts name; of these, and of nothing else, the box has its own.
_PLACES = re.compile(
    r"(?<![\w$}./])/(etc/(?:apt|systemd|modprobe\.d|rigwright|yum\.repos\.d|pki|cdi)|opt/rigwright|var/(?:lib|cache)/"
    r"|run/rigwright\.lock|boot/|lib/modules|proc/(?:driver|modules)|dev/nvidia)"
)
_TOOLS = {
    "uname": f"echo {KERNEL}",
    "ldconfig": 'at={home}/usr/lib/libcuda.so.1; [ ! -e "$at" ] || echo "	libcuda.so.1 (libc6,x86-64) => $at"',
    "modinfo": 'cat "{home}/lib/modules/$2/$5.ko"',
    "lsmod": "cat {home}/proc/modules",
    "modprobe": """
case $1 in
  -r) [ ! -e {home}/busy ] && sed -i "/^$2 /d" {home}/proc/modules; exit ;;
  nvidia) ;;
  *)
    [ -s {home}/proc/driver/nvidia/version ] || exit 1
    grep -q "^$1 " {home}/proc/modules || echo "$1 1 0" >>{home}/proc/modules
    exit
    ;;
esac
[ ! -e {home}/no-device ] || { echo "modprobe: ERROR: could not insert 'nvidia': No such device" >&2; exit 1; }
version=$(cat {home}/lib/modules/*/nvidia.ko | head -n 1)
mkdir -p {home}/proc/driver/nvidia
said="NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  $version  Release Build"
echo "$said" >{home}/proc/driver/nvidia/version
echo "nvidia 1 0" >>{home}/proc/modules""",
    "rmmod": """
echo "rmmod $1" >>{home}/did
[ ! -e {home}/in-use ] || [ "$1" != nvidia ] || { echo "rmmod: ERROR: Module nvidia is in use" >&2; exit 1; }
sed -i "/^$1 /d" {home}/proc/modules
[ "$1" != nvidia ] || rm -rf {home}/proc/driver/nvidia""",
    "systemctl": """
case $1,$* in
  is-active,*) for unit; do :; done; grep -qx "$unit" {home}/active; exit ;;
  is-enabled,* | cat,*) for unit; do :; done; grep -qx "$unit" {home}/units; exit ;;
  show,*) echo running; exit ;;
  stop,*) sed -i "/^$2$/d" {home}/active ;;
  start,* | restart,*) echo "$2" >>{home}/active ;;
esac
echo "systemctl $*" >>{home}/did""",
    "update-initramfs": """
echo "update-initramfs $*" >>{home}/did
[ ! -e {home}/no-initramfs ] || { echo "No space left on device"; exit 1; }""",
    "nvidia-smi": "cat {home}/gpus",
    "dkms": """
case $1 in
  status) [ ! -e {home}/dkms ] || cat {home}/dkms ;;
  autoinstall)
    echo "dkms $*" >>{home}/did
    [ -e {home}/broken ] || sed -i "s/: added$/, $3, x86_64: installed/" {home}/dkms
    ;;
esac""",
    # The rig's own python3 asks CUDA.
    "python3": "cat {home}/cuda",
    "systemd-run": 'echo "systemd-run $*" >>{home}/did',
    "dracut": "exit 64",
}


@dataclass(frozen=True)
class DriverBox(AptBox):
    """The folder."""

    @classmethod
    def made(cls, home: Path) -> DriverBox:
        """Without a driver, with a kernel of which nothing is loaded."""
        box = super().made(home)
        assert isinstance(box, DriverBox)
        for folder in ("bin", "boot", "proc/driver", f"lib/modules/{KERNEL}", "etc/modprobe.d", "etc/systemd/system"):
            (home / folder).mkdir(parents=True)
        (home / f"boot/vmlinuz-{KERNEL}").touch()
        for name in ("proc/modules", "did", "active", "units", "gpus"):
            (home / name).touch()
        for name, text in _TOOLS.items():
            box.tool(name, text.replace("{home}", str(home)))
        (home / "bin/dracut").unlink()
        with (home / "apt.conf").open("a") as config:
            config.write('Acquire::Retries "0";\n')
        return box

    def tool(self, name: str, text: str) -> None:
        """A program that comes first in PATH."""
        (self.home / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (self.home / "bin" / name).chmod(0o755)

    @property
    def state(self) -> Path:
        """What the role remembers."""
        return self.home / "var/lib/rigwright/nvidia"

    @property
    def environment(self) -> dict[str, str]:
        """With the stand-ins, and no way to anywhere."""
        found = {key: value for key, value in super().environment.items() if not key.lower().endswith("_proxy")}
        return found | {"PATH": f"{self.home}/bin:{os.environ['PATH']}", "PYTHONPATH": ""}

    def run(self, text: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """A script, run on the rig."""
        return subprocess.run(
            ["sh", "-c", self.placed(text)],
            env=self.environment | {"PATIENCE": "5"} | variables,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=100,
        )  # fmt: skip

    def placed(self, text: str) -> str:
        """A script whose places are those of the folder."""
        lines = text.split("\n")
        return "\n".join(line if line.startswith("#") else _PLACES.sub(rf"{self.home}/\1", line) for line in lines)

    def role(self, *names: str, manager: str = "apt", **variables: object) -> subprocess.CompletedProcess[str]:
        """Scripts of the role as its operations run them."""
        return self.run(role(*names, manager=manager, **variables))

    def read(self, path: str) -> str:
        """A file of the rig; nothing where there is none."""
        file = self.home / path.lstrip("/")
        return file.read_text() if file.exists() else ""

    def put(self, path: str, text: str) -> Path:
        """A file on the rig."""
        file = self.home / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def did(self) -> list[str]:
        """What the stand-ins were told, since this was asked last."""
        lines = self.read("did").splitlines()
        self.put("did", "")
        return lines

    def has(self) -> set[str]:
        """The packages that are installed, with their versions."""
        done = subprocess.run(
            ["dpkg-query", "-W", "-f=${db:Status-Abbrev}|${Package}=${Version}\n"],
            env=self.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return {line.split("|")[1] for line in done.stdout.splitlines() if line.startswith(("ii", "hi"))}

    def holds(self) -> set[str]:
        """The packages that are held."""
        done = subprocess.run(
            ["apt-mark", "showhold"], env=self.environment, capture_output=True, text=True, check=True
        )
        return set(done.stdout.split())

    def offer_driver(self, version: str, *, breaks: str = "", **more: Mapping[str, str]) -> None:
        """The packages of a driver: its libraries, its tools, and modules that dkms compiles.

        breaks: `compile` where they do not; `added` where dkms does not even try.
        """
        home = self.home
        branch = version.split(".")[0]
        link = f"ln -sf libcuda.so.{version} {home}/usr/lib/libcuda.so.1"
        self.offer(
            "libcuda1", Version=version, files={f"usr/lib/libcuda.so.{version}": version}, postinst=link,
            prerm=f"rm -f {home}/usr/lib/libcuda.so.1",
        )  # fmt: skip
        module, folder = f"{home}/lib/modules/{KERNEL}/nvidia.ko", f"{home}/var/lib/dkms/nvidia/{version}/build"
        built = f"echo 'nvidia/{version}, {KERNEL}, x86_64: installed' >{home}/dkms\necho {version} >{module}"
        failed = (
            f"mkdir -p {folder}\n"
            f"echo 'conftest.h:1: error: too few arguments to pci_resize_resource' >{folder}/make.log\n"
            f"echo 'nvidia/{version}: added' >{home}/dkms\n"
        )
        postinst = {"": built, "compile": f"{failed}exit 10", "added": failed}[breaks]
        gone = f"rm -rf {home}/dkms {home}/lib/modules/{KERNEL}/nvidia.ko {home}/var/lib/dkms/nvidia"
        self.offer("nvidia-kernel-dkms", Version=version, postinst=postinst, prerm=gone)
        self.offer("nvidia-smi", Version=version, Depends=f"libcuda1 (= {version})")
        depends = f"libcuda1 (= {version}), nvidia-kernel-dkms (= {version}), nvidia-smi (= {version})"
        self.offer("nvidia-driver", Version=version, Depends=depends)
        self.offer(f"nvidia-driver-pinning-{branch}", Conflicts="pinning", Provides="pinning")


def role(*names: str, manager: str = "apt", **variables: object) -> str:
    """Scripts of the role behind those of the package manager, as `operations.py` puts them together."""
    before = "\n".join(role_text("base", name) for name in ("manager.sh", f"{manager}.sh", "bring.sh"))
    may = {"apt": "--allow-downgrades --allow-change-held-packages", "dnf": "--allowerasing"}[manager]
    given = {"STATE": "/var/lib/rigwright/nvidia", "RECORD": "/var/lib/rigwright/packages.installed", "MAY": may}
    given |= {name: str(value) for name, value in variables.items()}
    return script("nvidia", "driver.sh", f"driver-{manager}.sh", *names, before=before, **given)
