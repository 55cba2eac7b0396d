"""What a Mac says of our daemons, in one command."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from pyinfra.api import FactBase


class Daemons(FactBase[dict[str, tuple[str, bool]]]):
    """By label: the SHA-256 of its property list, and whether launchd has it loaded.

    + labels: which, such as `dev.rigwright.chat`
    + directory: where property lists are
    """

    default = dict

    def command(self, labels: list[str], directory: str) -> str:
        """A line for each that has a file."""
        names = " ".join(map(shlex.quote, labels))
        file = f'{shlex.quote(directory)}/"$label.plist"'
        return (
            f"for label in {names}; do [ ! -f {file} ] || printf '%s %s %s\\n' \"$label\" "
            f'"$(shasum -a 256 <{file} | cut -d" " -f1)" '
            '"$(launchctl print "system/$label" >/dev/null 2>&1 && echo loaded || echo none)"; done'
        )

    def process(self, output: Iterable[str]) -> dict[str, tuple[str, bool]]:
        """`{"dev.rigwright.chat": ("ab12…", True)}`."""
        rows = [line.split() for line in output if line.startswith("dev.rigwright.")]
        return {row[0]: (row[1], row[2] == "loaded") for row in rows if len(row) == 3}
