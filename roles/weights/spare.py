"""Model files of a rig: which services run on them or would go back to them, and removal of those that nobody wants."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypedDict

from pyinfra.api import FactBase, operation
from pyinfra.api.deploy import deploy

from rigwright.resources import role_text, script
from rigwright.roles.base.channel import Script
from rigwright.roles.base.facts import one_line
from rigwright.roles.base.failures import close_with_failures
from rigwright.roles.base.operations import BROUGHT_LIST, Commands
from rigwright.roles.base.pyinfra_private import current_host, fail
from rigwright.roles.hardware.deploy import ask, file_name
from rigwright.units import whole_number

# Each after what it calls; what they do of services of one inventory alone is not called.
_BEFORE = "\n".join(
    [
        *(role_text("base", name) for name in ("removal.sh", "owner.sh", "remove-own.sh")),
        *(role_text("weights", name) for name in ("place.sh", "spare.sh")),
    ]
)
_GIVEN = {"BROUGHT": BROUGHT_LIST, "OWNERS": ""}
_STATES = ("used", "kept", "spare", "young", "open", "shared", "changed", "found")
_LIMIT_SECONDS = 120


class ModelFile(TypedDict):
    """A model file as the JSON between this process and the command has it."""

    path: str
    size_bytes: int
    state: str
    services: list[dict[str, str]]


class ModelFiles(FactBase[list[ModelFile] | None]):
    """The model files that rigwright brought or serves; None without an answer."""

    shell_executable = "sh"

    @staticmethod
    def default() -> None:
        """Nothing is known."""

    def command(self) -> str:
        """The question as shell."""
        return one_line(script("base", before=_BEFORE, **_GIVEN) + "\nmodel_files\necho end")

    def process(self, output: Iterable[str]) -> list[ModelFile] | None:
        """The answer, whole or not at all."""
        lines = list(output)
        return read_lines(lines[:-1]) if lines and lines[-1] == "end" else None


def read_lines(lines: Sequence[str]) -> list[ModelFile]:
    """The lines of spare.sh, `STATE|BYTES|SERVICES|PATH`; what is none is left out."""
    found = []
    for line in lines:
        state, size, services, path = [*line.split("|", 3), "", "", ""][:4]
        size_bytes = whole_number(size)
        if state not in _STATES or size_bytes is None or not path.startswith("/"):
            continue
        named = [one.partition("=") for one in services.split()]
        users = [{"name": name, "owner": owner} for name, _, owner in named]
        found.append(ModelFile(path=path, size_bytes=size_bytes, state=state, services=users))
    return found


def list_model_files(folder: str) -> None:
    """Write what the current host has to `<folder>/<host>.json`."""
    host = current_host()
    found = ask(ModelFiles, limit_seconds=_LIMIT_SECONDS)
    if found is None:
        host.log_styled("it gave no answer; try `ssh` and `sh -c true` by hand", fg="red")
        fail(host)
        return
    (Path(folder) / file_name(host.name)).write_text(json.dumps(found), "utf-8")


@operation()
def prune() -> Commands:
    """Remove the model files that rigwright brought and that no service of any inventory wants."""
    yield Script(script("weights", "prune.sh", before=_BEFORE, **_GIVEN))


@deploy("Model files")
def prune_model_files() -> None:
    """Remove the model files that no service wants, as each rig judges them under its lock."""
    close_with_failures(current_host().state)
    prune(name="Remove model files that no service wants")
