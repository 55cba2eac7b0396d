"""Reading rigs for `rigwright hardware`: their files come back, nothing on them is changed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from pyinfra.api import FactBase

from rigwright.hardware import collection
from rigwright.roles.base.facts import current_host


class HardwareFiles(FactBase[dict[str, str]]):
    """What the tools of one rig say, by file name, asked for in one remote command.

    + under_load: copy data to each GPU and read its link meanwhile
    """

    shell_executable = "sh"
    default = dict

    def command(self, under_load: bool) -> str:
        """The questions as shell."""
        return collection.script(everything=True, under_load=under_load)

    def process(self, output: Iterable[str]) -> dict[str, str]:
        """The answer as files."""
        return collection.read(output)


def collect(folder: str, *, under_load: bool) -> None:
    """Write what the current host says to `<folder>/<host>.json`; `file_name` makes the name."""
    host = current_host()
    files = _ask(under_load=under_load)
    if files:
        (Path(folder) / file_name(host.name)).write_text(json.dumps(files), "utf-8")
    else:
        host.log_styled("it gave no answer; try `ssh` and `sh -c true` by hand", fg="red")
        host.state.fail_hosts({host})


def file_name(rig: str) -> str:
    """The file of a rig: names may hold slashes."""
    return f"{quote(rig, safe='@')}.json"


def _ask(*, under_load: bool) -> dict[str, str]:
    """As root where the inventory says sudo and it is given, else without: little is missing then."""
    host = current_host()
    rights = [{}, {"_sudo": False}] if host.data.get("_sudo") else [{}]
    for given in rights:
        try:
            files: dict[str, str] | None = host.get_fact(
                HardwareFiles,
                under_load=under_load,
                _ignore_errors=True,
                _timeout=collection.limit_seconds(under_load=under_load),
                **given,
            )
        except EOFError:
            continue  # pyinfra asks for a sudo password, and nobody is there to give it
        if files:
            return files
    return {}
