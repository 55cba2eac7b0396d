"""The values of a lock file, and their conversion from plans and back."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator

from rigwright.catalogue.engines import engine_names
from rigwright.hardware.values import Gpu, Hardware
from rigwright.plan.engines import settings_models
from rigwright.plan.service import Flag, Layout, Replica, ServicePlan
from rigwright.plan.source import ModelSource
from rigwright.plan.wish import ServiceWish
from rigwright.strict import Line, Strict, first_mistake
from rigwright.units import GIB, MIB

# Neither decides what runs; the path of the keys is nobody's business.
_NOT_PINNED = frozenset(("name", "model", "api_key_file", "start_timeout_seconds", "drain_seconds", "watch_seconds"))
# A lock file comes in pull requests: its texts become lines of units, arguments of git and names of files, so that
# they are held to what an inventory may say. What makes the dynamic linker or an interpreter load code is not among it.
_VARIABLE = re.compile(r"(?!LD_|GLIBC_|GCONV_|PYTHON|PERL|BASH_)[A-Z][A-Z0-9]*_[A-Z0-9_]+")


def _variable(name: str) -> str:
    if not _VARIABLE.fullmatch(name):
        raise ValueError(f"{name[:80]!r} is no variable that a plan would set")
    return name


Variable = Annotated[str, AfterValidator(_variable)]
Words = Annotated[Line, Field(pattern=r"^(?:--?[A-Za-z0-9][A-Za-z0-9_.-]*(?: .*)?|[A-Za-z0-9/][A-Za-z0-9_./@: -]*)$")]
Name = Annotated[Line, Field(min_length=1)]


class PinnedGpu(Strict):
    """A GPU by what tells it from others; `uuid` is None where the rig's GPUs have none of their own."""

    index: int | None = None
    name: Line
    uuid: Line | None = None
    vram_mib: int

    def __str__(self) -> str:
        return f"GPU {self.index} ({self.name}{', ' + self.uuid if self.uuid else ''})"


class PinnedHardware(Strict):
    """The parts of a rig on which a plan stands. CPU and driver are told, not compared."""

    gpus: tuple[PinnedGpu, ...] = ()
    links: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    ram_gib: int
    cores: int | None = None
    cpu: str = ""
    driver: str | None = None


class PinnedFile(Strict):
    """One file: its path in the repository, or its name."""

    name: Name
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    size_bytes: int | None = None


class PinnedModel(Strict):
    """The files of a model, the first one first; `repo` and `revision`, a commit, where a hub has them."""

    name: Line
    quant: Line = ""
    repo: Line | None = None
    revision: Line | None = None
    files: tuple[PinnedFile, ...]

    @model_validator(mode="after")
    def _as_in_an_inventory(self) -> Self:
        repo = {"repo": self.repo, "revision": self.revision or "main"} if self.repo else {}
        for file in self.files:
            try:
                ModelSource.model_validate({**repo, "file" if repo else "path": file.name}, context="a lock")
            except ValidationError as error:
                raise first_mistake(error) from None
        return self


class PinnedReplica(Strict):
    """One running copy: its GPUs by UUID, or by index where they have none, in the engine's order."""

    gpus: tuple[Line, ...]
    port: Annotated[int, Field(ge=1, le=65535)]
    environment: dict[Variable, Line] = Field(default_factory=dict)


class PinnedService(Strict):
    """One service. `wish` shows what was asked for, without secrets; `wish_digest` is over all of it."""

    wish: dict[str, Any]
    wish_digest: str
    engine: Name
    engine_version: Line
    model: PinnedModel
    draft_model: PinnedModel | None = None
    layout: Layout
    replicas: Annotated[tuple[PinnedReplica, ...], Field(min_length=1)]
    device: Line
    context_tokens: int
    slots: int
    flags: tuple[Words, ...]
    memory_mib: dict[str, int] | None = None
    tokens_per_second: float | None = None
    modelfile: str | None = None

    @field_validator("engine")
    @classmethod
    def _known_engine(cls, engine: str) -> str:
        if engine not in engine_names():
            raise ValueError(f"{engine!r} is no engine; known are {', '.join(engine_names())}")
        return engine


class LockedRig(Strict):
    """One rig. `settings` are the inventory's own words on builds and paths; `builds` is by engine what is built.

    Version 1 of the file knew one engine: its `build` is read as that of llama.cpp.
    """

    hardware: PinnedHardware
    settings: dict[str, Any] = Field(default_factory=dict)
    builds: dict[str, dict[str, Any]] = Field(default_factory=dict)
    services: dict[str, PinnedService]

    @model_validator(mode="before")
    @classmethod
    def _version_1(cls, data: Any) -> Any:
        if not isinstance(data, dict) or "build" not in data:
            return data
        rest = {key: value for key, value in data.items() if key != "build"}
        return rest | ({"builds": {"llamacpp": data["build"]}} if data["build"] else {})

    @model_validator(mode="after")
    def _builds_as_in_an_inventory(self) -> Self:
        for engine, build in self.builds.items():
            try:
                if engine in settings_models():
                    settings_models()[engine].check_source(build)
            except ValidationError as error:
                raise first_mistake(error) from None
        return self


def pin_hardware(hardware: Hardware) -> PinnedHardware:
    """The rig's identity."""
    uuids = [gpu.uuid for gpu in hardware.gpus]
    has_own = len(set(uuids)) == len(uuids)
    links: dict[str, list[str]] = {}
    for link in sorted(hardware.links, key=lambda one: (one.first, one.second)):
        if link.kind:
            links.setdefault(link.kind, []).append(f"{link.first}-{link.second}")
    return PinnedHardware(
        gpus=tuple(_pin_gpu(gpu, has_own=has_own) for gpu in hardware.gpus if answers(gpu)),
        links={kind: tuple(links[kind]) for kind in sorted(links)},
        ram_gib=round(hardware.ram_bytes / GIB),
        cores=hardware.cpu.physical_cores,
        cpu=hardware.cpu.model,
        driver=hardware.driver_version,
    )


def answers(gpu: Gpu) -> bool:
    """False for a GPU that is on the bus and silent."""
    return gpu.state not in ("lost", "error")


def _pin_gpu(gpu: Gpu, *, has_own: bool) -> PinnedGpu:
    name, uuid = gpu.name or gpu.pci_id or "unknown GPU", gpu.uuid if has_own else None
    return PinnedGpu(index=gpu.index, name=name, uuid=uuid, vram_mib=(gpu.vram_bytes or 0) // MIB)


def pin_service(
    wish: ServiceWish,
    plan: ServicePlan,
    files: Sequence[PinnedFile],
    *,
    version: str | None = None,
    draft_model: PinnedModel | None = None,
) -> PinnedService:
    """A planned service; `version` is what is really built where the inventory names its own release."""
    source = plan.source or ModelSource(path=plan.model)
    has_own = len({gpu.uuid for gpu in plan.gpus}) == len(plan.gpus)
    return PinnedService(
        wish=essentials(wish),
        wish_digest=wish_digest(wish),
        engine=plan.engine,
        engine_version=version or plan.engine_version,
        model=PinnedModel(
            name=plan.model,
            quant=plan.quant,
            repo=source.repo,
            revision=source.revision if source.repo else None,
            files=tuple(files),
        ),
        draft_model=draft_model,
        layout=plan.layout,
        replicas=tuple(_pin_replica(replica, has_own=has_own) for replica in plan.replicas),
        device=plan.device,
        context_tokens=plan.context_tokens,
        slots=plan.slots,
        flags=tuple(_words(flag) for flag in plan.flags),
        memory_mib=_pin_memory(plan),
        tokens_per_second=round(plan.speed.expected, 1) if plan.speed else None,
        modelfile=plan.modelfile,
    )


def _pin_replica(replica: Replica, *, has_own: bool) -> PinnedReplica:
    return PinnedReplica(
        gpus=tuple((has_own and gpu.uuid) or f"GPU {gpu.index}" for gpu in replica.gpus),
        port=replica.port,
        environment=dict(replica.environment),
    )


def _words(flag: Flag) -> str:
    return flag.name if flag.value is None else f"{flag.name} {flag.value}"


def _pin_memory(plan: ServicePlan) -> dict[str, int] | None:
    """MiB on each of one copy's GPUs, in their order, and in RAM."""
    if plan.memory is None:
        return None
    places = {f"GPU {gpu.index}": place for place, gpu in enumerate(plan.gpus) if place < len(plan.replicas[0].gpus)}
    sums = {name: plan.memory.on(place) for name, place in [*places.items(), ("RAM", None)]}
    return {name: -(-size // MIB) for name, size in sums.items()}


def essentials(wish: ServiceWish) -> dict[str, Any]:
    """What a wish says beyond the defaults, as a person may read it: no path of keys, no query of an address."""
    said = wish.model_dump(mode="json", exclude_defaults=True)
    shown = {key: value for key, value in sorted(said.items()) if key not in _NOT_PINNED}
    keys = {"has_api_key": True} if wish.api_key_file else {}
    drafts = {"draft_model": str(wish.draft_model)} if wish.draft_model else {}
    return {"model": str(wish.model), **shown, **drafts, **keys}


def wish_digest(wish: ServiceWish) -> str:
    """Over all that decides what runs. A key at its default is left out, so that new keys change no old digest."""
    said = wish.model_dump(mode="json", exclude_defaults=True, exclude=set(_NOT_PINNED) - {"model"})
    return digest({**said, "has_api_key": bool(wish.api_key_file)})


def digest(value: object) -> str:
    """Sixteen hex digits over plain data."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
