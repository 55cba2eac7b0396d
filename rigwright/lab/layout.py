"""Where the lab keeps its things: one directory per machine, one below it for each lab and rig."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from rigwright.errors import RigwrightError

DEFAULT_ROOT = Path("/var/lib/rigwright-lab")
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,11}")


def lab_root() -> Path:
    """The directory of all labs: $RIGWRIGHT_LAB_ROOT, or /var/lib/rigwright-lab."""
    return Path(os.environ.get("RIGWRIGHT_LAB_ROOT") or DEFAULT_ROOT).absolute()


def lab_name() -> str:
    """The lab of this directory: $RIGWRIGHT_LAB, or a hash of its path, so that two checkouts do not meet."""
    return os.environ.get("RIGWRIGHT_LAB") or hashlib.sha256(str(Path.cwd()).encode()).hexdigest()[:8]


def checked_name(name: str, *, what: str) -> str:
    """The name itself, when it can be part of a host name and an interface name."""
    if not NAME.fullmatch(name):
        raise RigwrightError(f"lab: bad {what} name {name!r}; use 1 to 12 of a-z, 0-9 and -, not - first")
    return name


@dataclass(frozen=True)
class RigPaths:
    """The files of one rig."""

    home: Path

    @property
    def record(self) -> Path:
        """What was asked for and what runs (see `state`)."""
        return self.home / "rig.json"

    @property
    def disk_image(self) -> Path:
        """The sparse ext4 file that is the rig's disk."""
        return self.home / "disk.img"

    @property
    def disk(self) -> Path:
        """Where the disk is mounted: the writable layer of the rig."""
        return self.home / "disk"

    @property
    def root(self) -> Path:
        """Where the rig's `/` is put together: base image below, disk above."""
        return self.home / "root"

    @property
    def console(self) -> Path:
        """What the rig printed while it booted."""
        return self.home / "console.log"


@dataclass(frozen=True)
class LabPaths:
    """The files of one lab, and those that all labs of a machine share."""

    shared: Path
    name: str

    @property
    def labs(self) -> Path:
        """One directory per lab."""
        return self.shared / "labs"

    @property
    def home(self) -> Path:
        """The lab's own directory; it goes with the last rig."""
        return self.labs / self.name

    @property
    def record(self) -> Path:
        """The lab's network number (see `state`)."""
        return self.home / "lab.json"

    @property
    def key(self) -> Path:
        """The private key that opens every rig of this lab."""
        return self.home / "key"

    @property
    def known_hosts(self) -> Path:
        """The host keys of the rigs, known before they boot."""
        return self.home / "known_hosts"

    @property
    def rig_list(self) -> Path:
        """The records of all rigs once more, for the lab's user, who cannot read `rigs`."""
        return self.home / "rigs.json"

    @property
    def rigs(self) -> Path:
        """One directory per rig."""
        return self.home / "rigs"

    @property
    def images(self) -> Path:
        """Base images, one per recipe."""
        return self.shared / "images"

    @property
    def snapshots(self) -> Path:
        """Disks kept by `snapshot`, for rigs to start from."""
        return self.shared / "snapshots"

    @property
    def ccache(self) -> Path:
        """The compiler cache that all rigs share."""
        return self.shared / "cache" / "ccache"

    @property
    def locks(self) -> Path:
        """Lock files; none is ever removed, since a lock on a removed file locks nobody out."""
        return self.shared / "locks"

    @property
    def mark(self) -> str:
        """Eight letters unique to this lab on this machine, for links, machines and firewall tables."""
        return hashlib.sha256(str(self.home).encode()).hexdigest()[:8]

    def rig(self, name: str) -> RigPaths:
        """The files of one rig; a name that is none never becomes a path."""
        return RigPaths(self.rigs / checked_name(name, what="rig"))

    def lock(self, what: str) -> Path:
        """A lock file."""
        return self.locks / what
