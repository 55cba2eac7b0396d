"""Occupants: what is on a rig already and no part of its plan; it leaves less memory, and fewer ports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from rigwright.plan.devices import Device
from rigwright.plan.reasons import Reason


class Occupant(NamedTuple):
    """What is on the rig and no part of the plan: its bytes of GPUs by UUID or `GPU <index>`, None for all of one."""

    name: str
    gpu_bytes: tuple[tuple[str, int | None], ...] = ()
    ram_bytes: int = 0
    ports: frozenset[int] = frozenset()


def occupied(occupants: Sequence[Occupant]) -> tuple[Reason, ...]:
    """A note for each occupant."""
    because = (
        "it is on the rig and not in the inventory; its memory and port count as taken, remove_orphans takes it away"
    )
    return tuple(Reason(choice=f"ORPHAN {one.name}", because=because) for one in occupants)


def beside(device: Device, occupants: Sequence[Occupant]) -> Device:
    """A device with what occupants leave of it."""
    names = (device.gpu.uuid, f"GPU {device.gpu.index}")
    taken = [
        device.vram_bytes if size is None else size
        for one in occupants
        for name, size in one.gpu_bytes
        if name in names
    ]
    return replace(device, offered_bytes=max(0, device.offered_bytes - sum(taken))) if taken else device
