"""Power limits and clocks on a rig: set now and at each boot, by UUID; taken away with what they left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pyinfra.api import operation

from rigwright.hardware import Hardware
from rigwright.hardware.sections import SECTIONS
from rigwright.plan.driver import DriverWish, PowerSetting, plan_power
from rigwright.records.paths import CONFIG_DIRECTORY, INSTALL_DIRECTORY, POWER_UNIT
from rigwright.resources import role_text, script, template
from rigwright.roles.base.channel import Script
from rigwright.roles.base.facts import Rig
from rigwright.roles.base.operations import Commands, current_rig, refuse
from rigwright.roles.base.probe import Probe

UNIT_FILE = f"/etc/systemd/system/{POWER_UNIT}"
PROGRAM = f"{INSTALL_DIRECTORY}/nvidia/power.sh"
SETTINGS = f"{CONFIG_DIRECTORY}/nvidia.power"
_STATE, _VIRTUALIZATION = "power unit", "virtualization"
# What systemd says of a unit that has done its work and will do it at the next boot.
_DONE = {"ActiveState=active", "UnitFileState=enabled"}


def power_probe() -> Probe:
    """What the operation of this module asks."""
    asked = " ".join(f"-p {line.partition('=')[0]}" for line in sorted(_DONE))
    state = (_STATE, f"systemctl show {asked} {POWER_UNIT} 2>/dev/null")
    kind = (_VIRTUALIZATION, "systemd-detect-virt 2>/dev/null")
    return Probe(files=(UNIT_FILE, PROGRAM, SETTINGS), scripts=(*SECTIONS, state, kind))


@operation()
def power(wish: DriverWish, probe: Probe) -> Commands:
    """Have the power limits and clocks of the wish, now and at each boot; without one, what we set is taken back.

    Nothing where every limit is there within a watt. While no driver tells UUIDs nothing is set: the next run does it.

    + wish: what the inventory says of the driver
    + probe: the questions that the operations of a run share
    """
    rig = yield from current_rig(probe)
    plan = plan_power(_hardware(rig), wish)
    if plan.stops:
        yield from refuse("\n".join(f"{one.where}: {one.what}; {one.do}" for one in plan.stops))
        return
    told = [one for one in plan.settings if one.uuid]
    if not told and not plan.settings and {UNIT_FILE, PROGRAM, SETTINGS} & rig.files.keys():
        places = {"UNIT": POWER_UNIT, "PROGRAM": PROGRAM, "SETTINGS": SETTINGS}
        before = "\n".join([role_text("base", "own-unit.sh"), role_text("base", "remove-unit.sh")])
        yield Script(script("nvidia", "power-remove.sh", before=before, **places))
    elif told and not is_set(rig, told):
        yield Script(
            script(
                "nvidia",
                "power-set.sh",
                before=role_text("base", "own-unit.sh"),
                UNIT=POWER_UNIT,
                UNIT_TEXT=template("power.service"),
                PROGRAM=PROGRAM,
                PROGRAM_TEXT=role_text("nvidia", "power.sh"),
                SETTINGS=SETTINGS,
                SETTINGS_TEXT=settings_text(told),
            )
        )


def _hardware(rig: Rig) -> Hardware:
    """The machine, with what a deploy's own reading leaves out: whether its kernel is that of a host."""
    kind = next(iter(rig.sections.get(_VIRTUALIZATION, ())), None)
    software = rig.hardware.software
    return replace(rig.hardware, software=replace(software, virtualization=software.virtualization or kind))


def is_set(rig: Rig, settings: Sequence[PowerSetting]) -> bool:
    """Whether each limit is there now, and will be after a boot."""
    texts = {
        UNIT_FILE: template("power.service"),
        PROGRAM: role_text("nvidia", "power.sh"),
        SETTINGS: settings_text(settings),
    }
    is_written = all(rig.content(path) == text for path, text in texts.items())
    return is_written and set(rig.sections.get(_STATE, ())) >= _DONE and all(one.is_set for one in settings)


def settings_text(settings: Sequence[PowerSetting]) -> str:
    """A line for each GPU, as power.sh reads it: `GPU-8932f937-… 280 210,1700`, `-` for what stays as it is."""
    rows = sorted((one.uuid or "", one.watts or "-", _clocks(one)) for one in settings)
    return "".join(f"{uuid} {watts} {clocks}\n" for uuid, watts, clocks in rows)


def _clocks(setting: PowerSetting) -> str:
    return f"{setting.clocks_mhz[0]},{setting.clocks_mhz[1]}" if setting.clocks_mhz else "-"
