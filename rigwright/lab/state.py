"""What the lab remembers between two commands: a small record per lab and per rig."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from rigwright.errors import RigwrightError
from rigwright.lab.host import write_json
from rigwright.lab.layout import LabPaths, RigPaths
from rigwright.lab.process import Process
from rigwright.lab.wish import Settled


@dataclass(frozen=True)
class Record:
    """One rig as it was made, and the process that carries it."""

    name: str
    settled: Settled
    image: str
    number: int
    """The rig's place in its lab, from 1; its address ends in number + 1."""
    host_key: str = ""
    """Public half, as sshd will show it."""
    process: Process | None = None
    """The systemd-nspawn that carries the rig; None before the first boot."""
    killed_units: list[str] = field(default_factory=list)
    """Units that a fault killed, for `fault clear` to start again."""

    @property
    def is_up(self) -> bool:
        """Whether the rig runs."""
        return self.process is not None and self.process.is_alive

    def save(self, paths: RigPaths) -> Record:
        """Write the record and return it."""
        write_json(paths.record, asdict(self))
        return self

    def with_process(self, process: Process | None) -> Record:
        """The same rig, carried by another process."""
        return replace(self, process=process)


def load_rig(paths: RigPaths) -> Record | None:
    """A rig's record; None when it was never finished.

    Raises:
        RigwrightError: it says too little, as another version wrote it; says what to do.
    """
    data = _read(paths.record)
    if data is None:
        return None
    try:
        return _record(data)
    except (KeyError, TypeError, ValueError) as wrong:
        name = paths.home.name
        raise RigwrightError(
            f"lab: {paths.record}: {complaint(wrong)}, it was damaged or written by another version;"
            f" run `rigwright lab down {name}`, then `rigwright lab up {name}`"
        ) from None


def load_process(paths: RigPaths) -> Process | None:
    """What carries a rig, as far as its record can be read: for those that end it."""
    try:
        record = load_rig(paths)
    except RigwrightError:
        return None
    return record.process if record else None


def load_rigs(paths: LabPaths) -> list[Record]:
    """The records of all rigs of a lab, in the order in which they were asked for; also for the lab's user."""
    try:
        homes = sorted(paths.rigs.iterdir()) if paths.rigs.is_dir() else []
        found: Sequence[Record | None] = [load_rig(RigPaths(home)) for home in homes]
    except PermissionError:
        found = _published(paths)
    return sorted((record for record in found if record), key=lambda record: record.number)


def publish(paths: LabPaths) -> None:
    """Write the list of the lab's rigs that its user may read: where they are, not what is on them."""
    listed = []
    for home in sorted(paths.rigs.iterdir()) if paths.rigs.is_dir() else []:
        with suppress(RigwrightError):
            listed.append(load_rig(RigPaths(home)))
    write_json(paths.rig_list, [asdict(record) for record in listed if record])


def load_subnet(paths: LabPaths) -> int | None:
    """N of the lab's 10.77.N.0/24; None before the lab has one, or when nobody can tell any more."""
    data = _read(paths.record) or {}
    subnet = data.get("subnet")
    return subnet if isinstance(subnet, int) and 0 <= subnet < 256 else None


def save_subnet(paths: LabPaths, subnet: int) -> None:
    """Remember the lab's network."""
    write_json(paths.record, {"name": paths.name, "subnet": subnet})


def _published(paths: LabPaths) -> list[Record]:
    try:
        return [_record(data) for data in json.loads(paths.rig_list.read_text())]
    except (OSError, KeyError, TypeError, ValueError):
        says = f"lab: {paths.rigs} is root's alone, and {paths.rig_list.name} beside it does not say what is there"
        raise RigwrightError(f"{says}; run `sudo rigwright lab up`") from None


def _record(data: dict[str, Any]) -> Record:
    """A record of any version: what it says beyond ours is left aside, what it lacks is as it is by default."""
    known = {key: data[key] for key in (field.name for field in fields(Record)) if key in data}
    process = data.get("process")
    return Record(
        **known
        | {
            "name": data["name"],
            "image": data["image"],
            "number": int(data["number"]),
            "settled": Settled(**_known(Settled, data.get("settled") or {})),
            "process": Process(int(process["pid"]), int(process["started"])) if process else None,
        }
    )


def _known(kind: type[Settled], data: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise TypeError(data)
    return {field.name: data[field.name] for field in fields(kind) if field.name in data}


def complaint(wrong: Exception) -> str:
    """What is wrong with a record that could not be read."""
    return f"has no {wrong.args[0]!r}" if isinstance(wrong, KeyError) else "makes no sense"


def _read(path: Path) -> dict[str, Any] | None:
    """The JSON of a file; None when there is none, and nothing but an empty object when it is damaged."""
    try:
        data = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}
