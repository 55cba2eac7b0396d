"""The plan as a person reads it, before anything happens."""

from __future__ import annotations

from pyinfra.api.host import Host

from rigwright.errors import RigwrightError
from rigwright.roles.base.facts import Rig
from rigwright.roles.llamacpp.brief import Brief
from rigwright.roles.llamacpp.facts import plan_path
from rigwright.roles.llamacpp.plan import new_choices, plan_rig
from rigwright.roles.llamacpp.preflight import obstacles
from rigwright.units import format_bytes


def announce(host: Host, brief: Brief, rig: Rig) -> None:
    """Say what would run, with the reasons where the plan is new, and what stands in the way."""
    for obstacle in obstacles(rig, brief):
        host.log_styled(f"cannot be deployed: {obstacle}", fg="red")
    try:
        plans = plan_rig(brief, rig)
    except RigwrightError:
        return
    _announce_lock(host, brief, rig)
    for wish in brief.spec.services:
        plan = plans[wish.name]
        memory = f", {format_bytes(plan.memory.total_bytes)}" if plan.memory else ""
        host.log(
            f"{wish.name}: {wish.model.file_name} on {plan.device}, {plan.context_tokens} tokens × {plan.slots} slots"
            f"{memory}, {wish.host}:{wish.port}"
        )
        if rig.content(plan_path(wish.name)) == plan.model_dump_json():
            continue
        for flag in plan.flags:
            said = f"{flag.name} {flag.value}" if flag.value is not None else flag.name
            host.log(f"  {said:<36} {flag.reason.because}")
        for reason in plan.reasons:
            host.log(f"  {reason.choice}: {reason.because}")
    orphans = set(rig.sections.get("units", [])) - {wish.unit for wish in brief.spec.services}
    for unit in sorted(orphans):
        name = unit.removeprefix("rigwright-").removesuffix(".service")
        hint = f"deploys/remove.py --data remove_service={name} takes it away"
        host.log_styled(f"{unit} is on the rig but not in the inventory; {hint}", fg="yellow")


def _announce_lock(host: Host, brief: Brief, rig: Rig) -> None:
    """What the plan stands on, and what would be otherwise without it."""
    if not brief.lock:
        if brief.lock_file:
            host.log_styled(f"{brief.lock_file} has no entry for this rig; it is planned anew", fg="yellow")
        return
    host.log(f"as {brief.lock_file} says")
    for line in new_choices(brief, rig):
        host.log_styled(f"  this version of rigwright would plan otherwise: {line}", fg="yellow")
