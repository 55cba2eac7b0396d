"""What would stop a deploy half-way, looked for before anything is changed."""

from __future__ import annotations

from collections.abc import Iterator

from rigwright.errors import RigwrightError
from rigwright.plan.engines.llamacpp.release import PREFIX, build_bytes
from rigwright.plan.engines.llamacpp.settings import LlamacppSettings
from rigwright.plan.wish import ServiceWish
from rigwright.roles.base.facts import Rig
from rigwright.roles.base.operations import STATE_DIRECTORY, Commands, build_packages, refuse, rig_operation
from rigwright.roles.llamacpp.brief import Brief
from rigwright.roles.llamacpp.facts import source_identity
from rigwright.roles.llamacpp.operations import rig_release
from rigwright.roles.llamacpp.plan import plan_rig
from rigwright.roles.llamacpp.unit import is_ours, unit_path, was_ours
from rigwright.units import format_bytes


@rig_operation
def preflight(rig: Rig, brief: Brief) -> Commands:
    """Refuse a rig on which the deploy could not end well.

    + brief: the rig's part of the inventory
    """
    for reason in obstacles(rig, brief):
        yield from refuse(reason)
        return


def obstacles(rig: Rig, brief: Brief) -> Iterator[str]:
    """Why this rig cannot be deployed to, a line each."""
    if rig.uid != 0:
        yield "the SSH user is not root; set _sudo=True in the host data, or ssh_user='root'"
        return
    if rig.init != "systemd":
        yield f"its init is {rig.init}, not systemd; services are systemd units, use a machine that boots with systemd"
        return
    if build_packages(rig.hardware) is None:
        system = f"{rig.hardware.os_id} {rig.hardware.os_version}".strip()
        yield f"{system} is not known here; Debian and Ubuntu are"
        return
    for wish in brief.spec.services:
        yield from _service_obstacles(rig, wish)
    try:
        plan_rig(brief, rig)
        yield from _build_obstacles(rig, brief.spec.llamacpp)
    except RigwrightError as error:
        yield error.message


def _build_obstacles(rig: Rig, settings: LlamacppSettings) -> Iterator[str]:
    release = rig_release(rig, settings, source_identity(settings, rig) or "unknown")
    disk, needed = rig.disks.get(STATE_DIRECTORY), build_bytes(settings, rig.hardware)
    if disk and disk.free_bytes < needed and release.id not in rig.directories.get(PREFIX, ()):
        have = format_bytes(disk.free_bytes)
        yield f"building needs {format_bytes(needed)} in {STATE_DIRECTORY}, the disk has {have}; free some"


def _service_obstacles(rig: Rig, wish: ServiceWish) -> Iterator[str]:
    path, running = unit_path(wish), rig.units[wish.unit]
    unit, fragment = rig.files.get(path), running.properties.get("FragmentPath", "")
    if unit and not (unit.content and was_ours(unit.content)):
        yield f"{path} exists and was not written by rigwright; rename the service, or move that unit away"
    elif unit and unit.content and not is_ours(unit.content):
        yield f"{path} was edited by hand; move the change to {path}.d/local.conf and delete the file, then run again"
    elif not unit and fragment:
        yield f"{fragment} provides {wish.unit} and was not written by rigwright; rename the service"
    owner = rig.listeners.get(wish.port)
    if owner and owner[1] != int(running.properties.get("MainPID") or 0):
        taken = f"port {wish.port} is taken by {owner[0]} (pid {owner[1]})"
        yield f"{taken}; give service {wish.name} another port, or stop that program"
