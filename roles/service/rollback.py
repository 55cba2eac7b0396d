"""Rollback: the release and the unit that each service had before, in seconds; it needs the names alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pyinfra.api.deploy import deploy
from pyinfra.api.operation import OperationMeta

from rigwright.records.values import RigRecords
from rigwright.roles.base.facts import rig_state
from rigwright.roles.base.failures import close_with_failures, give_up
from rigwright.roles.base.probe import Probe
from rigwright.roles.base.pyinfra_private import current_host, inventory_argument
from rigwright.roles.base.request import told_seconds
from rigwright.roles.service import operations as service
from rigwright.roles.service.regroup import groups_of, left_in_groups
from rigwright.spec.owner import owners_in

_PROBE = Probe()


@deploy("Rollback", data_defaults={"rollback_service": None, "drain_seconds": None})
def rollback() -> None:
    """Every service of the inventory runs again what it ran before; a second time brings back the newer one.

    No model, key, lock or hub is looked at, and no other rig's data. `--data rollback_service=NAME` brings back one
    service alone, `--data drain_seconds=0` waits for no request. What has no earlier release is named at the end, and
    the rig fails.

    Raises:
        WrongRequest: before any rig is touched.
    """
    host = current_host()
    drain_seconds = told_seconds(host.data.drain_seconds)
    close_with_failures(host.state)
    rig = rig_state(_PROBE)
    if rig is None:
        give_up(host, "its state could not be read; see above")
        return
    for line in rig.records.damage:
        host.log_styled(line, fg="yellow")
    only, data = host.data.rollback_service, host.data.get("rig")
    owners = owners_in(data, inventory_argument())
    every = service_names(data, rig.records, owners, cluster=host.data.get("cluster"))
    names = every if only is None else (str(only),)
    asked = [one for name in names for one in rig.records.instances_of(name) if one.is_of(owners)]
    left = left_in_groups(host, asked)
    ready = [one for one in asked if one.way_back and one.name not in left]

    def bring_back(name: str) -> OperationMeta:
        return service.bring_back(
            instance=name,
            together=tuple(one.name for one in ready),
            owners=owners,
            probe=_PROBE,
            drain_seconds=drain_seconds,
            name=f"Bring back the earlier release of {name}",
            # One that cannot go back keeps no other from it; the last operation fails the rig.
            _ignore_errors=True,
        )

    tried = {name: bring_back(name) for name in host.loop([one.name for one in ready if not groups_of(one)])}
    # On all of its rigs it is one operation, in which they wait for each other, whatever else goes back on each.
    tried |= {name: bring_back(name) for name in host.loop([one.name for one in ready if groups_of(one)])}
    unnamed = _rows_without_a_name(data) if only is None else []
    service.report_left_out(
        reasons=(*left.values(), *_left_out(names, rig.records, (*tried, *left), unnamed, owners)),
        tried=tried,
        name="Tell what was not brought back",
    )


def service_names(
    data: Any, records: RigRecords, owners: Sequence[str] = (), *, cluster: Any = None
) -> tuple[str, ...]:
    """The names of the services in a host's `rig` data, whatever else is wrong there; without any all of its own.

    Beside them that of its cluster, whose name it has where it has none.
    """
    names = [name for name in map(_name, _rows(data)) if name]
    if names and isinstance(cluster, dict) and (shared := _name(cluster.get("service")) or _name(cluster)):
        names.append(shared)
    return tuple(dict.fromkeys(names or [one.service for one in records.deployed if one.is_of(owners)]))


def _rows(data: Any) -> Sequence[Any]:
    services = data.get("services") if isinstance(data, dict) else None
    return services if isinstance(services, list | tuple) else ()


def _name(row: Any) -> str | None:
    name = row.get("name") if isinstance(row, dict) else None
    return name if isinstance(name, str) else None


def _rows_without_a_name(data: Any) -> list[str]:
    """Where the inventory has services whose names cannot be read, beside others."""
    rows = _rows(data)
    found = [f"rig.services.{index}" for index, row in enumerate(rows) if not _name(row)]
    return found if len(found) < len(rows) else []


def _left_out(
    names: Iterable[str], records: RigRecords, ready: tuple[str, ...], unnamed: Sequence[str], owners: Sequence[str]
) -> list[str]:
    """A line for each kind of what cannot be brought back."""
    there = [one for name in names for one in records.instances_of(name)]
    without = [one.name for one in there if one.name not in ready and one.is_of(owners)]
    absent = [name for name in names if not records.instances_of(name)]
    said = [
        f"{one.name} is of the inventory {one.owner}; roll back with that" for one in there if not one.is_of(owners)
    ]
    if without:
        said.append(f"no earlier release is kept of {', '.join(without)}; deploy the version you want instead")
    if absent:
        said.append(f"{', '.join(absent)} is not on this rig")
    if unnamed:
        said.append(f"{', '.join(unnamed)} has no name; name it with --service NAME")
    return said
