"""What the rigs of an inventory say, all at once, by pyinfra in a process of its own; or what this machine says."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import click
from rich.console import Console

from rigwright.errors import RigwrightError
from rigwright.hardware import collection
from rigwright.inventory.program import Pyinfra, background, pyinfra
from rigwright.inventory.rows import read_rows, require_inventory
from rigwright.inventory.unreachable import with_way_out

if TYPE_CHECKING:
    from rigwright.records.values import RigRecords

LOCAL = "@local"
_DEPLOY = """from rigwright.roles.hardware.deploy import collect

collect({folder!r}, under_load={under_load!r}, with_records={with_records!r}, with_software={with_software!r})
"""
# pyinfra leaves it in the current directory when an inventory is no Python.
_DEBUG_LOG = Path("pyinfra-debug.log")
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
# pyinfra begins what it says of a rig with the rig's name in brackets.
_OF_A_RIG = re.compile(r"^ *\[([^\]]+)\] +(.*\S)")
# Source: pyinfra 3.10, which starts a greenlet for each host.
_ENDED, _ERROR = re.compile(r"Host\.connect of Host\((.+?)\)>> failed with "), re.compile(r"[\w.]+Error: (.+)")
_GOOD_NEWS = ("Connected", "Ready: ")


@dataclass(frozen=True)
class Collected:
    """The files of each rig that answered, what is deployed on it, and for the others what pyinfra said."""

    files: dict[str, dict[str, str]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    records: dict[str, RigRecords] = field(default_factory=dict)


def collect(
    inventory: str,
    *,
    limit: tuple[str, ...] = (),
    under_load: bool = False,
    with_records: bool = False,
    with_software: bool = False,
    started: Pyinfra | None = None,
) -> Collected:
    """Ask all rigs of an inventory at once, one remote command each; `@local` is this machine, without SSH.

    `with_records` also asks what is deployed there, `with_software` what stands around a driver; `started` is the
    pyinfra that asks, where there is one already.

    Raises:
        RigwrightError: the inventory cannot be read, or no rig is left.
    """
    if inventory == LOCAL:
        found = Collected({"local": _here(under_load=under_load, with_software=with_software)})
    else:
        require_inventory(inventory)
        with nullcontext(started) if started else pyinfra() as asking:
            wanted = {"under_load": under_load, "with_records": with_records, "with_software": with_software}
            found = _ask(asking, inventory, limit, wanted)
    for name, files in found.files.items():
        for line in files.get("load.txt", "").splitlines():
            click.echo(f"{name}: not under load: {line}", err=True)
    return found


def _ask(asking: Pyinfra, inventory: str, limit: tuple[str, ...], wanted: Mapping[str, bool]) -> Collected:
    """All rigs that pyinfra finds in an inventory; `wanted` says what they are asked."""
    from rigwright.records.reading import read_records  # 0.1 s, and pyinfra starts meanwhile

    messages, missing = answers(asking, inventory, limit, lambda folder: _DEPLOY.format(folder=folder, **wanted))
    records = {name: read_records(message["records"]) for name, message in messages.items()}
    return Collected({name: message["files"] for name, message in messages.items()}, missing, records)


def answers(
    asking: Pyinfra, inventory: str, limit: tuple[str, ...], deploy_of: Callable[[str], str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """What each rig left as JSON in a folder, by the deploy of that folder; and why others left nothing.

    Raises:
        RigwrightError: the inventory cannot be read, or no rig is left.
    """
    with tempfile.TemporaryDirectory(prefix="rigwright-") as scratch:
        folder = Path(scratch)
        # pyinfra wants deploy code in a file.
        deploy = folder / "collect.py"
        deploy.write_text(deploy_of(scratch))
        has_log = _DEBUG_LOG.exists()
        broken: dict[str, str] = {}
        left = limit
        while True:
            arguments = ["-y", inventory, str(deploy), *(word for one in left for word in ("--limit", one))]
            with Console(stderr=True).status("", spinner="line") as status:
                run = asking.run(arguments, lambda: status.update(f"{sum(1 for _ in folder.glob('*.json'))} rigs read"))
            said = _ANSI.sub("", run.err + run.out)
            # One host whose key file is missing ends pyinfra's run for all: the others are asked without it.
            found = {name: why for name, why in _broken(said).items() if name not in broken}
            broken |= found
            rest = [row["name"] for row in read_rows(inventory, limit=limit, started=asking)] if found else []
            left = tuple(name for name in rest if name not in broken)
            if not left:
                break
        if not has_log:
            _DEBUG_LOG.unlink(missing_ok=True)
        answers = sorted(path for path in folder.glob("*.json"))
        messages = {unquote(path.stem): json.loads(path.read_text("utf-8")) for path in answers}
    rigs = _by_rig(said)
    missing = broken | {name: _reason(lines) for name, lines in rigs.items() if name not in messages}
    if not messages and not missing:
        said = _complaint(said).removeprefix(f"{inventory} ")
        raise RigwrightError(f"{inventory}: pyinfra cannot read it: {said}; correct the inventory")
    names = [name for name in dict.fromkeys((*rigs, *messages)) if name in messages]
    return {name: messages[name] for name in names}, missing


def _here(*, under_load: bool, with_software: bool) -> dict[str, str]:
    """What this machine says. Into a file: what hangs cannot keep us, and what was said before it counts."""
    script = collection.script(everything=True, under_load=under_load, with_software=with_software)
    with tempfile.TemporaryFile() as output:
        # Without `timeout` on this machine, collect.sh itself has no end.
        with (
            background(["sh", "-c", script], output.fileno()) as process,
            suppress(subprocess.TimeoutExpired),
        ):
            process.wait(timeout=collection.limit_seconds(under_load=under_load))
        output.seek(0)
        return collection.read(output.read().decode("utf-8", "replace").split("\n"))


def _by_rig(said: str) -> dict[str, list[str]]:
    """What pyinfra said of each rig, in its order."""
    rigs: dict[str, list[str]] = {}
    for line in said.splitlines():
        if found := _OF_A_RIG.match(line):
            rigs.setdefault(found[1], []).append(found[2])
    return rigs


def _broken(said: str) -> dict[str, str]:
    """The hosts whose own data ended the run, and why."""
    found, reason = {}, ""
    for line in said.splitlines():
        if ended := _ENDED.search(line):
            found[ended[1]] = f"{reason or 'pyinfra cannot connect to it'}; correct its data in the inventory"
        elif error := _ERROR.match(line):
            reason = error[1]
    return found


def _reason(lines: list[str]) -> str:
    """The first thing said of a rig that is no success."""
    return with_way_out(next((line for line in lines if not line.startswith(_GOOD_NEWS)), "no answer"))


def _complaint(said: str) -> str:
    """The last thing said of the inventory, past pyinfra's own headings."""
    lines = [line.strip() for line in said.partition("--> Connecting")[0].splitlines()]
    return next((line for line in reversed(lines) if line and not line.startswith("-->")), "it names no rig")
