"""What plans ask of the machine itself, on a rig: set now and at each boot, given back when nobody asks any more."""

from __future__ import annotations

from collections.abc import Sequence

from pyinfra.api import operation

from rigwright.errors import RigwrightError
from rigwright.plan.service import Tuning
from rigwright.records.paths import CONFIG_DIRECTORY, INSTALL_DIRECTORY, TUNING_UNIT
from rigwright.resources import role_text, script, template
from rigwright.roles.base.channel import Script
from rigwright.roles.base.facts import Rig
from rigwright.roles.base.operations import Commands, current_rig, refuse
from rigwright.roles.base.probe import Probe
from rigwright.roles.service.context import RigContext

UNIT_FILE = f"/etc/systemd/system/{TUNING_UNIT}"
PROGRAM = f"{INSTALL_DIRECTORY}/tuning.sh"
SETTINGS = f"{CONFIG_DIRECTORY}/tuning"
_STATE = "tuning"
# What systemd says of a unit that has done its work and will do it at the next boot.
_DONE = {"ActiveState=active", "UnitFileState=enabled"}
_PLACES = {"UNIT": TUNING_UNIT, "PROGRAM": PROGRAM, "SETTINGS": SETTINGS}


def tuning_probe() -> Probe:
    """What the operation of this module asks."""
    state = (_STATE, role_text("service", "tuning-state.sh"))
    return Probe(files=(UNIT_FILE, PROGRAM, SETTINGS), scripts=(state,))


@operation()
def tune(context: RigContext, probe: Probe) -> Commands:
    """Have what the plan asks of the machine itself, as far as it has it; what nobody asks for any more is taken back.

    + context: the rig's part of the inventory
    + probe: the questions that the operations of a run share
    """
    rig = yield from current_rig(probe)
    try:
        asked = context.resolved(rig).plan.tuning
    except RigwrightError as error:
        yield from refuse(error.message)
        return
    wanted = possible(rig, asked)
    if wanted and not is_tuned(rig, wanted):
        yield Script(
            script(
                "service",
                "tune.sh",
                before=role_text("base", "own-unit.sh"),
                **_PLACES,
                UNIT_TEXT=template("tuning.service"),
                PROGRAM_TEXT=role_text("service", "tuning.sh"),
                SETTINGS_TEXT=settings_text(wanted),
            )
        )
    elif not wanted and {UNIT_FILE, PROGRAM, SETTINGS} & rig.files.keys():
        before = "\n".join([role_text("base", "own-unit.sh"), role_text("base", "remove-unit.sh")])
        yield Script(script("service", "untune.sh", before=before, **_PLACES))


def possible(rig: Rig, asked: Sequence[Tuning]) -> tuple[Tuning, ...]:
    """What of it the machine has; nothing in a container, whose host decides."""
    said = rig.sections.get(_STATE, ())
    if any(line.startswith("container=") and line not in ("container=none", "container=") for line in said):
        return ()
    return tuple(one for one in asked if f"can={one.name}" in said)


def is_tuned(rig: Rig, wanted: Sequence[Tuning]) -> bool:
    """Whether each is set, or was left to the owner of the machine, and will be after a boot."""
    texts = {
        UNIT_FILE: template("tuning.service"),
        PROGRAM: role_text("service", "tuning.sh"),
        SETTINGS: settings_text(wanted),
    }
    said = set(rig.sections.get(_STATE, ()))
    is_written = all(rig.content(path) == text for path, text in texts.items())
    return is_written and said >= _DONE and all(_is_set(said, one) for one in wanted)


def _is_set(said: set[str], one: Tuning) -> bool:
    """Of several CPUs each."""
    if f"applied={one.name} -" in said:
        return True
    now = {line for line in said if line.startswith(f"{one.name}=")}
    return f"applied={one.name} {one.value}" in said and now == {f"{one.name}={one.value}"}


def settings_text(wanted: Sequence[Tuning]) -> str:
    """A line for each, as tuning.sh reads it: `swappiness 10`."""
    return "".join(f"{one.name} {one.value}\n" for one in wanted)
