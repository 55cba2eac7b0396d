"""Build llama.cpp on the rig, and make services run it."""

from __future__ import annotations

import hashlib

from rigwright.errors import RigwrightError
from rigwright.hardware.sections import cuda_version
from rigwright.plan.engines.llamacpp.release import PREFIX, TARGETS, Release, build_bytes, plan_release, uses_cuda
from rigwright.plan.engines.llamacpp.settings import LlamacppSettings
from rigwright.plan.service import ServicePlan
from rigwright.plan.wish import ServiceWish
from rigwright.resources import role_text, script
from rigwright.roles.base.channel import Script, Upload
from rigwright.roles.base.facts import Rig, current_host, current_state
from rigwright.roles.base.operations import BUILDER, STATE_DIRECTORY, Commands, refuse, rig_operation
from rigwright.roles.llamacpp.archive import source_tree
from rigwright.roles.llamacpp.brief import Brief
from rigwright.roles.llamacpp.dry_run import dry_run
from rigwright.roles.llamacpp.facts import (
    base_url,
    nvcc_path,
    plan_path,
    previous_link,
    ref_stamp,
    saved_plan,
    saved_unit,
    source_identity,
)
from rigwright.roles.llamacpp.plan import plan_rig
from rigwright.roles.llamacpp.unit import current_link, key_path, marker_of, render_unit, unit_path
from rigwright.roles.weights.facts import verified_stamp
from rigwright.weights.local import weights_path


@rig_operation
def resolve(rig: Rig, settings: LlamacppSettings) -> Commands:
    """Find the commit of the wanted tag, once.

    + settings: which git and which ref
    """
    if source_identity(settings, rig) is None:
        yield Script(script("llamacpp", "resolve.sh", GIT=settings.git, REF=settings.ref, STAMP=ref_stamp(settings)))


@rig_operation
def build(rig: Rig, settings: LlamacppSettings) -> Commands:
    """Have the wanted build on the rig, in a unit that outlives this connection.

    + settings: what to build
    """
    identity = source_identity(settings, rig)
    if identity is None:
        yield from refuse(f"rig.llamacpp.ref {settings.ref} is not resolved to a commit yet")
        return
    try:
        release = rig_release(rig, settings, identity)
    except RigwrightError as error:
        yield from refuse(error.message)
        return
    if release.id in rig.directories.get(PREFIX, ()):
        return
    archive = f"{STATE_DIRECTORY}/build/{identity[:16]}.tar.gz" if settings.archive else ""
    if settings.archive:
        wanted = settings.archive
        yield Upload(lambda: source_tree(wanted), archive)
    yield Script(
        script(
            "llamacpp",
            "build.sh",
            ID=release.id,
            RELEASE=release.directory,
            WORK=f"{STATE_DIRECTORY}/build/{release.id}",
            BUILDER=BUILDER,
            NEED=build_bytes(settings, rig.hardware),
            OPTIONS="\n".join(release.options),
            STEPS=role_text("llamacpp", "steps.sh"),
            GIT="" if settings.archive else settings.git,
            REF=settings.ref,
            COMMIT=identity,
            ARCHIVE=archive,
            TARGETS=" ".join(TARGETS),
            JOBS=settings.jobs or rig.hardware.cpu.logical_cores or 1,
            MANIFEST=release.manifest(),
        )
    )


def rig_release(rig: Rig, settings: LlamacppSettings, identity: str) -> Release:
    """The build that this rig needs.

    Raises:
        DoesNotFit: it cannot be built here.
    """
    cuda = cuda_version(rig.sections) if uses_cuda(settings, rig.hardware) else None
    return plan_release(settings, rig.hardware, identity=identity, cuda_version=cuda, nvcc=nvcc_path(rig))


@rig_operation
def api_key(rig: Rig, wish: ServiceWish, key: str) -> Commands:
    """Have the API keys on the rig, readable for root alone from the first byte. The text travels on standard input.

    + wish: whose keys
    + key: their text, one per line
    """
    known = rig.sections.get(f"key {wish.name}", [""])
    digest = hashlib.sha256(key.encode()).hexdigest()
    file = rig.files.get(key_path(wish))
    if known and known[0].startswith(digest) and file and (file.mode, file.owner) == ("600", "root"):
        return
    yield Script(script("llamacpp", "key.sh", KEY=key_path(wish)), stdin=key)


@rig_operation
def service(rig: Rig, brief: Brief, wish: ServiceWish) -> Commands:
    """Have the service run as planned, proven by a completion; what ran before comes back if it does not.

    + brief: the rig's part of the inventory
    + wish: the service
    """
    identity = source_identity(brief.spec.llamacpp, rig)
    try:
        plan = plan_rig(brief, rig)[wish.name]
        release = rig_release(rig, brief.spec.llamacpp, identity or "unknown")
    except RigwrightError as error:
        yield from refuse(error.message)
        return
    weights = verified_stamp(rig, weights_path(wish.model, brief.spec.weights))
    unit, record = render_unit(wish, plan, weights=weights.sha256 if weights else "unknown"), plan.model_dump_json()
    if not runs_as_planned(rig, wish, unit, release.directory):
        _show_diff(rig, wish, unit)
        yield switch(rig, wish, unit, release.directory, record)
    elif rig.content(plan_path(wish.name)) != record:
        yield Script(script("llamacpp", "record.sh", PLAN=record, PLAN_FILE=plan_path(wish.name)))


@rig_operation
def rollback(rig: Rig, wish: ServiceWish) -> Commands:
    """Bring back the release and the unit that the service had before.

    + wish: the service
    """
    unit, plan = rig.content(saved_unit(wish.name)), rig.content(saved_plan(wish.name))
    if unit is None or plan is None:
        yield from refuse(f"{wish.name}: no earlier release is kept on this rig; deploy the version you want instead")
        return
    release = rig.target(previous_link(wish.name)) or rig.target(current_link(wish.name)) or ""
    yield switch(rig, wish, unit, release, plan)


@rig_operation
def prune(rig: Rig) -> Commands:
    """Remove builds that no service runs and none would roll back to."""
    used = {target.rsplit("/", 1)[-1] for target in rig.sections.get("links", [])}
    if {name for name in rig.directories.get(PREFIX, ()) if not name.startswith(".")} - used:
        yield Script(script("llamacpp", "prune.sh", PREFIX=PREFIX))


def runs_as_planned(rig: Rig, wish: ServiceWish, unit: str, release: str) -> bool:
    """Whether the process that runs was started from this unit and release, with these keys, and is healthy."""
    running = rig.units[wish.unit]
    key = rig.files.get(key_path(wish)) if wish.api_key_file else None
    return (
        rig.content(unit_path(wish)) == unit
        and (rig.files[unit_path(wish)].mode, rig.files[unit_path(wish)].owner) == ("644", "root")
        and rig.target(current_link(wish.name)) == release
        and running.is_active
        and running.is_enabled
        and (running.exe or "").startswith(f"{release}/")
        and running.environment.get("RIGWRIGHT_UNIT") == marker_of(unit)
        and (key is None or key.modified <= running.started)
        and rig.health.get(f"{base_url(wish.host, wish.port)}/health") == 200
    )


def switch(rig: Rig, wish: ServiceWish, unit: str, release: str, plan: str) -> Script:
    """The one script that changes what a service runs. Old and new may listen at different places."""
    before = rig.content(plan_path(wish.name)) or plan
    (url, key), (old_url, old_key) = _endpoint(wish, plan), _endpoint(wish, before)
    return Script(
        script(
            "llamacpp",
            "reckon.sh",
            "switch.sh",
            **dry_run(ServicePlan.model_validate_json(plan), rig.hardware),
            NAME=wish.name,
            UNIT=wish.unit,
            UNIT_TEXT=unit,
            RELEASE=release,
            PLAN=plan,
            PLAN_FILE=plan_path(wish.name),
            URL=url,
            KEY=key,
            OLD_URL=old_url,
            OLD_KEY=old_key,
            TIMEOUT=wish.start_timeout_seconds,
        )
    )


def _endpoint(wish: ServiceWish, plan: str) -> tuple[str, str]:
    """Where a planned service answers, and the file of its keys, if it has any: a rollback may change both."""
    flags = {flag.name: flag.value or "" for flag in ServicePlan.model_validate_json(plan).flags}
    return base_url(flags["--host"], flags["--port"]), key_path(wish) if "--api-key-file" in flags else ""


def _show_diff(rig: Rig, wish: ServiceWish, unit: str) -> None:
    """With --diff: what the unit file gains and loses. Keys are in a file of their own and never part of it."""
    if not current_state().config.DIFF:
        return
    from pyinfra.operations.util.files import generate_color_diff  # costs 16 ms, seldom wanted

    host, path = current_host(), unit_path(wish)
    host.log(f"Will change {path}")
    old = (rig.content(path) or "").splitlines()
    for line in generate_color_diff(old, unit.splitlines()):
        host.log(f"  {line}")
