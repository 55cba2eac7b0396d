"""`rigwright verify` for one rig, in a process of its own: it shares nothing with what it checks."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Checked:
    """What the checks found: one line, and a line for each that failed."""

    summary: str
    failures: tuple[str, ...] = ()


def lacking() -> str | None:
    """The package that the checks lack here; None where they can run."""
    return next((name for name in ("pytest", "testinfra") if importlib.util.find_spec(name) is None), None)


def check(inventory: str | None, rig: str) -> Checked:
    """What `rigwright verify` says of a rig."""
    if inventory is None:
        return Checked("not checked: this run has no inventory file; check with rigwright verify INVENTORY")
    command = [sys.executable, "-m", "rigwright", "verify", inventory, "--limit", rig, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    return read(done.stdout, done.stderr, done.returncode, by_hand=f"rigwright verify {inventory} --limit {rig}")


def read(out: str, err: str, status: int, *, by_hand: str) -> Checked:
    """Its answer in JSON, or why there is none; `by_hand` is what shows more."""
    try:
        answer = json.loads(out)
        rows = [row for row in answer["checks"] if row["outcome"] == "failed"]
        counts = ", ".join(f"{answer[name]} {name}" for name in ("passed", "failed", "skipped") if answer[name])
    except (ValueError, KeyError, TypeError):
        said = [line for line in err.splitlines() if line.strip()] or [f"it ended with exit code {status}"]
        return Checked("verify: the checks could not run", tuple(said))
    lines = [f"{row['subject']}: {row['check']}: {row['message'] or 'failed'}" for row in rows]
    if lines or status:
        lines.append(f"all of it: {by_hand}")
    return Checked(f"verify: {counts}", tuple(lines))
