"""How a rig, an inventory or a new plan differ from what is locked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rigwright.hardware.values import Hardware
from rigwright.lock.values import (
    LockedRig,
    PinnedGpu,
    PinnedHardware,
    PinnedService,
    answers,
    essentials,
    pin_hardware,
    wish_digest,
)
from rigwright.plan.changes import Change, changed, differences
from rigwright.plan.wish import ServiceWish
from rigwright.spec.reserve import reserve_text
from rigwright.spec.rig import RigSpec

# A driver or a kernel of another release reports a little more or less of the same memory.
_VRAM_SHARE, _RAM_SHARE = 0.02, 0.05


def lock_changes(locked: LockedRig, spec: RigSpec, hardware: Hardware) -> tuple[Change, ...]:
    """How a rig and its wishes differ from their entry: what a deploy refuses."""
    return (*hardware_changes(locked.hardware, hardware), *wish_changes(locked, spec.services, stated_settings(spec)))


def hardware_changes(locked: PinnedHardware, hardware: Hardware) -> Iterator[Change]:
    """GPUs that came, went or moved, links, RAM and cores."""
    now = pin_hardware(hardware)
    silent = {gpu.uuid for gpu in hardware.gpus if not answers(gpu)} | {
        f"GPU {gpu.index}" for gpu in hardware.gpus if not answers(gpu)
    }
    mine = {_key(gpu): gpu for gpu in locked.gpus}
    theirs = {_key(gpu): gpu for gpu in now.gpus}
    for key, gpu in mine.items():
        if key not in theirs:
            is_silent = key in silent or f"GPU {gpu.index}" in silent
            yield Change("-", str(gpu), note="no longer answers" if is_silent else "is not there")
    for key, gpu in theirs.items():
        if key not in mine:
            yield Change("+", str(gpu), note="is not in the lock")
    for key in [key for key in mine if key in theirs]:
        yield from _gpu_changes(mine[key], theirs[key])
    if list(mine) == list(theirs) and locked.links != now.links:
        yield Change("~", "links", _links(locked.links), _links(now.links))
    if locked.ram_gib and now.ram_gib and abs(locked.ram_gib - now.ram_gib) > max(1, _RAM_SHARE * locked.ram_gib):
        yield Change("~", "RAM", f"{locked.ram_gib} GiB", f"{now.ram_gib} GiB")
    if locked.cores and now.cores and locked.cores != now.cores:
        yield Change("~", "CPU cores", str(locked.cores), str(now.cores))


def _key(gpu: PinnedGpu) -> str:
    return gpu.uuid or f"GPU {gpu.index}"


def _gpu_changes(locked: PinnedGpu, now: PinnedGpu) -> Iterator[Change]:
    if locked.index != now.index:
        yield Change("~", str(locked), f"GPU {locked.index}", f"GPU {now.index}")
    if locked.name != now.name:
        yield Change("~", str(locked), locked.name, now.name)
    if abs(locked.vram_mib - now.vram_mib) > _VRAM_SHARE * locked.vram_mib:
        yield Change("~", str(locked), f"{locked.vram_mib} MiB", f"{now.vram_mib} MiB")


def _links(links: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(f"{kind} {' '.join(pairs)}" for kind, pairs in links.items()) or "none"


def stated_settings(spec: RigSpec) -> dict[str, Any]:
    """What the inventory itself says on builds and paths, beyond the defaults, by key."""
    said = {f"{name}.{key}": value for name, own in spec.engines.items() for key, value in own.stated().items()}
    if "directory" in spec.weights.model_fields_set:
        said["weights.directory"] = spec.weights.directory
    if spec.reserve is not None:
        said["reserve"] = reserve_text(spec.reserve)
    return said


def wish_changes(locked: LockedRig, wishes: Sequence[ServiceWish], settings: Mapping[str, Any]) -> Iterator[Change]:
    """What the inventory no longer says as the lock does."""
    named = {wish.name: wish for wish in wishes}
    for name in [name for name in locked.services if name not in named]:
        yield Change("-", f"services.{name}", note="is not in the inventory")
    for wish in wishes:
        pinned = locked.services.get(wish.name)
        if pinned is None:
            yield Change("+", f"services.{wish.name}", note="is not in the lock")
        elif pinned.wish_digest != wish_digest(wish):
            found = list(differences(f"services.{wish.name}", pinned.wish, essentials(wish)))
            note = "its model or flags differ in what the lock does not show"
            yield from found or [Change("~", f"services.{wish.name}", note=note)]
    yield from differences("rig", locked.settings, settings)


def service_changes(
    name: str, locked: PinnedService, now: PinnedService, *, has_files: bool = True
) -> Iterator[Change]:
    """How another plan for the same wish differs; without `has_files`, in all but the files that it serves."""
    shown = {"engine", "layout", "device", "context_tokens", "slots", "replicas", "modelfile"}
    shown |= {"model"} if has_files else set()
    mine, theirs = (one.model_dump(mode="json", include=shown, exclude_none=True) for one in (locked, now))
    yield from differences(f"services.{name}", _flat(mine), _flat(theirs))
    yield from flag_changes(f"services.{name}.flags", locked.flags, now.flags)


def flag_changes(where: str, old: Sequence[str], new: Sequence[str]) -> Iterator[Change]:
    """How two command lines differ; each entry is a flag with its value: `--ctx-size 4096`."""
    left = [_flag(words) for words in old if words not in new]
    come = [_flag(words) for words in new if words not in old]
    values = dict(come)
    for name, value in left:
        yield changed(f"{where} {name}", value, values.get(name))
    for name, value in come:
        if name not in dict(left):
            yield changed(f"{where} {name}", None, value)
    if sorted(old) == sorted(new) and list(old) != list(new):
        yield Change("~", where, note="in another order")


def _flag(words: str) -> tuple[str, str]:
    name, _, value = words.partition(" ")
    return name, value


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    """Nested data as one table: `model.files.0.sha256`."""
    if isinstance(value, dict | list) and value:
        rows = value.items() if isinstance(value, dict) else enumerate(value)
        return {key: leaf for part, one in rows for key, leaf in _flat(one, f"{path}.{part}".strip(".")).items()}
    return {path: value}
