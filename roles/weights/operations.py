"""Bring a model file to the rig: checked before it appears under its name, never hashed twice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pyinfra.api import operation

from rigwright.errors import RigwrightError
from rigwright.hardware import Disk
from rigwright.resolve.unit import is_hidden
from rigwright.resources import role_text, script
from rigwright.roles.base.channel import Script, Upload
from rigwright.roles.base.facts import Rig
from rigwright.roles.base.operations import BROUGHT_LIST, BUILDER, Commands, current_rig, refuse
from rigwright.roles.base.probe import Probe
from rigwright.roles.base.pyinfra_private import current_host
from rigwright.roles.weights.chain import Link, link
from rigwright.roles.weights.facts import FOUND, stamp_path, verified_stamp, wanted_stamp, weights_file
from rigwright.spec.weights import WeightsSettings
from rigwright.units import format_bytes
from rigwright.weights.hub import needed_token
from rigwright.weights.local import LocalModel, with_sum

_ADVICE = "rig.weights.share_within, a network that all of them are in, would let one hand it on to the next"


@operation()
def weights(files: Sequence[tuple[str, LocalModel]], settings: WeightsSettings, probe: Probe) -> Commands:
    """Have model files on the rig: one, or those of a whole repository.

    + files: where each goes, and what it is as seen from the controller
    + settings: the directory of all model files, and what of its disk must stay free
    + probe: the questions that the operations of a run share
    """
    rig = yield from current_rig(probe)
    if len(files) > 1 and (lack := _lack(rig, files, settings)):
        yield from refuse(lack)
        return
    for path, local in files:
        yield from _brought(local, path, settings, probe)


def _lack(rig: Rig, files: Sequence[tuple[str, LocalModel]], settings: WeightsSettings) -> str | None:
    """Why the disk cannot take all that is still to come; None where it can."""
    coming = [(path, one) for path, one in files if not _is_there(rig, path, one) and weights_file(rig, path) is None]
    parts = [weights_file(rig, f"{path}.part") for path, _ in coming]
    needed = sum(one.size_bytes or 0 for _, one in coming) - sum(part.size_bytes for part in parts if part)
    disk = rig.disks.get(settings.directory)
    if not coming or not disk or disk.free_bytes >= needed + settings.reserve_bytes:
        return None
    return _no_room(coming[0][1].name, needed + settings.reserve_bytes, disk, settings)


def _no_room(what: str, needed_bytes: int, disk: Disk, settings: WeightsSettings) -> str:
    return (
        f"{what} needs {format_bytes(needed_bytes)} ({format_bytes(settings.reserve_bytes)} of it to stay free), "
        f"{disk.path} has {format_bytes(disk.free_bytes)}; free some, or set rig.weights.directory"
    )


def _brought(local: LocalModel, path: str, settings: WeightsSettings, probe: Probe) -> Commands:
    rig = yield from current_rig(probe)
    place = link(current_host(), local)
    if _is_there(rig, path, local):
        yield from _offer(rig, path, local, place)
        return
    if local.source.path_on_rig:
        yield from _found(rig, path, local)
        return
    if (stamp := verified_stamp(rig, path)) and stamp.origin == FOUND:
        yield from refuse(f"{path} was there before rigwright and is another file; move it away, it was not touched")
        return
    target = _target(path, local)
    flat = f"{settings.directory}/{local.source.file_name}"
    is_file, found = weights_file(rig, path) is not None, verified_stamp(rig, flat)
    if not is_file and not local.folder and flat != path and found and found.satisfies(local.sha256, local.origin):
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
        if place.others and not place.address:
            nowhere = f"this rig has no address in {settings.share_within} and downloads by itself"
            many = f"{place.others} more {'rig downloads' if place.others == 1 else 'rigs download'} it; {_ADVICE}"
            current_host().log(nowhere if settings.share_within else many)
        given = target | place.variables() | _sharing()
        given |= {"SHA256": known.sha256 or "", "MOST": str(local.most_bytes or "")}
        yield Script(
            _script(
                "share.sh",
                "config.sh",
                "download.sh",
                **given,
                FETCH=role_text("weights", "fetch.sh"),
                RESERVE=str(settings.reserve_bytes),
            ),
            stdin=f"{local.url}\n{token or ''}\n",  # secrets: a script may stand in process lists
        )
        return
    size, part = local.size_bytes or 0, weights_file(rig, f"{path}.part")
    needed = size - (part.size_bytes if part else 0) + settings.reserve_bytes
    disk = rig.disks.get(settings.directory)
    if disk and disk.free_bytes < needed:
        yield from refuse(_no_room(path, needed, disk, settings))
        return
    yield Script(_script("prepare.sh", **target))
    yield Upload(lambda: local.path or Path(), f"{path}.part")
    yield Script(_script("install.sh", **target))


def _target(path: str, local: LocalModel) -> dict[str, str]:
    return {
        "DEST": path,
        "STAMP": stamp_path(path),
        "SHA256": local.sha256 or "",
        "ORIGIN": local.origin,
        "BUILDER": BUILDER,
        "RECORD": BROUGHT_LIST,
        "WHOLE": "yes" if local.folder else "",
        "HIDDEN": "yes" if is_hidden(path) else "",
    }


def _found(rig: Rig, path: str, local: LocalModel) -> Commands:
    """Look at a file that lay on the rig before; it is not touched."""
    if weights_file(rig, path) is None:
        yield from refuse(f"{path} is not on the rig; check path_on_rig, or mount its disk")
    elif (stamp := verified_stamp(rig, path)) is None:
        yield Script(_script("adopt.sh", **_target(path, local)))
    elif local.sha256 and stamp.sha256 != local.sha256:
        yield from refuse(
            f"{path} has sha256 {stamp.sha256}, expected {local.sha256}; correct sha256, or name another file"
        )


def _offer(rig: Rig, path: str, local: LocalModel, place: Link) -> Commands:
    """Hand on what lies here whole, where rigs of this run want it."""
    stamp = verified_stamp(rig, path)
    if not place.behind or stamp is None or not stamp.satisfies(local.sha256, local.origin):
        return
    given = {"DEST": path, "SHA256": stamp.sha256} | place.variables() | _sharing()
    yield Script(_script("share.sh", "offer.sh", **given))


def _sharing() -> dict[str, str]:
    return {"HAND": role_text("weights", "hand.sh"), "LINGER": role_text("weights", "linger.sh")}


def _is_there(rig: Rig, path: str, local: LocalModel) -> bool:
    return wanted_stamp(rig, path, sha256=local.sha256, origin=local.origin) is not None


def _script(*names: str, **variables: str) -> str:
    return script("weights", "place.sh", "accept.sh", *names, **variables)
