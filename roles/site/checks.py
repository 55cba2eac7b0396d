"""`rigwright verify` for one rig, in a process of its own: it shares nothing with what it checks."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
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
    return read(
        done.stdout, done.stderr, done.returncode, rig=rig, by_hand=f"rigwright verify {inventory} --limit {rig}"
    )


def read(out: str, err: str, status: int, *, rig: str, by_hand: str) -> Checked:
    """Its answer in JSON, or why there is none; `by_hand` is what shows more. A group may be called like the rig."""
    try:
        answer = json.loads(out)["checks"]
        is_explained = any(row["outcome"] == "failed" for row in answer)
        rows = [row for row in answer if row["rig"] == rig]
        counts = Counter(row["outcome"] for row in rows)
        failed = [_line(row) for row in rows if row["outcome"] == "failed"]
    except (ValueError, KeyError, TypeError):
        rows = []
    if not rows or (status and not is_explained):
        said = [line for line in err.splitlines() if line.strip()] or [f"it ended with exit code {status}"]
        return Checked("verify: the checks could not run", tuple(said))
    told = ", ".join(f"{counts[name]} {name}" for name in ("passed", "failed", "skipped") if counts[name])
    return Checked(f"verify: {told}", (*failed, f"all of it: {by_hand}") if failed else ())


def _line(row: Mapping[str, str]) -> str:
    return f"{row['subject']}: {row['check']}: {row['message'] or 'failed'}"
