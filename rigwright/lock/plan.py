"""The plan that a lock holds, from its entry back."""

from __future__ import annotations

from collections.abc import Sequence

from rigwright.lock.values import PinnedService
from rigwright.plan.memory import MemoryEstimate
from rigwright.plan.reasons import Reason
from rigwright.plan.service import Flag, GpuRef, Replica, ServicePlan
from rigwright.plan.source import ModelSource
from rigwright.plan.speed import Speed
from rigwright.plan.spill import in_ram_by_flags
from rigwright.units import MIB

_BECAUSE = Reason(choice="the lock file", because="pinned")


def plan_of(name: str, pinned: PinnedService, gpus: Sequence[GpuRef], *, source: ModelSource) -> ServicePlan:
    """The plan that a lock holds, to be deployed as it is."""
    by_name, flags = {gpu.uuid or f"GPU {gpu.index}": gpu for gpu in gpus}, tuple(map(_flag, pinned.flags))
    memory, estimate = pinned.memory_mib, MemoryEstimate(parts=())
    for place, (where, mib) in enumerate((memory or {}).items()):
        estimate = estimate.with_part("pinned", None if where == "RAM" else place, mib * MIB)
    rate = pinned.tokens_per_second
    return ServicePlan(
        service=name,
        engine=pinned.engine,
        engine_version=pinned.engine_version,
        model=pinned.model.name,
        quant=pinned.model.quant,
        source=source,
        file_bytes=sum(file.size_bytes or 0 for file in pinned.model.files) or None,
        layout=pinned.layout,
        replicas=tuple(
            Replica(
                gpus=tuple(by_name.get(gpu) or GpuRef(index=None, uuid=gpu, name="GPU") for gpu in replica.gpus),
                port=replica.port,
                environment=tuple(replica.environment.items()),
            )
            for replica in pinned.replicas
        ),
        device=pinned.device,
        context_tokens=pinned.context_tokens,
        slots=pinned.slots,
        flags=flags,
        memory=estimate if memory else None,
        speed=None
        if rate is None
        else Speed(low=rate, expected=rate, high=rate, confidence="medium", because="as the lock file says"),
        reasons=(_BECAUSE,),
        modelfile=pinned.modelfile,
        in_ram=in_ram_by_flags((flag.name, flag.value) for flag in flags),
    )


def _flag(words: str) -> Flag:
    name, found, value = words.partition(" ")
    return Flag(name=name, value=value if found else None, reason=_BECAUSE)
