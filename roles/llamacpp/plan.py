"""From the inventory's wishes and a rig's state to plans: the one place where the role calls the planner."""

from __future__ import annotations

from dataclasses import replace

from rigwright.errors import DoesNotFit, RigwrightError
from rigwright.hardware import Hardware
from rigwright.lock.changes import hardware_changes, service_changes
from rigwright.lock.entry import locked_source
from rigwright.lock.values import LockedRig, pin_service, plan_of
from rigwright.plan.devices import devices
from rigwright.plan.rig_plan import plan_rig as plan_requests
from rigwright.plan.service import ENGINES, ServicePlan
from rigwright.resolve.resolve import capabilities_of, requests_of, settle
from rigwright.roles.base.facts import Rig
from rigwright.roles.llamacpp.brief import Brief, with_source


def plan_rig(brief: Brief, rig: Rig) -> dict[str, ServicePlan]:
    """The plan of each service, by name: what is locked, else what the planner says.

    Raises:
        RigwrightError: the rig cannot serve what is wished.
    """
    hardware = replace(rig.hardware, disks=(), problems=())
    if hardware not in brief.plans:
        brief.plans[hardware] = _plan(brief, hardware)
    return brief.plans[hardware]


def settled(brief: Brief, rig: Rig) -> Brief:
    """The brief with the files that the plan chose for this rig in place of names.

    Raises:
        RigwrightError: the rig cannot serve what is wished.
    """
    if brief.lock:
        plan_rig(brief, rig)  # refuses what has no file here: another engine serves it
    if not brief.is_open:
        return brief
    found = settle(brief.spec, brief.models, rig.hardware)
    _check_engines({plan.service: plan for plan in found.plan.services}, brief)
    services = tuple(with_source(wish, found.models.get(wish.name)) for wish in brief.spec.services)
    return replace(brief, spec=brief.spec.model_copy(update={"services": services}), models=found.models, plans={})


def check_lock(brief: Brief, rig: Rig) -> None:
    """See that the rig and the inventory are still what is locked.

    Raises:
        DoesNotFit: a line for each difference, and what to do.
    """
    if not brief.lock:
        return
    changes = [*hardware_changes(brief.lock.hardware, rig.hardware), *brief.changes]
    if changes:
        renew = f"rigwright plan {brief.inventory} --replan --limit {brief.rig}"
        first = f"{brief.lock_file} no longer matches; nothing was touched. To take the new state: {renew}"
        raise DoesNotFit("\n".join([first, *changes]))


def new_choices(brief: Brief, rig: Rig) -> list[str]:
    """What this version of rigwright would do otherwise than the lock says, a line each."""
    if not brief.lock:
        return []
    try:
        fresh = _fresh(brief, rig.hardware)
        files = _chosen_anew(brief, rig.hardware)
    except RigwrightError as error:
        return [f"planned anew it would be refused: {error.message}"]
    lines = [line for name, plan in fresh.items() for line in _otherwise(brief, brief.lock, name, plan)]
    return [*files, *lines]


def _chosen_anew(brief: Brief, hardware: Hardware) -> list[str]:
    """Names of the catalogue that would come to other files. `auto` plans every model there is: too dear to ask."""
    wishes = brief.wished.services if brief.wished else ()
    if not brief.wished or all(wish.model.name in (None, "auto") for wish in wishes):
        return []
    named = {wish.name for wish in wishes if wish.model.name not in (None, "auto")}
    known = {name: local for name, local in brief.models.items() if name not in named}
    plan = plan_requests(hardware, requests_of(brief.wished, known), capabilities=capabilities_of(brief.spec.llamacpp))
    sources = {service.service: service.source for service in plan.services if service.service in named}
    locked = {name: brief.models[name].source for name in named}
    return [
        f"services.{name}.model: locked {locked[name].file}, now {source.file if source else 'another engine'}"
        for name, source in sources.items()
        if source is None or (source.repo, source.file) != (locked[name].repo, locked[name].file)
    ]


def _plan(brief: Brief, hardware: Hardware) -> dict[str, ServicePlan]:
    plans = _locked(brief, brief.lock, hardware) if brief.lock else _fresh(brief, hardware)
    _check_engines(plans, brief)
    return plans


def _fresh(brief: Brief, hardware: Hardware) -> dict[str, ServicePlan]:
    capabilities = capabilities_of(brief.spec.llamacpp)
    plan = plan_requests(hardware, requests_of(brief.spec, brief.models), capabilities=capabilities)
    return {service.service: service for service in plan.services}


def _locked(brief: Brief, lock: LockedRig, hardware: Hardware) -> dict[str, ServicePlan]:
    """What the lock says; with the reasons of a new plan where that comes to the same."""
    try:
        fresh = _fresh(brief, hardware)
    except RigwrightError:
        fresh = {}
    gpus = [device.ref for device in devices(hardware)]
    plans = {}
    for wish in brief.spec.services:
        pinned, plan = lock.services[wish.name], fresh.get(wish.name)
        if plan and not _otherwise(brief, lock, wish.name, plan):
            plans[wish.name] = plan
        else:
            plans[wish.name] = plan_of(wish.name, pinned, gpus, source=locked_source(wish, pinned))
    return plans


def _otherwise(brief: Brief, lock: LockedRig, name: str, plan: ServicePlan) -> list[str]:
    wish = next(wish for wish in brief.spec.services if wish.name == name)
    return list(service_changes(name, lock.services[name], pin_service(wish, plan, ()), has_files=False))


def _check_engines(plans: dict[str, ServicePlan], brief: Brief) -> None:
    """Refuse what another deploy serves."""
    wishes = {wish.name: wish for wish in brief.spec.services}
    for name, plan in plans.items():
        users = f" for {wishes[name].users} users" if wishes[name].users > 1 else ""
        where = f"services.{name}: planned on {ENGINES[plan.engine]}{users}"
        if plan.engine != "llamacpp":
            raise DoesNotFit(f"{where}; this deploy serves with llama.cpp: set engine: llamacpp")
        if len(plan.replicas) > 1:
            raise DoesNotFit(f"{where} in {len(plan.replicas)} copies; this deploy serves one: name its GPUs with gpu")
