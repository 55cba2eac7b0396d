"""The plan of a rig: from what it has and what is wished to what runs where, with which flags, and why. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import NamedTuple

from rigwright import catalogue
from rigwright.errors import DoesNotFit, WrongSpec
from rigwright.hardware.values import Hardware
from rigwright.models.ggml import TYPES_BY_NAME
from rigwright.models.offers import Offer
from rigwright.plan.alternatives import alternatives
from rigwright.plan.blind import blind_candidate, is_blind
from rigwright.plan.candidates import possibilities, reckoned
from rigwright.plan.choice import Choice
from rigwright.plan.cost import cost_of
from rigwright.plan.devices import Device, devices, gpu_label, host_of, idle_gpus, ram_of, why_unused
from rigwright.plan.engines import llamacpp, ollama, vllm
from rigwright.plan.engines.llamacpp_capabilities import Capabilities, pinned_capabilities
from rigwright.plan.engines.llamacpp_overrides import Overrides
from rigwright.plan.engines.rendered import Rendered, Surroundings
from rigwright.plan.explain import place_label, reasons
from rigwright.plan.known_bad import known_bad
from rigwright.plan.layouts import Site, Topology
from rigwright.plan.measured import Measurement
from rigwright.plan.reasons import Reason
from rigwright.plan.refusal import does_not_fit, no_room_beside
from rigwright.plan.search import Budget, choose
from rigwright.plan.service import GpuBudget, GpuRef, Replica, RigPlan, ServicePlan
from rigwright.plan.ways import Candidate, Ground, Possibilities, situation
from rigwright.plan.wish import ModelSource, ServiceWish
from rigwright.units import MIB

PROMPT_CACHE = "prompt cache"
_MAX_CACHE_MIB, _CACHE_STEP_MIB = 8192, 256


class Request(NamedTuple):
    """One service to plan: its wish, and the files that could serve it; `api_key_path` is a path on the rig."""

    wish: ServiceWish
    offers: tuple[Offer, ...]
    api_key_path: str | None = None
    weights_directory: str = "/var/lib/rigwright/models"


def plan_rig(
    hardware: Hardware,
    requests: Sequence[Request],
    *,
    is_preview: bool = False,
    measurements: Sequence[Measurement] = (),
    alternatives_count: int = 3,
    capabilities: Capabilities | None = None,
) -> RigPlan:
    """Plans all services of one rig together.

    Args:
        is_preview: Also counts GPUs whose driver is still to come, AMD's and Apple's, as no deploy does yet.
        measurements: What this rig or the same card really reached; it beats the formula.
        alternatives_count: How many other ways each service tells of.
        capabilities: The flags that the built llama-server knows; by default those of the pinned release.

    Raises:
        DoesNotFit: a service does not fit, alone or beside the others.
        WrongSpec: a wish contradicts its model.
    """
    if any(request.wish.model.name == "auto" for request in requests):
        from rigwright.plan.recommend import settle_auto  # it plans each model of the catalogue with this function

        requests = settle_auto(hardware, requests, is_preview=is_preview)
    usable = devices(hardware, is_preview=is_preview)
    total_ram, ram_bytes = ram_of(hardware)
    ground = Ground(
        topology=Topology.of(hardware, usable),
        ram_bytes=_ram_beside(usable, total_ram, ram_bytes),
        host=host_of(hardware),
        driver_version=hardware.driver_version,
        measurements=tuple(measurements),
        versions=engine_versions(),
        is_shared=len(requests) > 1,
    )
    budget = Budget({device.ordinal: device.offered_bytes for device in usable}, ground.ram_bytes)
    found = [_ways(hardware, request, ground, usable) for request in requests]
    chosen = choose([each.candidates for each in found], budget)
    if chosen is None:
        raise _refused(requests, found, ground, budget)
    known = capabilities or pinned_capabilities()
    services = []
    left = ground.ram_bytes - sum(candidate.ram_bytes for candidate in chosen)
    for request, candidate, ways in zip(requests, chosen, found, strict=True):
        choice = reckoned(candidate)
        if choice.engine == "llamacpp":
            choice = _with_prompt_cache(choice, left)
            left -= choice.cache_mib * MIB
        told = alternatives(candidate, ways, count=alternatives_count)
        because = reasons(candidate, ways) + _warnings(candidate, ground)
        services.append(_service(request, choice, hardware, known).model_copy(
            update={"alternatives": told, "reasons": because + _service_notes(choice)}
        ))  # fmt: skip
    return RigPlan(
        services=tuple(services),
        gpus=_budgets(hardware, usable, services),
        ram_bytes=total_ram,
        offered_ram_bytes=ground.ram_bytes,
        cost=cost_of(hardware, services, is_preview=is_preview),
        notes=_notes(hardware, requests, usable),
    )


def _warnings(candidate: Candidate, ground: Ground) -> tuple[Reason, ...]:
    """What is known to work at a price."""
    choice = candidate.choice
    if choice.offer.model is None:
        return ()
    site = Site(choice.layout, choice.replicas)
    found = known_bad(situation(choice.wish, choice.offer, ground, site, engine=choice.engine, load=choice.load))
    return tuple(Reason(choice="known trouble", because=str(trouble)) for trouble in found)


@cache
def engine_versions() -> tuple[tuple[str, str], ...]:
    """The pinned release of each engine."""
    return tuple((name, str(row.get("version", row.get("ref")))) for name, row in catalogue.load("engines").items())


def _ram_beside(usable: Sequence[Device], total: int, offered: int) -> int:
    """Apple's GPU takes its memory from RAM: what it may have is not there twice."""
    unified = sum(device.offered_bytes for device in usable if device.pace.backend == "metal")
    return max(0, min(offered, total - unified))


def _ways(hardware: Hardware, request: Request, ground: Ground, usable: tuple[Device, ...]) -> Possibilities:
    wish = request.wish
    allowed = _allowed(hardware, wish, usable)
    if allowed != usable:
        ground = ground._replace(topology=Topology.of(hardware, allowed))
    overrides = Overrides.of(wish)
    if is_blind(request.offers, overrides, allowed, wish):
        return Possibilities([blind_candidate(wish, request.offers[0], allowed, overrides)])
    offers = [offer for offer in request.offers if not wish.quants or offer.quant in wish.quants]
    fitting = [offer for offer in offers if not _contradiction(wish, offer, overrides)]
    if offers and not fitting:
        raise WrongSpec(f"services.{wish.name}: {_contradiction(wish, offers[0], overrides)}")
    if not fitting:
        raise WrongSpec(f"services.{wish.name}: none of the quants {', '.join(wish.quants)} is in the catalogue")
    return possibilities(wish, fitting, ground)


def _allowed(hardware: Hardware, wish: ServiceWish, usable: tuple[Device, ...]) -> tuple[Device, ...]:
    """The devices that the inventory lets a service have."""
    if wish.gpu in ("auto", "none"):
        return usable if wish.gpu == "auto" else ()
    wanted = (wish.gpu,) if isinstance(wish.gpu, int) else tuple(wish.gpu)
    by_index = {device.gpu.index: device for device in usable}
    missing = [index for index in wanted if index not in by_index]
    if not missing:
        return tuple(device for device in usable if device.gpu.index in wanted)
    where = f"services.{wish.name}: there is no usable GPU {missing[0]}"
    if usable:
        raise DoesNotFit(f"{where}; use {', '.join(device.label for device in usable)}, or gpu: auto")
    if hardware.gpus:
        named = next((gpu for gpu in hardware.gpus if gpu.index == missing[0]), hardware.gpus[0])
        raise DoesNotFit(f"{where}; {gpu_label(named)}: {why_unused(named)}")
    raise DoesNotFit(f"{where}, this rig has none; set gpu to none or auto")


def _contradiction(wish: ServiceWish, offer: Offer, overrides: Overrides) -> str | None:
    """What the engine would refuse, or quietly do otherwise, after a long load."""
    model = offer.model
    context = overrides.context or wish.context
    if context and context > model.context_train and not overrides.is_stretched:
        return (
            f"context {context} is more than the {model.context_train} tokens that {model.name} was trained for; "
            f"lower context, or stretch it with flags: {{'--rope-scaling': 'yarn'}}"
        )
    load = overrides.load()
    for length, kind in ((model.key_length, load.cache_type_k), (model.value_length, load.cache_type_v)):
        if max(model.kv_heads) and length % TYPES_BY_NAME[kind].block_elements:
            return (
                f"cache type {kind} needs heads in blocks of {TYPES_BY_NAME[kind].block_elements}, {model.name} has "
                f"{length}; set cache_type to f16"
            )
    if wish.draft and not model.nextn_layers:
        return f"draft {wish.draft} needs nextn layers, which {model.name} has not; set draft to 0"
    return None


def _refused(requests: Sequence[Request], found: Sequence[Possibilities], ground: Ground, budget: Budget) -> DoesNotFit:
    """The first service that fits nowhere, alone or beside those before it."""
    for place, (request, ways) in enumerate(zip(requests, found, strict=True)):
        if choose([ways.candidates], budget) is None:
            return does_not_fit(request.wish, request.offers, ground, ways)
        if choose([each.candidates for each in found[: place + 1]], budget) is None:
            return no_room_beside(request.wish, [other.wish for other in requests[:place]])
    return no_room_beside(requests[-1].wish, [other.wish for other in requests[:-1]])


def _with_prompt_cache(choice: Choice, free_bytes: int) -> Choice:
    """A quarter of the RAM that is left, in whole steps, up to llama-server's own default."""
    fixed = Overrides.of(choice.wish).cache_mib
    mib = min(_MAX_CACHE_MIB, max(0, free_bytes) // 4 // (_CACHE_STEP_MIB * MIB) * _CACHE_STEP_MIB)
    mib = mib if fixed is None else max(0, fixed)
    memory = choice.memory.with_part(PROMPT_CACHE, None, mib * MIB) if choice.memory and mib else choice.memory
    return replace(choice, cache_mib=mib, memory=memory)


def _service(request: Request, choice: Choice, hardware: Hardware, capabilities: Capabilities) -> ServicePlan:
    wish, offer = request.wish, choice.offer
    source = _source(wish, offer)
    directory = request.weights_directory
    file = source.file_name if source else ""
    weights = offer.path or (f"{directory}/{file}" if file else offer.repo or "")
    projector = (
        f"{directory}/{offer.known.projector_file}"
        if wish.vision and offer.known and offer.known.projector_file
        else None
    )
    around = Surroundings(hardware.cpu, weights, request.api_key_path, projector)
    version = dict(engine_versions()).get(choice.engine, "")
    rendered = _rendered(choice, around, capabilities, version)
    environments = rendered.environments or ((),)
    replicas = tuple(
        Replica(gpus=tuple(device.ref for device in group), port=wish.port + place, environment=environment)
        for place, (group, environment) in enumerate(zip(choice.replicas or ((),), environments, strict=True))
    )
    return ServicePlan(
        service=wish.name,
        engine=choice.engine,
        engine_version=version,
        model=offer.known.name if offer.known else offer.name,
        quant=offer.quant,
        source=source,
        file_bytes=offer.file_bytes or None,
        loss_percent=offer.loss_percent,
        layout=choice.layout,
        replicas=replicas,
        device=place_label(choice),
        context_tokens=-(-choice.load.context_tokens // 256) * 256
        if choice.engine != "vllm"
        else choice.load.context_tokens,
        slots=choice.load.slots,
        flags=rendered.flags,
        memory=choice.memory,
        speed=choice.speed,
        reasons=rendered.reasons,
        modelfile=rendered.modelfile,
    )


def _rendered(choice: Choice, around: Surroundings, capabilities: Capabilities, version: str) -> Rendered:
    if choice.engine == "vllm":
        return vllm.render(choice, around, version)
    if choice.engine == "ollama":
        return ollama.render(choice, around)
    return llamacpp.render(choice, around, capabilities)


def _source(wish: ServiceWish, offer: Offer) -> ModelSource | None:
    """The files that a name of the catalogue came to."""
    if wish.model.is_chosen:
        return wish.model
    if not offer.repo:
        return None
    keys = {"repo": offer.repo, "revision": offer.revision or "main", "file": offer.file, "sha256": offer.sha256}
    return ModelSource(**{key: value for key, value in keys.items() if value})


def _service_notes(choice: Choice) -> tuple[Reason, ...]:
    if choice.engine != "llamacpp" or not choice.offer.model or choice.offer.model.has_chat_template:
        return ()
    return (Reason(choice="chat template chatml", because=f"{choice.offer.name} brings none of its own"),)


def _budgets(hardware: Hardware, usable: Sequence[Device], services: Sequence[ServicePlan]) -> tuple[GpuBudget, ...]:
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


def _notes(hardware: Hardware, requests: Sequence[Request], usable: tuple[Device, ...]) -> tuple[Reason, ...]:
    silent = () if all(request.wish.gpu == "none" for request in requests) else idle_gpus(hardware, usable)
    assumed = [device.label for device in usable if device.is_assumed]
    notes = [*silent]
    if assumed:
        because = (
            f"no driver said how much memory they have, or this version does not deploy to them: {', '.join(assumed)}"
        )
        notes.append(Reason(choice="a preview", because=because))
    if not hardware.ram_bytes:
        notes.append(Reason(choice="RAM 16 GiB", because="the recording does not say; name it with --ram"))
    return tuple(notes)


__all__ = ["Candidate", "Request", "engine_versions", "plan_rig"]
