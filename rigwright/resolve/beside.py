"""What is on a rig beside the services of an inventory: orphans, services of other inventories, words of dry runs."""

from __future__ import annotations

from rigwright.errors import Refused
from rigwright.plan.memory.said import Said, read_lines
from rigwright.plan.occupants import Occupant
from rigwright.plan.tuning import asked_by
from rigwright.records.values import Deployed, RigRecords
from rigwright.spec.rig import RigSpec


def beside(spec: RigSpec, records: RigRecords) -> tuple[tuple[Deployed, ...], tuple[Deployed, ...]]:
    """The orphans, which the inventory no longer has, and what other inventories have there."""
    absent = records.absent(wish.name for wish in spec.services)
    orphans = tuple(one for one in absent if one.is_of(spec.owners))
    return orphans, tuple(one for one in absent if not one.is_of(spec.owners))


def occupants_of(spec: RigSpec, records: RigRecords) -> list[Occupant]:
    """What of it stays, and leaves less for the plan.

    Raises:
        Refused: it has the name or the port of a service.
    """
    orphans, others = beside(spec, records)
    found = [_occupant(one, one.owner) for one in others]
    found += [] if spec.remove_orphans else [_occupant(one) for one in orphans]
    for wish in spec.services:
        for deployed in records.instances_of(wish.name):
            if not deployed.is_of(spec.owners):
                raise Refused(
                    f"services.{wish.name}: {deployed.name} on this rig is of the inventory {deployed.owner}; give it "
                    f'another name, or take that one over with "takes_over": ["{deployed.owner}"]'
                )
        for one in found:
            if wish.port not in one.ports:
                continue
            if one.owner:
                raise Refused(
                    f"services.{wish.name}: port {wish.port} is that of {one.name} of the inventory {one.owner}; give "
                    f"{wish.name} another port"
                )
            raise Refused(
                f"services.{wish.name}: port {wish.port} is that of {one.name}, which is on the rig and not in the "
                f"inventory; set remove_orphans to take it away, or give {wish.name} another port"
            )
    return found


def _occupant(one: Deployed, owner: str = "") -> Occupant:
    """What an orphan or a service of others takes of the rig; a GPU whose share nobody knows counts as full."""
    record = one.record
    if record is None:
        return Occupant(one.name, owner=owner)
    sizes = record.gpu_bytes if record.is_measured else (None,) * len(record.gpus)
    ports = frozenset((record.port,) if record.port else ())
    # What others took because it was left they leave again: else each would shrink with every deploy of the other.
    ram_bytes = record.ram_bytes - (record.spare_bytes if owner else 0)
    gpu_bytes, tunings = tuple(zip(record.gpus, sizes, strict=True)), asked_by(record.flags, has_gpus=bool(record.gpus))
    return Occupant(one.name, gpu_bytes, ram_bytes, ports, owner, tunings)


def said_of(service: str, records: RigRecords) -> tuple[Said, ...]:
    """What dry runs on the rig said of a service's compute buffers."""
    own = (one.buffers for name, one in sorted(records.services.items()) if one.service == service)
    return tuple(line for text in own for line in read_lines(text))
