"""Who on this host may enter what: rigs, disks, images and caches are root's alone, a lab's key its user's too.

A rig's root makes what it likes on its disk, programs that run as root and device files too; whoever of this host
could reach them there would be root here.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from rigwright.errors import RigwrightError
from rigwright.lab.layout import LabPaths

ROOTS_ALONE = 0o700
PASSAGE = 0o711
"""Walked through by who knows the names below: a lab's user reads its key, its known hosts, its list of rigs."""


def close(paths: LabPaths) -> None:
    """Make the lab's directories, and shut them against everybody else; those that an older version left open too.

    Raises:
        RigwrightError: somebody has put something there that root would work with.
    """
    if not paths.shared.is_dir():
        paths.shared.mkdir(parents=True)
        paths.shared.chmod(0o755)
    was_foreign = paths.home.is_dir() and paths.home.stat().st_uid != 0
    for directory in (paths.labs, paths.home):
        _make(directory, PASSAGE)
    for directory in (paths.rigs, paths.images, paths.snapshots, paths.ccache.parent, paths.locks):
        _make(directory, ROOTS_ALONE)
    if was_foreign:
        _refuse_planted(paths)
    for home in paths.labs.iterdir():
        _shut(home, PASSAGE)
        _shut(home / "rigs", ROOTS_ALONE)
    for image in (*paths.labs.glob("*/rigs/*/disk.img"), *paths.snapshots.glob("*/disk.img")):
        _shut(image, 0o600)


def callers_ids() -> tuple[int, int]:
    """The user and the group that called sudo; root without one."""
    user, group = (os.environ.get(name, "") for name in ("SUDO_UID", "SUDO_GID"))
    return (int(user), int(group)) if user.isascii() and user.isdigit() and group.isdigit() else (0, 0)


def _make(directory: Path, mode: int) -> None:
    directory.mkdir(exist_ok=True)
    _shut(directory, mode)


def _shut(path: Path, mode: int) -> None:
    """Give something of ours to root; another lab's may go meanwhile."""
    try:
        is_now = path.stat()
        if (is_now.st_uid, is_now.st_gid) != (0, 0):
            os.chown(path, 0, 0)
        if stat.S_IMODE(is_now.st_mode) != mode:
            path.chmod(mode)
    except FileNotFoundError:
        pass


def refuse_foreign(shared: Path) -> None:
    """Root works nowhere that somebody else can exchange, and shuts no directory that is not the lab's.

    Raises:
        RigwrightError: names the directory and whose it is.
    """
    if not (shared / "locks").is_dir():
        for name in ("images", "snapshots", "cache", "labs"):
            if (shared / name).exists():
                says = f"lab: {shared / name} is there already and was not made by the lab"
                raise RigwrightError(f"{says}; set RIGWRIGHT_LAB_ROOT to a directory of its own")
    for directory in _existing(shared.resolve()):
        has = directory.stat()
        others = has.st_mode & (stat.S_IWOTH | (stat.S_IWGRP if has.st_gid else 0)) and not has.st_mode & stat.S_ISVTX
        if has.st_uid or others:
            who = f"user {has.st_uid}" if has.st_uid else "others than root"
            says = f"lab: {directory} may be changed by {who}, and root works in it"
            raise RigwrightError(f"{says}; set RIGWRIGHT_LAB_ROOT to a directory that is root's alone")


def _existing(path: Path) -> Iterator[Path]:
    return (directory for directory in (path, *path.parents) if directory.is_dir())


def _refuse_planted(paths: LabPaths) -> None:
    """Versions before 0.2 gave the lab's directory to its user, who could put anything there."""
    for entry in paths.home.iterdir():
        if entry.is_symlink() or (entry.lstat().st_uid != 0 and entry != paths.key):
            raise RigwrightError(f"lab: {entry} was not made by the lab, and root would work with it; delete it")
