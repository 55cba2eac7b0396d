"""Have a release of Ollama on the rig: fetched there, or sent, held to its sum, unpacked, started once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from pyinfra.api import operation

from rigwright import __version__
from rigwright.errors import RigwrightError
from rigwright.plan.engines.ollama.planner import OllamaPlanner
from rigwright.plan.engines.ollama.release import Archive, Release
from rigwright.plan.engines.ollama.settings import OllamaSettings
from rigwright.records.paths import STATE_DIRECTORY
from rigwright.resources import assignments, role_text, script
from rigwright.roles.base.channel import Script, Upload
from rigwright.roles.base.facts import Rig
from rigwright.roles.base.operations import BUILDER, Commands, current_rig, refuse
from rigwright.roles.base.probe import Probe
from rigwright.roles.service.context import RigContext
from rigwright.roles.weights.facts import stamp_path
from rigwright.shown import without_secrets

WORK = f"{STATE_DIRECTORY}/ollama"
PROGRAM = "/opt/rigwright/ollama/model.sh"
_RESERVE_BYTES = 1 << 28


@operation()
def keep_sums(context: RigContext, probe: Probe) -> Commands:
    """Have the rig keep what was asked once of upstream's release.

    + context: the rig's part of the inventory
    + probe: the questions that the operations of a run share
    """
    rig = yield from current_rig(probe)
    settings, kept = settings_of(context, rig), rig.records.installed.commits
    release = planner_of(context, rig).build(rig.hardware)
    if release is None or settings.archive:
        return
    learned = {settings.sum_key(one.name): one.sha256 for one in release.archives}
    if found := {key: value for key, value in context.learned.items() if key in learned and key not in kept}:
        told = f"Ollama {settings.version} has the sha256 {' and '.join(one[:12] for one in found.values())}"
        lines = "\n".join(f"{key} {value}" for key, value in found.items())
        yield Script(script("llamacpp", "sums.sh", REFS=f"{STATE_DIRECTORY}/refs", SUMS=lines, TOLD=told))


@operation()
def bring(context: RigContext, probe: Probe) -> Commands:
    """Have the wanted release on the rig, and the script that makes models. What serves is left alone.

    + context: the rig's part of the inventory
    + probe: the questions that the operations of a run share
    """
    rig = yield from current_rig(probe)
    try:
        release = planner_of(context, rig).build(rig.hardware)
    except RigwrightError as error:
        yield from refuse(error.message)
        return
    if release is None:
        yield from refuse("rig.ollama: the sha256 of its archive is not known; run again")
        return
    if rig.content(PROGRAM) != (text := role_text("ollama", "model.sh")):
        yield Script(script("ollama", "place.sh", PROGRAM=PROGRAM, TEXT=text))
    if release.directory not in rig.records.installed.releases:
        yield from _brought(release, context)


def _brought(release: Release, context: RigContext) -> Commands:
    work = f"{WORK}/{release.id}"
    yield Script(script("ollama", "room.sh", WORK=work))
    for archive in release.archives:
        found = context.find(archive.sha256) or (Path(archive.path).expanduser() if archive.path else None)
        if found:
            yield Upload(partial(_checked, found, archive), f"{work}/{archive.name}")
        else:
            # An address may hold a secret: it travels on standard input.
            yield Script("\n".join(_download(archive, f"{work}/{archive.name}")), stdin=f"{archive.url}\n\n")
    yield Script(
        "\n".join(
            [
                role_text("base", "prelude.sh"),
                *assignments({
                    "ID": release.id,
                    "RELEASE": release.directory,
                    "WORK": work,
                    "ARCHIVE": "",
                    "ARCHIVES": "\n".join(f"{one.sha256} {one.name}" for one in release.archives),
                    "VERSION": release.version,
                    "BUILDER": BUILDER,
                    "MANIFEST": release.manifest(),
                    "RIGWRIGHT": __version__,
                }),
                role_text("llamacpp", "settle.sh"),
                role_text("ollama", "unpack.sh"),
            ]
        )
    )  # fmt: skip


def _download(archive: Archive, path: str) -> Iterator[str]:
    """The download of a model file, of which nothing but its sum is known; removal takes the folder of it."""
    variables = {
        "DEST": path,
        "STAMP": stamp_path(path),
        "SHA256": archive.sha256,
        "ORIGIN": without_secrets(archive.url),
        "WHOLE": "yes",
        "RECORD": "",
        "MOST": "",
        "RESERVE": str(_RESERVE_BYTES),
        "ELSEWHERE": "",
        "FETCH": role_text("weights", "fetch.sh"),
    }
    yield role_text("base", "prelude.sh")
    yield from assignments(variables)
    yield from (
        role_text("weights", name) for name in ("place.sh", "accept.sh", "share.sh", "config.sh", "download.sh")
    )


def _checked(path: Path, archive: Archive) -> Path:
    """The file on this machine.

    Raises:
        RigwrightError: it is not there, or another one.
    """
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise RigwrightError(f"rig.ollama.archive: {path} cannot be read: {error.strerror}; correct path") from None
    if digest != archive.sha256:
        raise RigwrightError(
            f"rig.ollama.archive: the sha256 of {path} is {digest}, the inventory says {archive.sha256}; correct one"
        )
    return path


def planner_of(context: RigContext, rig: Rig) -> OllamaPlanner:
    """What is installed, as the plan of the rig has it.

    Raises:
        RigwrightError: the rig cannot serve what is wished.
    """
    found = context.resolved(rig).engines["ollama"]
    if isinstance(found, OllamaPlanner):
        return found
    return OllamaPlanner(context.spec.settings(OllamaSettings), rig.records.installed)


def settings_of(context: RigContext, rig: Rig) -> OllamaSettings:
    """The settings that the plan stands on: those of the inventory, or of its lock."""
    found = planner_of(context, rig).settings
    return found if isinstance(found, OllamaSettings) else OllamaSettings()
