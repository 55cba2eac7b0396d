"""The hosts of a pyinfra inventory as plain rows."""

from __future__ import annotations

import json
from contextlib import nullcontext
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from rigwright.errors import RigwrightError
from rigwright.inventory.program import Pyinfra, pyinfra


def require_inventory(inventory: str) -> None:
    """Refuse a file that is not there: pyinfra would take its name for that of a host.

    Raises:
        RigwrightError: a line that says so.
    """
    path = Path(inventory)
    if (
        (path.suffix in (".py", ".yml", ".yaml") or "/" in inventory)
        and not inventory.startswith("@")
        and not path.exists()
    ):
        raise RigwrightError(f"{inventory}: does not exist; check the path of the inventory")


def read_rows(inventory: str, *, limit: tuple[str, ...] = (), started: Pyinfra | None = None) -> list[dict[str, Any]]:
    """The same as pyinfra tells it, unchecked: each with `name`, `groups` and `data`.

    `started` is the pyinfra that reads it, where there is one already.

    Raises:
        RigwrightError: pyinfra cannot read it, or nothing is left.
    """
    require_inventory(inventory)
    with nullcontext(started) if started else pyinfra() as reading:
        done = reading.run([inventory, "debug-inventory", "--json"])
    if done.status:
        said = [line for line in done.err.splitlines() if line.strip()]
        raise RigwrightError(
            f"{inventory}: pyinfra cannot read it: {said[-1].strip() if said else 'no output'}; correct the inventory"
        )
    rows = json.loads(done.out[done.out.index("[") :])
    if not rows:
        raise RigwrightError(f"{inventory}: names no rig; check the path and what is in it")
    chosen = [row for row in rows if not limit or any(_selects(pattern, row) for pattern in limit)]
    if not chosen:
        known = ", ".join(row["name"] for row in rows)
        raise RigwrightError(f"{inventory}: no rig matches {', '.join(limit)}; known are {known}")
    return chosen


def _selects(pattern: str, row: dict[str, Any]) -> bool:
    return pattern in row["groups"] or fnmatch(row["name"], pattern)
