"""From the inventory's wishes and a rig's state to plans: the one place where the role calls the planner."""

from __future__ import annotations

from rigwright.errors import DoesNotFit
from rigwright.plan.engines.llamacpp import Request, plan_services
from rigwright.plan.service import ServicePlan
from rigwright.plan.wish import ServiceWish
from rigwright.roles.base.facts import Rig
from rigwright.roles.llamacpp.brief import Brief
from rigwright.roles.llamacpp.settings import LlamacppSettings
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
            _for_backend(wish, brief.spec.llamacpp),
            brief.models[wish.name].model,
            weights_path(wish.model, brief.spec.weights),
            KEY_CREDENTIAL if wish.api_key_file else None,
        )
        for wish in brief.spec.services
    ]
    return {plan.service: plan for plan in plan_services(rig.hardware, requests)}


def _for_backend(wish: ServiceWish, settings: LlamacppSettings) -> ServiceWish:
    """A build for the CPU serves from the CPU."""
    if settings.backend != "cpu" or wish.gpu == "none":
        return wish
    if wish.gpu != "auto":
        raise DoesNotFit(f"services.{wish.name}: gpu {wish.gpu} needs a CUDA build; set rig.llamacpp.backend to cuda")
    return wish.model_copy(update={"gpu": "none"})
