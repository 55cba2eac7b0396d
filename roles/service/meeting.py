"""The rigs of a cluster in one run: the plan of each stands on what all have, so that they wait for each other."""

from __future__ import annotations

import time
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
    """What a run knows of a cluster: the rigs that have answered, and what came of it once all had."""

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
    name, names = context.member.spec.name, context.member.rigs
    meeting = _meetings.setdefault(host.state, {}).setdefault(name, _Meeting())
    meeting.rigs[context.rig] = ClusterRig(context.spec, rig.hardware, rig.records)
    began = time.monotonic()
    here = {one.name: one for one in hosts_of(host.state)}
    while missing := [one for one in names if one not in meeting.rigs]:
        gone = [one for one in missing if one not in here or has_failed(here[one])]
        if gone or time.monotonic() - began > _LATE_SECONDS:
            raise Refused(_not_all(name, gone or missing, names))
        gevent.sleep(_LOOK_SECONDS)
    if not meeting.found and not meeting.error:
        try:
            meeting.found = shares(context.member, meeting.rigs, context.lookup)
        except RigwrightError as error:
            meeting.error = error
    if meeting.error:
        raise meeting.error
    context.join(meeting.found[context.rig])


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
