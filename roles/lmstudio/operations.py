"""Have a model served by LM Studio's llmster."""

from __future__ import annotations

from pyinfra.api import operation

from rigwright.resources import render, role_text, script
from rigwright.roles.base.channel import Script
from rigwright.roles.base.operations import Commands, current_rig
from rigwright.roles.base.probe import Probe
from rigwright.roles.lmstudio.settings import LmStudioSettings

UNIT = "rigwright.lmstudio.service"
_FILE = f"/etc/systemd/system/{UNIT}"
_STATE = "lmstudio unit"
_DONE = {"ActiveState=active", "UnitFileState=enabled"}
PROBE = Probe(
    files=(_FILE,),
    scripts=((_STATE, f"systemctl show -p ActiveState -p UnitFileState {UNIT} 2>/dev/null"),),
)


@operation()
def serve(service: LmStudioSettings) -> Commands:
    """Have its unit run as planned; nothing where the very same does.

    Where the model does not answer the unit of before comes back. LM Studio itself is never installed: its installer
    has no checksum to hold it to.

    + service: what is served
    """
    rig = yield from current_rig(PROBE)
    text = unit_text(service)
    if rig.content(_FILE) == text and set(rig.sections.get(_STATE, ())) >= _DONE:
        return
    yield Script(
        script(
            "lmstudio",
            "serve.sh",
            before=role_text("base", "own-unit.sh"),
            UNIT=UNIT,
            TEXT=text,
            ACCOUNT=service.account,
            HOME_OF=home_of(service),
            PORT=service.port,
            ALIAS=service.alias,
            SECONDS_TO_START=service.start_timeout_seconds,
        )
    )


def unit_text(service: LmStudioSettings) -> str:
    """The unit."""
    return render("lmstudio.service.j2", service=service, home=home_of(service))


def home_of(service: LmStudioSettings) -> str:
    """Where LM Studio lies: the account's home, which the script checks."""
    return f"/home/{service.account}"
