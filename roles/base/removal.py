"""Removal: everything that rigwright put on a rig goes, everything else stays."""

from __future__ import annotations

from pyinfra.api import operation
from pyinfra.api.deploy import deploy

from rigwright.hardware.sections import SECTIONS
from rigwright.records import paths
from rigwright.records.paths import CONFIG_DIRECTORY, STATE_DIRECTORY
from rigwright.resources import assignments, role_text, script
from rigwright.roles.base.channel import Script
from rigwright.roles.base.facts import current_host, rig_state
from rigwright.roles.base.operations import BROUGHT_LIST, BUILDER, INSTALLED_LIST, Commands, current_rig, refuse
from rigwright.roles.base.packages import package_manager, package_names
from rigwright.roles.base.probe import Probe

_PLACES = {"STATE": STATE_DIRECTORY, "CONFIG": CONFIG_DIRECTORY, "RECORD": INSTALLED_LIST, "BROUGHT": BROUGHT_LIST}
_OURS = ("ours", "\n".join([*assignments(_PLACES), role_text("base", "ours.sh"), "ours"]))
_PROBE = Probe(scripts=(*SECTIONS, _OURS))


@operation()
def remove_everything(weights: bool, packages: bool, probe: Probe) -> Commands:
    """Stop and remove services, releases, keys and the builder's account.

    + weights: also the model files, which may have taken hours to download
    + packages: also the packages that came with ours and that nothing else needs
    + probe: what is asked of the rig
    """
    rig = yield from current_rig(probe)
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
            "ours.sh",
            "remove-unit.sh",
            "removal.sh",
            "remove.sh",
            BUILDER=BUILDER,
            **_PLACES,
            ASKED=" ".join(package_names("build", rig.hardware) or ()),
            WEIGHTS="yes" if weights else "",
            PACKAGES="yes" if packages and manager else "",
        )
    )


@operation()
def remove_instance(instance: str, probe: Probe) -> Commands:
    """Stop and remove one instance; model files and releases stay.

    + instance: its name
    + probe: the questions that the operations of a run share
    """
    rig = yield from current_rig(probe)
    if rig.records.of(instance).is_ours:
        where = {"STATE": paths.STATE_DIRECTORY, "CONFIG": paths.CONFIG_DIRECTORY}
        named = {"NAME": instance, "UNIT": paths.unit_name(instance)}
        yield Script(script("base", "remove-unit.sh", "remove-service.sh", **named, **where))


@deploy("Remove", data_defaults={"remove_service": None, "remove_weights": False, "remove_packages": True})
def remove() -> None:
    """Give the rig back as it was, or with `--data remove_service=NAME` take away one service with its replicas.

    `--data remove_weights=true` takes the model files too.
    """
    host, data = current_host(), current_host().data
    if data.remove_service:
        rig = rig_state(_PROBE)
        for one in host.loop(rig.records.instances_of(str(data.remove_service)) if rig else []):
            remove_instance(instance=one.name, probe=_PROBE, name=f"Remove {one.name}")
        return
    remove_everything(
        weights=bool(data.remove_weights),
        packages=bool(data.remove_packages),
        probe=_PROBE,
        name="Remove rigwright from the rig",
    )
