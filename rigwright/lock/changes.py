"""How a rig, an inventory or a new plan differ from what is locked: a line for each difference."""

from __future__ import annotations

import json
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
from rigwright.plan.wish import ServiceWish

Settings = Mapping[str, Any]
# A driver or a kernel of another release reports a little more or less of the same memory.
_VRAM_SHARE, _RAM_SHARE = 0.02, 0.05


def hardware_changes(locked: PinnedHardware, hardware: Hardware) -> Iterator[str]:
    """What is no longer as the lock says, a line each: `GPU 1 (…) is locked, and is not there`."""
    now = pin_hardware(hardware)
    silent = {gpu.uuid for gpu in hardware.gpus if not answers(gpu)} | {
        f"GPU {gpu.index}" for gpu in hardware.gpus if not answers(gpu)
    }
    mine = {_key(gpu): gpu for gpu in locked.gpus}
    theirs = {_key(gpu): gpu for gpu in now.gpus}
    for key, gpu in mine.items():
        if key not in theirs:
            is_silent = key in silent or f"GPU {gpu.index}" in silent
            yield f"{gpu} is locked, and {'no longer answers' if is_silent else 'is not there'}"
    for key, gpu in theirs.items():
        if key not in mine:
            yield f"{gpu} is there, and not in the lock"
    for key in [key for key in mine if key in theirs]:
        yield from _gpu_changes(mine[key], theirs[key])
    if list(mine) == list(theirs) and locked.links != now.links:
        yield f"links: locked {_links(locked.links)}, now {_links(now.links)}"
    if locked.ram_gib and now.ram_gib and abs(locked.ram_gib - now.ram_gib) > max(1, _RAM_SHARE * locked.ram_gib):
        yield f"RAM: locked {locked.ram_gib} GiB, now {now.ram_gib} GiB"
    if locked.cores and now.cores and locked.cores != now.cores:
        yield f"CPU cores: locked {locked.cores}, now {now.cores}"


def _key(gpu: PinnedGpu) -> str:
    return gpu.uuid or f"GPU {gpu.index}"


def _gpu_changes(locked: PinnedGpu, now: PinnedGpu) -> Iterator[str]:
    if locked.index != now.index:
        yield f"{locked} is now GPU {now.index}"
    if locked.name != now.name:
        yield f"{locked} is now called {now.name}"
    if abs(locked.vram_mib - now.vram_mib) > _VRAM_SHARE * locked.vram_mib:
        yield f"{locked}: locked with {locked.vram_mib} MiB, now {now.vram_mib} MiB"


def _links(links: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(f"{kind} {' '.join(pairs)}" for kind, pairs in links.items()) or "none"


def wish_changes(locked: LockedRig, wishes: Sequence[ServiceWish], settings: Settings) -> Iterator[str]:
    """What the inventory no longer says as the lock does, a line each."""
    named = {wish.name: wish for wish in wishes}
    for name in [name for name in locked.services if name not in named]:
        yield f"services.{name} is locked, and not in the inventory"
    for wish in wishes:
        pinned = locked.services.get(wish.name)
        if pinned is None:
            yield f"services.{wish.name} is in the inventory, and not in the lock"
        elif pinned.wish_digest != wish_digest(wish):
            found = list(_differences(f"services.{wish.name}", pinned.wish, essentials(wish)))
            yield from found or [f"services.{wish.name}: its model or flags differ in what the lock does not show"]
    yield from _differences("rig", locked.settings, settings)


def service_changes(name: str, locked: PinnedService, now: PinnedService, *, has_files: bool = True) -> Iterator[str]:
    """How another plan for the same wish differs; without `has_files`, in all but the files that it serves."""
    shown = {"engine", "layout", "device", "context_tokens", "slots", "replicas", "modelfile"}
    shown |= {"model"} if has_files else set()
    mine, theirs = (one.model_dump(mode="json", include=shown, exclude_none=True) for one in (locked, now))
    yield from _differences(f"services.{name}", _flat(mine), _flat(theirs))
    for flag in [flag for flag in locked.flags if flag not in now.flags]:
        yield f"services.{name}.flags: locked {flag}, which is no more"
    for flag in [flag for flag in now.flags if flag not in locked.flags]:
        yield f"services.{name}.flags: now {flag}"
    if sorted(locked.flags) == sorted(now.flags) and locked.flags != now.flags:
        yield f"services.{name}.flags: in another order"


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    """Nested data as one table: `model.files.0.sha256`."""
    if isinstance(value, dict | list) and value:
        rows = value.items() if isinstance(value, dict) else enumerate(value)
        return {key: leaf for part, one in rows for key, leaf in _flat(one, f"{path}.{part}".strip(".")).items()}
    return {path: value}


def _differences(where: str, locked: Settings, now: Settings) -> Iterator[str]:
    for key in [*locked, *(key for key in now if key not in locked)]:
        if locked.get(key) != now.get(key):
            yield f"{where}.{key}: locked {_said(locked, key)}, now {_said(now, key)}"


def _said(values: Settings, key: str) -> str:
    value = values.get(key)
    return "nothing" if value is None else value if isinstance(value, str) else json.dumps(value)
