"""The lock file, YAML beside the inventory: read back, compared, and written only where nothing is lost."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml
from pydantic import ValidationError

from rigwright.errors import RigwrightError, WrongSpec
from rigwright.given import at_home
from rigwright.hardware.values import Hardware
from rigwright.lock.changes import lock_changes, service_changes
from rigwright.lock.values import LockedRig, digest
from rigwright.plan.changes import Change, differences
from rigwright.shown import alike, on_a_line, redacted
from rigwright.spec.rig import RigSpec
from rigwright.spec.text import load_yaml
from rigwright.strict import Strict

VERSION = 2
# What earlier versions wrote is read, and written anew as the newest.
_READ = (1, VERSION)
_HEAD = """\
# What was planned for the rigs of {inventory}, pinned: a rebuilt rig is the same rig. Commit this file.
# Deploys of that inventory use it, and refuse a rig that no longer matches. Change the inventory, not this file.
#   what differs:  rigwright plan {inventory} --write
#   renew it:      rigwright plan {inventory} --replan        (--limit RIG: that rig alone)
"""


class Lock(Strict):
    """All rigs that are locked, by name."""

    version: Literal[2] = 2
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


def lock_file(rig: str, named: object, inventory: str | Path | None) -> Path | None:
    """The lock file that a rig's deploys obey: the one that its data names in `rig_lock`, else beside the inventory.

    Raises:
        WrongSpec: the file that is named is not there.
    """
    if named is not None:
        path = at_home(str(named))
        if not path.is_file():
            raise WrongSpec(f"{rig}: rig_lock: {path} does not exist; write it with `rigwright plan --write`")
        return path
    beside = lock_path(inventory) if inventory else None
    return beside if beside and beside.exists() else None


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
        data = load_yaml(path.read_text("utf-8"))
    except OSError as error:
        what = "name the lock file" if isinstance(error, FileNotFoundError) else "let this user read it"
        raise RigwrightError(f"{path}: cannot be read: {error.strerror}; {what}") from None
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise RigwrightError(f"{path}{line}: is no YAML: {error.problem}; {renew}") from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise RigwrightError(f"{path}: is no YAML text; {renew}") from None
    if not isinstance(data, dict) or "version" not in data:
        raise RigwrightError(f"{path}: version: missing, so it is no lock file; {renew}")
    if data["version"] not in _READ:
        raise RigwrightError(
            f"{path}: version: {data['version']!r} is not known here, {VERSION} is; "
            f"use the rigwright that wrote the file, or {renew}"
        )
    rigs = data.get("rigs")
    if not isinstance(rigs, dict) or set(data) != {"version", "rigs"}:
        raise RigwrightError(f"{path}: rigs: must be all that stands beside version; {renew}")
    return {str(name): rig for name, rig in rigs.items()}


def _rig(path: Path, name: str, data: Any) -> LockedRig:
    shown = on_a_line(name)
    renew = f"restore it from git, or renew it with `rigwright plan INVENTORY --replan --limit {shown}`"
    rest = {key: value for key, value in data.items() if key != "digest"} if isinstance(data, dict) else {}
    try:
        locked = LockedRig.model_validate(rest)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = on_a_line(".".join(["rigs", name, *(str(part) for part in first["loc"] if part != "[key]")]))
        message = first["msg"].removeprefix("Value error, ")
        raise RigwrightError(f"{path}: {where}: {message[0].lower()}{message[1:]}; {renew}") from None
    if data.get("digest") != _digest(rest):
        raise RigwrightError(f"{path}: rigs.{shown}: was edited by hand: its digest does not match; {renew}")
    return locked


def _digest(rest: Any) -> str | None:
    """The digest; None for what is no plain data, such as a date."""
    try:
        return digest(rest)
    except (TypeError, ValueError, RecursionError):
        return None


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


class Entry(NamedTuple):
    """A rig that is to be locked: its entry as it would be now, what could not be pinned, and what it was made from."""

    locked: LockedRig
    notes: Sequence[str]
    spec: RigSpec
    hardware: Hardware


def write_lock(
    inventory: str, rigs: Mapping[str, Entry], *, lock: Path | None = None, is_renewed: bool = False
) -> Written:
    """Pin what a deploy would do on these rigs; other rigs of the file stay as they are.

    What is locked and would change is told and left, unless `is_renewed`: nothing is lost silently.

    Raises:
        RigwrightError: the file cannot be used.
    """
    path = lock or lock_path(inventory)
    if path is None:
        raise RigwrightError(f"{inventory}: is no file, so no lock can lie beside it; name one with --lock")
    kept = _kept(path, renewed=set(rigs) if is_renewed else set())
    made: dict[str, LockedRig] = {}
    told: dict[str, list[str]] = {}
    for name, entry in rigs.items():
        changes = list(rig_changes(kept[name], entry)) if name in kept else []
        told[name] = [redacted(str(change)) for change in changes]
        made[name] = _with_found(kept[name], entry.locked) if name in kept and not changes else entry.locked
    lines = _by_rigs(told)
    messages = _by_rigs({name: entry.notes for name, entry in rigs.items()})
    if lines and not is_renewed:
        hint = f"nothing was written; to take the new state: rigwright plan {inventory} --replan"
        return Written(path, False, (*lines, hint), is_refused=True)
    if path.exists() and all(kept.get(name) == rig for name, rig in made.items()):
        return Written(path, False, (f"{path}: nothing differs, left as it is", *messages))
    text = render_lock(Lock(rigs=kept | made), Path(inventory).name)
    _write(path, text)
    return Written(path, True, (*lines, *messages, f"{path}: written, {len(made)} of {len(kept | made)} rigs renewed"))


def _by_rigs(told: Mapping[str, Sequence[str]]) -> list[str]:
    """`rig1: line`; what is the same of several rigs once, under their names."""
    lines = []
    for names, text in alike({name: "\n".join(said) for name, said in told.items() if said}):
        if len(names) == 1:
            lines += [f"{names[0]}: {line}" for line in text.split("\n")]
        else:
            lines += [f"{len(names)} rigs alike, {', '.join(names)}:", *(f"  {line}" for line in text.split("\n"))]
    return lines


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


def rig_changes(locked: LockedRig, now: Entry) -> Iterator[Change]:
    """How a rig as it would be planned now differs from its entry."""
    yield from lock_changes(locked, now.spec, now.hardware)
    mine, theirs = _flat_builds(locked), _flat_builds(now.locked)
    found = {*_found(mine, theirs), *_found(theirs, mine)}
    builds = ({key: value for key, value in one.items() if key not in found} for one in (mine, theirs))
    yield from differences("builds", *builds)
    for name in [name for name in locked.services if name in now.locked.services]:
        yield from service_changes(name, locked.services[name], now.locked.services[name])


def _found(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[str]:
    """The keys of what one alone knows and the first deploy finds, so that it is no change.

    That is a commit, or the sums of binaries and which release `latest` was.
    """
    for engine in {key.partition(".")[0] for key in one}:
        known = {f"{engine}.commit", f"{engine}.binaries"}
        if not known & other.keys():
            yield from known & one.keys()
            if known & one.keys() and other.get(f"{engine}.ref") == "latest":
                yield f"{engine}.ref"


def _with_found(kept: LockedRig, now: LockedRig) -> LockedRig:
    """An entry that still holds, with what the first deploy found since: commits of tags, sums of binaries."""
    found = {
        name: build | held if held.keys() & {"commit", "binaries"} else held | build
        for name, build in now.builds.items()
        if (held := kept.builds.get(name)) is not None
    }
    return kept.model_copy(update={"builds": kept.builds | found})


def _flat_builds(locked: LockedRig) -> dict[str, Any]:
    return {f"{name}.{key}": value for name, build in locked.builds.items() for key, value in build.items()}
