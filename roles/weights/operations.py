"""Bring a model file to the rig: checked before it appears under its name, never hashed twice."""

from __future__ import annotations

from pathlib import Path

from pyinfra.api import operation

from rigwright.errors import RigwrightError
from rigwright.resources import role_text, script
from rigwright.roles.base.channel import Script, Upload
from rigwright.roles.base.operations import BROUGHT_LIST, BUILDER, Commands, current_rig, refuse
from rigwright.roles.base.probe import Probe
from rigwright.roles.weights.facts import FOUND, stamp_path, verified_stamp, weights_file
from rigwright.spec.weights import WeightsSettings
from rigwright.units import format_bytes
from rigwright.weights.local import LocalModel, weights_path, with_sum


@operation()
def weights(local: LocalModel, settings: WeightsSettings, probe: Probe) -> Commands:
    """Have this model file on the rig.

    + local: the model as seen from the controller
    + settings: where it goes
    + probe: the questions that the operations of a run share
    """
    rig = yield from current_rig(probe)
    path = weights_path(local.source, settings)
    stamp = verified_stamp(rig, path)
    if stamp and stamp.satisfies(local.sha256, local.origin):
        return
    if stamp and stamp.origin == FOUND:
        yield from refuse(f"{path} was there before rigwright and is another file; move it away, it was not touched")
        return
    target = {
        "DEST": path,
        "STAMP": stamp_path(path),
        "SHA256": local.sha256 or "",
        "ORIGIN": local.origin,
        "BUILDER": BUILDER,
        "RECORD": BROUGHT_LIST,
    }
    if weights_file(rig, path) and not stamp:
        yield Script(script("weights", "accept.sh", "adopt.sh", **target))
        return
    if local.url:
        try:
            known = with_sum(local, settings)
        except RigwrightError as error:
            yield from refuse(error.message)
            return
        given = target | {"SHA256": known.sha256 or "", "FETCH": role_text("weights", "fetch.sh")}
        yield Script(
            script("weights", "accept.sh", "download.sh", **given, RESERVE=settings.reserve_bytes),
            stdin=f"{local.url}\n",  # it may hold a secret, and scripts stand in process lists
        )
        return
    size, part = local.size_bytes or 0, weights_file(rig, f"{path}.part")
    needed = size - (part.size_bytes if part else 0) + settings.reserve_bytes
    disk = rig.disks.get(settings.directory)
    if disk and disk.free_bytes < needed:
        yield from refuse(
            f"{path} needs {format_bytes(needed)} ({format_bytes(settings.reserve_bytes)} of it to stay free), "
            f"{disk.path} has {format_bytes(disk.free_bytes)}; free some, or set rig.weights.directory"
        )
        return
    yield Script(script("weights", "prepare.sh", **target))
    yield Upload(lambda: Path(local.source.path or "").expanduser(), f"{path}.part")
    yield Script(script("weights", "accept.sh", "install.sh", **target))
