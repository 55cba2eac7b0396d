"""Bring a model file to the rig: checked before it appears under its name, never hashed twice."""

from __future__ import annotations

from pathlib import Path

from pyinfra.api import operation

from rigwright.errors import RigwrightError
from rigwright.resolve.unit import is_hidden
from rigwright.resources import role_text, script
from rigwright.roles.base.channel import Script, Upload
from rigwright.roles.base.facts import Rig
from rigwright.roles.base.operations import BROUGHT_LIST, BUILDER, Commands, current_rig, refuse
from rigwright.roles.base.probe import Probe
from rigwright.roles.weights.facts import FOUND, stamp_path, verified_stamp, wanted_stamp, weights_file
from rigwright.spec.weights import WeightsSettings
from rigwright.units import format_bytes
from rigwright.weights.hub import needed_token
from rigwright.weights.local import LocalModel, with_sum


@operation()
def weights(local: LocalModel, path: str, settings: WeightsSettings, probe: Probe) -> Commands:
    """Have this model file on the rig.

    + local: the model as seen from the controller
    + path: where it goes
    + settings: the directory of all model files, and what of its disk must stay free
    + probe: the questions that the operations of a run share
    """
    rig = yield from current_rig(probe)
    if _is_there(rig, path, local):
        return
    if (stamp := verified_stamp(rig, path)) and stamp.origin == FOUND:
        yield from refuse(f"{path} was there before rigwright and is another file; move it away, it was not touched")
        return
    target = {
        "DEST": path,
        "STAMP": stamp_path(path),
        "SHA256": local.sha256 or "",
        "ORIGIN": local.origin,
        "BUILDER": BUILDER,
        "RECORD": BROUGHT_LIST,
        "HIDDEN": "yes" if is_hidden(path) else "",
    }
    flat = f"{settings.directory}/{local.source.file_name}"
    is_file, found = weights_file(rig, path) is not None, verified_stamp(rig, flat)
    if not is_file and flat != path and found and found.satisfies(local.sha256, local.origin):
        yield Script(_script("link.sh", **target, FLAT=flat))
    elif is_file and not stamp:
        yield Script(_script("adopt.sh", **target))
    # What was looked at may be the wanted file, or an earlier one of ours.
    rig = yield from current_rig(probe)
    if _is_there(rig, path, local):
        return
    if local.url:
        try:
            known, token = with_sum(local, settings), needed_token(local.url, hub=settings.hugging_face)
        except RigwrightError as error:
            yield from refuse(error.message)
            return
        given = target | {
            "SHA256": known.sha256 or "",
            "MOST": str(local.most_bytes or ""),
            "FETCH": role_text("weights", "fetch.sh"),
        }
        yield Script(
            _script("download.sh", **given, RESERVE=str(settings.reserve_bytes)),
            stdin=f"{local.url}\n{token or ''}\n",  # secrets: a script may stand in process lists
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
    yield Script(_script("prepare.sh", **target))
    yield Upload(lambda: Path(local.source.path or "").expanduser(), f"{path}.part")
    yield Script(_script("install.sh", **target))


def _is_there(rig: Rig, path: str, local: LocalModel) -> bool:
    return wanted_stamp(rig, path, sha256=local.sha256, origin=local.origin) is not None


def _script(name: str, **variables: str) -> str:
    return script("weights", "place.sh", "accept.sh", name, **variables)
