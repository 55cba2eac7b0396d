"""The part of `rigwright plan` that keeps what was planned: --write, --replan, --lock."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

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


def check_options(*, is_kept: bool, is_compared: bool, other: str | None) -> None:
    """Refuse to keep what no deploy could do, and to compare with what is not there.

    Raises:
        UsageError: `other` is an option that plans for a machine that is not there.
    """
    if is_kept and other:
        raise click.UsageError(f"--write keeps the plan of real rigs as a deploy makes it; leave {other} away")
    if is_compared and other:
        raise click.UsageError(f"--detailed-exitcode compares with what runs on real rigs; leave {other} away")
