"""Whether what comes to a rig has room on its disks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rigwright.roles.base.facts import Rig
from rigwright.units import format_bytes


def room_errors(rig: Rig, coming: Iterable[tuple[str, int, str]]) -> Iterator[str]:
    """The first thing for which a disk is too small: what it is, its bytes, and the directory that it comes to."""
    for what, needed, where in coming:
        disk = rig.disks.get(where)
        if disk and disk.free_bytes < needed:
            have = format_bytes(disk.free_bytes)
            yield f"{what} needs {format_bytes(needed)} in {where}, the disk has {have}; free some"
            return
