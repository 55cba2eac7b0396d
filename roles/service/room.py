"""The instances that must stop before another starts: they hold its port or GPUs, and are about to leave them."""

from __future__ import annotations

from rigwright.records.values import Deployed, Record
from rigwright.resolve.instance import Instance
from rigwright.resolve.resolve import Resolved
from rigwright.resolve.running import surplus
from rigwright.roles.base.facts import Rig
from rigwright.spec.rig import RigSpec


def in_the_way(wanted: Instance, resolved: Resolved, spec: RigSpec, rig: Rig) -> list[Deployed]:
    """Running instances that hold what `wanted` needs and are about to move or to go in the same plan."""
    others = [one for one in resolved.instances(spec) if one.name != wanted.name]
    moving = [rig.records.of(one.name) for one in others if _moves(one, rig.records.of(one.name).record)]
    leaving = [*surplus(resolved, rig.records), *(resolved.orphans if spec.remove_orphans else ())]
    return [one for one in (*moving, *leaving) if one.is_active and _holds(one, wanted, rig)]


def holder(port: int, rig: Rig) -> Deployed | None:
    """The instance of ours that listens on a port."""
    owner = rig.listeners.get(port)
    # Its unit file may have been deleted by hand: systemd still knows its process.
    return next((one for one in rig.records.services.values() if owner and one.pid and one.pid == owner[1]), None)


def leaves_for(other: Deployed, wanted: Record) -> bool:
    """Whether an instance that is brought back too holds now what `wanted` needs."""
    now, back = other.record, other.way_back
    then = back.record if back else None
    if now is None or then is None:
        return False
    return (now.port == wanted.port != then.port) or bool((set(now.gpus) - set(then.gpus)) & set(wanted.gpus))


def _moves(instance: Instance, record: Record | None) -> bool:
    """Whether an instance leaves its port or a GPU."""
    return record is not None and (record.port != instance.port or bool(set(record.gpus) - _gpus(instance)))


def _holds(other: Deployed, wanted: Instance, rig: Rig) -> bool:
    found = holder(wanted.port, rig)
    shares = other.record is not None and bool(set(other.record.gpus) & _gpus(wanted))
    return shares or (found is not None and found.name == other.name)


def _gpus(instance: Instance) -> set[str]:
    return {gpu.uuid or f"GPU {gpu.index}" for gpu in instance.gpus}
