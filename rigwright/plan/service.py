"""Plans: of a service its engine, place, flags, memory and speed, with reasons; of a rig the sum."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from rigwright.plan.memory import MemoryEstimate
from rigwright.plan.reasons import Reason
from rigwright.plan.source import ModelSource
from rigwright.plan.speed import Speed
from rigwright.strict import Strict

LayoutKind = Literal["cpu", "single", "layers", "tensor", "pipeline"]


class Flag(Strict):
    """One flag of an engine; a bare flag has no value."""

    name: str
    value: str | None = None
    reason: Reason


class GpuRef(Strict):
    """A GPU as a plan names it. `index` is nvidia-smi's, its place and no `uuid` where no driver answered yet."""

    index: int | None
    uuid: str | None
    name: str


class Layout(Strict):
    """How a model lies on its GPUs; `replicas` copies of it serve side by side, each on GPUs of its own.

    `cpu`: none. `single`: one. `layers`: whole layers on each of several, one works at a time. `tensor`: each layer on
    all. `pipeline`: tensor-parallel groups behind each other.
    """

    kind: LayoutKind = Field(description="how one copy is spread")
    tensor_parallel: int = Field(1, description="GPUs that share each layer")
    pipeline_parallel: int = Field(1, description="stages behind each other; for layers the GPUs")
    replicas: int = Field(1, description="copies side by side")
    link: str | None = Field(None, description="what joins the GPUs of one copy: NV4, PHB")

    def __str__(self) -> str:
        words = {"cpu": "CPU", "single": "one GPU", "layers": f"layers over {self.pipeline_parallel} GPUs"}
        one = words.get(self.kind) or f"TP={self.tensor_parallel}"
        one += f"×PP={self.pipeline_parallel}" if self.kind == "pipeline" else ""
        return f"{self.replicas} × {one}" if self.replicas > 1 else one


class Replica(Strict):
    """One running copy: its GPUs in the order in which the engine numbers them, its port, its environment.

    `cpus` are those on which it runs, `0-15,32-47`; empty for all. `device_files` are the render nodes of its GPUs
    where these are AMD's; empty for others.
    """

    gpus: tuple[GpuRef, ...]
    port: int
    environment: tuple[tuple[str, str], ...] = ()
    cpus: str = ""
    device_files: tuple[str, ...] = ()

    @model_serializer(mode="wrap")
    def _serialized(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what is empty and later than records of the version before, which so stay as they are."""
        found: dict[str, Any] = handler(self)
        return found if self.device_files else {key: value for key, value in found.items() if key != "device_files"}


def between_label(rigs: int, gbits_per_second: float) -> str:
    """So many rigs, and what the network between them carries."""
    return f"{rigs} rigs, {gbits_per_second:g} Gbit/s between them"


class ClusterMember(Strict):
    """A rig of a cluster: its name, its address in the private network, the interface that has it."""

    rig: str
    address: str
    interface: str


class ClusterPart(Strict):
    """A rig's part in a service that several serve together: which of them it is, the first one answers requests.

    `port` is where the others meet the first, `gbits_per_second` what the network between them carries.
    """

    name: str
    rank: int
    members: tuple[ClusterMember, ...]
    port: int
    gbits_per_second: float
    has_rdma: bool = False

    @property
    def head(self) -> ClusterMember:
        """The rig that answers requests."""
        return self.members[0]

    @property
    def network(self) -> str:
        """`2 rigs, 10 Gbit/s between them`, as the reason of a plan that says what that costs begins too."""
        return between_label(len(self.members), self.gbits_per_second)

    @property
    def own(self) -> ClusterMember:
        """This rig."""
        return self.members[self.rank]


class Alternative(Strict):
    """What else was possible, and why it lost. `why_not` says what it would have been worse at, or what refused it."""

    engine: str = Field(description="what would serve it")
    layout: str = Field(description="where")
    quant: str = Field(description="which quant")
    context_tokens: int | None = Field(None, description="with how much context")
    tokens_per_second: float | None = Field(None, description="how fast")
    why_not: str = Field(description="what it would be worse at, or what refused it")


class ServicePlan(Strict):
    """One service as it will run. `context_tokens` is for each slot; memory is that of one replica.

    `loss_percent` is the perplexity that quant and KV cache cost, over 8 bit; None where nobody measured it.
    `in_ram` says what of the weights stays in RAM beside its GPUs, `not_deployed` why no deploy brings it. `cluster` is
    this rig's part where several serve it together: then replicas, memory and flags are those of this rig.
    """

    service: str
    engine: str
    engine_version: str
    model: str
    quant: str
    source: ModelSource | None
    file_bytes: int | None
    loss_percent: float | None = None
    layout: Layout
    replicas: tuple[Replica, ...]
    device: str
    context_tokens: int
    slots: int
    flags: tuple[Flag, ...]
    memory: MemoryEstimate | None
    speed: Speed | None = None
    reasons: tuple[Reason, ...] = ()
    alternatives: tuple[Alternative, ...] = ()
    # Ollama alone: the text from which the model is made.
    modelfile: str | None = None
    in_ram: str | None = None
    not_deployed: str | None = None
    cluster: ClusterPart | None = None

    @model_serializer(mode="wrap")
    def _serialized(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without a cluster where it is in none: records of the version before stay as they are."""
        found: dict[str, Any] = handler(self)
        return found if self.cluster else {key: value for key, value in found.items() if key != "cluster"}

    @property
    def gpus(self) -> tuple[GpuRef, ...]:
        """The GPUs of all replicas."""
        return tuple(gpu for replica in self.replicas for gpu in replica.gpus)

    @property
    def uses_gpu(self) -> bool:
        """True when a part of it is on a GPU."""
        return bool(self.gpus)

    @property
    def environment(self) -> tuple[tuple[str, str], ...]:
        """The environment of the first replica."""
        return self.replicas[0].environment

    @property
    def argv(self) -> tuple[str, ...]:
        """The arguments of the engine, without its name; those of the first replica."""
        return self.argv_of(0)

    def flags_of(self, number: int) -> tuple[Flag, ...]:
        """The flags of a replica: each listens on a port of its own."""
        port = str(self.replicas[number].port)
        if not number:
            return self.flags
        own = {"value": port}
        return tuple(flag.model_copy(update=own) if flag.name == "--port" else flag for flag in self.flags)

    def argv_of(self, number: int) -> tuple[str, ...]:
        """The arguments of a replica."""
        return tuple(word for flag in self.flags_of(number) for word in (flag.name, flag.value) if word is not None)


class GpuBudget(Strict):
    """One GPU of the rig: what it has, what a plan may use of it, and what each service takes of it by part."""

    gpu: GpuRef
    vram_bytes: int
    offered_bytes: int
    uses: tuple[tuple[str, str, int], ...] = ()
    unused_because: str | None = None

    @property
    def used_bytes(self) -> int:
        """What all services take."""
        return sum(size for _, _, size in self.uses)

    @property
    def overflow_bytes(self) -> int:
        """What they take more than there is, as the inventory's own flags may have it; 0 where all fits."""
        return max(0, self.used_bytes - self.offered_bytes) if self.uses else 0


class Cost(Strict):
    """What it takes to get from a blank machine to the plan; what is there already is not done again."""

    download_bytes: int = Field(description="weights that the rig fetches")
    disk_bytes: int = Field(description="what it takes of the disk")
    builds: tuple[str, ...] = Field((), description="what is built or installed")
    reboot: str | None = Field(None, description="why the rig restarts; null where it does not")
    downtime: str | None = Field(None, description="when a service that runs now is interrupted; null where none is")


class Tuning(Strict):
    """What a plan asks of the machine itself, not of a service: `governor` `performance`, `swappiness` `10`."""

    name: str
    value: str
    reason: Reason


class RigPlan(Strict):
    """The plan of a whole rig. `notes` are what its owner should know: GPUs that lie idle, what was assumed."""

    services: tuple[ServicePlan, ...]
    gpus: tuple[GpuBudget, ...]
    ram_bytes: int
    offered_ram_bytes: int
    cost: Cost
    notes: tuple[Reason, ...] = ()
    tuning: tuple[Tuning, ...] = ()
