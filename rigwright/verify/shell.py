"""The testinfra backend of a rig: each command is marked, so that talk around it is no answer, and has its limit."""

from __future__ import annotations

import os
import secrets
import subprocess
import tempfile
from typing import Any

from testinfra.backend.base import BaseBackend, CommandResult

from rigwright.verify.login import Login, wrap

# A command that takes longer than that hangs; some read a whole model file, and say so.
LIMIT_SECONDS = 60
_SHOWN = 80
# So many commands that hang are enough: nothing else is asked of that rig.
_PATIENCE = 3


class Lost(Exception):
    """The rig does not answer any more, with the reason in one line."""


class Shell(BaseBackend):  # type: ignore[misc]  # testinfra has no types
    """A root shell on a rig."""

    NAME = "rigwright"

    def __init__(self, name: str, to: Login) -> None:
        super().__init__(name)
        self._to = to
        self._encoding = "utf-8"
        self._hung = 0
        self.lost: str | None = None

    def run(self, command: str, *args: str, limit_seconds: float = LIMIT_SECONDS, **kwargs: Any) -> CommandResult:
        """Run a command; what it says, and nothing else.

        Raises:
            Lost: it could not be run, or did not end.
        """
        if self.lost:
            raise Lost(self.lost)
        text, mark = self.quote(command, *args), f"rigwright-{secrets.token_hex(8)}"
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            try:
                # Files, not pipes: the connection that commands share would hold a pipe open.
                done = subprocess.run(
                    self._to.command,
                    input=self.encode(wrap(self._to, text, mark)),
                    stdout=out,
                    stderr=err,
                    env=os.environ | self._to.environment,
                    timeout=limit_seconds,
                    start_new_session=True,  # without a terminal there is nobody to ask
                    check=False,
                )
            except subprocess.TimeoutExpired:
                self._hung += 1
                if self._hung == _PATIENCE:
                    self.lost = f"{_PATIENCE} commands did not end in time; the rest was not asked"
                told = " ".join(text.split())[:_SHOWN]
                raise Lost(f"no answer within {limit_seconds:.0f} s to: {told}") from None
            except OSError as error:
                raise Lost(f"{self._to.command[0]}: {error.strerror}") from None
            out.seek(0)
            err.seek(0)
            said, complaint = out.read(), err.read()
        line = f"\n{mark}\n".encode()
        stdout, found, code = said.partition(line)[2].rpartition(line[:-1] + b" ")
        if not found:
            # Without a mark nothing ran: what is left is why.
            ended = f"exit code {done.returncode} of {self._to.command[0]}"
            self.lost = _last_line(complaint) or _last_line(said) or ended
            raise Lost(self.lost)
        stderr = complaint.partition(line)[2].rpartition(line)[0]
        return self.result(int(code.split()[0]), self.encode(text), stdout, stderr)

    def decode(self, data: bytes) -> str:
        """Text; what is none goes back to the rig as it came."""
        return data.decode("utf-8", "surrogateescape")

    def encode(self, data: str) -> bytes:
        """The reverse."""
        return data.encode("utf-8", "surrogateescape")

    def stop(self) -> None:
        """End the connection that the commands shared."""
        if self._to.stop:
            subprocess.run(self._to.stop, stdin=subprocess.DEVNULL, capture_output=True, timeout=10, check=False)


def _last_line(said: bytes) -> str:
    lines = [line.strip() for line in said.decode("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1] if lines else ""
