"""Processes by pid and start time, so that a pid that came round again is never signalled by mistake."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True)
class Process:
    """One process of this host: its pid, and its start time in clock ticks since boot."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """The process that has this pid now; None when there is none, or only its exit code is left."""
        try:
            # Source: proc(5). The second field is the name in brackets and may hold anything: cut behind it.
            fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # gone before or while it was read
            return None
        return None if fields[0] in "ZX" else cls(pid, int(fields[19]))

    @property
    def is_alive(self) -> bool:
        """Whether it, and not a later one with its pid, still runs."""
        return Process.of(self.pid) == self

    def send(self, number: int) -> None:
        """Signal it; a process that is gone is left in peace."""
        try:
            handle = os.pidfd_open(self.pid)
        except OSError:
            return
        try:
            if self.is_alive:  # read after the handle was taken: what the handle means can no longer change
                signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            pass
        finally:
            os.close(handle)

    def wait_end(self, seconds: float) -> bool:
        """Whether it ended within this time."""
        deadline = time.monotonic() + seconds
        while self.is_alive:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    @property
    def parent(self) -> Process | None:
        """The process that waits for this one."""
        status = _status(self.pid)
        return Process.of(int(status["PPid"])) if status else None


def living_on(upper: Path) -> list[Process]:
    """Every process whose `/` has this directory as its writable layer: whoever lives in that rig."""
    found = []
    for pid in _pids():
        try:
            mounts = (PROC / str(pid) / "mountinfo").read_text().splitlines()
        except OSError:
            continue
        roots = [line for line in mounts if line.split()[4] == "/"]
        if any(f"upperdir={upper}," in f"{line}," for line in roots):
            found.append(Process.of(pid))
    return [process for process in found if process]


def first_inside(upper: Path) -> Process | None:
    """The rig's own pid 1, seen from the host."""
    for process in living_on(upper):
        inside = _status(process.pid).get("NSpid", "").split()
        if len(inside) > 1 and inside[-1] == "1":
            return process
    return None


def children(process: Process) -> list[Process]:
    """The processes that this one waits for; none where it is gone, whoever has its pid now."""
    found = [Process.of(pid) for pid in _pids() if _status(pid).get("PPid", "").strip() == str(process.pid)]
    return [child for child in found if child] if process.is_alive else []


def kill_all(processes: list[Process]) -> None:
    """End processes at once and wait until they are gone."""
    for process in processes:
        process.send(signal.SIGKILL)
    for process in processes:
        process.wait_end(10)


def _pids() -> list[int]:
    return [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]


def _status(pid: int) -> dict[str, str]:
    try:
        lines = (PROC / str(pid) / "status").read_text().splitlines()
    except OSError:
        return {}
    return dict(line.split(":", 1) for line in lines if ":" in line)
