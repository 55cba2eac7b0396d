"""The rigs of a cluster in one run: the plan of each stands on what all have, so that they wait for each other."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import gevent
from pyinfra.api.host import Host
from pyinfra.api.state import State

from rigwright.errors import Refused, RigwrightError
from rigwright.plan.service import ClusterPart
from rigwright.records.values import Record
from rigwright.resolve.cluster import ClusterRig, shares
from rigwright.resolve.share import Share
from rigwright.roles.base.facts import Rig
from rigwright.roles.base.pyinfra_private import every_host, has_failed, hosts_of, takes_turns
from rigwright.roles.service.context import RigContext

_LOOK_SECONDS = 0.05
# All are asked at once. One that says nothing for so long is not waited for.
_LATE_SECONDS = 180


@dataclass
class _Meeting:
    """What a run knows of a cluster: who is planned later, who has answered, what came of it once all had."""

    later: dict[str, bool] = field(default_factory=dict)
    rigs: dict[str, ClusterRig] = field(default_factory=dict)
    found: dict[str, Share] = field(default_factory=dict)
    error: RigwrightError | None = None


_meetings: WeakKeyDictionary[State, dict[str, _Meeting]] = WeakKeyDictionary()


def meet(host: Host, context: RigContext, rig: Rig) -> None:
    """Wait for the other rigs of the cluster, and take this one's share into its plans.

    Raises:
        RigwrightError: one of them is not there, or the cluster has no plan.
    """
    if context.member is None:
        return
    meeting = _meeting(host, context)
    meeting.rigs[context.rig] = ClusterRig(context.spec, rig.hardware, rig.records)
    if missing := _missing(host, context, meeting.rigs):
        raise Refused(_not_all(context.member.spec.name, missing, context.member.rigs))
    if not meeting.found and not meeting.error:
        try:
            meeting.found = shares(context.member, meeting.rigs, context.lookup)
        except RigwrightError as error:
            meeting.error = error
    if meeting.error:
        raise meeting.error
    context.join(meeting.found[context.rig])


def is_later(host: Host, context: RigContext, *, mine: bool) -> bool:
    """Whether a rig is planned later in the run: something of its own comes first, or of another rig of its cluster."""
    if context.member is None:
        return mine
    meeting = _meeting(host, context)
    meeting.later[context.rig] = mine
    _missing(host, context, meeting.later)  # who is missing here is refused when all meet
    return any(meeting.later.values())


def _meeting(host: Host, context: RigContext) -> _Meeting:
    name = context.member.spec.name if context.member else ""
    return _meetings.setdefault(host.state, {}).setdefault(name, _Meeting())


def _missing(host: Host, context: RigContext, said: Mapping[str, object]) -> list[str]:
    """The rigs of the cluster that say nothing, after waiting for those that may yet."""
    names = context.member.rigs if context.member else ()
    here = {one.name: one for one in hosts_of(host.state)}
    began = time.monotonic()
    while missing := [one for one in names if one not in said]:
        gone = [one for one in missing if one not in here or has_failed(here[one])]
        if gone or time.monotonic() - began > _LATE_SECONDS:
            return gone or missing
        gevent.sleep(_LOOK_SECONDS)
    return []


def is_broken(host: Host, context: RigContext) -> str:
    """Why nothing of the cluster may be changed now, though all met when the run began; empty where it may."""
    if context.member is None:
        return ""
    name, names = context.member.spec.name, context.member.rigs
    if takes_turns(host.state):
        return f"cluster {name}: its rigs start together; deploy without --serial, and all at once"
    failed = [one.name for one in every_host(host.state) if one.name in names and has_failed(one)]
    if failed:
        gone = ", ".join(failed)
        return f"cluster {name}: {gone} failed, so that its service stays as it is; mend that, then run again"
    return ""


def meets(part: ClusterPart | None) -> str:
    """$MEETS of switch.sh: where a rig that follows a head meets it; empty for all others."""
    return f"{part.head.address} {part.port}" if part and part.rank else ""


def met(record: Record | None) -> str:
    """The same of what a record tells of."""
    group = record.group if record else None
    return f"{group.head} {group.port}" if group and group.rank else ""


def _not_all(name: str, missing: list[str], names: tuple[str, ...]) -> str:
    return (
        f"cluster {name}: {', '.join(missing)} gave no answer, and it is deployed with all its rigs alone; see there, "
        f"or name {', '.join(names)} in --limit"
    )
