"""The way back of a service that several rigs serve together: on all of them at once, or on none."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from weakref import WeakKeyDictionary

import gevent
from pyinfra.api.host import Host
from pyinfra.api.state import State

from rigwright.records.group import Group
from rigwright.records.values import Deployed
from rigwright.roles.base.pyinfra_private import has_failed, hosts_of, takes_turns

_LOOK_SECONDS = 0.05
# All are asked at once. One that says nothing for so long is not waited for.
_LATE_SECONDS = 180
_ALL_OR_NONE = "goes back on all of its rigs or on none"

# By rig what it was asked to bring back.
_asked: WeakKeyDictionary[State, dict[str, dict[str, Deployed]]] = WeakKeyDictionary()


def groups_of(deployed: Deployed) -> tuple[Group, ...]:
    """The groups that an instance leaves and comes to; none for a service of one rig."""
    return tuple(group for group, _ in _ways(deployed))


def _ways(deployed: Deployed) -> Iterator[tuple[Group, object]]:
    """Each with what has to be the same on all of its rigs: those that come to one come to one release and model."""
    back = deployed.way_back.record if deployed.way_back else None
    if deployed.record and deployed.record.group:
        group = deployed.record.group
        yield group, (group.addresses, group.port)
    if back and back.group:
        yield back.group, (back.group.addresses, back.group.port, back.engine_version, back.model)


def left_in_groups(host: Host, asked: Iterable[Deployed]) -> dict[str, str]:
    """The instances that stay as they are because not all of their rigs go back, each with why.

    Every rig of a run calls it, so that the others know what it brings back.
    """
    mine = {one.name: one for one in asked}
    said = _asked.setdefault(host.state, {})
    said[host.name] = mine
    grouped = [one for one in mine.values() if one.way_back and groups_of(one)]
    if grouped:
        _wait(host, said)
    return {one.name: why for one in grouped if (why := _why(said, one))}


def is_apart(host: Host, name: str) -> str:
    """Why an instance of a group may not go back now, though all of its rigs were there; empty where it may."""
    if takes_turns(host.state):
        return f"{name}: its rigs start together; roll back without --serial, and all at once"
    said = _asked.get(host.state, {})
    mine = said.get(host.name, {}).get(name)
    rigs = {rig for _, same in (_ways(mine) if mine else ()) for rig in _places(said, name, same).values()}
    failed = [one.name for one in hosts_of(host.state) if one.name in rigs and has_failed(one)]
    if failed:
        return f"{name} {_ALL_OR_NONE}, and {', '.join(failed)} failed; mend that, then run again"
    return ""


def _wait(host: Host, said: Mapping[str, object]) -> None:
    """Until all rigs of the run have said what they bring back, or are out of it."""
    began = time.monotonic()
    while any(one.name not in said and not has_failed(one) for one in hosts_of(host.state)):
        if time.monotonic() - began > _LATE_SECONDS:
            return
        gevent.sleep(_LOOK_SECONDS)


def _why(said: Mapping[str, Mapping[str, Deployed]], one: Deployed) -> str:
    """Which rigs of its groups do not go back with it; empty where all do."""
    for group, same in _ways(one):
        places = _places(said, one.name, same)
        missing = [group.rig(rank) for rank in range(len(group.addresses)) if rank not in places]
        kept = [rig for rig in missing if one.name in said.get(rig, {})]
        if away := [rig for rig in missing if rig not in kept]:
            return (
                f"{one.name} {_ALL_OR_NONE}, and {', '.join(away)} is not in this run or has none of it; see there, "
                f"or name {', '.join(map(group.rig, range(len(group.addresses))))} in --limit"
            )
        if kept:
            return (
                f"{one.name} {_ALL_OR_NONE}, and {', '.join(kept)} keeps nothing that it would go back to with the "
                "others; deploy the version you want instead"
            )
    return ""


def _places(said: Mapping[str, Mapping[str, Deployed]], name: str, same: object) -> dict[int, str]:
    """By its place in a group the rig that leaves it, or comes to it, with the others."""
    ready = {rig: one for rig, instances in said.items() if (one := instances.get(name)) and one.way_back}
    return {group.rank: rig for rig, one in ready.items() for group, own in _ways(one) if own == same}
