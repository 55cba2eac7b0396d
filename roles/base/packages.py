"""Package managers, and the names that a purpose has in each distribution: `rigwright/catalogue/packages.yml`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rigwright.catalogue import load
from rigwright.hardware import Hardware
from rigwright.resources import script


@dataclass(frozen=True)
class PackageManager:
    """One package manager, `apt` or `dnf`: scripts behind the functions of `roles/base/<name>.sh`.

    The functions: `repair` finishes what an interruption left, `refresh` reads the lists, `installed`, `leftovers` and
    `by_hand` print names of packages: those that are there, those of which settings are left, those that somebody asked
    for. `coming NAMES` asks what installing these would bring, `add NAMES` installs and tells what it brought.
    `unneeded NAMES` asks which of these nothing else needs, `drop NAMES` takes away, `clean NAMES` their settings too.
    `reason` and `locked` read the log of what failed.
    """

    name: str

    @property
    def scripts(self) -> tuple[str, ...]:
        """The files with these functions."""
        return ("manager.sh", f"{self.name}.sh")

    def install(self, names: tuple[str, ...], *, record: str) -> str:
        """A script that installs packages, and adds to `record` what it brought, so that removal takes no other."""
        return script("base", *self.scripts, "bring.sh", "packages.sh", PACKAGES=" ".join(names), RECORD=record)

    def install_sent(self, names: tuple[str, ...], *, record: str, archive: str, sums: str) -> str:
        """The same from files that were sent, in a tar with these sums; no other source is asked."""
        given = {"PACKAGES": " ".join(names), "RECORD": record, "ARCHIVE": archive, "SUMS": sums}
        return script("base", *self.scripts, "bring.sh", "sent.sh", **given)


def package_manager(hardware: Hardware) -> PackageManager | None:
    """The package manager of a system; None where it is not known."""
    name = load("packages")["managers"].get(hardware.os_id)
    return PackageManager(name) if name else None


def package_names(purpose: str, hardware: Hardware) -> tuple[str, ...] | None:
    """What a purpose, `build`, needs on this system; None where it is not known."""
    by_version: dict[str, Any] | None = load("packages")[purpose].get(hardware.os_id)
    if by_version is None:
        return None
    return tuple(by_version.get(hardware.os_version) or by_version["*"])


def all_names(purpose: str) -> tuple[str, ...]:
    """The names that a purpose has on any system: what to ask before the system is known."""
    tables = load("packages")[purpose].values()
    return tuple(sorted({name for table in tables for names in table.values() for name in names}))
