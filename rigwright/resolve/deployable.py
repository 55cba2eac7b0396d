"""Plans for deploys: where an inventory leaves the engine open, it is one that a role serves with."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rigwright.errors import RigwrightError
from rigwright.plan.candidates import Engines
from rigwright.plan.engines import label
from rigwright.plan.reasons import Reason
from rigwright.plan.rig_plan import Request
from rigwright.plan.service import RigPlan, ServicePlan

Plan = Callable[[Sequence[Request], Engines], RigPlan]


def deployed_engines(engines: Engines) -> Engines:
    """The engines, of which those without a role are only for who names them."""
    return {name: one if one.is_deployed else one.named_only() for name, one in engines.items()}


def deployable(plan: Plan, requests: Sequence[Request], engines: Engines) -> RigPlan:
    """The plan with engines that are deployed; where they serve nothing of it, that of all, which says so.

    Raises:
        RigwrightError: no engine can serve it.
    """
    try:
        return plan(requests, deployed_engines(engines))
    except RigwrightError as error:
        try:
            return plan(requests, engines)
        except RigwrightError:
            raise error from None


def with_faster(found: RigPlan, plan: Plan, requests: Sequence[Request], engines: Engines) -> RigPlan:
    """The plan, which tells of each service that an engine without a role would serve faster."""
    if all(request.wish.engine != "auto" for request in requests):
        return found
    try:
        best = plan(requests, engines)
    except RigwrightError:
        return found
    notes, services = list(found.notes), []
    for service, other in zip(found.services, best.services, strict=True):
        reason = _faster(service, other)
        if reason:
            notes.append(Reason(choice=reason.choice, because=f"{service.service}: {reason.because}"))
            service = service.model_copy(update={"reasons": (*service.reasons, reason)})
        services.append(service)
    return found.model_copy(update={"services": tuple(services), "notes": tuple(notes)})


def _faster(service: ServicePlan, other: ServicePlan) -> Reason | None:
    if service.engine == other.engine or not other.not_deployed or not (service.speed and other.speed):
        return None
    mine, theirs = service.speed, other.speed
    if (theirs.aggregate or theirs.expected) <= (mine.aggregate or mine.expected):
        return None
    rates = f"about {theirs.expected:.0f} tokens/s instead of {mine.expected:.0f}"
    if theirs.aggregate and mine.aggregate and theirs.aggregate > theirs.expected:
        rates = f"about {theirs.aggregate:.0f} tokens/s of all users instead of {mine.aggregate:.0f}"
    because = f"{rates}, with {other.quant} on {other.device}; no role serves with it yet"
    return Reason(choice=f"{label(other.engine)} would be faster", because=because)
