"""Room on the disk and in /boot, which a driver fills: found before apt does."""

from __future__ import annotations

import re

from rigwright.hardware.values import Problem
from rigwright.plan.driver.machine import Machine
from rigwright.plan.driver.tables import release_of

_ROOM_BYTES, _BOOT_BYTES = 1 << 30, 200 << 20


def full(machine: Machine, needed: int, *, makes_initramfs: bool) -> list[Problem]:
    """Too little for so many bytes, or for an initramfs with the driver's firmware in it."""
    software, found = machine.software, []
    if needed and software.root_free_bytes is not None and software.root_free_bytes < needed + _ROOM_BYTES:
        what = f"{software.root_free_bytes / 1e9:.1f} GB are free, {(needed + _ROOM_BYTES) / 1e9:.1f} GB are needed"
        found.append(Problem("disk_full", "/", what, "make room, then deploy again"))
    if makes_initramfs and is_boot_full(machine):
        what = f"{(software.boot_free_bytes or 0) / 1e6:.0f} MB are free, an initramfs with firmware takes 120 MB"
        found.append(Problem("disk_full", "/boot", what, room_in_boot(machine)))
    return found


def is_boot_full(machine: Machine) -> bool:
    """Whether /boot is a file system of its own with too little room for one more initramfs."""
    free = machine.software.boot_free_bytes
    return free is not None and free < _BOOT_BYTES and free != machine.software.root_free_bytes


def room_in_boot(machine: Machine) -> str:
    """What to do: take out kernels that neither run nor boot next, by their packages."""
    kernels = machine.software.kernels or _packaged(machine)
    following = max(kernels, key=release_of, default="")
    spare = [one for one in kernels if one not in (machine.kernel, following)]
    if machine.hardware.os_id not in ("debian", "ubuntu"):
        return "remove old kernels (dnf remove --oldinstallonly), then deploy again"
    if not spare and len(kernels) > 1:
        return (
            "no kernel is to spare: write MODULES=dep into /etc/initramfs-tools/initramfs.conf and make the initramfs "
            "anew, or give /boot more room; then deploy again"
        )
    there = [one.name for one in machine.packages for kernel in spare if one.name.startswith(_images(kernel))]
    names = there or [f"linux-image-{kernel}" for kernel in spare]
    if not names:
        return "remove old kernels (apt autoremove), then deploy again"
    return (
        f"remove old kernels: apt-get purge {' '.join(names[:4])}, which neither run nor boot next; then deploy again"
    )


def _packaged(machine: Machine) -> list[str]:
    """The kernels that packages name, where nobody listed /lib/modules."""
    names = (one.name.removeprefix("linux-image-").removeprefix("unsigned-") for one in machine.packages)
    return [name for name in names if re.match(r"\d+\.\d+\.", name)]


def _images(kernel: str) -> tuple[str, ...]:
    return tuple(f"{stem}-{kernel}" for stem in ("linux-image", "linux-image-unsigned", "proxmox-kernel", "pve-kernel"))
