"""Rigs without an answer: a line for each on standard error, which leaves standard output to the answers."""

from __future__ import annotations

import os
from collections.abc import Mapping

import click

from rigwright.shown import by_name
from rigwright.view.terminal import READABLE


def tell_errors(errors: Mapping[str, str]) -> None:
    """A line for each rig, by name, in a red that can be read on any terminal."""
    for name in by_name(errors):
        click.echo(_red(f"{name}: {errors[name]}"), err=True)


def tell_missing(missing: Mapping[str, str]) -> None:
    """The same for rigs that could not be asked, with the cause of each."""
    tell_errors({name: f"not read: {why}" for name, why in missing.items()})


def _red(line: str) -> str:
    """The line in red, plain for whoever sets NO_COLOR; click takes the colour away where no terminal is."""
    if os.environ.get("NO_COLOR"):
        return line
    has_256 = "256color" in os.environ.get("TERM", "") or bool(os.environ.get("COLORTERM"))
    return click.style(line, fg=READABLE["red"] if has_256 else "red")
