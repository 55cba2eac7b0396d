"""`rigwright weights`: the model files of rigs, who wants them, and removal of those that nobody wants."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from rigwright.cli.machine import limit_option
from rigwright.cli.unanswered import tell_missing
from rigwright.shown import by_name
from rigwright.view.terminal import answering, console

_LIST = """from rigwright.roles.weights.spare import list_model_files

list_model_files({folder!r})
"""
_PRUNE = """from rigwright.roles.weights.spare import prune_model_files

prune_model_files()
"""


@click.command()
@click.argument("inventory", type=click.Path())
@limit_option
@click.option("--prune", is_flag=True, help="Remove those that no service of any inventory wants.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: docs/weights.schema.json, rigs by name.")
def weights(inventory: str, limit: tuple[str, ...], prune: bool, as_json: bool) -> None:
    """Show the model files on each rig of INVENTORY, and which services run on them or would go back to them.

    Without --prune nothing is changed. With it goes what rigwright brought and no service of any inventory names; what
    was there before, what is not as it was brought, what a process has open, and what came within a day stays.
    """
    if prune and as_json:
        raise click.UsageError("--json lists and --prune removes; leave one of them out")
    from rigwright.inventory.live import answers
    from rigwright.inventory.program import pyinfra
    from rigwright.inventory.rows import require_inventory
    from rigwright.view.answers.weights import weights_answer
    from rigwright.view.weights_table import show

    require_inventory(inventory)
    with pyinfra() as asking:
        said, missing = answers(asking, inventory, limit, lambda folder: _LIST.format(folder=folder))
    rigs = {name: weights_answer(said[name]) for name in by_name(said)}
    with answering():
        if as_json:
            click.echo(json.dumps({name: rig.plain() for name, rig in rigs.items()}, indent=1))
        else:
            show(console(), rigs)
    tell_missing(missing)
    spare = [name for name, rig in rigs.items() if any(one.state == "spare" for one in rig.files)]
    status = _prune(inventory, spare) if prune and spare else 0
    sys.exit(status or (1 if missing else 0))


def _prune(inventory: str, rigs: list[str]) -> int:
    with tempfile.TemporaryDirectory() as scratch:
        # pyinfra wants deploy code in a file.
        deploy = Path(scratch) / "prune.py"
        deploy.write_text(_PRUNE)
        command = [sys.executable, "-m", "pyinfra", "-y", inventory, str(deploy)]
        for name in rigs:
            command += ["--limit", name]
        return subprocess.run(command).returncode
