"""The memory budget of each GPU, and the notes of a plan for the owner of the rig."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rigwright.hardware.failures import driver_failure
from rigwright.hardware.values import Hardware
from rigwright.plan.devices import NO_GPU, Device, gpu_labels, idle_gpus, why_unused
from rigwright.plan.reasons import Reason
from rigwright.plan.service import GpuBudget, GpuRef, ServicePlan
from rigwright.plan.unified import limit_of
from rigwright.plan.wish import ServiceWish
from rigwright.units import format_bytes

DRIVER_FAILS, NOT_DEPLOYED, OVERFLOWS = "THE DRIVER FAILS", "NOT DEPLOYED", "LIKELY TO RUN OUT OF MEMORY"
DRIVER_FIRST, A_DEPLOY_REFUSES = "DRIVER FIRST", "A DEPLOY REFUSES"
# What an owner must not overlook, by the beginning of its note.
GRAVE = (DRIVER_FAILS, DRIVER_FIRST, A_DEPLOY_REFUSES, "A GPU FAILS", NO_GPU, NOT_DEPLOYED, OVERFLOWS)


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


def notes(
    hardware: Hardware, wishes: Sequence[ServiceWish], usable: tuple[Device, ...], services: Sequence[ServicePlan]
) -> tuple[Reason, ...]:
    """A driver that fails, what is not deployed, GPUs that cannot serve, and what was assumed."""
    silent = () if all(wish.gpu == "none" for wish in wishes) else idle_gpus(hardware, usable)
    served = {gpu for service in services if not service.not_deployed for gpu in service.gpus}
    foreign = [one for one in usable if one.gpu.vendor in ("AMD", "Apple") and one.ref not in served]
    is_cpu_alone = all(wish.gpu == "none" for wish in wishes)
    assumed = () if is_cpu_alone else (one for one in usable if one.is_assumed)
    unsized = [one for one in assumed if one.gpu.vendor not in ("AMD", "Apple")]
    lines = [*_driver(hardware), *(() if is_cpu_alone else _driver_first(hardware, usable)), *silent]
    if hardware.gpu_count is None and not hardware.gpus and not is_cpu_alone:
        because = (
            "nothing that was read says which GPUs there are: this is a plan for the CPU; record the machine with "
        )
        lines.append(
            Reason(choice=NO_GPU, because=because + "`rigwright hardware --record`, or name its GPUs with --gpu")
        )
    planned = {service.service: service.not_deployed for service in services if service.not_deployed}
    for why in dict.fromkeys(planned.values()):
        names = ", ".join(name for name, other in planned.items() if other == why)
        lines.append(Reason(choice=f"{NOT_DEPLOYED} yet", because=f"{names}: {why}"))
    if foreign and not planned and not served:
        because = f"deploys are to GPUs of NVIDIA's and AMD's and to CPUs, on Linux; this is for {gpu_labels(foreign)}"
        lines.append(Reason(choice=NOT_DEPLOYED, because=because))
    if unsized:
        because = f"no driver has told the memory of {gpu_labels(unsized)}: 96 % of what their model has are assumed"
        lines.append(Reason(choice="a preview", because=because))
    if in_ram := [one for one in usable if one.is_in_ram]:
        because = f"{gpu_labels(in_ram)} may have what its bar offers of the machine's memory; the rest is RAM"
        if more := limit_of(hardware, in_ram):
            because += f"; {more}"
        lines.append(Reason(choice="one memory", because=because))
    if kept := [one for one in usable if one.gpu.reserve_bytes]:
        sizes = ", ".join(f"{format_bytes(one.gpu.reserve_bytes or 0)} of GPU {one.gpu.index}" for one in kept)
        lines.append(Reason(choice="reserved", because=f"{sizes} stay free, as rig.reserve says"))
    if not hardware.ram_bytes:
        lines.append(Reason(choice="RAM 16 GiB", because="the recording does not say; name it with --ram"))
    return tuple(lines)


def _driver(hardware: Hardware) -> Iterator[Reason]:
    """What the driver says instead of a list, with its remedy."""
    if problem := driver_failure(hardware):
        yield Reason(choice=DRIVER_FAILS, because=f"{problem.what}; {problem.do}")


def _driver_first(hardware: Hardware, usable: Sequence[Device]) -> Iterator[Reason]:
    """That the GPUs which this plan counts on have no driver yet, and which it would be."""
    if not any(device.is_silent and device.gpu.vendor == "NVIDIA" for device in usable):
        return
    from rigwright.plan.driver import plan_driver  # most plans need none

    plan = plan_driver(hardware)
    if plan.verdict == "refuse":
        because = f"{plan.problems[0].what}; {plan.problems[0].do}"
    else:
        because = f"{plan.driver.branch}, {plan.driver.modules} modules; deploys/nvidia.py brings it"
    yield Reason(choice=DRIVER_FIRST, because=because)


def overflows(gpus: Sequence[GpuBudget], services: Sequence[ServicePlan], offered_ram_bytes: int) -> tuple[Reason, ...]:
    """GPUs and RAM of which the plan takes more than they offer, as the inventory's own flags may do."""
    full = [(f"GPU {gpu.gpu.index}", gpu.used_bytes, gpu.offered_bytes) for gpu in gpus]
    ram_bytes = sum(one.memory.ram_bytes * len(one.replicas) for one in services if one.memory)
    lines = []
    for place, used, offered in (*full, ("RAM", ram_bytes, offered_ram_bytes)):
        if used > offered:
            because = (
                f"{place}: {format_bytes(used)} are needed, {format_bytes(offered)} are offered; "
                "change the flags, or drop them and let the plan choose"
            )
            lines.append(Reason(choice=OVERFLOWS, because=because))
    return tuple(lines)
