"""The memory budget of each GPU, and the notes of a plan for the owner of the rig."""

from __future__ import annotations

from collections.abc import Sequence

from rigwright.hardware.values import Hardware
from rigwright.plan.devices import Device, idle_gpus, why_unused
from rigwright.plan.reasons import Reason
from rigwright.plan.service import GpuBudget, GpuRef, ServicePlan
from rigwright.plan.wish import ServiceWish


def budgets(hardware: Hardware, usable: Sequence[Device], services: Sequence[ServicePlan]) -> tuple[GpuBudget, ...]:
    """Every GPU of the rig: its size, what each service takes of it by part, or why it lies idle."""
    by_ordinal = {device.ordinal: device for device in usable}
    budgets = []
    for ordinal, gpu in enumerate(hardware.gpus):
        device = by_ordinal.get(ordinal)
        ref = (
            device.ref
            if device
            else GpuRef(index=gpu.index, uuid=gpu.uuid, name=gpu.name or gpu.pci_id or "unknown GPU")
        )
        uses = tuple(
            (service.service, part.name, part.size_bytes)
            for service in services
            for replica in service.replicas
            for position, used in enumerate(replica.gpus)
            if used == ref and service.memory
            for part in service.memory.parts
            if part.device == position
        )
        budgets.append(
            GpuBudget(
                gpu=ref,
                vram_bytes=device.vram_bytes if device else gpu.vram_bytes or 0,
                offered_bytes=device.offered_bytes if device else 0,
                uses=uses,
                unused_because=None if device else why_unused(gpu),
            )
        )
    return tuple(budgets)


def notes(hardware: Hardware, wishes: Sequence[ServiceWish], usable: tuple[Device, ...]) -> tuple[Reason, ...]:
    """GPUs that lie idle, and what was assumed."""
    silent = () if all(wish.gpu == "none" for wish in wishes) else idle_gpus(hardware, usable)
    foreign = [one.label for one in usable if one.gpu.vendor in ("AMD", "Apple")]
    is_cpu_alone = all(wish.gpu == "none" for wish in wishes)
    assumed = () if is_cpu_alone else (one for one in usable if one.is_assumed)
    unsized = [one.label for one in assumed if one.gpu.vendor not in ("AMD", "Apple")]
    lines = [*silent]
    if foreign:
        because = f"this version deploys to NVIDIA GPUs and CPUs on Linux; what follows is for {', '.join(foreign)}"
        lines.append(Reason(choice="NOT DEPLOYED", because=because))
    if unsized:
        because = f"no driver has told the memory of {', '.join(unsized)}: 96 % of what their model has are assumed"
        lines.append(Reason(choice="a preview", because=because))
    if in_ram := [one.label for one in usable if one.is_in_ram]:
        because = f"{', '.join(in_ram)} may have what its bar offers of the machine's memory; the rest is RAM"
        lines.append(Reason(choice="one memory", because=because))
    if not hardware.ram_bytes:
        lines.append(Reason(choice="RAM 16 GiB", because="the recording does not say; name it with --ram"))
    return tuple(lines)
