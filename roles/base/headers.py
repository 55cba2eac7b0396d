"""The headers of model files that lie on a rig, read over its connection when they are not known yet."""

from __future__ import annotations

import base64
import shlex
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

from pyinfra.api import FactBase
from pyinfra.api.host import Host

from rigwright.roles.base.facts import one_line
from rigwright.roles.base.pyinfra_private import seen_environment
from rigwright.units import whole_number
from rigwright.weights.on_rig import FileState, keep_header, unread

_SECONDS = 120


class FileStates(FactBase[dict[str, FileState]]):
    """Size and time of files.

    + paths: where they lie
    """

    shell_executable = "sh"
    default = dict

    def command(self, paths: tuple[str, ...]) -> str:
        """The question as shell."""
        return one_line(f"stat -Lc '%s %Y %n' -- {shlex.join(paths)} 2>/dev/null; :")

    def process(self, output: Iterable[str]) -> dict[str, FileState]:
        """The answers by path."""
        found = {}
        for line in output:
            size, _, rest = line.partition(" ")
            time, _, path = rest.partition(" ")
            numbers = whole_number(size), whole_number(time)
            if numbers[0] is not None and numbers[1] is not None:
                found[path] = FileState(numbers[0], numbers[1])
        return found


class FileBytes(FactBase[bytes]):
    """Some bytes of a file, packed for the way: headers hold lists of words.

    + path: where it lies
    + start: the first byte
    + count: how many
    """

    shell_executable = "sh"
    default = bytes
    _count = 0

    def command(self, path: str, start: int, count: int) -> str:
        """The question as shell."""
        self._count = count
        part = f"tail -c +{start + 1} -- {shlex.quote(path)} | head -c {count}"
        return one_line(f"{part} | gzip -1 | base64 -w 65536")

    def process(self, output: Iterable[str]) -> bytes:
        """The bytes; none where something else came."""
        try:
            # A rig that means harm sends no more than was asked for.
            return zlib.decompressobj(31).decompress(base64.b64decode("".join(output)), self._count)
        except (ValueError, zlib.error):
            return b""


def read_headers(host: Host, rig: str, paths: tuple[str, ...], *, known: Mapping[str, FileState] | None = None) -> None:
    """Read the headers of files as they are now; `known` is what is known of them already.

    Raises:
        UnreadableModel: one is no GGUF file.
    """
    rights: dict[str, Any] = {**seen_environment(host), "_ignore_errors": True, "_timeout": _SECONDS}
    asked: dict[str, FileState] = {} if known is not None else host.get_fact(FileStates, paths=paths, **rights)
    states = known if known is not None else asked or {}
    for path in unread(rig, states):
        at = 0

        def read(wanted: int, path: str = path) -> bytes:
            nonlocal at
            data = host.get_fact(FileBytes, path=path, start=at, count=wanted, **rights) or b""
            at += len(data)
            return data

        host.log(f"reading the header of {path}")
        keep_header(rig, path, states[path], read)
