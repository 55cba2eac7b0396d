"""Idle GPUs: healthy ones that no service of a plan uses, with what would."""

from __future__ import annotations

from collections.abc import Sequence

from rigwright.plan.devices import Device, spans
from rigwright.plan.engines import planner_of
from rigwright.plan.occupants import Occupant
from rigwright.plan.reasons import Reason
from rigwright.plan.service import ServicePlan
from rigwright.plan.wish import ServiceWish


def idle(
    usable: Sequence[Device],
    wishes: Sequence[ServiceWish],
    services: Sequence[ServicePlan],
    occupants: Sequence[Occupant] = (),
) -> tuple[Reason, ...]:
    """One line for all of them; none where the inventory wants the CPU alone."""
    if all(wish.gpu == "none" for wish in wishes):
        return ()
    used = {gpu for service in services for gpu in service.gpus}
    taken = {name for one in occupants for name, _ in one.gpu_bytes}
    free = [
        device
        for device in usable
        if device.ref not in used and not device.is_silent and not {device.gpu.uuid, f"GPU {device.gpu.index}"} & taken
    ]
    if not free:
        return ()
    names = ", ".join(dict.fromkeys(device.name for device in free))
    numbers = spans([str(device.ordinal if device.gpu.index is None else device.gpu.index) for device in free])
    it, verb = ("it", "serves") if len(free) == 1 else ("them", "serve")
    because = f"{names}, healthy, {verb} nothing; another service would use {it}{_copies(usable, wishes, services)}"
    return (Reason(choice=f"IDLE: GPU{'s' if len(free) > 1 else ''} {numbers}", because=because),)


def _copies(usable: Sequence[Device], wishes: Sequence[ServiceWish], services: Sequence[ServicePlan]) -> str:
    """What copies of the only service would do for more users."""
    if len(services) > 1 or not services[0].gpus or wishes[0].gpu != "auto":
        return ""
    mine = services[0]
    most = len(usable) // len(mine.replicas[0].gpus)
    if not planner_of(mine.engine).can_replicate or most <= len(mine.replicas):
        return ""
    return f", and so would replicas: {most} of {mine.service} for more users at a time; one user gains little"
