"""pyinfra in a process of its own: its gevent stays there, and an interrupt ends all of it."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, NamedTuple

_POLL_SECONDS = 0.2


class Said(NamedTuple):
    """What one run printed, and its exit code."""

    status: int
    out: str
    err: str


@dataclass(frozen=True)
class Pyinfra:
    """A pyinfra that imports itself, and does nothing before `run` tells it what."""

    process: subprocess.Popen[bytes]
    out: IO[bytes]
    err: IO[bytes]
    ended: IO[bytes]

    def run(self, arguments: list[str], wait: Callable[[], None] | None = None) -> Said:
        """What `pyinfra ARGUMENTS` does; one run after another. `wait` is called while it works."""
        begins = [os.fstat(file.fileno()).st_size for file in (self.out, self.err)]
        with suppress(BrokenPipeError):  # it may have ended, and has said why
            if self.process.stdin:
                self.process.stdin.write(json.dumps(arguments).encode() + b"\n")
                self.process.stdin.flush()
        while not select.select([self.ended], [], [], _POLL_SECONDS)[0]:
            if wait:
                wait()
        status = self.ended.readline().strip()  # nothing where it ended with the run
        return Said(int(status or b"1"), _read(self.out, begins[0]), _read(self.err, begins[1]))


@contextmanager
def pyinfra() -> Iterator[Pyinfra]:
    """One that starts here: it needs 0.3 s, and the caller has other things to do. It ends with the block."""
    reader, writer = os.pipe()
    command = [sys.executable, "-m", "rigwright.roles.hardware.waiting", str(writer)]
    with (
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
        os.fdopen(reader, "rb", buffering=0) as ended,
        background(command, out.fileno(), err.fileno(), stdin=subprocess.PIPE, keep=writer) as process,
    ):
        os.close(writer)
        yield Pyinfra(process, out, err, ended)


@contextmanager
def background(
    command: list[str], out: int, err: int = subprocess.DEVNULL, *, stdin: int = subprocess.DEVNULL, keep: int = -1
) -> Iterator[subprocess.Popen[bytes]]:
    """A command without a terminal: nothing can ask for a password. It ends with the block; `keep` stays open in it."""
    process = subprocess.Popen(
        command,
        stdin=stdin,
        stdout=out,
        stderr=err,
        env=os.environ | {"PYINFRA_PROGRESS": "off"},
        start_new_session=True,
        pass_fds=[keep] if keep >= 0 else [],
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _read(file: IO[bytes], begin: int) -> str:
    file.seek(begin)
    return file.read().decode("utf-8", "replace")
