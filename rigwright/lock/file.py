"""One YAML file beside the inventory: read back, compared, and written only where nothing is lost."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml
from pydantic import ValidationError

from rigwright.errors import RigwrightError
from rigwright.hardware.values import Hardware
from rigwright.lock.changes import hardware_changes, service_changes, wish_changes
from rigwright.lock.entry import lock_rig, settings_of
from rigwright.lock.values import LockedRig, digest
from rigwright.spec.rig import RigSpec
from rigwright.strict import Strict

VERSION = 1
_HEAD = """\
# What was planned for the rigs of {inventory}, pinned: a rebuilt rig is the same rig. Commit this file.
# Deploys of that inventory use it, and refuse a rig that no longer matches. Change the inventory, not this file.
#   what differs:  rigwright plan {inventory} --write
#   renew it:      rigwright plan {inventory} --replan        (--limit RIG: that rig alone)
"""


class Lock(Strict):
    """All rigs that are locked, by name."""

    version: Literal[1] = 1
    rigs: dict[str, LockedRig]


class Written(NamedTuple):
    """What became of a lock file: its path, whether it was written, and a line for each thing to tell."""

    path: Path
    is_written: bool
    lines: tuple[str, ...]
    is_refused: bool = False


def lock_path(inventory: str | Path) -> Path | None:
    """`rigs/home.lock.yml` of `rigs/home.py`; None for an inventory that is no file."""
    path = Path(inventory)
    return path.with_suffix(".lock.yml") if path.is_file() else None


def read_lock(path: Path) -> Lock:
    """What is locked.

    Raises:
        RigwrightError: a line for each thing that is wrong in the file.
    """
    rigs, wrong = {}, []
    for name, data in _load(path).items():
        try:
            rigs[name] = _rig(path, name, data)
        except RigwrightError as error:
            wrong.append(error.message)
    if wrong:
        raise RigwrightError("\n".join(wrong))
    return Lock(rigs=rigs)


def _load(path: Path) -> dict[str, Any]:
    """The rigs as plain data."""
    renew = "restore it from git, or delete it and write it anew with `rigwright plan INVENTORY --write`"
    try:
        data = yaml.load(path.read_text("utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except OSError as error:
        raise RigwrightError(f"{path}: cannot be read: {error.strerror}; let this user read it") from None
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise RigwrightError(f"{path}{line}: is no YAML: {error.problem}; {renew}") from None
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError):
        raise RigwrightError(f"{path}: is no YAML text; {renew}") from None
    if not isinstance(data, dict) or "version" not in data:
        raise RigwrightError(f"{path}: version: missing, so it is no lock file; {renew}")
    if data["version"] != VERSION:
        raise RigwrightError(
            f"{path}: version: {data['version']!r} is not known here, {VERSION} is; "
            f"use the rigwright that wrote the file, or {renew}"
        )
    rigs = data.get("rigs")
    if not isinstance(rigs, dict) or set(data) != {"version", "rigs"}:
        raise RigwrightError(f"{path}: rigs: must be all that stands beside version; {renew}")
    return {str(name): rig for name, rig in rigs.items()}


def _rig(path: Path, name: str, data: Any) -> LockedRig:
    renew = f"restore it from git, or renew it with `rigwright plan INVENTORY --replan --limit {name}`"
    rest = {key: value for key, value in data.items() if key != "digest"} if isinstance(data, dict) else {}
    try:
        locked = LockedRig.model_validate(rest)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(["rigs", name, *(str(part) for part in first["loc"])])
        message = first["msg"].removeprefix("Value error, ")
        raise RigwrightError(f"{path}: {where}: {message[0].lower()}{message[1:]}; {renew}") from None
    if data.get("digest") != digest(rest):
        raise RigwrightError(f"{path}: rigs.{name}: was edited by hand: its digest does not match; {renew}")
    return locked


def render_lock(lock: Lock, inventory: str) -> str:
    """The text of the file: sorted, one line for each thing that may change, the same for the same content."""
    rigs = {name: _plain(lock.rigs[name]) for name in sorted(lock.rigs)}
    data = {"version": lock.version, "rigs": {name: {"digest": digest(rig), **rig} for name, rig in rigs.items()}}
    return _HEAD.format(inventory=inventory) + yaml.dump(
        data, Dumper=yaml.SafeDumper, sort_keys=False, allow_unicode=True, width=1_000_000, default_flow_style=False
    )


def _plain(locked: LockedRig) -> dict[str, Any]:
    data = locked.model_dump(mode="json", exclude_none=True)
    return {**data, "services": {name: data["services"][name] for name in sorted(data["services"])}}


def write_lock(
    inventory: str,
    rigs: Mapping[str, tuple[RigSpec, Hardware]],
    *,
    lock: Path | None = None,
    is_renewed: bool = False,
) -> Written:
    """Pin what a deploy would do on these rigs; other rigs of the file stay as they are.

    What is locked and would change is told and left, unless `is_renewed`: nothing is lost silently.

    Raises:
        RigwrightError: a rig cannot be planned, or the file cannot be used.
    """
    path = lock or lock_path(inventory)
    if path is None:
        raise RigwrightError(f"{inventory}: is no file, so no lock can lie beside it; name one with --lock")
    kept = _kept(path, renewed=set(rigs) if is_renewed else set())
    made, lines, told = {}, [], []
    for name, (spec, hardware) in rigs.items():
        try:
            made[name], notes = lock_rig(spec, hardware)
        except RigwrightError as error:
            raise RigwrightError(f"{name}: {error.message}") from None
        told += [f"{name}: {note}" for note in notes]
        if name in kept:
            changes = list(rig_changes(kept[name], made[name], spec, hardware))
            lines += [f"{name}: {line}" for line in changes]
            if not changes:
                made[name] = kept[name]
    if lines and not is_renewed:
        hint = f"nothing was written; to take the new state: rigwright plan {inventory} --replan"
        return Written(path, False, (*lines, hint), is_refused=True)
    if path.exists() and all(kept.get(name) == rig for name, rig in made.items()):
        return Written(path, False, (f"{path}: nothing differs, left as it is", *told))
    text = render_lock(Lock(rigs=kept | made), Path(inventory).name)
    _write(path, text)
    return Written(path, True, (*lines, *told, f"{path}: written, {len(made)} of {len(kept | made)} rigs renewed"))


def _kept(path: Path, *, renewed: set[str]) -> dict[str, LockedRig]:
    """What the file holds; an entry that is about to be renewed need not be sound."""
    if not path.exists():
        return {}
    found = {}
    for name, data in _load(path).items():
        try:
            found[name] = _rig(path, name, data)
        except RigwrightError:
            if name not in renewed:
                raise
    return found


def _write(path: Path, text: str) -> None:
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        scratch.write_text(text, "utf-8")
        scratch.replace(path)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise RigwrightError(f"{path}: cannot be written: {error.strerror}; name another file with --lock") from None


def rig_changes(locked: LockedRig, now: LockedRig, spec: RigSpec, hardware: Hardware) -> Iterator[str]:
    """How a rig as it would be planned now differs from its entry, a line each."""
    yield from check_lock(locked, spec, hardware)
    if locked.build != now.build:
        yield f"build: locked {_build(locked.build)}, now {_build(now.build)}"
    for name in [name for name in locked.services if name in now.services]:
        yield from service_changes(name, locked.services[name], now.services[name])


def _build(build: Mapping[str, Any]) -> str:
    archive = build.get("archive") or {}
    return f"{build.get('ref')}" + (f" from an archive with sha256 {archive.get('sha256', '')[:12]}" if archive else "")


def check_lock(locked: LockedRig, spec: RigSpec, hardware: Hardware) -> list[str]:
    """How a rig and its wishes differ from their entry, a line each: what a deploy refuses."""
    return [*hardware_changes(locked.hardware, hardware), *wish_changes(locked, spec.services, settings_of(spec))]
