"""What is asked of the lab (a wish per rig), and what it gives (a rig)."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path

from rigwright.errors import RigwrightError
from rigwright.lab.image import image_name
from rigwright.lab.layout import checked_name
from rigwright.units import GIB, MIB, format_bytes

SMALLEST_DISK_BYTES = 256 * MIB
DRIVERS = ("simulated",)
USER = re.compile(r"[a-z_][a-z0-9_-]{0,30}")


@dataclass(frozen=True)
class RigWish:
    """A rig that somebody would like to have; what is None is as it already is, or the default."""

    name: str
    os: str | None = None
    """`trixie` (default) or `bookworm`."""
    hardware: str | None = None
    """A recorded machine: a name under `lab/machines`, or a folder."""
    from_snapshot: str | None = None
    """A disk kept by `snapshot`."""
    ssh_user: str | None = None
    """Who logs in; default root."""
    sudo: bool | None = None
    """Whether a user other than root gets sudo without a password; default yes."""
    disk_bytes: int | None = None
    """How large the rig believes its disk to be; default 20 GiB, taken from the host only as it fills."""
    driver: str | None = None
    """`simulated`: its NVIDIA driver is what is installed in the rig, none at first; default: as it was recorded."""

    def check(self) -> None:
        """Refuse what cannot be, before anything is made."""
        checked_name(self.name, what="rig")
        if self.os is not None:
            image_name(self.os)
        if self.driver not in (None, *DRIVERS):
            raise RigwrightError(f"lab: {self.name}: unknown driver {self.driver!r}; use {' or '.join(DRIVERS)}")
        if self.ssh_user is not None and not USER.fullmatch(self.ssh_user):
            raise RigwrightError(f"lab: {self.name}: bad user name {self.ssh_user!r}; use a-z, 0-9, _ and -")
        if self.disk_bytes is not None and self.disk_bytes < SMALLEST_DISK_BYTES:
            asked, least = format_bytes(self.disk_bytes), format_bytes(SMALLEST_DISK_BYTES)
            raise RigwrightError(f"lab: {self.name}: a disk of {asked} is too small; ask for {least} or more")
        if self.disk_bytes is not None and self.from_snapshot is not None:
            raise RigwrightError(f"lab: {self.name}: a snapshot brings its own disk size; leave --disk away")

    def settled(self) -> Settled:
        """The wish with its defaults."""
        given = {key: value for key, value in asdict(self).items() if value is not None and key != "name"}
        return Settled(**given)


@dataclass(frozen=True)
class Settled:
    """What a rig was made as."""

    os: str = "trixie"
    hardware: str | None = None
    from_snapshot: str | None = None
    ssh_user: str = "root"
    sudo: bool = True
    disk_bytes: int = 20 * GIB
    driver: str | None = None

    def refuse_change(self, wish: RigWish) -> None:
        """A rig that exists stays what it is: say so when the wish asks for something else.

        Raises:
            RigwrightError: names the first thing that differs.
        """
        for key, is_now in asdict(self).items():
            asked = getattr(wish, key)
            if asked is not None and asked != is_now:
                differs = f"{key} is {is_now}, not {asked}"
                raise RigwrightError(f"lab: {wish.name}: {differs}; run `rigwright lab down {wish.name}` first")


@dataclass(frozen=True)
class Rig:
    """A rig that is up, and how to log in."""

    name: str
    address: str
    os: str
    ssh_user: str
    ssh_key: Path
    ssh_known_hosts: Path
    ssh_port: int = 22

    def ssh_command(self) -> list[str]:
        """An ssh command that trusts exactly this rig and reads nobody's own settings."""
        return [
            "ssh", "-F", "/dev/null",
            "-i", str(self.ssh_key),
            "-o", "IdentitiesOnly=yes",
            "-o", f"UserKnownHostsFile={self.ssh_known_hosts}",
            "-o", "GlobalKnownHostsFile=/dev/null",
            "-o", "StrictHostKeyChecking=yes",
            "-p", str(self.ssh_port),
            f"{self.ssh_user}@{self.address}",
        ]  # fmt: skip
