"""A rig's disk and root: a sparse ext4 file on a loop device, and an overlay of it on the base image."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import BinaryIO

from rigwright.errors import RigwrightError
from rigwright.lab.host import run
from rigwright.lab.layout import RigPaths

MOUNTINFO = Path("/proc/self/mountinfo")
# A rig's root makes files as it likes; on this host none of them gives anybody rights. In the rig: see carry.sh.
HARMLESS = "nosuid,nodev"
# Source: path_resolution(7): where the kernel gives up.
MOST_LINKS = 40


def mounts_below(path: Path) -> list[Path]:
    """What is mounted at or below a directory, the last mounted first."""
    points = [_unescaped(line.split()[4]) for line in MOUNTINFO.read_text().splitlines()]
    return [point for point in reversed(points) if point.is_relative_to(path)]


def unmount_below(path: Path) -> None:
    """Unmount everything at or below a directory; what is still in use goes as soon as it is not."""
    for point in mounts_below(path):
        if run(["umount", point], check=False).returncode:
            run(["umount", "--lazy", point])


def remove_tree(path: Path) -> None:
    """Remove a directory, never through a mount.

    Raises:
        RigwrightError: something below it would not unmount.
    """
    unmount_below(path)
    if left := mounts_below(path):
        raise RigwrightError(f"lab: {left[0]} is still mounted; unmount it and run `rigwright lab down` again")
    shutil.rmtree(path, ignore_errors=True)


def open_disk(image: Path) -> BinaryIO:
    """A new file for a disk: whatever a rig keeps secret is in there, so it is root's alone."""
    return os.fdopen(os.open(image, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def make_disk(image: Path, size_bytes: int) -> None:
    """Make a disk that takes from the host only what is written to it."""
    with open_disk(image) as file:
        file.truncate(size_bytes)
    # No blocks kept back for root: root and services must meet a full disk at the same moment.
    run(["mkfs.ext4", "-q", "-F", "-m", "0", "-J", "size=16", "-E", "lazy_itable_init=1", image])


def mount_rig(paths: RigPaths, base: Path) -> None:
    """Put the rig's `/` together; nothing to do when it is."""
    if paths.root in mounts_below(paths.root):
        return
    unmount_below(paths.home)
    for directory in (paths.disk, paths.root):
        directory.mkdir(exist_ok=True)
    # noinit_itable: filling the unused inode tables with zeros would take 300 MB of the host for nothing.
    disk: list[str | Path] = [
        "mount",
        "-o",
        f"loop,discard,noatime,noinit_itable,{HARMLESS}",
        paths.disk_image,
        paths.disk,
    ]
    if (said := run(disk, check=False)).returncode:
        reason = (said.stderr.strip() or "mount failed").splitlines()[-1]
        raise RigwrightError(f"lab: no loop device for {paths.disk_image}: {reason}; run `modprobe loop`")
    for layer in ("upper", "work"):
        if not (paths.disk / layer).is_dir():
            (paths.disk / layer).mkdir()
            (paths.disk / layer).chmod(0o755)  # of the rig's `/`, whatever our umask
    layers = f"lowerdir={base},upperdir={upper_layer(paths)},workdir={paths.disk / 'work'}"
    run(["mount", "-t", "overlay", "overlay", "-o", f"{layers},{HARMLESS}", paths.root])


def disarm(path: Path) -> None:
    """Take from the host's mounts below a directory what an older version left them; rigs that run keep theirs."""
    for line in MOUNTINFO.read_text().splitlines():
        point, options = _unescaped(line.split()[4]), line.split()[5]
        if point.is_relative_to(path) and not set(HARMLESS.split(",")) <= set(options.split(",")):
            run(["mount", "-o", f"remount,bind,{HARMLESS}", point])


def unmount_rig(paths: RigPaths) -> None:
    """Take the rig's `/` apart; its disk image holds all that was written."""
    if paths.disk in mounts_below(paths.disk):
        run(["sync", "--file-system", paths.disk])  # unmounting writes it too, unless another namespace has it mounted
    unmount_below(paths.home)


def within(root: Path, path: str | Path) -> Path:
    """Where a path of a rig lies on this host: its links lead within the rig, as they do in there.

    Raises:
        RigwrightError: they lead in a circle.
    """
    found, ahead, links = root, list(reversed(Path(path).parts)), 0
    while ahead:
        part = ahead.pop()
        if part == "/":
            found = root
        elif part == "..":
            found = found.parent if found != root else root
        elif (found / part).is_symlink():
            links += 1
            if links > MOST_LINKS:
                raise RigwrightError(f"lab: {found / part}: links of the rig lead in a circle; mend them in the rig")
            ahead += reversed((found / part).readlink().parts)
        else:
            found = found / part
    return found


def upper_layer(paths: RigPaths) -> Path:
    """The directory that holds all that differs from the base image."""
    return paths.disk / "upper"


def _unescaped(point: str) -> Path:
    return Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), point))
