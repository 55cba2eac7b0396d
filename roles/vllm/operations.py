"""Have a release of vLLM on the rig: an environment of Python that uv makes there."""

from __future__ import annotations

from pyinfra.api import operation
from pyinfra.api.command import PyinfraCommand

from rigwright.errors import RigwrightError
from rigwright.plan.engines.vllm.planner import VllmPlanner
from rigwright.plan.engines.vllm.release import Release, plan_release
from rigwright.plan.engines.vllm.settings import VllmSettings
from rigwright.records.paths import STATE_DIRECTORY
from rigwright.resources import role_text, script
from rigwright.roles.base.channel import Script, Upload
from rigwright.roles.base.facts import Rig
from rigwright.roles.base.operations import BUILDER, Commands, current_rig, refuse
from rigwright.roles.base.probe import Probe
from rigwright.roles.service.context import RigContext
from rigwright.roles.service.shipping import Later
from rigwright.roles.vllm.wheels import Wheel, bundled_wheels, sums, total_bytes, uv_sum, uv_wheel, wheels_in


@operation()
def install(context: RigContext, probe: Probe) -> Commands:
    """Have the wanted release on the rig, made in a unit that outlives this connection.

    + context: the rig's part of the inventory
    + probe: the questions that the operations of a run share
    """
    rig = yield from current_rig(probe)
    try:
        release = release_of(context, rig)
    except RigwrightError as error:
        yield from refuse(error.message)
        return
    if release.directory not in rig.records.installed.releases:
        yield Later(lambda: _commands(release, context))


def _commands(release: Release, context: RigContext) -> list[PyinfraCommand]:
    settings = context.spec.settings(VllmSettings)
    work = f"{STATE_DIRECTORY}/build/{release.id}"
    sent = sent_wheels(release, context)
    uv = uv_wheel(release.machine, context.find, settings.wheels)
    need = str(sum(total_bytes([one]) for one in sent) + uv.stat().st_size)
    files = [Wheel(uv, "uv.whl", uv_sum(release.machine)), *sent]
    known = {
        "ID": release.id,
        "RELEASE": release.directory,
        "WORK": work,
        "UV_SUM": uv_sum(release.machine),
        "SUMS": sums(sent),
        "REQUIREMENTS": release.requirements,
        "PYTHON": release.python,
        "INDEX": settings.index or "",
        "OFFLINE": "yes" if sent else "",
        "STUB": release.stub,
        "VERSION": release.version,
        "KERNELS": "yes" if release.has_kernels else "",
        "NEED": str(release.installed_bytes),
        "BUILDER": BUILDER,
        "STEPS": role_text("vllm", "steps.sh"),
        "SERVE": role_text("vllm", "serve.py"),
        "MANIFEST": release.manifest(),
    }
    room = script("vllm", "room.sh", RELEASE=release.directory, WORK=work, NEED=need)
    uploads = [_upload(one, work) for one in files]
    return [Script(room), *uploads, Script(script("vllm", "install.sh", **known))]


def _upload(wheel: Wheel, work: str) -> Upload:
    return Upload(lambda: wheel.path, f"{work}/wheels/{wheel.name}")


def sent_wheels(release: Release, context: RigContext) -> list[Wheel]:
    """The wheels that are sent to a rig; none where it fetches them itself.

    Raises:
        RigwrightError: some are not there.
    """
    settings = context.spec.settings(VllmSettings)
    if settings.wheels:
        return wheels_in(settings.wheels, release)
    if context.bundle is None:
        return []
    names = {one.sha256: one.name for one in context.bundle.manifest.contents if one.kind == "wheel"}
    found = bundled_wheels(release, context.find, names)
    if found is None:
        raise RigwrightError(context.bundle.lacks([f"the wheels of vLLM {release.version}"], context.inventory))
    return found


def release_of(context: RigContext, rig: Rig) -> Release:
    """What is installed, as the plan of the rig has it.

    Raises:
        RigwrightError: the rig cannot serve what is wished.
    """
    found = context.resolved(rig).engines["vllm"]
    settings = found.settings if isinstance(found, VllmPlanner) else context.spec.settings(VllmSettings)
    release = plan_release(settings, rig.hardware)
    if release is None:
        raise RigwrightError("which system this rig has could not be read; see /etc/os-release there")
    return release
