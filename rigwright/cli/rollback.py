"""`rigwright rollback`: the deploy of the same name, without a question."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import click

_DEPLOY = "from rigwright.roles.llamacpp.rollback import rollback\n\nrollback()\n"


@click.command()
@click.argument("inventory", type=click.Path())
@click.option("--limit", multiple=True, metavar="PATTERN", help="Only these rigs: a group, or a pattern of names.")
def rollback(inventory: str, limit: tuple[str, ...]) -> None:
    """Bring back what each service of INVENTORY ran before: release, unit and plan, in seconds.

    A later deploy moves forward again: change the inventory too.
    """
    with tempfile.TemporaryDirectory() as scratch:
        # pyinfra wants deploy code in a file; an installed rigwright has no deploys/ beside it.
        deploy = Path(scratch) / "rollback.py"
        deploy.write_text(_DEPLOY)
        command = [sys.executable, "-m", "pyinfra", "-y", inventory, str(deploy)]
        for pattern in limit:
            command += ["--limit", pattern]
        sys.exit(subprocess.run(command).returncode)
