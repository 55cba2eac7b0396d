"""The way out: everything that rigwright put on a rig goes, everything else stays."""

from __future__ import annotations

from pyinfra.api.deploy import deploy as pyinfra_deploy

from rigwright.hardware.sections import SECTIONS
from rigwright.resources import script
from rigwright.roles.base.channel import Script
from rigwright.roles.base.facts import OUR_UNITS, Rig, current_host
from rigwright.roles.base.operations import (
    BROUGHT_LIST,
    BUILDER,
    CONFIG_DIRECTORY,
    INSTALLED_LIST,
    STATE_DIRECTORY,
    Commands,
    rig_operation,
)
from rigwright.roles.base.probe import Probe

_TRACES = (CONFIG_DIRECTORY, "/opt/rigwright")
_PROBE = Probe(files=_TRACES, directories=(STATE_DIRECTORY,), scripts=(OUR_UNITS, *SECTIONS))


@rig_operation
def remove_everything(rig: Rig, *, weights: bool, packages: bool) -> Commands:
    """Stop and remove services, releases, keys and the builder's account.

    + weights: also the model files, which may have taken hours to download
    + packages: also the packages that came with ours and that nothing else needs
    """
    kept = set() if weights else {"weights", BROUGHT_LIST.rsplit("/", 1)[-1]}
    state = set(rig.directories[STATE_DIRECTORY]) - kept
    if not state and not rig.sections.get("units") and not any(path in rig.files for path in _TRACES):
        return
    yield Script(
        script(
            "base",
            "remove.sh",
            BUILDER=BUILDER,
            STATE=STATE_DIRECTORY,
            CONFIG=CONFIG_DIRECTORY,
            RECORD=INSTALLED_LIST,
            BROUGHT=BROUGHT_LIST,
            WEIGHTS="yes" if weights else "",
            PACKAGES="yes" if packages else "",
        )
    )


@rig_operation
def remove_service(rig: Rig, name: str) -> Commands:
    """Stop and remove one service; model files and builds stay.

    + name: the service's name
    """
    unit = f"rigwright-{name}.service"
    if unit in rig.sections.get("units", []):
        text = script("base", "remove-service.sh", NAME=name, UNIT=unit, STATE=STATE_DIRECTORY, CONFIG=CONFIG_DIRECTORY)
        yield Script(text)


@pyinfra_deploy("Remove", data_defaults={"remove_service": None, "remove_weights": False, "remove_packages": True})
def remove() -> None:
    """Give the rig back as it was.

    `--data remove_weights=true` takes the model files too, `--data remove_service=NAME` takes one service alone.
    """
    data = current_host().data
    if data.remove_service:
        remove_service(_PROBE, str(data.remove_service), name=f"Remove the service {data.remove_service}")
        return
    remove_everything(
        _PROBE,
        weights=bool(data.remove_weights),
        packages=bool(data.remove_packages),
        name="Remove rigwright from the rig",
    )
