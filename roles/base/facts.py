"""RigState: all that the roles want to know of a rig, in one remote command, remembered until something changes."""

from __future__ import annotations

import base64
import re
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from pyinfra.api import FactBase
from pyinfra.api.host import Host

from rigwright.hardware import Disk, Hardware
from rigwright.hardware.sections import read_hardware
from rigwright.records.reading import read_records
from rigwright.records.values import NO_RECORDS, RigRecords
from rigwright.roles.base.probe import Probe
from rigwright.roles.base.pyinfra_private import current_host, operations_executed, seen_environment
from rigwright.units import whole_number


@dataclass(frozen=True)
class RemoteFile:
    """A file on the rig. `content` holds its first 64 KiB, None where it was not asked for or is no plain file."""

    kind: str
    content: str | None = None
    target: str | None = None
    size_bytes: int = 0
    modified: int = 0
    mode: str = ""
    owner: str = ""


@dataclass(frozen=True)
class Rig:
    """The answers to a Probe."""

    hardware: Hardware
    uid: int
    init: str
    packages: dict[str, str] = field(default_factory=dict)
    files: dict[str, RemoteFile] = field(default_factory=dict)
    directories: dict[str, tuple[str, ...]] = field(default_factory=dict)
    disks: dict[str, Disk] = field(default_factory=dict)
    listeners: dict[int, tuple[str, int]] = field(default_factory=dict)
    records: RigRecords = NO_RECORDS
    sections: dict[str, list[str]] = field(default_factory=dict)

    def content(self, path: str) -> str | None:
        """The text of a probed file, None where there is none."""
        found = self.files.get(path)
        return found.content if found else None

    def target(self, path: str) -> str | None:
        """Where a probed symbolic link points, None where there is none."""
        found = self.files.get(path)
        return found.target if found else None


def one_line(script: str) -> str:
    """A script as one line of plain letters, for any login shell: csh takes no quoted text of several lines."""
    text = base64.b64encode(script.encode()).decode()
    # The second spelling is that of older Macs.
    return f'asked={text}; eval "$(echo $asked | base64 -d 2>/dev/null || echo $asked | base64 -D)"'


class RigState(FactBase[Rig | None]):
    """The state of one rig, asked for in one remote command; None where it could not be asked."""

    shell_executable = "sh"
    default = staticmethod(lambda: None)
    _probe = Probe()

    def command(self, probe: Probe) -> str:
        """The probe as shell."""
        self._probe = probe
        return one_line(probe.script())

    def process(self, output: Iterable[str]) -> Rig:
        """The answer as a Rig."""
        return read_rig(self._probe, list(output))


NO_STATE = (
    "its state could not be read: commands must run as root; check the user's sudo rights, and set _sudo_password "
    "where sudo asks for one"
)
# A run is remembered for so long: nobody waits longer between the plan that they read and the change that follows it.
_FRESH_SECONDS = 10


@dataclass(frozen=True)
class _Reading:
    """An answer, when it was read, and how many operations had changed the rig by then."""

    rig: Rig
    monotonic: float
    changes: int


_memo: WeakKeyDictionary[Host, dict[Probe, _Reading]] = WeakKeyDictionary()
_wider: WeakKeyDictionary[Host, dict[Probe, Probe]] = WeakKeyDictionary()


def rig_state(probe: Probe) -> Rig | None:
    """The state of the current host, from memory where it was read seconds ago and no operation changed anything since.

    None where the rig did not answer; pyinfra has then said why.
    """
    host = current_host()
    known, changes = _memo.setdefault(host, {}), operations_executed(host)
    for asked in (probe, _wider.get(host, {}).get(probe)):
        reading = known.get(asked) if asked else None
        if reading and reading.changes == changes and time.monotonic() - reading.monotonic < _FRESH_SECONDS:
            return reading.rig
    try:
        rig = host.get_fact(RigState, probe=probe, _ignore_errors=True, **seen_environment(host))
    except EOFError:
        rig = None  # pyinfra asks for a sudo password when one is needed, and nobody is there to give it
    if rig is not None:
        # From when it is known: on a slow rig it would be old before anybody could use it.
        known[probe] = _Reading(rig, time.monotonic(), changes)
    return rig


def answered_by(probe: Probe, wider: Probe) -> None:
    """Let what is remembered of a wider probe answer this one on the current host; after a change it is asked alone."""
    _wider.setdefault(current_host(), {})[probe] = wider


def forget(changed: Host) -> None:
    """Drop what is remembered of a rig: an operation is about to change it."""
    _memo.pop(changed, None)


def read_rig(probe: Probe, lines: list[str]) -> Rig:
    """The output of `probe.script()` as a Rig. Lines that are not understood are left out, never raised about."""
    sections = _split(lines)
    identity = dict(line.split("=", 1) for line in sections.get("identity", []) if "=" in line)

    def answers(name: str, asked: tuple[object, ...]) -> list[tuple[object, list[str]]]:
        return [(item, sections.get(f"{name} {index}", [])) for index, item in enumerate(asked)]

    disks = {str(path): _disk(str(path), found) for path, found in answers("disk", probe.disks)}
    stats = {str(path): _stat(found[0]) for path, found in answers("stat", probe.stats) if found}
    files = {str(path): _file(found) for path, found in answers("file", probe.files) if found}
    return Rig(
        hardware=read_hardware(sections, tuple(disk for disk in disks.values() if disk)),
        uid=_number(identity.get("uid", ""), -1),
        init=identity.get("init", "unknown"),
        packages=_packages(sections.get("packages", [])),
        files=files | stats,
        directories={str(path): tuple(found) for path, found in answers("directory", probe.directories)},
        disks={path: disk for path, disk in disks.items() if disk},
        listeners=_listeners(sections.get("listeners", [])),
        records=read_records(sections),
        sections=sections,
    )


def _split(lines: list[str]) -> dict[str, list[str]]:
    sections: dict[str, list[str]] = defaultdict(list)
    name = ""
    for line in lines:
        if line.startswith("@rigwright "):
            name = line.removeprefix("@rigwright ").strip()
            sections[name] = []
        elif line.strip():
            sections[name].append(line)
    return dict(sections)


def _packages(lines: list[str]) -> dict[str, str]:
    rows = [line.split("|") for line in lines]
    return {row[0]: row[1] for row in rows if len(row) == 2}


def _stat(line: str) -> RemoteFile:
    return _status("file", line)


def _status(kind: str, line: str, content: str | None = None) -> RemoteFile:
    size, modified, mode, owner = (line.split("|") + [""] * 4)[:4]
    return RemoteFile(kind, content, None, _number(size), _number(modified), mode, owner)


def _file(lines: list[str]) -> RemoteFile:
    kind, _, rest = lines[0].partition("|")
    if kind == "link":
        return RemoteFile(kind, target=rest)
    if kind != "file":
        return RemoteFile("other")
    return _status(kind, rest, _text(lines[1] if len(lines) > 1 else ""))


def _text(base64_text: str) -> str:
    try:
        return base64.b64decode(base64_text).decode("utf-8", "replace")
    except ValueError:
        return ""


def _number(text: str, otherwise: int = 0) -> int:
    number = whole_number(text)
    return otherwise if number is None else number


def _disk(path: str, lines: list[str]) -> Disk | None:
    columns = lines[-1].split() if lines else []
    return Disk(path, _number(columns[1]), _number(columns[3])) if len(columns) >= 6 else None


def _listeners(lines: list[str]) -> dict[int, tuple[str, int]]:
    """Lines of `ss -Hltnp` as port -> (program, pid); pid 0 where the kernel does not say."""
    found: dict[int, tuple[str, int]] = {}
    for line in lines:
        columns = line.split()
        port = columns[3].rpartition(":")[2] if len(columns) > 3 else ""
        owner = re.search(r'\("([^"]*)",pid=(\d+)', line)
        if number := _number(port):
            found[number] = (owner[1], _number(owner[2])) if owner else ("another program", 0)
    return found
