"""Resolved: what will run on a rig, from its inventory, hardware and lock, for `plan`, lock files and deploys alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from rigwright.errors import RigwrightError
from rigwright.hardware.values import Hardware
from rigwright.lock.changes import lock_changes, service_changes
from rigwright.lock.files import changed_file, locked_model, locked_source
from rigwright.lock.plan import plan_of
from rigwright.lock.values import LockedRig, PinnedService, pin_service
from rigwright.models.variants import Variant
from rigwright.plan.candidates import Engines
from rigwright.plan.changes import Change, changed
from rigwright.plan.devices import devices, reserved
from rigwright.plan.engines import as_planned
from rigwright.plan.recommend import name_models
from rigwright.plan.rig_plan import Request, plan_rig, with_services
from rigwright.plan.service import RigPlan, ServicePlan
from rigwright.plan.source import ModelSource
from rigwright.plan.speed.measured import Measurement
from rigwright.plan.wish import ServiceWish
from rigwright.records.values import NO_RECORDS, Deployed, RigRecords
from rigwright.resolve.beside import beside, occupants_of, said_of
from rigwright.resolve.chosen import Models, Plan, check_collisions, offer_of, settled
from rigwright.resolve.deployable import deployable, deployed_engines, with_faster
from rigwright.resolve.drafters import drafting_files, with_drafter, with_drafters
from rigwright.resolve.engines import engines_for
from rigwright.resolve.instance import Instance, instances
from rigwright.resolve.share import Share, alone, models_of
from rigwright.spec.rig import KEY_CREDENTIAL, RigSpec
from rigwright.spec.templates import read_template, template_path
from rigwright.spec.weights import WeightsSettings
from rigwright.weights.local import LocalModel, local_path, model_path, projector_of, weights_path
from rigwright.weights.lookup import Lookup


class Resolved(NamedTuple):
    """What a rig will run.

    plan: all services, with reasons and alternatives. models: the files of each service that is served from files.
    changes: with `is_locked`, what a new plan would do otherwise than the lock, which holds; else what of the rig or of
    the inventory is no longer as the lock says, so that deploys refuse. engines: the planners with the rig's settings,
    those of the lock where it holds. orphans: what is on the rig and no longer in the inventory. others: what another
    inventory has there.
    """

    plan: RigPlan
    models: dict[str, LocalModel]
    changes: tuple[Change, ...]
    is_locked: bool
    engines: Engines
    orphans: tuple[Deployed, ...]
    others: tuple[Deployed, ...]

    def files(self, plan: ServicePlan, settings: WeightsSettings) -> tuple[tuple[LocalModel, str], ...]:
        """The files of a service, each with its path on the rig: all of them where the plan has the first."""
        local, planned = self.models.get(plan.service), self.engines[plan.engine].weights_path(plan)
        if local is None:
            return ()
        own = [local_path(file, settings) for file in local.own_files]
        # A lock of 0.1 has the files of repositories where all the others are.
        folder = planned.rpartition("/")[0] if planned.rpartition("/")[2] == local.source.file_name else ""
        if folder:
            own = [f"{folder}/{file.source.file_name}" for file in local.own_files]
        drafter = [weights_path(file.source, settings) for file in local.files[len(own) :]]
        return tuple(zip(local.files, (*own, *drafter), strict=True))

    def instances(self, spec: RigSpec) -> tuple[Instance, ...]:
        """All replicas of all services."""
        return instances(self.plan.services, {wish.name: wish for wish in spec.services})


def resolve(
    spec: RigSpec,
    hardware: Hardware,
    lock: LockedRig | None = None,
    *,
    records: RigRecords = NO_RECORDS,
    lookup: Lookup | None = None,
    measurements: Sequence[Measurement] = (),
    alternatives: int = 3,
    is_preview: bool = False,
    share: Share | None = None,
) -> Resolved:
    """The plan of a rig: what its lock says, else what the planner says, on the files that it chose.

    Args:
        spec: What the inventory wishes.
        hardware: What the rig has.
        lock: Its entry in the lock file.
        records: What is deployed there.
        lookup: Shared by the rigs of a run, so that each model is looked at once.
        measurements: What this rig or the same card really reached.
        alternatives: How many alternatives each service tells of.
        is_preview: Also counts GPUs that no deploy can use.
        share: What it runs of the service of its cluster, which is among those of `spec`.

    Raises:
        RigwrightError: a model is not there, or the rig cannot serve what is wished.
    """
    lookup, hardware = lookup or Lookup(), reserved(hardware, spec.reserve)
    orphans, others = beside(spec, records)
    occupants = occupants_of(spec, records)
    spec, shares = alone(spec, share), (share.plan,) if share else ()
    changes = list(lock_changes(lock, spec, hardware)) if lock else []
    held = lock if lock and not changes else None
    engines = engines_for(spec, spec.services, hardware, records, held)
    models, found = named_files(spec, held, lookup)
    drafters, drafts_found = drafting_files(spec, held, lookup)
    found += drafts_found
    changes += found
    if lock and changes:
        held = None

    def with_engines(requests: Sequence[Request], engines: Engines) -> RigPlan:
        return plan_rig(
            hardware,
            requests,
            is_preview=is_preview,
            measurements=measurements,
            alternatives_count=alternatives,
            engines=engines,
            occupants=occupants,
            shares=shares,
        )

    def plan(requests: Sequence[Request]) -> RigPlan:
        return with_engines(requests, engines) if is_preview else deployable(with_engines, requests, engines)

    requests = [request_of(wish, spec, engines, models, lookup, held=held) for wish in spec.services]
    requests = [with_drafter(one, drafters.get(one.wish.name), spec.weights) for one in requests]
    requests = [one._replace(said=said_of(one.wish.name, records)) for one in requests]
    if held:
        services = [_locked(wish, held, None, hardware) for wish in spec.services]
        engines = engines_for(spec, as_planned(spec.services, services, engines), hardware, records, held)
        fresh, differing = _fresh(plan, requests, held, spec)
        services = [_locked(wish, held, fresh.get(wish.name), hardware) for wish in spec.services]
        rig_plan = with_services(hardware, requests, services, engines=engines, occupants=occupants, shares=shares)
        if not is_preview:
            rig_plan = with_faster(rig_plan, with_engines, requests, engines)
        rig_plan = _untuned(rig_plan, spec)
        chosen = with_drafters(models, drafters) | models_of(share)
        return Resolved(rig_plan, chosen, tuple(differing), True, engines, orphans, others)
    automatic = engines if is_preview else deployed_engines(engines)
    requests = name_models(hardware, requests, automatic, is_preview=is_preview)
    rig_plan, chosen = settled(plan, requests, models, spec, records=records, lookup=lookup)
    if (planned := as_planned(spec.services, rig_plan.services, engines)) != spec.services:
        engines = engines_for(spec, planned, hardware, records, held)
        rig_plan = plan(requests)
    if not is_preview:
        rig_plan = with_faster(rig_plan, with_engines, requests, engines)
    chosen = with_drafters(chosen, drafters) | models_of(share)
    check_collisions(chosen)
    return Resolved(_untuned(rig_plan, spec), chosen, tuple(changes), False, engines, orphans, others)


def _untuned(plan: RigPlan, spec: RigSpec) -> RigPlan:
    """The plan, which asks nothing of the machine itself where the inventory wants that left as it is."""
    return plan if spec.base.tune_host else plan.model_copy(update={"tuning": ()})


def named_files(spec: RigSpec, held: LockedRig | None, lookup: Lookup) -> tuple[dict[str, LocalModel], list[Change]]:
    """The files of each service as far as lock or inventory name them, and those that are no longer the locked ones."""
    models: dict[str, LocalModel] = {}
    changes: list[Change] = []
    for wish in spec.services:
        pinned = held.services[wish.name] if held else None
        if pinned and pinned.model.files:
            models[wish.name] = locked_model(wish, pinned, spec.weights)
            change = changed_file(f"services.{wish.name}.model", pinned.model, models[wish.name])
            changes += [change] if change else []
        elif wish.model.names_file:
            models[wish.name] = lookup.model(wish.model, spec.weights, projector=projector_of(wish))
    return models, changes


def request_of(
    wish: ServiceWish,
    spec: RigSpec,
    engines: Engines,
    models: Models,
    lookup: Lookup,
    *,
    held: LockedRig | None,
) -> Request:
    """What is asked of the planner for a service: the one file that is named, else all that could serve it."""
    adapted = wish
    for engine in engines.values():
        adapted = engine.settings.adapted(adapted) if engine.settings else adapted
    local = models.get(wish.name)
    if local and local.variant and local.variant.known and wish.model.name == "auto":
        # `auto` plans every model that there is: too dear where the lock says which, so that all files of that one do.
        adapted = adapted.model_copy(
            update={"model": ModelSource(name=local.variant.known.key, quant=wish.model.quant)}
        )
    if local and (wish.model.names_file or adapted.model.name == "auto"):
        variants: tuple[Variant, ...] = (offer_of(local, spec.weights),)
    else:
        variants = lookup.variants(adapted.model, spec.weights.hugging_face)
        if local and local.folder:
            path = model_path(local, spec.weights)
            variants = tuple(replace(one, path=path) if one.repo == local.source.repo else one for one in variants)
        elif local:
            known = offer_of(local, spec.weights)
            variants = tuple(known if (one.repo, one.file) == (known.repo, known.file) else one for one in variants)
    key, template = KEY_CREDENTIAL if wish.api_key_file else None, read_template(wish)
    return Request(adapted, variants, key, spec.weights.directory, template_path(template) if template else None)


def _fresh(
    plan: Plan, requests: Sequence[Request], held: LockedRig, spec: RigSpec
) -> tuple[dict[str, ServicePlan], list[Change]]:
    """What a new plan says where that is what is locked, and what it would do otherwise."""
    try:
        planned = plan(requests)
    except RigwrightError as error:
        return {}, [Change("~", "planned anew it would be refused", note=error.message)]
    same: dict[str, ServicePlan] = {}
    changes: list[Change] = []
    for service in planned.services:
        wish, pinned = spec.wish(service.service), held.services[service.service]
        found = list(_otherwise(wish, pinned, service))
        changes += found
        if not found:
            same[service.service] = service
    return same, changes


def _otherwise(wish: ServiceWish, pinned: PinnedService, service: ServicePlan) -> list[Change]:
    where, source = f"services.{wish.name}", locked_source(wish, pinned)
    planned = service.source
    if not wish.model.names_file and (planned is None or (planned.repo, planned.file) != (source.repo, source.file)):
        return [changed(f"{where}.model", source.file or str(source), planned.file if planned else service.engine)]
    return list(service_changes(wish.name, pinned, pin_service(wish, service, ()), has_files=False))


def _locked(wish: ServiceWish, held: LockedRig, fresh: ServicePlan | None, hardware: Hardware) -> ServicePlan:
    """What is locked; with the reasons and alternatives of a new plan where that comes to the same."""
    pinned = held.services[wish.name]
    source = locked_source(wish, pinned)
    if fresh:
        return fresh.model_copy(update={"source": source if fresh.source else None})
    return plan_of(wish.name, pinned, [device.ref for device in devices(hardware)], source=source)
