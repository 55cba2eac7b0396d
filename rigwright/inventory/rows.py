"""The hosts of a pyinfra inventory as plain rows."""

from __future__ import annotations

import json
from contextlib import nullcontext
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from rigwright.errors import RigwrightError
from rigwright.inventory.inventory_file import A_GROUP, foreign_keys, problem_of
from rigwright.inventory.program import Pyinfra, pyinfra


def require_inventory(inventory: str) -> None:
    """Refuse what is no inventory: pyinfra takes a name of no file for that of a host, and a text for its letters.

    Raises:
        RigwrightError: a line that says so.
    """
    if inventory.startswith("@"):
        return
    path = Path(inventory)
    if (path.suffix in (".py", ".yml", ".yaml", ".ini") or "/" in inventory) and not path.exists():
        raise RigwrightError(f"{inventory}: does not exist; check the path of the inventory")
    if path.is_dir():
        raise RigwrightError(
            f"{inventory}: is a directory; name the inventory in it, like {inventory.rstrip('/')}/rig.py"
        )
    if path.is_file() and (problem := problem_of(path)):
        raise RigwrightError(f"{inventory}{problem}")


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
    rows: list[dict[str, Any]] = json.loads(done.out[done.out.index("[") :])
    if wrong := [f"{row['name']}: {line}" for row in rows for line in foreign_keys(row["data"])]:
        raise RigwrightError("\n".join(wrong))
    if not rows:
        raise RigwrightError(f"{inventory}: names no rig; each list of hosts is a group: {A_GROUP}")
    chosen = [row for row in rows if not limit or any(_selects(pattern, row) for pattern in limit)]
    if not chosen:
        known = ", ".join(row["name"] for row in rows)
        raise RigwrightError(f"{inventory}: no rig matches {', '.join(limit)}; known are {known}")
    return chosen


def _selects(pattern: str, row: dict[str, Any]) -> bool:
    return pattern in row["groups"] or fnmatch(row["name"], pattern)
