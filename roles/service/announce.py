"""The announcement of a deploy: the plan as a person reads it, before anything happens."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from pyinfra.api.host import Host

from rigwright.errors import RigwrightError
from rigwright.plan.engines import label
from rigwright.plan.service import ServicePlan
from rigwright.plan.wish import ServiceWish
from rigwright.resolve.resolve import Resolved
from rigwright.resolve.running import running_changes
from rigwright.roles.base.facts import Rig
from rigwright.roles.service.context import RigContext
from rigwright.roles.service.engine import Engine
from rigwright.roles.service.preflight import preflight_errors
from rigwright.roles.weights.moved import moved, repository_moved
from rigwright.units import format_bytes

_COLOURS = {"+": "green", "-": "red", "~": "yellow"}


def announce(host: Host, context: RigContext, rig: Rig, resolved: Resolved, engines: Sequence[Engine]) -> None:
    """Say what would run, with the reasons where it is new, what changes, and what stands in the way."""
    for line in preflight_errors(rig, context, engines):
        host.log_styled(f"cannot be deployed: {line}", fg="red")
    _announce_lock(host, context, resolved)
    names = {engine.name for engine in engines}
    for line in rig.records.damage:
        host.log_styled(line, fg="yellow")
    changes = running_changes(resolved, context.spec, rig.hardware, rig.records)
    changed = {change.where.split(" ")[0].partition("@")[0] for change in changes}
    for plan in resolved.plan.services:
        if plan.engine not in names:
            host.log_styled(_left_alone(plan, context, [engine.name for engine in engines]), fg="yellow")
            continue
        host.log(_line(plan, context.spec.wish(plan.service), resolved))
        if plan.service in changed:
            _explain(host, plan)
    for change in changes:
        host.log_styled(f"  {change}", fg=_COLOURS[change.mark])
    for line in _moved(context, rig, resolved, names):
        host.log_styled(line, fg="yellow")
    for one in resolved.others:
        host.log(f"{one.unit_name} is of the inventory {one.owner}: it stays, and its memory and port count as taken")
    if not context.spec.remove_orphans:
        for one in resolved.orphans:
            hint = "remove_orphans: True in the inventory takes it away"
            host.log_styled(f"{one.unit_name} is on the rig but not in the inventory; {hint}", fg="yellow")


def foresee(host: Host, context: RigContext, rig: Rig, engines: Sequence[Engine]) -> None:
    """Say what a rig would serve once its driver is there, as far as its PCI bus and the catalogue tell."""
    names = {engine.name for engine in engines}
    host.log_styled("what it serves is planned when its driver answers; as far as its PCI bus tells:", fg="yellow")
    try:
        resolved = context.resolved(rig)
    except RigwrightError as error:
        for line in error.message.splitlines():
            host.log_styled(f"  {line}", fg="yellow")
        return
    for plan in resolved.plan.services:
        host.log(f"  {_line(plan, context.spec.wish(plan.service), resolved)}")
        if plan.engine not in names:
            host.log_styled(f"  {plan.service}: no role serves with {label(plan.engine)} yet", fg="yellow")
    if context.lock:
        host.log(f"  {context.lock_file} decides then")


def _left_alone(plan: ServicePlan, context: RigContext, engines: Sequence[str]) -> str:
    """What of the plan this deploy does not act on; where nobody named the engine, how it is served."""
    told = f"{plan.service}: planned on {label(plan.engine)}, left alone by this deploy"
    if context.spec.wish(plan.service).engine != "auto":
        return told
    return f"{told}; deploys/site.py serves with each engine, or write engine: {engines[0]}"


def _moved(context: RigContext, rig: Rig, resolved: Resolved, engines: Collection[str]) -> Iterator[str]:
    """The model files that moved on, each once."""
    found: dict[str, None] = {}
    for plan in resolved.plan.services:
        local = resolved.models.get(plan.service)
        if local and plan.engine in engines:
            paths = [path for _, path in resolved.files(plan, context.spec.weights)]
            found |= dict.fromkeys(moved(rig, local, paths, context.spec.weights, context.lookup))
            if local.folder and plan.source:
                found |= dict.fromkeys(repository_moved(local, plan.source, context.spec.weights, context.lookup))
    yield from found


def _line(plan: ServicePlan, wish: ServiceWish, resolved: Resolved) -> str:
    """`chat: m.gguf on GPU 0 (RTX 3090), 4096 tokens × 1 slots, 5.4 GiB, 127.0.0.1:8080`."""
    local = resolved.models.get(plan.service)
    name = local.name if local else str(plan.source or plan.model)
    memory = f", {format_bytes(plan.memory.total_bytes)}" if plan.memory else ""
    ports = "+".join(str(replica.port) for replica in plan.replicas)
    copies = f"{len(plan.replicas)} × " if len(plan.replicas) > 1 else ""
    size = f"{plan.context_tokens} tokens × {plan.slots} slots{memory}"
    place = plan.cluster.head.address if plan.cluster else wish.host
    host = f"[{place}]" if ":" in place else place
    part = f", rig {plan.cluster.rank + 1} of {len(plan.cluster.members)}" if plan.cluster else ""
    return f"{plan.service}: {copies}{name} on {plan.device}{part}, {size}, {host}:{ports}"


def _explain(host: Host, plan: ServicePlan) -> None:
    for flag in plan.flags:
        said = f"{flag.name} {flag.value}" if flag.value is not None else flag.name
        host.log(f"  {said:<36} {flag.reason.because}")
    for reason in plan.reasons:
        host.log(f"  {reason.choice}: {reason.because}")


def _announce_lock(host: Host, context: RigContext, resolved: Resolved) -> None:
    """What the plan stands on, and what would be otherwise without it."""
    if not context.lock:
        if context.lock_file:
            host.log_styled(f"{context.lock_file} has no entry for this rig; it is planned anew", fg="yellow")
        return
    if resolved.is_locked:
        host.log(f"as {context.lock_file} says")
        for change in resolved.changes:
            host.log_styled(f"  this version of rigwright would plan otherwise: {change}", fg="yellow")


def refusal(error: RigwrightError) -> list[str]:
    """Why this rig has no plan, a line each."""
    return [f"cannot be deployed: {line}" for line in error.message.splitlines()]
