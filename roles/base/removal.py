"""Removal: everything that rigwright put on a rig goes, everything else stays."""

from __future__ import annotations

from pyinfra.api import operation
from pyinfra.api.deploy import deploy

from rigwright.hardware.sections import SECTIONS
from rigwright.records import paths
from rigwright.records.paths import CONFIG_DIRECTORY, STATE_DIRECTORY
from rigwright.resources import script
from rigwright.roles.base.channel import Script
from rigwright.roles.base.facts import current_host, rig_state
from rigwright.roles.base.operations import BROUGHT_LIST, BUILDER, INSTALLED_LIST, Commands, current_rig
from rigwright.roles.base.packages import package_manager
from rigwright.roles.base.probe import Probe

_TRACES = (CONFIG_DIRECTORY, "/opt/rigwright")
_PROBE = Probe(files=_TRACES, directories=(STATE_DIRECTORY,), scripts=SECTIONS)


@operation()
def remove_everything(weights: bool, packages: bool, probe: Probe) -> Commands:
    """Stop and remove services, releases, keys and the builder's account.

    + weights: also the model files, which may have taken hours to download
    + packages: also the packages that came with ours and that nothing else needs
    + probe: what is asked of the rig
    """
    rig = yield from current_rig(probe)
    kept = set() if weights else {"weights", BROUGHT_LIST.rsplit("/", 1)[-1]}
    state = set(rig.directories[STATE_DIRECTORY]) - kept
    if not state and not rig.records.deployed and not any(path in rig.files for path in _TRACES):
        return
    manager = package_manager(rig.hardware)
    yield Script(
        script(
            "base",
            *((f"{manager.name}.sh",) if manager else ()),
            "remove.sh",
            BUILDER=BUILDER,
            STATE=STATE_DIRECTORY,
            CONFIG=CONFIG_DIRECTORY,
            RECORD=INSTALLED_LIST,
            BROUGHT=BROUGHT_LIST,
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
        yield Script(script("base", "remove-service.sh", NAME=instance, UNIT=paths.unit_name(instance), **where))


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
