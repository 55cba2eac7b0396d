"""Snapshots: disks of rigs, kept for other rigs to start from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from rigwright.errors import RigwrightError
from rigwright.lab.host import locked, run, write_json
from rigwright.lab.layout import LabPaths, checked_name
from rigwright.lab.mounts import open_disk, remove_tree
from rigwright.lab.state import Record, complaint

ABOUT = "snapshot.json"


@dataclass(frozen=True)
class Snapshot:
    """A kept disk, and the image that it was laid on."""

    home: Path
    os: str
    image: str
    disk_bytes: int

    @property
    def disk_image(self) -> Path:
        """The disk itself."""
        return self.home / "disk.img"


def find_snapshot(paths: LabPaths, name: str) -> Snapshot:
    """A snapshot by its name.

    Raises:
        RigwrightError: there is none; lists the names. Or it is of another version, which says too little.
    """
    home = _home(paths, name)
    try:
        about = json.loads((home / ABOUT).read_text())
        return Snapshot(home, about["os"], about["image"], int(about["disk_bytes"]))
    except (OSError, KeyError, TypeError, ValueError) as wrong:
        says = f"lab: {home / ABOUT}: {complaint(wrong)}, it was damaged or written by another version"
        raise RigwrightError(f"{says}; run `rigwright lab forget {name}` and keep a new one") from None


def has_snapshot(paths: LabPaths, name: str) -> bool:
    """Whether a snapshot has this name."""
    return (paths.snapshots / checked_name(name, what="snapshot")).is_dir()


def keep_snapshot(paths: LabPaths, record: Record, name: str) -> None:
    """Copy the disk of a rig that is off; a snapshot of the same name is replaced."""
    target = paths.snapshots / checked_name(name, what="snapshot")
    with locked(paths.lock("snapshots")):
        aside = paths.snapshots / ".making"
        remove_tree(aside)  # of one that was killed; the lock says nobody is at work
        aside.mkdir(parents=True)
        copy_disk(paths.rig(record.name).disk_image, aside / "disk.img")
        settled = record.settled
        write_json(aside / ABOUT, {"os": settled.os, "image": record.image, "disk_bytes": settled.disk_bytes})
        remove_tree(target)
        aside.rename(target)


def forget_snapshot(paths: LabPaths, name: str) -> None:
    """Delete a snapshot; rigs that were started from it have a disk of their own.

    Raises:
        RigwrightError: there is none; lists the names.
    """
    with locked(paths.lock("snapshots")):
        remove_tree(_home(paths, name))


def _home(paths: LabPaths, name: str) -> Path:
    home = paths.snapshots / checked_name(name, what="snapshot")
    if not home.is_dir():
        kept = sorted(entry.name for entry in paths.snapshots.glob("[!.]*"))
        raise RigwrightError(f"lab: no snapshot is called {name!r}; there is {', '.join(kept) or 'none'}")
    return home


def copy_disk(source: Path, target: Path) -> None:
    """Copy a disk without its holes, and share the blocks where the host's file system can."""
    open_disk(target).close()
    run(["cp", "--sparse=always", "--reflink=auto", source, target])
