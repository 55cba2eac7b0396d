"""Commands that talk while they work: scripts with live progress, uploads that resume, over pyinfra's connection."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import gevent
from paramiko import Channel, ChannelFile, SSHException
from pyinfra.api import StringCommand
from pyinfra.api.host import Host
from pyinfra.api.state import State

from rigwright.resources import script
from rigwright.roles.base.connection import SILENCE_SECONDS, answers, lives, open_session
from rigwright.roles.base.facts import forget
from rigwright.roles.base.failures import complain
from rigwright.roles.base.pyinfra_private import Command, exports, shell_line, shows_output, ssh_client
from rigwright.shown import printable, redacted
from rigwright.units import format_bytes

_CHUNK_BYTES = 1 << 18
_TAIL_LINES, _MOST_ERRORS = 8, 100
_LONGEST_LINE, _LONGEST_READ = 4000, 1 << 20
# A fetch that is slower on average, after the first minute, takes longer than to build what is fetched.
_SLOWEST_BYTES = 64 << 10
NO_STDIN = "su takes its password from where files and keys travel; log in as root, or use _sudo"


def shown(line: str) -> str:
    """A line of a rig as it may be shown: programs, servers and builds there say what they like, and for ever."""
    return redacted(printable(line[:_LONGEST_LINE]))


class Script(Command):
    """A shell script for the rig, run in one remote command.

    Its lines `::progress …` are shown as they come, `::error …` is what the user reads when it fails. What is
    remembered of the rig is forgotten: the next operation reads it anew. `status` is its exit code, once it ended.
    """

    def __init__(self, text: str, *, stdin: str = "") -> None:
        super().__init__()
        self.text, self.stdin = text, stdin
        self.status: int | None = None

    def __repr__(self) -> str:
        return "Script(…)"

    def carry_out(self, state: State, host: Host, connector_arguments: Any) -> bool:
        """Run it; False when it failed, after saying why."""
        forget(host)
        errors: deque[str] = deque(maxlen=_MOST_ERRORS)
        tail: deque[str] = deque(maxlen=_TAIL_LINES)
        if self.stdin and _reads_password(connector_arguments):
            complain(host, NO_STDIN)
            return False

        def take(line: str) -> None:
            line = shown(line)
            kind, _, text = line.partition(" ")
            if kind == "::progress":
                host.log(text)
            elif kind == "::error":
                errors.append(text)
            else:
                tail.append(line)
                if shows_output(state):
                    host.log(line)

        try:
            status = _run(state, host, self.text, connector_arguments, take, self.stdin)
        except (OSError, SSHException, EOFError) as error:
            status = None
            errors.append(f"the connection failed: {error}; run again, finished steps are kept")
        self.status = status
        if status == 0:
            for text in errors:  # it was done, and something is still to be said
                host.log_styled(text, fg="yellow")
            return True
        if status in (None, -1) and not errors:
            errors.append("the connection was lost; the work on the rig goes on, run again to pick it up")
        complain(host, *(errors or tail or [f"the script ended with exit code {status}"]))
        return False


class Upload(Command):
    """A local file, sent to `destination` on the rig; what an interrupted upload left there is continued.

    `source` is called when the file is needed, so that it may be fetched first. The caller checks the sum and renames.
    """

    def __init__(self, source: Callable[[], Path], destination: str) -> None:
        super().__init__()
        self.source, self.destination = source, destination

    def __repr__(self) -> str:
        return f"Upload({self.destination})"

    def carry_out(self, state: State, host: Host, connector_arguments: Any) -> bool:
        """Send it; False when the connection or the local file failed, after saying why."""
        from click import ClickException

        forget(host)
        if _reads_password(connector_arguments):
            complain(host, f"uploading {self.destination} failed: {NO_STDIN}")
            return False
        try:
            source = self.source()
            if ssh_client(host) is None:
                return bool(host.put_file(str(source), self.destination, **connector_arguments))
            return self._send(state, host, source, connector_arguments)
        except ClickException as error:
            complain(host, error.message)
        except (OSError, SSHException, EOFError) as error:
            complain(host, f"uploading {self.destination} failed: {error}; run again, it continues there")
        return False

    def _send(self, state: State, host: Host, source: Path, arguments: Any) -> bool:
        total = source.stat().st_size
        text = script("base", "upload.sh", PART=self.destination, TOTAL=total, QUIET=SILENCE_SECONDS)
        channel = _open(state, host, text, arguments)
        answer = channel.makefile("rb")
        said: list[str] = []
        offset = _offset(answer, said)
        if offset is not None:
            # When the rig hangs up, what it said tells why.
            with suppress(OSError):
                for sent in _stream(channel, source, offset):
                    host.log(f"{source.name}: {sent * 100 // max(1, total)} % of {format_bytes(total)} uploaded")
                channel.shutdown_write()
        said += _lines(answer)
        status = channel.recv_exit_status()
        _end(channel)
        if status == 0:
            return True
        if errors := [line.removeprefix("::error ") for line in said if line.startswith("::error ")]:
            reason = errors[-1]
        else:
            # dd: error writing 'standard output': No space left on device
            reason = said[-1].rpartition(": ")[2] if said else "the connection was lost"
        advice = "" if "; " in reason else "; run again, it continues there"
        complain(host, f"uploading {self.destination} failed: {reason}{advice}")
        return False


def download(host: Host, text: str, target: Path, *, most: int) -> None:
    """What a script of sh on a rig prints, written to a file here; it runs as the user of the connection.

    Others wait for it: a rig that falls silent, sends next to nothing, or more than `most` bytes is left.

    Raises:
        OSError, SSHException, EOFError: the connection or the file failed, or the script did.
    """
    channel = open_session(ssh_client(host))
    channel.settimeout(SILENCE_SECONDS)
    silent = TimeoutError(f"it was silent for {SILENCE_SECONDS} s")
    try:
        with gevent.Timeout(SILENCE_SECONDS, silent):
            channel.exec_command(shell_line(host.state, host, text, {}))
        channel.shutdown_write()
        began = spoke = time.monotonic()
        with target.open("wb") as file:
            while chunk := channel.recv(_CHUNK_BYTES):
                file.write(chunk)
                size, now = file.tell(), time.monotonic()
                if size > most:
                    raise OSError(f"it sent more than {format_bytes(most)}")
                if now - began > SILENCE_SECONDS + size / _SLOWEST_BYTES:
                    raise OSError(f"it sent {format_bytes(size)} in {now - began:.0f} s")
                if now - spoke > 10:
                    spoke = now
                    host.log(f"{format_bytes(size)} fetched")
        # What it says is no more than a reason.
        said = channel.recv_stderr(_LONGEST_LINE).decode("utf-8", "replace").strip().splitlines()
        if not channel.status_event.wait(SILENCE_SECONDS):
            raise silent
        if channel.recv_exit_status() != 0:
            raise OSError(shown(said[-1]) if said else "the connection was lost")
    except TimeoutError:
        raise silent from None
    finally:
        _end(channel)


def _offset(answer: ChannelFile, said: list[str]) -> int | None:
    """Where the rig wants an upload to start, None where it wants none; what else it says is added to `said`."""
    for line in answer:
        text = line.decode("utf-8", "replace").strip()
        kind, _, number = text.partition(" ")
        if kind == "::offset" and number.isdecimal():
            return int(number)
        said.append(text)
    return None


def _lines(answer: ChannelFile) -> list[str]:
    return [line for line in answer.read().decode("utf-8", "replace").splitlines() if line.strip()]


def _end(channel: Channel) -> None:
    """Close it, and wait until the rig has: it may allow no second one."""
    channel.close()
    transport = channel.get_transport()
    if transport.is_active():
        answers(transport, SILENCE_SECONDS)


def _reads_password(arguments: Any) -> bool:
    """Whether su reads its password where our text should arrive."""
    return bool(arguments.get("_su_user") and arguments.get("_su_password"))


def _stream(channel: Channel, source: Path, offset: int) -> Iterator[int]:
    """Send the file from `offset`; yields the bytes sent so far every ten seconds and at the end."""
    spoke = time.monotonic()
    with source.open("rb") as file:
        file.seek(offset)
        while chunk := file.read(_CHUNK_BYTES):
            channel.sendall(chunk)
            lives(channel.get_transport())
            if time.monotonic() - spoke > 10:
                spoke = time.monotonic()
                yield file.tell()
        yield file.tell()


def _open(state: State, host: Host, text: str, arguments: Any) -> Channel:
    """A channel that runs `text` in sh with the operation's sudo and environment, standard error mixed in.

    The script goes before all else on standard input. In the command line every user of the rig could read it, sudo
    would log it, and login shells like csh do not understand texts of several lines. With a password for su that place
    is taken, and the script stays in the command line.
    """
    channel = open_session(ssh_client(host))
    channel.set_combine_stderr(True)
    text = exports(arguments) + text
    if _reads_password(arguments):
        channel.exec_command(shell_line(state, host, text, arguments))
        return channel
    given = text.encode()
    channel.exec_command(shell_line(state, host, f'eval "$(head -c {len(given)})"', arguments))
    with suppress(OSError):  # sudo may have refused: what it says is read, and its exit code
        channel.sendall(given)
    return channel


def _run(
    state: State, host: Host, text: str, arguments: Any, take: Callable[[str], None], stdin: str = ""
) -> int | None:
    """Run `text` and hand each line of its output to `take`; the exit code, -1 when the connection was lost."""
    if ssh_client(host) is None:
        ok, output = host.run_shell_command(StringCommand(text), **(arguments | {"_stdin": stdin or None}))
        for line in output.output_lines:
            take(line)
        return 0 if ok else 1
    channel = _open(state, host, text, arguments)
    with suppress(OSError):
        channel.sendall(stdin.encode())
        channel.shutdown_write()
    reader = channel.makefile("rb")
    while line := reader.readline(_LONGEST_READ):
        take(line.decode("utf-8", "replace").rstrip("\r\n"))
    status = int(channel.recv_exit_status())
    _end(channel)
    return status
