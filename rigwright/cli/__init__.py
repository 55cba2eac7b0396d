"""The command line: parsing and printing only. A command is imported when it is called, so that --help is instant."""

from __future__ import annotations

import difflib
import gc
import importlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

_COMMANDS = {
    "bundle": ("rigwright.cli.bundle", "bundle", "All that rigs without internet need, in one file."),
    "driver": (
        "rigwright.cli.driver",
        "driver",
        "Which NVIDIA driver and CUDA a rig needs, and what is wrong.",
    ),
    "hardware": ("rigwright.cli.hardware", "hardware", "What each rig has, how its GPUs are linked, what is wrong."),
    "lab": ("rigwright.cli.lab", "lab", "Virtual rigs on this machine: rehearse, break, throw away."),
    "plan": ("rigwright.cli.plan", "plan", "What would run where, how fast, with which flags, and why."),
    "recommend": ("rigwright.cli.recommend", "recommend", "Which models suit a rig, and what each would do."),
    "rollback": ("rigwright.cli.rollback", "rollback", "Bring back the release that each service ran before."),
    "seed": ("rigwright.cli.seed", "seed", "What a stick tells an installer, so that a bare machine becomes a rig."),
    "size": ("rigwright.cli.size", "size", "What a model takes in memory, and how fast it would be."),
    "tiny-model": ("rigwright.cli.tiny_model", "tiny_model", "Write a tiny real GGUF model with random weights."),
    "weights": ("rigwright.cli.weights", "weights", "The model files on each rig, who wants them, and which can go."),
    "verify": ("rigwright.cli.verify", "verify", "Is every rig serving as planned? (pytest + testinfra)"),
}


class LazyGroup(click.Group):
    """A group that knows its commands' one-line helps without importing them."""

    def list_commands(self, context: click.Context) -> list[str]:
        """Their names, in order."""
        return sorted(_COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """Import the command that is really called."""
        if name not in _COMMANDS:
            return None
        module, attribute, _ = _COMMANDS[name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is meant, or why there is none of that name."""
        name = args[0].lower() if args else ""
        if name in _COMMANDS:
            args = [name, *args[1:]]
        if args and name not in _COMMANDS and not name.startswith("-"):
            from rigwright.cli.habits import other_command

            if other := other_command(name):
                raise click.UsageError(f"{name}: {other}", context)
            near = difflib.get_close_matches(name, _COMMANDS, n=1, cutoff=0.6)
            advice = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(_COMMANDS))}"
            raise click.UsageError(f"no such command: {name}; {advice}", context)
        return super().resolve_command(context, args)

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        """The options of `rigwright` itself; what is unknown is told with the right word."""
        with _told(args):
            return super().parse_args(context, args)

    def invoke(self, context: click.Context) -> Any:
        """Call the command that is meant. A word with blanks that begins with a dash was pasted, and is no option."""
        context.args = [f" {word}" if re.match(r"-\S*\s", word) else word for word in context.args]
        with _told(context.args):
            return super().invoke(context)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """The table of commands in --help."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, _COMMANDS[name][2]) for name in self.list_commands(context)])


@contextmanager
def _told(words: list[str]) -> Iterator[None]:
    """Options that are unknown, as an error that names the right one."""
    words = [*words]
    try:
        yield
    except click.UsageError as error:
        from rigwright.cli.habits import told

        raise told(error, words) from None


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="rigwright", prog_name="rigwright")
def main() -> None:
    """Turn bare machines with GPUs into LLM servers over SSH.

    The main job is a pyinfra deploy:  pyinfra inventories/rig.py deploys/llamacpp.py
    """
    # A command lasts a second or two: to look for circles in what a search keeps would be a tenth of that and more.
    gc.set_threshold(100_000, 20, 50)
