"""Reading rigs for `rigwright hardware`: their files come back, nothing on them is changed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pyinfra.api import FactBase

from rigwright.errors import RigwrightError
from rigwright.hardware import collection
from rigwright.records import reading as records
from rigwright.roles.base.facts import one_line
from rigwright.roles.base.pyinfra_private import current_host, fail, seen_environment


class RigSections(FactBase[dict[str, list[str]]]):
    """What one rig says, by section, asked for in one remote command.

    + under_load: copy data to each GPU and read its link meanwhile
    + with_records: also what is deployed there
    + with_software: also what stands around its driver
    """

    shell_executable = "sh"
    default = dict

    def command(self, under_load: bool, with_records: bool, with_software: bool) -> str:
        """The questions as shell."""
        asked = [collection.script(everything=True, under_load=under_load, with_software=with_software)]
        if with_records:
            asked.append("section() { printf '@rigwright %s\\n' \"$*\"; }\n" + records.script())
        return one_line("\n".join(asked))

    def process(self, output: Iterable[str]) -> dict[str, list[str]]:
        """The answer by section."""
        return collection.split(output)


def collect(folder: str, *, under_load: bool, with_records: bool = False, with_software: bool = False) -> None:
    """Write what the current host says to `<folder>/<host>.json`; `file_name` makes the name."""
    host = current_host()
    sections = ask(
        RigSections,
        limit_seconds=collection.limit_seconds(under_load=under_load),
        under_load=under_load,
        with_records=with_records,
        with_software=with_software,
    )
    with suppress(RigwrightError, EOFError):  # the plan says it of what it cannot read
        if with_records and (paths := paths_on_rig(host.name, host.data.get("rig"))):
            from rigwright.roles.base.headers import read_headers  # models are seldom read this way

            read_headers(host, host.name, paths)
    if files := collection.files(sections or {}):
        rest = {name: lines for name, lines in (sections or {}).items() if records.is_section(name)}
        answer = json.dumps({"files": files, "records": rest})
        (Path(folder) / file_name(host.name)).write_text(answer, "utf-8")
    else:
        host.log_styled("it gave no answer; try `ssh` and `sh -c true` by hand", fg="red")
        fail(host)


def paths_on_rig(rig: str, data: object) -> tuple[str, ...]:
    """The model files that the inventory says lie on a rig, all parts of each."""
    if "path_on_rig" not in repr(data):
        return ()
    from rigwright.spec.rig import parse_spec  # 0.1 s, and seldom wanted
    from rigwright.weights.on_rig import files_on_rig

    named = [wish.model.path_on_rig for wish in parse_spec(rig, data).services if wish.model.path_on_rig]
    return tuple(dict.fromkeys(path for one in named for path in files_on_rig(one)))


def file_name(rig: str) -> str:
    """The file of a rig: names may hold slashes."""
    return f"{quote(rig, safe='@')}.json"


def ask(fact: type[FactBase[Any]], *, limit_seconds: int, **arguments: object) -> Any:
    """What a fact says; None, or what is empty, without an answer.

    As root where the inventory says sudo and it is given, else without: little is missing then.
    """
    host = current_host()
    rights = [{}, {"_sudo": False}] if host.data.get("_sudo") else [{}]
    found: Any = None
    for given in rights:
        with suppress(EOFError):  # pyinfra asks for a sudo password, and nobody is there to give it
            options = {"_ignore_errors": True, "_timeout": limit_seconds, **seen_environment(host), **given}
            said = host.get_fact(fact, **arguments, **options)
            found = found if said is None else said
        if found:
            break
    return found
