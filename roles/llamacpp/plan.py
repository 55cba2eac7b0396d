"""From the inventory's wishes and a rig's state to plans: the one place where the role calls the planner."""

from __future__ import annotations

from rigwright.plan.engines.llamacpp import Request, plan_services
from rigwright.plan.service import ServicePlan
from rigwright.roles.base.facts import Rig
from rigwright.roles.llamacpp.brief import Brief
from rigwright.roles.weights.facts import weights_path

# Filled in by systemd when the service starts: the key itself lies in no file that the service's user could list.
KEY_CREDENTIAL = "${CREDENTIALS_DIRECTORY}/api-key"


def plan_rig(brief: Brief, rig: Rig) -> dict[str, ServicePlan]:
    """The plan of each service, by name.

    Raises:
        RigwrightError: the rig cannot serve what is wished.
    """
    requests = [
        Request(
            wish,
            brief.models[wish.name].model,
            weights_path(wish.model, brief.spec.weights),
            KEY_CREDENTIAL if wish.api_key_file else None,
        )
        for wish in brief.spec.services
    ]
    return {plan.service: plan for plan in plan_services(rig.hardware, requests)}
