"""Occupants: what is on a rig already and no part of its plan; it leaves less memory, and fewer ports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from rigwright.errors import Refused
from rigwright.plan.devices import Device
from rigwright.plan.reasons import Reason
from rigwright.plan.service import ServicePlan


class Occupant(NamedTuple):
    """What is on the rig and no part of the plan: its bytes of GPUs by UUID or `GPU <index>`, None for all of one.

    owner: the inventory that it is of, where that is another one. tunings: what it asks of the machine, by name.
    """

    name: str
    gpu_bytes: tuple[tuple[str, int | None], ...] = ()
    ram_bytes: int = 0
    ports: frozenset[int] = frozenset()
    owner: str = ""
    tunings: tuple[tuple[str, str], ...] = ()


def as_occupant(share: ServicePlan) -> Occupant:
    """What a rig runs of a service that it serves together with others: its GPUs are no others'."""
    gpus = tuple((gpu.uuid or f"GPU {gpu.index}", None) for gpu in share.gpus)
    ram_bytes = share.memory.ram_bytes if share.memory else 0
    return Occupant(share.service, gpus, ram_bytes, frozenset(one.port for one in share.replicas))


def occupied(occupants: Sequence[Occupant]) -> tuple[Reason, ...]:
    """A note for each occupant."""
    orphaned = (
        "it is on the rig and not in the inventory; its memory and port count as taken, remove_orphans takes it away"
    )
    return tuple(
        Reason(choice=f"beside {one.name}", because=f"of the inventory {one.owner}; its memory and port count as taken")
        if one.owner
        else Reason(choice=f"ORPHAN {one.name}", because=orphaned)
        for one in occupants
    )


def beside_others(refused: Refused, occupants: Sequence[Occupant]) -> Refused:
    """A refusal that says why the rig offers less than it has."""
    names = [f"{one.name} of the inventory {one.owner}" if one.owner else one.name for one in occupants]
    left = f"; that is what {' and '.join(names)} on this rig leave{'' if names[1:] else 's'}"
    return type(refused)(f"{refused.message}{left}") if names else refused


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
