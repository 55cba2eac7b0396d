"""Removal: everything that rigwright put on a rig goes, everything else stays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pyinfra.api import operation
from pyinfra.api.deploy import deploy

from rigwright.hardware.sections import SECTIONS
from rigwright.records import paths
from rigwright.records.paths import CONFIG_DIRECTORY, STATE_DIRECTORY
from rigwright.records.values import RigRecords
from rigwright.resources import assignments, role_text, script
from rigwright.roles.base.account import COMMENT
from rigwright.roles.base.channel import Script
from rigwright.roles.base.drain import drains
from rigwright.roles.base.facts import NO_STATE, rig_state
from rigwright.roles.base.failures import close_with_failures, give_up
from rigwright.roles.base.operations import BROUGHT_LIST, BUILDER, INSTALLED_LIST, Commands, current_rig, refuse
from rigwright.roles.base.packages import package_manager, package_names
from rigwright.roles.base.probe import Probe
from rigwright.roles.base.pyinfra_private import current_host, inventory_argument
from rigwright.roles.base.request import read_request
from rigwright.spec.owner import owners_in

# The scripts of a removal behind those of the package manager, each after what it calls.
REMOVAL = ("ours.sh", "drain.sh", "remove-unit.sh", "removal.sh", "owner.sh", "remove-own.sh", "remove.sh")
_PLACES = {"STATE": STATE_DIRECTORY, "CONFIG": CONFIG_DIRECTORY, "RECORD": INSTALLED_LIST, "BROUGHT": BROUGHT_LIST}
_WHOSE = {**_PLACES, "BUILDER": BUILDER, "COMMENT": COMMENT}
_OURS = ("ours", "\n".join([*assignments(_WHOSE), role_text("base", "ours.sh"), "ours"]))


def probe_of(owners: Iterable[str]) -> Probe:
    """What a removal by this inventory asks of a rig."""
    whose = assignments({**_PLACES, "OWNERS": " ".join(owners)})
    texts = (role_text("base", "owner.sh"), role_text("base", "remove-own.sh"))
    spare = ("spare files", "\n".join([*whose, *texts, 'if [ -n "$(others)" ]; then spare_files; fi']))
    return Probe(scripts=(*SECTIONS, _OURS, spare))


@operation()
def remove_everything(
    weights: bool, packages: bool, owners: tuple[str, ...], probe: Probe, drain_seconds: int | None = None
) -> Commands:
    """Stop and remove services, releases, keys and the builder's account.

    Where services of other inventories stay, what they may need stays too.

    + weights: also the model files, which may have taken hours to download
    + packages: also the packages that came with ours and that nothing else needs
    + owners: the names of the inventory
    + probe: what is asked of the rig
    + drain_seconds: how long requests may go on before a service stops; by default what its record says
    """
    rig = yield from current_rig(probe)
    is_shared = not all(one.is_of(owners) for one in rig.records.deployed)
    if is_shared:
        records = rig.records
        is_done = not any(one.is_of(owners) for one in records.deployed)
        if is_done and not records.has_spare_releases and not (weights and rig.sections.get("spare files")):
            return
    # The lists of what stays are there for the next time.
    kept = {*(() if weights else (BROUGHT_LIST,)), *(() if packages else (INSTALLED_LIST,))}
    if not rig.records.deployed and not set(rig.sections.get("ours", ())) - kept:
        return
    if rig.uid != 0:
        yield from refuse("the SSH user is not root; set _sudo=True in the host data, or ssh_user='root'")
        return
    manager = package_manager(rig.hardware)
    yield Script(
        script(
            "base",
            *(manager.scripts if manager else ("manager.sh",)),
            *REMOVAL,
            **_WHOSE,
            OWNERS=" ".join(owners),
            ASKED=" ".join(package_names("build", rig.hardware) or ()),
            WEIGHTS="yes" if weights else "",
            PACKAGES="yes" if packages and manager else "",
            DRAINS=drains(rig.records.deployed, drain_seconds),
        )
    )
    if is_shared:
        yield Script(script("base", "prune.sh"))


@operation()
def remove_instance(instance: str, owners: tuple[str, ...], probe: Probe, drain_seconds: int | None = None) -> Commands:
    """Stop and remove one instance; model files and releases stay.

    + instance: its name
    + owners: the names of the inventory
    + probe: the questions that the operations of a run share
    + drain_seconds: how long requests may go on before it stops; by default what its record says
    """
    rig = yield from current_rig(probe)
    if rig.records.of(instance).is_ours:
        where = {"STATE": paths.STATE_DIRECTORY, "CONFIG": paths.CONFIG_DIRECTORY}
        named = {"NAME": instance, "UNIT": paths.unit_name(instance), "OWNERS": " ".join(owners)}
        waiting_for = {"DRAINS": drains([rig.records.of(instance)], drain_seconds)}
        names = ("owner.sh", "drain.sh", "remove-unit.sh", "remove-service.sh")
        yield Script(script("base", *names, **named, **where, **waiting_for))


@deploy("Remove")
def remove() -> None:
    """Give the rig back as it was, or with `--data remove_service=NAME` take away one service with its replicas.

    `--data remove_weights=true` takes the model files too, `--data remove_packages=false` leaves packages, `--data
    drain_seconds=0` waits for no request.

    Raises:
        WrongRequest: before any rig is touched.
    """
    host = current_host()
    request = read_request(host)
    close_with_failures(host.state)
    owners = owners_in(host.data.get("rig"), inventory_argument())
    probe = probe_of(owners)
    rig = rig_state(probe)
    if rig is None:
        give_up(host, NO_STATE)
        return
    if request.service is None:
        remove_everything(
            weights=request.weights,
            packages=request.packages,
            owners=owners,
            probe=probe,
            drain_seconds=request.drain_seconds,
            name="Remove rigwright from the rig",
        )
        return
    if line := unknown_service(request.service, rig.records, [one.data.get("rig") for one in host.state.inventory]):
        give_up(host, line)
        return
    there = rig.records.instances_of(request.service)
    if other := next((one for one in there if not one.is_of(owners)), None):
        give_up(host, f"remove_service: {other.name} is of the inventory {other.owner}; remove it with that one")
        return
    if not there:
        host.log(f"{request.service} is not on this rig")
    for one in host.loop(there):
        remove_instance(
            instance=one.name,
            owners=owners,
            probe=probe,
            drain_seconds=request.drain_seconds,
            name=f"Remove {one.name}",
        )


def unknown_service(name: str, records: RigRecords, inventory: list[Any]) -> str | None:
    """Why a name is none that can be removed: neither is it on the rig, nor does an inventory's `rig` data have it."""
    there = list(dict.fromkeys(one.service for one in records.deployed))
    if name in there or name in (known for data in inventory for known in _names(data)):
        return None
    has = f"this rig has {', '.join(there)}" if there else "this rig has none"
    return f"remove_service: no service is called {name}; {has}"


def _names(data: Any) -> Iterator[str]:
    """The names of services in `rig` data, whatever else is wrong there."""
    services = data.get("services") if isinstance(data, dict) else None
    for row in services if isinstance(services, list | tuple) else ():
        if isinstance(row, dict) and isinstance(row.get("name"), str):
            yield row["name"]
