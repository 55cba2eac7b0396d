"""The JSON answer of `rigwright plan`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field

from rigwright.catalogue.engines import engine_names
from rigwright.plan import service as planned
from rigwright.plan.changes import Change, Mark
from rigwright.plan.memory import MemoryEstimate
from rigwright.plan.reasons import Reason
from rigwright.plan.speed import Confidence
from rigwright.resolve.resolve import Resolved
from rigwright.shown import redacted
from rigwright.view.answers.answer import Answer, Rate, Signed

# Addresses without their secrets: old deploys and locks may hold some.
_Shown = Annotated[str, AfterValidator(redacted)]


class Use(Answer):
    """What a service takes of a GPU."""

    service: str = Field(description="the service")
    part: str = Field(description="weights, KV cache, compute buffers, …")
    bytes: int = Field(description="of this GPU")


class Gpu(Answer):
    """A GPU that a plan could name."""

    index: int | None = Field(description="the driver's index; null where no driver answered")
    uuid: str | None = Field(description="the driver's name of this very card")
    name: str = Field(description="its model")
    vram_bytes: int = Field(description="its memory; the catalogue's where no driver told")
    offered_bytes: int = Field(description="what a plan may use of it: the rest is the driver's and a display's")
    used_bytes: int = Field(description="what all services take")
    overflow_bytes: int = Field(
        description="what they take more than is offered, as flags of the inventory may have it; 0 where all fits"
    )
    uses: tuple[Use, ...] = Field(description="who takes what")
    unused_because: str | None = Field(description="why nothing runs on it; null where something does")


class Ram(Answer):
    """The memory of the rig."""

    bytes: int = Field(description="of the rig")
    offered_bytes: int = Field(description="what services may use")
    used_bytes: int = Field(description="what they take")
    overflow_bytes: int = Field(description="what they take more than is offered; 0 where all fits")


class Layout(planned.Layout, Answer):
    """How one copy is spread over GPUs, and how many copies there are."""

    text: str = Field(description="the same in words")


class Replica(Answer):
    """A running copy."""

    gpus: tuple[int | None, ...] = Field(
        description="the indexes of its GPUs, in the order in which the engine numbers them"
    )
    gpu_uuids: tuple[str | None, ...] = Field(description="the same GPUs by UUID")
    port: int = Field(description="its TCP port")
    environment: dict[str, str] = Field(description="its environment variables")
    argv: tuple[str, ...] = Field(description="the arguments of the engine, without its name")
    cpus: str = Field(description="the CPUs on which it runs, those near its GPUs: 0-15,32-47; empty for all")


class Parts(Answer):
    """What one device or RAM holds."""

    parts: dict[str, int] = Field(description="bytes by part")
    total_bytes: int = Field(description="their sum")


class GpuParts(Answer):
    """What a GPU holds."""

    gpu: int | None = Field(description="its index")
    parts: dict[str, int] = Field(description="bytes by part")
    total_bytes: int = Field(description="their sum")


class Memory(Answer):
    """The memory of one copy."""

    gpus: tuple[GpuParts, ...] = Field(description="each GPU of the first copy")
    ram: Parts = Field(description="what it takes of RAM")


class Speed(Answer):
    """Tokens per second, to a tenth."""

    low: Rate = Field(description="four runs of five are not slower and not faster than low and high")
    expected: Rate = Field(description="tokens per second of one request while it writes")
    high: Rate = Field(description="see low")
    aggregate: Rate | None = Field(description="of all users together")
    prefill: Rate | None = Field(
        validation_alias="prefill_expected", description="tokens per second of a long prompt that is read"
    )
    depth_tokens: int | None = Field(description="tokens of context at which all this holds; null where nobody said")
    full_context: Rate | None = Field(
        description="expected once the context is full; null where that cannot be computed"
    )
    undrafted: Rate | None = Field(description="expected without drafts; null where nothing is drafted ahead")
    confidence: Confidence = Field(description="how sure")
    because: str = Field(description="what it was computed from")


class Flag(Answer):
    """A flag of the engine, with its reason."""

    name: str = Field(description="--ctx-size")
    value: str | None = Field(description="null for a flag that takes none")
    because: str = Field(description="why it has this value")
    source: str | None = Field(description="what a number rests on")


class Alternative(planned.Alternative, Answer):
    """What else was possible."""

    tokens_per_second: Rate | None = Field(description="how fast")


class Service(Answer):
    """One service as it will run."""

    service: str = Field(description="its name")
    engine: str = Field(description="what serves it", json_schema_extra={"enum": [*engine_names()]})
    engine_version: str = Field(description="the release of the engine")
    model: str = Field(description="the model")
    quant: str = Field(description="how its weights are quantised")
    source: str | None = Field(description="where the weights come from, as an inventory says it")
    file_bytes: int | None = Field(description="the size of all its files; null where they could not be read from here")
    loss_percent: Signed | None = Field(
        description="perplexity that quant and KV cache cost over 8 bit; null where nobody measured it"
    )
    layout: Layout = Field(description="how it lies on its GPUs")
    replicas: tuple[Replica, ...] = Field(description="the running copies")
    context_tokens: int = Field(description="tokens of context of each slot")
    slots: int = Field(description="requests served at once by each copy")
    memory: Memory | None = Field(
        description="null where the header of the model could not be read, or its flags place it"
    )
    speed: Speed | None = Field(description="null where it cannot be computed")
    flags: tuple[Flag, ...] = Field(description="the engine's flags in order")
    reasons: tuple[Reason, ...] = Field(description="why this engine, quant and place")
    alternatives: tuple[Alternative, ...] = Field(description="what else was possible, the nearest first")
    modelfile: str | None = Field(description="Ollama's Modelfile")
    in_ram: str | None = Field(
        description="what of the weights stays in RAM beside its GPUs: experts of 24 of 40 layers; null where nothing "
        "does, or all runs on the CPU"
    )
    not_deployed: str | None = Field(description="why no deploy brings this service yet; null where one does")


class Difference(Answer):
    """What a deploy would change."""

    mark: Mark = Field(description="comes, becomes another, goes")
    where: str = Field(description="the service, and what of it")
    old: _Shown = Field(description="the value that it has; empty where there is none")
    new: _Shown = Field(description="the value that it gets; empty where there is none")
    note: _Shown = Field(description="what values cannot say")


class Lock(Answer):
    """How the lock file stands to the plan."""

    file: str = Field(description="its path")
    holds: bool = Field(
        description="true where the plan is the locked one; false where a deploy refuses until --replan"
    )
    changes: tuple[Difference, ...] = Field(
        description="what a new plan would do otherwise where it holds, else what is no longer as it says"
    )


class Plan(Answer):
    """The plan of one rig as `rigwright plan --json` prints it. Unknown is null, never a guess.

    For an inventory: such objects by rig name, and {"error": …} for a rig that has no plan.
    """

    model_config = ConfigDict(title="rigwright plan")

    rig: str = Field(description="the name of the rig, or of the folder of its recording")
    gpus: tuple[Gpu, ...] = Field(description="every GPU that a plan could name, and what takes its memory")
    ram: Ram
    services: tuple[Service, ...] = Field(description="the services in the order of the inventory")
    cost: planned.Cost
    notes: tuple[Reason, ...] = Field(
        description="what the owner of the rig should know: GPUs that lie idle, what was assumed"
    )
    tuning: tuple[Reason, ...] = Field(description="what is asked of the machine itself: governor, swappiness")
    changes: tuple[Difference, ...] | None = Field(
        description="what a deploy would change of what runs on the rig; null where nobody looked"
    )
    lock: Lock | None = Field(description="the lock file that names this rig; null where none does")


def plan_answer(
    rig: str, plan: planned.RigPlan, *, changes: Sequence[Change] | None = None, lock: Lock | None = None
) -> Plan:
    """The plan of one rig."""
    ram_bytes = sum(one.memory.ram_bytes * len(one.replicas) for one in plan.services if one.memory)
    return Plan.of(
        plan,
        rig=rig,
        gpus=[_gpu(budget) for budget in plan.gpus],
        ram=Ram(
            bytes=plan.ram_bytes,
            offered_bytes=plan.offered_ram_bytes,
            used_bytes=ram_bytes,
            overflow_bytes=max(0, ram_bytes - plan.offered_ram_bytes),
        ),
        services=[_service(service) for service in plan.services],
        tuning=[one.reason for one in plan.tuning],
        changes=changes,
        lock=lock,
    )


def lock_answer(file: Path | None, resolved: Resolved) -> Lock | None:
    """How a rig's lock file stands to its plan; None where no lock is about it."""
    if file is None or not (resolved.is_locked or resolved.changes):
        return None
    return Lock.model_validate({"file": str(file), "holds": resolved.is_locked, "changes": resolved.changes})


def _gpu(budget: planned.GpuBudget) -> Gpu:
    uses = [Use(service=service, part=part, bytes=size) for service, part, size in budget.uses]
    return Gpu.of(budget, **dict(budget.gpu), uses=uses)


def _service(plan: planned.ServicePlan) -> Service:
    return Service.of(
        plan,
        source=str(plan.source) if plan.source else None,
        layout=Layout.of(plan.layout, text=str(plan.layout)),
        replicas=[_replica(plan, number) for number in range(len(plan.replicas))],
        memory=_memory(plan.memory, plan.replicas[0].gpus if plan.replicas else ()) if plan.memory else None,
        flags=[Flag.of(flag.reason, name=flag.name, value=flag.value) for flag in plan.flags],
    )


def _replica(plan: planned.ServicePlan, number: int) -> Replica:
    replica = plan.replicas[number]
    return Replica.of(
        replica,
        gpus=[gpu.index for gpu in replica.gpus],
        gpu_uuids=[gpu.uuid for gpu in replica.gpus],
        environment=dict(replica.environment),
        argv=plan.argv_of(number),
    )


def _memory(memory: MemoryEstimate, gpus: Sequence[planned.GpuRef]) -> Memory:
    places = [GpuParts.of(_parts(memory, ordinal), gpu=gpu.index) for ordinal, gpu in enumerate(gpus)]
    return Memory(gpus=tuple(places), ram=_parts(memory, None))


def _parts(memory: MemoryEstimate, device: int | None) -> Parts:
    parts: dict[str, int] = {}
    for part in memory.parts:
        if part.device == device:
            parts[part.name] = parts.get(part.name, 0) + part.size_bytes
    return Parts(parts=parts, total_bytes=sum(parts.values()))
