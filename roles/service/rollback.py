"""The way back: the release and the unit that each service had before, in seconds; it needs the names alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pyinfra.api.deploy import deploy

from rigwright.records.values import RigRecords
from rigwright.roles.base.facts import current_host, rig_state
from rigwright.roles.base.probe import Probe
from rigwright.roles.service import operations as service

_PROBE = Probe()


@deploy("Rollback", data_defaults={"rollback_service": None})
def rollback() -> None:
    """Every service of the inventory runs again what it ran before; a second time brings back the newer one.

    No model, key, lock or hub is looked at, and no other rig's data. `--data rollback_service=NAME` brings back one
    service alone. What has no earlier release is named at the end, and the rig fails.
    """
    host = current_host()
    rig = rig_state(_PROBE)
    if rig is None:
        host.log_styled("its state could not be read; see above", fg="red")
        host.state.fail_hosts({host})
        return
    only = host.data.rollback_service
    names = (str(only),) if only else service_names(host.data.get("rig"), rig.records)
    asked = [one for name in names for one in rig.records.instances_of(name)]
    ready = tuple(one.name for one in asked if one.saved_unit and one.saved_record)
    for name in host.loop(ready):
        service.bring_back(
            instance=name, together=ready, probe=_PROBE, name=f"Bring back the earlier release of {name}"
        )
    for line in host.loop(_left_out(names, rig.records, ready)):
        service.report_refusal(reason=line, name="What was not brought back")


def service_names(data: Any, records: RigRecords) -> tuple[str, ...]:
    """The names of the services in a host's `rig` data, whatever else is wrong there; without any all on the rig."""
    services = data.get("services") if isinstance(data, dict) else None
    rows = services if isinstance(services, list | tuple) else ()
    names = [row["name"] for row in rows if isinstance(row, dict) and isinstance(row.get("name"), str)]
    return tuple(dict.fromkeys(names or [one.service for one in records.deployed]))


def _left_out(names: Iterable[str], records: RigRecords, ready: tuple[str, ...]) -> list[str]:
    """One line for all that was not brought back; none where everything was."""
    there = [one for name in names for one in records.instances_of(name)]
    without = [one.name for one in there if one.name not in ready]
    absent = [name for name in names if not records.instances_of(name)]
    said = []
    if without:
        said.append(f"no earlier release is kept of {', '.join(without)}; deploy the version you want instead")
    if absent:
        said.append(f"{', '.join(absent)} is not on this rig")
    return ["; ".join(said)] if said else []
