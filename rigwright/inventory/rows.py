"""The hosts of a pyinfra inventory as plain rows. pyinfra reads it in a process of its own: its gevent stays there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from rigwright.errors import RigwrightError


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


def read_rows(inventory: str, *, limit: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """The same as pyinfra tells it, unchecked: each with `name`, `groups` and `data`.

    Raises:
        RigwrightError: pyinfra cannot read it, or nothing is left.
    """
    require_inventory(inventory)
    command = [sys.executable, "-m", "pyinfra", inventory, "debug-inventory", "--json"]
    environment = os.environ | {"PYINFRA_PROGRESS": "off"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise RigwrightError(
            f"{inventory}: pyinfra cannot read it: {said[-1].strip() if said else 'no output'}; correct the inventory"
        )
    rows = json.loads(done.stdout[done.stdout.index("[") :])
    if not rows:
        raise RigwrightError(f"{inventory}: names no rig; check the path and what is in it")
    chosen = [row for row in rows if not limit or any(_selects(pattern, row) for pattern in limit)]
    if not chosen:
        known = ", ".join(row["name"] for row in rows)
        raise RigwrightError(f"{inventory}: no rig matches {', '.join(limit)}; known are {known}")
    return chosen


def _selects(pattern: str, row: dict[str, Any]) -> bool:
    return pattern in row["groups"] or fnmatch(row["name"], pattern)
