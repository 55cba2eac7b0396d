"""The JSON contract of `rigwright plan`: one rig's plan as plain values; docs/plan.schema.json says what each is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rigwright.plan.changes import Change
from rigwright.plan.memory import MemoryEstimate
from rigwright.plan.reasons import Reason
from rigwright.plan.service import Alternative, Flag, GpuBudget, GpuRef, Layout, Replica, RigPlan, ServicePlan
from rigwright.plan.speed import Speed

Json = dict[str, Any]


def report(rig: str, plan: RigPlan, *, changes: Sequence[Change] | None = None) -> Json:
    """One rig, ready for `json.dumps`. Unknown is None, never a guess."""
    return {
        "rig": rig,
        "gpus": [_gpu(budget) for budget in plan.gpus],
        "ram": {
            "bytes": plan.ram_bytes,
            "offered_bytes": plan.offered_ram_bytes,
            "used_bytes": sum(_ram_bytes(service) for service in plan.services),
        },
        "services": [_service(service) for service in plan.services],
        "cost": {
            "download_bytes": plan.cost.download_bytes,
            "disk_bytes": plan.cost.disk_bytes,
            "builds": list(plan.cost.builds),
            "reboot": plan.cost.reboot,
            "downtime": plan.cost.downtime,
        },
        "notes": [_reason(note) for note in plan.notes],
        "changes": None if changes is None else [change._asdict() for change in changes],
    }


def _ram_bytes(service: ServicePlan) -> int:
    return service.memory.ram_bytes * len(service.replicas) if service.memory else 0


def _gpu(budget: GpuBudget) -> Json:
    return {
        "index": budget.gpu.index,
        "uuid": budget.gpu.uuid,
        "name": budget.gpu.name,
        "vram_bytes": budget.vram_bytes,
        "offered_bytes": budget.offered_bytes,
        "used_bytes": budget.used_bytes,
        "uses": [{"service": service, "part": part, "bytes": size} for service, part, size in budget.uses],
        "unused_because": budget.unused_because,
    }


def _service(service: ServicePlan) -> Json:
    return {
        "service": service.service,
        "engine": service.engine,
        "engine_version": service.engine_version,
        "model": service.model,
        "quant": service.quant,
        "source": str(service.source) if service.source else None,
        "file_bytes": service.file_bytes,
        "loss_percent": service.loss_percent,
        "layout": _layout(service.layout),
        "replicas": [_replica(service, replica) for replica in service.replicas],
        "context_tokens": service.context_tokens,
        "slots": service.slots,
        "memory": _memory(service.memory, service.replicas[0].gpus if service.replicas else ()),
        "speed": speed_of(service.speed),
        "flags": [_flag(flag) for flag in service.flags],
        "reasons": [_reason(reason) for reason in service.reasons],
        "alternatives": [_alternative(other) for other in service.alternatives],
        "modelfile": service.modelfile,
    }


def _layout(layout: Layout) -> Json:
    return {
        "kind": layout.kind,
        "tensor_parallel": layout.tensor_parallel,
        "pipeline_parallel": layout.pipeline_parallel,
        "replicas": layout.replicas,
        "link": layout.link,
        "text": str(layout),
    }


def _replica(service: ServicePlan, replica: Replica) -> Json:
    return {
        "gpus": [gpu.index for gpu in replica.gpus],
        "gpu_uuids": [gpu.uuid for gpu in replica.gpus],
        "port": replica.port,
        "environment": dict(replica.environment),
        "argv": list(service.argv_of(service.replicas.index(replica))),
    }


def _memory(memory: MemoryEstimate | None, gpus: tuple[GpuRef, ...]) -> Json | None:
    if memory is None:
        return None
    return {
        "gpus": [{"gpu": gpu.index, **_place(memory, ordinal)} for ordinal, gpu in enumerate(gpus)],
        "ram": _place(memory, None),
    }


def _place(memory: MemoryEstimate, device: int | None) -> Json:
    parts: dict[str, int] = {}
    for part in memory.parts:
        if part.device == device:
            parts[part.name] = parts.get(part.name, 0) + part.size_bytes
    return {"parts": parts, "total_bytes": sum(parts.values())}


def speed_of(speed: Speed | None) -> Json | None:
    """Tokens per second, to a tenth."""
    if speed is None:
        return None
    return {
        "low": round(speed.low, 1),
        "expected": round(speed.expected, 1),
        "high": round(speed.high, 1),
        "aggregate": _rounded(speed.aggregate),
        "prefill": _rounded(speed.prefill_expected),
        "confidence": speed.confidence,
        "because": speed.because,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _flag(flag: Flag) -> Json:
    return {"name": flag.name, "value": flag.value, "because": flag.reason.because, "source": flag.reason.source}


def _reason(reason: Reason) -> Json:
    return {"choice": reason.choice, "because": reason.because, "source": reason.source}


def _alternative(other: Alternative) -> Json:
    return {
        "engine": other.engine,
        "layout": other.layout,
        "quant": other.quant,
        "context_tokens": other.context_tokens,
        "tokens_per_second": _rounded(other.tokens_per_second),
        "why_not": other.why_not,
    }
