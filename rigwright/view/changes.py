"""Differences on a terminal: what a deploy would change, and how the plan stands to the lock."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.text import Text

from rigwright.plan.changes import Change
from rigwright.resolve.resolve import Resolved
from rigwright.resolve.rigs import RigRequest
from rigwright.shown import redacted
from rigwright.view.hardware_words import clean

_STYLES = {"+": "green", "-": "red", "~": "yellow"}


def show_changes(console: Console, asked: RigRequest, resolved: Resolved, changes: Sequence[Change]) -> None:
    """Print what a deploy would change on a rig, then what a lock holds back, or why it does not hold."""
    if changes:
        _section(console, "what a deploy would change", changes)
    else:
        _line(console, Text("no change: a deploy would leave everything as it runs", "green"))
    for line in asked.records.damage if asked.records else ():
        _line(console, Text(clean(line), "yellow"))
    if asked.lock and resolved.is_locked:
        _line(console, Text(f"as {asked.lock} says", "dim"))
        if resolved.changes:
            _section(console, "what a new plan would do otherwise (--replan takes it)", resolved.changes)
    elif asked.lock and resolved.changes:
        _section(console, f"{asked.lock} no longer matches: a deploy refuses until --replan", resolved.changes)
    console.print()


def _section(console: Console, title: str, changes: Iterable[Change]) -> None:
    _line(console, Text(title, "bold"))
    for change in changes:
        _line(console, Text.assemble("  ", (clean(redacted(str(change))), _STYLES[change.mark])))


def _line(console: Console, text: Text) -> None:
    console.print(text, highlight=False, soft_wrap=True)
