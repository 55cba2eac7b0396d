"""The part of `rigwright plan` that keeps what was planned: --write, --replan, --lock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from rigwright.hardware.values import Hardware
from rigwright.lock.file import write_lock
from rigwright.spec.rig import RigSpec

Command = TypeVar("Command", bound=Callable[..., Any])


def lock_options(command: Command) -> Command:
    """The three options, in the order of --help."""
    for option in (
        click.option("--lock", type=click.Path(path_type=Path), metavar="FILE", help="By default INVENTORY.lock.yml."),
        click.option("--replan", is_flag=True, help="Like --write, and renew what is locked and would differ."),
        click.option("--write", is_flag=True, help="Keep the plan in a lock file for git; deploys hold rigs to it."),
    ):
        command = option(command)
    return command


def check_options(*, is_kept: bool, lock: Path | None, other: str | None) -> None:
    """Refuse to keep what no deploy could do.

    Raises:
        UsageError: `other` is an option that plans for a machine that is not there.
    """
    if lock is not None and not is_kept:
        raise click.UsageError("--lock names the file that --write writes; add --write")
    if is_kept and other:
        raise click.UsageError(f"--write keeps the plan of real rigs as a deploy makes it; leave {other} away")


def keep(
    inventory: str,
    specs: Mapping[str, RigSpec],
    rigs: Mapping[str, Hardware],
    *,
    lock: Path | None,
    is_renewed: bool,
) -> int:
    """Write the lock file and say what was done; the exit code: 1 where something differs and nothing was written."""
    both = {name: (specs[name], hardware) for name, hardware in rigs.items()}
    written = write_lock(inventory, both, lock=lock, is_renewed=is_renewed)
    for line in written.lines:
        click.echo(line, err=True)
    return 1 if written.is_refused else 0
