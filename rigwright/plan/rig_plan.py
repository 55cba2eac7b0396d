"""The plan of a rig: from what it has and what is wished to what runs where, with which flags, and why. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from rigwright.errors import Refused, WrongSpec
from rigwright.hardware.values import Hardware
from rigwright.models.variants import Variant, one_of_twins
from rigwright.plan.affinity import with_affinity
from rigwright.plan.alternatives import alternatives
from rigwright.plan.budget import budgets, notes, overflows
from rigwright.plan.candidates import Engines, considered, find_candidates
from rigwright.plan.cost import cost_of
from rigwright.plan.devices import Device, devices, host_of, ram_of
from rigwright.plan.drafting import may_draft
from rigwright.plan.engines import planners, why_not_deployed
from rigwright.plan.engines.planner import Planner
from rigwright.plan.explain import assumptions, reasons
from rigwright.plan.finest import finest
from rigwright.plan.idle import idle
from rigwright.plan.known_issues import known_issues
from rigwright.plan.layouts import Topology
from rigwright.plan.limits import allowed, check_driver, check_sizes
from rigwright.plan.occupants import Occupant, as_occupant, beside, beside_others, occupied
from rigwright.plan.planned import Request as Request
from rigwright.plan.planned import service_plan
from rigwright.plan.ports import ports_of
from rigwright.plan.ranking import score_for_readers
from rigwright.plan.reasons import Reason
from rigwright.plan.refusal import does_not_fit, no_room_beside
from rigwright.plan.render_nodes import with_render_nodes
from rigwright.plan.search import Budget, choose
from rigwright.plan.search_space import Candidate, SearchResult, SearchSpace
from rigwright.plan.service import RigPlan, ServicePlan
from rigwright.plan.speed.measured import Measurement
from rigwright.plan.tuning import tunings
from rigwright.plan.uncounted import uncounted
from rigwright.plan.unified import divided, kept_bytes
from rigwright.plan.wish import ServiceWish


def plan_rig(
    hardware: Hardware,
    requests: Sequence[Request],
    *,
    is_preview: bool = False,
    measurements: Sequence[Measurement] = (),
    alternatives_count: int = 3,
    engines: Engines | None = None,
    occupants: Sequence[Occupant] = (),
    shares: Sequence[ServicePlan] = (),
    part: float = 1.0,
) -> RigPlan:
    """The plan of all services of one rig together; `name_models` has to name the models of `model: auto` before.

    Args:
        is_preview: Also counts Apple's GPUs, and AMD's where no setting says by what they are served.
        measurements: What this rig or the same card really reached; it beats the formula.
        alternatives_count: How many other candidates each service tells of.
        engines: The engines with the settings and releases of this rig; by default as the catalogue pins them.
        occupants: What else is on the rig, and leaves less for the plan.
        shares: What the rig runs of services that it serves together with others; they leave less too.
        part: How much of each GPU and of RAM the plan may use; the rest is for others.

    Raises:
        Refused: a service cannot be served here; DoesNotFit where memory is short, alone or beside the others.
        WrongSpec: a wish contradicts its model.
    """
    wishes, engines = [request.wish for request in requests], engines or planners()
    ways = partial(search_space, hardware, wishes, is_preview=is_preview, measurements=measurements, part=part)
    ways = partial(ways, engines=engines, kept=kept_bytes(one.variants for one in requests))
    space, whole = ways(occupants=occupants)
    usable = whole
    if shares:
        space, usable = ways(occupants=[*occupants, *map(as_occupant, shares)])
    check_driver(hardware, wishes, usable)
    check_sizes(hardware, wishes, usable)
    budget = Budget({device.ordinal: device.offered_bytes for device in usable}, space.ram_bytes)
    found = [_result(hardware, request, space, usable, engines) for request in requests]
    chosen = choose([each.candidates for each in found], budget)
    if chosen is None:
        raise beside_others(_refused(requests, found, space, budget, hardware, engines), occupants)
    chosen = finest(chosen, [each.candidates for each in found], budget, [one.is_auto for one in requests])
    services, taken = [], {wish.port for wish in wishes}.union(*(one.ports for one in occupants))
    left = space.ram_bytes - sum(candidate.ram_bytes for candidate in chosen)
    for request, candidate, result in zip(requests, [one.placed() for one in chosen], found, strict=True):
        engine = engines[candidate.choice.engine]
        choice = engine.evaluated(candidate.choice)
        if choice.speed and (full := engine.full_speed(candidate, space)):
            choice = replace(choice, speed=choice.speed.model_copy(update={"full_context": full}))
        choice, spare_bytes = engine.with_spare_ram(choice, left)
        left -= spare_bytes
        lines = alternatives(candidate, result, count=alternatives_count)
        plan = service_plan(request, choice, hardware, engine, ports=ports_of(choice, taken))
        because = reasons(choice, result) + _warnings(candidate, engine, space) + assumptions(choice) + plan.reasons
        services.append(plan.model_copy(update={"alternatives": lines, "reasons": because}))
    return _rig_plan(hardware, wishes, [*services, *shares], whole, space.ram_bytes, occupants, engines)


def with_services(
    hardware: Hardware,
    requests: Sequence[Request],
    services: Sequence[ServicePlan],
    *,
    engines: Engines,
    occupants: Sequence[Occupant] = (),
    shares: Sequence[ServicePlan] = (),
) -> RigPlan:
    """The plan of a rig whose services are planned already: what its lock says."""
    wishes, kept = [request.wish for request in requests], kept_bytes(one.variants for one in requests)
    space, usable = search_space(hardware, wishes, is_preview=False, engines=engines, occupants=occupants, kept=kept)
    return _rig_plan(hardware, wishes, [*services, *shares], usable, space.ram_bytes, occupants, engines)


def _rig_plan(
    hardware: Hardware,
    wishes: Sequence[ServiceWish],
    services: Sequence[ServicePlan],
    usable: tuple[Device, ...],
    offered_ram_bytes: int,
    occupants: Sequence[Occupant],
    engines: Engines,
) -> RigPlan:
    services = [with_render_nodes(with_affinity(service, hardware), hardware) for service in services]
    told = tuple(one.model_copy(update={"not_deployed": why_not_deployed(one, usable, engines)}) for one in services)
    return RigPlan(
        services=told,
        gpus=(gpus := budgets(hardware, usable, services)),
        ram_bytes=ram_of(hardware)[0],
        offered_ram_bytes=offered_ram_bytes,
        cost=cost_of(services, usable, engines),
        notes=(
            *notes(hardware, wishes, usable, told),
            *overflows(gpus, told, offered_ram_bytes),
            *uncounted(wishes, told[: len(wishes)]),
            *idle(usable, wishes, told, occupants),
            *occupied(occupants),
        ),
        tuning=tunings(told, occupants, hardware),
    )


def search_space(
    hardware: Hardware,
    wishes: Sequence[ServiceWish],
    *,
    is_preview: bool,
    engines: Engines,
    measurements: Sequence[Measurement] = (),
    occupants: Sequence[Occupant] = (),
    part: float = 1.0,
    kept: int = 0,
) -> tuple[SearchSpace, tuple[Device, ...]]:
    """What a search on this rig stands on, and the devices that may serve; `kept` is RAM's before any GPU's."""
    is_preview |= any("AMD" in engine.vendors for engine in engines.values())
    usable = tuple(beside(device, occupants) for device in devices(hardware, is_preview=is_preview))
    ram_bytes = max(0, ram_of(hardware)[1] - sum(one.ram_bytes for one in occupants))
    if any(wish.gpu != "none" for wish in wishes):
        usable, ram_bytes = divided(usable, ram_bytes, kept)
    if part < 1:
        usable = tuple(replace(device, offered_bytes=int(device.offered_bytes * part)) for device in usable)
    space = SearchSpace(
        topology=Topology.of(hardware, usable),
        ram_bytes=int(ram_bytes * part),
        host=host_of(hardware),
        driver_version=hardware.driver_version,
        measurements=tuple(measurements),
        versions=tuple((name, engine.version) for name, engine in engines.items()),
        is_shared=len(wishes) > 1,
    )
    return space, usable


def _warnings(candidate: Candidate, engine: Planner, space: SearchSpace) -> tuple[Reason, ...]:
    """What is known to work at a price."""
    if not candidate.choice.variant.has_model:
        return ()
    found = known_issues(engine.configuration(candidate.choice, space))
    return tuple(Reason(choice="known issue", because=str(issue)) for issue in found)


def _result(
    hardware: Hardware, request: Request, space: SearchSpace, usable: tuple[Device, ...], engines: Engines
) -> SearchResult:
    wish, space = request.wish, space._replace(said=request.said)
    mine = allowed(hardware, wish, usable)
    space = space if mine == usable else space._replace(topology=Topology.of(hardware, mine))
    mine_to_serve = considered(wish, engines)
    for engine in mine_to_serve:
        if candidate := engine.unestimated(wish, request.variants, mine):
            return SearchResult([candidate])
    variants = [one for one in request.variants if not wish.quants or one.quant in wish.quants]
    variants = [one for one in variants if one.format in {engine.file_format for engine in mine_to_serve}] or variants
    variants = one_of_twins(variants, drafts=lambda one: may_draft(wish, one, mine))
    fitting = [one for one in variants if not _contradiction(wish, one, mine_to_serve)]
    if variants and not fitting:
        raise WrongSpec(f"services.{wish.name}: {_contradiction(wish, variants[0], mine_to_serve)}")
    if not fitting:
        known = ", ".join(dict.fromkeys(one.quant for one in request.variants))
        said = f"none of the quants {', '.join(wish.quants)} is in the catalogue; write quants of {known}, or none"
        raise WrongSpec(f"services.{wish.name}: {said}")
    found = find_candidates(wish, fitting, space, engines)
    if request.is_auto:
        found.candidates = [one._replace(score=score_for_readers(one.score, one.choice)) for one in found.candidates]
    return found


def _contradiction(wish: ServiceWish, variant: Variant, engines: Sequence[Planner]) -> str | None:
    """Why none of the engines that serve a file could do so with these wishes."""
    found = [engine.contradiction(wish, variant) for engine in engines if engine.file_format == variant.format]
    return found[0] if found and all(found) else None


def _refused(
    requests: Sequence[Request],
    found: Sequence[SearchResult],
    space: SearchSpace,
    budget: Budget,
    hardware: Hardware,
    engines: Engines,
) -> Refused:
    """The first service that fits nowhere, alone or beside those before it."""
    for place, (request, result) in enumerate(zip(requests, found, strict=True)):
        if choose([result.candidates], budget) is None:
            space = space._replace(said=request.said)
            return does_not_fit(request.wish, request.variants, space, result, hardware=hardware, engines=engines)
        if choose([each.candidates for each in found[: place + 1]], budget) is None:
            break
    taken = choose([each.candidates for each in found[:place]], budget) or ()
    return no_room_beside(requests[place].wish, found[place], [one.wish for one in requests[:place]], taken, budget)
