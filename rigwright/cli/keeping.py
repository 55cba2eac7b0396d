"""What `plan --write` and `--replan` do with what was planned: the lock file, and what became of it."""

from __future__ import annotations

from pathlib import Path

import click

from rigwright.errors import Refused
from rigwright.lock.file import Entry, write_lock
from rigwright.resolve.pin import pin
from rigwright.resolve.rigs import ResolvedRigs


def keep(inventory: str, planned: ResolvedRigs, lock: Path | None, *, is_renewed: bool) -> int:
    """Write the lock file and say what was done; the exit code: 1 where something differs, or a rig was left out."""
    entries, left_out = {}, list(planned.errors)
    for name, resolved in planned.resolved.items():
        asked = planned.asked[name]
        try:
            locked, notes = pin(resolved, asked.spec, asked.hardware, rig=name)
        except Refused as error:
            click.echo(error.message, err=True)
            left_out.append(name)
            continue
        entries[name] = Entry(locked, notes, asked.spec, asked.hardware)
    lines, is_refused = [], False
    if entries:
        written = write_lock(inventory, entries, lock=lock, is_renewed=is_renewed)
        lines, is_refused = list(written.lines), written.is_refused
    if left_out:
        lines.append(f"{', '.join(left_out)}: not locked, see above")
    for line in lines:
        click.echo(line, err=True)
    return 1 if is_refused or left_out else 0
