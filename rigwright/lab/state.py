"""What the lab remembers between two commands: a small record per lab and per rig."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

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
    """A rig's record; None when it was never finished."""
    data = _read(paths.record)
    if data is None:
        return None
    process = data.pop("process")
    settled = Settled(**data.pop("settled"))
    return Record(**data, settled=settled, process=Process(**process) if process else None)


def load_rigs(paths: LabPaths) -> list[Record]:
    """The records of all rigs of a lab, in the order in which they were asked for."""
    homes = sorted(paths.rigs.iterdir()) if paths.rigs.is_dir() else []
    found = (load_rig(RigPaths(home)) for home in homes)
    return sorted((record for record in found if record), key=lambda record: record.number)


def load_subnet(paths: LabPaths) -> int | None:
    """N of the lab's 10.77.N.0/24; None before the lab has one."""
    data = _read(paths.record)
    return None if data is None else int(data["subnet"])


def save_subnet(paths: LabPaths, subnet: int) -> None:
    """Remember the lab's network."""
    write_json(paths.record, {"name": paths.name, "subnet": subnet})


def _read(path: Path) -> dict[str, Any] | None:
    try:
        data: dict[str, Any] = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return None
    return data
