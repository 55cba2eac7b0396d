"""The plan of a rig: from what it has and what is wished to what runs where, with which flags, and why. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import chain, islice
from typing import NamedTuple

from rigwright.catalogue import load as catalogue
from rigwright.errors import DoesNotFit, WrongSpec
from rigwright.hardware.values import Hardware, Link
from rigwright.models.offers import Offer
from rigwright.plan.alternatives import alternatives
from rigwright.plan.blind import blind_candidate, is_blind
from rigwright.plan.budget import budgets, notes
from rigwright.plan.candidates import possibilities, reckoned
from rigwright.plan.choice import Choice
from rigwright.plan.cost import cost_of
from rigwright.plan.devices import Device, devices, host_of, ram_of
from rigwright.plan.engines import llamacpp, ollama, vllm
from rigwright.plan.engines.llamacpp.capabilities import Capabilities, pinned_capabilities
from rigwright.plan.engines.llamacpp.overrides import Overrides
from rigwright.plan.engines.rendered import Rendered, Surroundings
from rigwright.plan.explain import place_label, reasons
from rigwright.plan.known_bad import known_bad
from rigwright.plan.layouts import Site, Topology
from rigwright.plan.limits import allowed, check_sizes, contradiction
from rigwright.plan.reasons import Reason
from rigwright.plan.refusal import does_not_fit, no_room_beside
from rigwright.plan.search import Budget, choose
from rigwright.plan.service import Replica, RigPlan, ServicePlan
from rigwright.plan.speed.measured import Measurement
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
    weights_directory: str = "/var/lib/rigwright/weights"


def plan_rig(
    hardware: Hardware,
    requests: Sequence[Request],
    *,
    is_preview: bool = False,
    measurements: Sequence[Measurement] = (),
    alternatives_count: int = 3,
    capabilities: Capabilities | None = None,
    part: float = 1.0,
) -> RigPlan:
    """Plans all services of one rig together; `settle_auto` has to name the models of `model: auto` before.

    Args:
        is_preview: Also counts GPUs whose driver is still to come, AMD's and Apple's, as no deploy does yet.
        measurements: What this rig or the same card really reached; it beats the formula.
        alternatives_count: How many other ways each service tells of.
        capabilities: The flags that the built llama-server knows; by default those of the pinned release.
        part: How much of each GPU and of RAM the plan may use; the rest is for others.

    Raises:
        DoesNotFit: a service does not fit, alone or beside the others.
        WrongSpec: a wish contradicts its model.
    """
    wishes = [request.wish for request in requests]
    ground, usable = ground_of(hardware, wishes, is_preview=is_preview, measurements=measurements, part=part)
    if is_preview:
        check_sizes(hardware, wishes, usable)
    budget = Budget({device.ordinal: device.offered_bytes for device in usable}, ground.ram_bytes)
    found = [_ways(hardware, request, ground, usable) for request in requests]
    chosen = choose([each.candidates for each in found], budget)
    if chosen is None:
        raise _refused(requests, found, ground, budget, hardware)
    known = capabilities or pinned_capabilities()
    services, taken = [], {wish.port for wish in wishes}
    left = ground.ram_bytes - sum(candidate.ram_bytes for candidate in chosen)
    for request, candidate, ways in zip(requests, chosen, found, strict=True):
        candidate = candidate.settled()
        choice = reckoned(candidate)
        if choice.engine == "llamacpp":
            choice = _with_prompt_cache(choice, left)
            left -= choice.cache_mib * MIB
        told = alternatives(candidate, ways, count=alternatives_count)
        because = reasons(candidate, ways) + _warnings(candidate, ground)
        plan = _service(request, choice, hardware, known, ports=_ports(choice, taken))
        because += _service_notes(choice) + plan.reasons
        services.append(plan.model_copy(update={"alternatives": told, "reasons": because}))
    return RigPlan(
        services=tuple(services),
        gpus=budgets(hardware, usable, services),
        ram_bytes=ram_of(hardware)[0],
        offered_ram_bytes=ground.ram_bytes,
        cost=cost_of(hardware, services, is_preview=is_preview),
        notes=notes(hardware, wishes, usable),
    )


def ground_of(
    hardware: Hardware,
    wishes: Sequence[ServiceWish],
    *,
    is_preview: bool,
    measurements: Sequence[Measurement] = (),
    part: float = 1.0,
) -> tuple[Ground, tuple[Device, ...]]:
    """What a search on this rig stands on, and the devices that may serve."""
    usable = devices(hardware, is_preview=is_preview)
    _, ram_bytes = ram_of(hardware)
    if any(wish.gpu != "none" for wish in wishes):
        # What a GPU may have of RAM is not there twice.
        ram_bytes = max(0, ram_bytes - sum(device.offered_bytes for device in usable if device.is_in_ram))
    if part < 1:
        usable = tuple(replace(device, offered_bytes=int(device.offered_bytes * part)) for device in usable)
    ground = Ground(
        topology=Topology.of(hardware, usable),
        ram_bytes=int(ram_bytes * part),
        host=host_of(hardware),
        driver_version=hardware.driver_version,
        measurements=tuple(measurements),
        versions=engine_versions(),
        is_shared=len(wishes) > 1,
    )
    return ground, usable


def _warnings(candidate: Candidate, ground: Ground) -> tuple[Reason, ...]:
    """What is known to work at a price."""
    choice = candidate.choice
    if not choice.offer.has_model:
        return ()
    site = Site(choice.layout, choice.replicas)
    found = known_bad(situation(choice.wish, choice.offer, ground, site, engine=choice.engine, load=choice.load))
    return tuple(Reason(choice="known trouble", because=str(trouble)) for trouble in found)


@cache
def engine_versions() -> tuple[tuple[str, str], ...]:
    """The pinned release of each engine."""
    return tuple((name, str(row.get("version", row.get("ref")))) for name, row in catalogue("engines").items())


def _ways(hardware: Hardware, request: Request, ground: Ground, usable: tuple[Device, ...]) -> Possibilities:
    wish = request.wish
    mine = allowed(hardware, wish, usable)
    if mine != usable:
        ground = ground._replace(topology=Topology.of(hardware, mine))
    overrides = Overrides.of(wish)
    if is_blind(request.offers, overrides, mine, wish):
        return Possibilities([blind_candidate(wish, request.offers, mine, overrides)])
    offers = [offer for offer in request.offers if not wish.quants or offer.quant in wish.quants]
    fitting = [offer for offer in offers if not contradiction(wish, offer, overrides)]
    if offers and not fitting:
        raise WrongSpec(f"services.{wish.name}: {contradiction(wish, offers[0], overrides)}")
    if not fitting:
        raise WrongSpec(
            f"services.{wish.name}: none of the quants {', '.join(wish.quants)} is in the catalogue; "
            f"{_quants(request.offers)}"
        )
    return possibilities(wish, fitting, ground)


def _quants(files: Sequence[Offer]) -> str:
    return f"write quants of {', '.join(dict.fromkeys(one.quant for one in files))}, or none"


def _refused(
    requests: Sequence[Request],
    found: Sequence[Possibilities],
    ground: Ground,
    budget: Budget,
    hardware: Hardware,
) -> DoesNotFit:
    """The first service that fits nowhere, alone or beside those before it."""
    for place, (request, ways) in enumerate(zip(requests, found, strict=True)):
        if choose([ways.candidates], budget) is None:
            return does_not_fit(request.wish, request.offers, ground, ways, hardware=hardware)
        if choose([each.candidates for each in found[: place + 1]], budget) is None:
            break
    taken = choose([each.candidates for each in found[:place]], budget) or ()
    return no_room_beside(requests[place].wish, found[place], [one.wish for one in requests[:place]], taken, budget)


def _with_prompt_cache(choice: Choice, free_bytes: int) -> Choice:
    """A quarter of the RAM that is left, in whole steps, up to llama-server's own default."""
    fixed = Overrides.of(choice.wish).cache_mib
    mib = min(_MAX_CACHE_MIB, max(0, free_bytes) // 4 // (_CACHE_STEP_MIB * MIB) * _CACHE_STEP_MIB)
    mib = mib if fixed is None else max(0, fixed)
    memory = choice.memory.with_part(PROMPT_CACHE, None, mib * MIB) if choice.memory and mib else choice.memory
    return replace(choice, cache_mib=mib, memory=memory)


def _ports(choice: Choice, taken: set[int]) -> list[int]:
    """The port of the service, then for its other copies the next ones that nobody has yet; `taken` grows."""
    first = choice.wish.port
    free = (port for port in chain(range(first + 1, 65536), range(1024, first)) if port not in taken)
    ports = [first, *islice(free, len(choice.replicas) - 1)]
    taken.update(ports)
    return ports


def _service(
    request: Request, choice: Choice, hardware: Hardware, capabilities: Capabilities, *, ports: Sequence[int]
) -> ServicePlan:
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
    rendered = _rendered(choice, around, capabilities, version, hardware.links)
    replicas = tuple(
        Replica(gpus=tuple(device.ref for device in group), port=port, environment=environment)
        for group, environment, port in zip(choice.replicas, rendered.environments, ports, strict=True)
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


def _rendered(
    choice: Choice, around: Surroundings, capabilities: Capabilities, version: str, links: Sequence[Link]
) -> Rendered:
    if choice.engine == "vllm":
        return vllm.render(choice, around, version, links=links)
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
    if not choice.offer.has_model:
        return ()
    model = choice.offer.model
    told = [Reason(choice="assumed of this model", because=one) for one in model.assumptions]
    if choice.engine == "llamacpp" and not model.has_chat_template:
        told.append(Reason(choice="chat template chatml", because=f"{choice.offer.name} brings none of its own"))
    return tuple(told)


__all__ = ["Candidate", "Request", "engine_versions", "plan_rig"]
