"""The plan of a rig: from what it has and what is wished to what runs where, with which flags, and why. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import NamedTuple

from rigwright.errors import Refused, WrongSpec
from rigwright.hardware.values import Hardware
from rigwright.models.offers import Offer
from rigwright.plan.alternatives import alternatives
from rigwright.plan.budget import budgets, notes
from rigwright.plan.candidates import Engines, considered, possibilities
from rigwright.plan.choice import Choice
from rigwright.plan.cost import cost_of
from rigwright.plan.devices import Device, devices, host_of, ram_of
from rigwright.plan.engines import planners
from rigwright.plan.engines.planner import Planner
from rigwright.plan.engines.rendered import Surroundings
from rigwright.plan.explain import place_label, reasons
from rigwright.plan.known_bad import known_bad
from rigwright.plan.layouts import Topology
from rigwright.plan.limits import allowed, check_sizes
from rigwright.plan.occupants import Occupant, beside, occupied
from rigwright.plan.reasons import Reason
from rigwright.plan.refusal import does_not_fit, no_room_beside
from rigwright.plan.search import Budget, choose
from rigwright.plan.service import Replica, RigPlan, ServicePlan
from rigwright.plan.speed.measured import Measurement
from rigwright.plan.ways import Candidate, Ground, Possibilities
from rigwright.plan.wish import ModelSource, ServiceWish


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
    engines: Engines | None = None,
    occupants: Sequence[Occupant] = (),
    part: float = 1.0,
) -> RigPlan:
    """The plan of all services of one rig together; `name_models` has to name the models of `model: auto` before.

    Args:
        is_preview: Also counts AMD's and Apple's GPUs, as no deploy does yet.
        measurements: What this rig or the same card really reached; it beats the formula.
        alternatives_count: How many other ways each service tells of.
        engines: The engines with the settings and releases of this rig; by default as the catalogue pins them.
        occupants: What else is on the rig, and leaves less for the plan.
        part: How much of each GPU and of RAM the plan may use; the rest is for others.

    Raises:
        Refused: a service cannot be served here; DoesNotFit where memory is short, alone or beside the others.
        WrongSpec: a wish contradicts its model.
    """
    wishes = [request.wish for request in requests]
    engines = engines or planners()
    ground, usable = ground_of(
        hardware,
        wishes,
        is_preview=is_preview,
        measurements=measurements,
        part=part,
        engines=engines,
        occupants=occupants,
    )
    check_sizes(hardware, wishes, usable)
    budget = Budget({device.ordinal: device.offered_bytes for device in usable}, ground.ram_bytes)
    found = [_ways(hardware, request, ground, usable, engines) for request in requests]
    chosen = choose([each.candidates for each in found], budget)
    if chosen is None:
        raise _refused(requests, found, ground, budget, hardware, engines)
    services, taken = [], {wish.port for wish in wishes}.union(*(one.ports for one in occupants))
    left = ground.ram_bytes - sum(candidate.ram_bytes for candidate in chosen)
    for request, candidate, ways in zip(requests, chosen, found, strict=True):
        candidate = candidate.settled()
        engine = engines[candidate.choice.engine]
        choice, spare_bytes = engine.with_spare_ram(engine.evaluated(candidate.choice), left)
        left -= spare_bytes
        told = alternatives(candidate, ways, count=alternatives_count)
        because = reasons(candidate, ways) + _warnings(candidate, engine, ground)
        plan = _service(request, choice, hardware, engine, ports=_ports(choice, taken))
        because += _service_notes(choice) + plan.reasons
        services.append(plan.model_copy(update={"alternatives": told, "reasons": because}))
    return _rig_plan(hardware, wishes, services, usable, ground.ram_bytes, occupants)


def with_services(
    hardware: Hardware,
    requests: Sequence[Request],
    services: Sequence[ServicePlan],
    *,
    engines: Engines,
    occupants: Sequence[Occupant] = (),
) -> RigPlan:
    """The plan of a rig whose services are planned already: what its lock says."""
    wishes = [request.wish for request in requests]
    ground, usable = ground_of(hardware, wishes, is_preview=False, engines=engines, occupants=occupants)
    return _rig_plan(hardware, wishes, services, usable, ground.ram_bytes, occupants)


def _rig_plan(
    hardware: Hardware,
    wishes: Sequence[ServiceWish],
    services: Sequence[ServicePlan],
    usable: tuple[Device, ...],
    offered_ram_bytes: int,
    occupants: Sequence[Occupant],
) -> RigPlan:
    return RigPlan(
        services=tuple(services),
        gpus=budgets(hardware, usable, services),
        ram_bytes=ram_of(hardware)[0],
        offered_ram_bytes=offered_ram_bytes,
        cost=cost_of(services, usable),
        notes=(*notes(hardware, wishes, usable), *occupied(occupants)),
    )


def ground_of(
    hardware: Hardware,
    wishes: Sequence[ServiceWish],
    *,
    is_preview: bool,
    engines: Engines,
    measurements: Sequence[Measurement] = (),
    occupants: Sequence[Occupant] = (),
    part: float = 1.0,
) -> tuple[Ground, tuple[Device, ...]]:
    """What a search on this rig stands on, and the devices that may serve."""
    usable = tuple(beside(device, occupants) for device in devices(hardware, is_preview=is_preview))
    ram_bytes = max(0, ram_of(hardware)[1] - sum(one.ram_bytes for one in occupants))
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
        versions=tuple((name, engine.version) for name, engine in engines.items()),
        is_shared=len(wishes) > 1,
    )
    return ground, usable


def _warnings(candidate: Candidate, engine: Planner, ground: Ground) -> tuple[Reason, ...]:
    """What is known to work at a price."""
    choice = candidate.choice
    if not choice.offer.has_model:
        return ()
    found = known_bad(engine.situation(choice, ground))
    return tuple(Reason(choice="known trouble", because=str(trouble)) for trouble in found)


def _ways(
    hardware: Hardware, request: Request, ground: Ground, usable: tuple[Device, ...], engines: Engines
) -> Possibilities:
    wish = request.wish
    mine = allowed(hardware, wish, usable)
    if mine != usable:
        ground = ground._replace(topology=Topology.of(hardware, mine))
    mine_to_serve = considered(wish, engines)
    for engine in mine_to_serve:
        if candidate := engine.unestimated(wish, request.offers, mine):
            return Possibilities([candidate])
    offers = [offer for offer in request.offers if not wish.quants or offer.quant in wish.quants]
    fitting = [offer for offer in offers if not _contradiction(wish, offer, mine_to_serve)]
    if offers and not fitting:
        raise WrongSpec(f"services.{wish.name}: {_contradiction(wish, offers[0], mine_to_serve)}")
    if not fitting:
        raise WrongSpec(
            f"services.{wish.name}: none of the quants {', '.join(wish.quants)} is in the catalogue; "
            f"{_quants(request.offers)}"
        )
    return possibilities(wish, fitting, ground, engines)


def _contradiction(wish: ServiceWish, offer: Offer, engines: Sequence[Planner]) -> str | None:
    """Why none of the engines that serve a file could do so with these wishes."""
    found = [engine.contradiction(wish, offer) for engine in engines if engine.file_format == offer.format]
    return found[0] if found and all(found) else None


def _quants(files: Sequence[Offer]) -> str:
    return f"write quants of {', '.join(dict.fromkeys(one.quant for one in files))}, or none"


def _refused(
    requests: Sequence[Request],
    found: Sequence[Possibilities],
    ground: Ground,
    budget: Budget,
    hardware: Hardware,
    engines: Engines,
) -> Refused:
    """The first service that fits nowhere, alone or beside those before it."""
    for place, (request, ways) in enumerate(zip(requests, found, strict=True)):
        if choose([ways.candidates], budget) is None:
            return does_not_fit(request.wish, request.offers, ground, ways, hardware=hardware, engines=engines)
        if choose([each.candidates for each in found[: place + 1]], budget) is None:
            break
    taken = choose([each.candidates for each in found[:place]], budget) or ()
    return no_room_beside(requests[place].wish, found[place], [one.wish for one in requests[:place]], taken, budget)


def _ports(choice: Choice, taken: set[int]) -> list[int]:
    """The port of the service, then for its other copies the next ones that nobody has yet; `taken` grows."""
    first = choice.wish.port
    free = (port for port in chain(range(first + 1, 65536), range(1024, first)) if port not in taken)
    ports = [first, *islice(free, len(choice.replicas) - 1)]
    taken.update(ports)
    return ports


def _service(
    request: Request, choice: Choice, hardware: Hardware, engine: Planner, *, ports: Sequence[int]
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
    around = Surroundings(hardware.cpu, weights, request.api_key_path, projector, hardware.links)
    rendered = engine.render(choice, around)
    replicas = tuple(
        Replica(gpus=tuple(device.ref for device in group), port=port, environment=environment)
        for group, environment, port in zip(choice.replicas, rendered.environments, ports, strict=True)
    )
    return ServicePlan(
        service=wish.name,
        engine=choice.engine,
        engine_version=engine.version,
        model=offer.known.name if offer.known else offer.name,
        quant=offer.quant,
        source=source,
        file_bytes=offer.file_bytes or None,
        loss_percent=offer.loss_percent,
        layout=choice.layout,
        replicas=replicas,
        device=place_label(choice),
        context_tokens=rendered.context_tokens or choice.load.context_tokens,
        slots=choice.load.slots,
        flags=rendered.flags,
        memory=choice.memory,
        speed=choice.speed,
        reasons=rendered.reasons,
        modelfile=rendered.modelfile,
    )


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
    return tuple(Reason(choice="assumed of this model", because=one) for one in choice.offer.model.assumptions)
