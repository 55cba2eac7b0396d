"""`rigwright rollback`: the deploy of the same name, without a question."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import click

_DEPLOY = "from rigwright.roles.service.rollback import rollback\n\nrollback()\n"


@click.command()
@click.argument("inventory", type=click.Path())
@click.option("--limit", multiple=True, metavar="PATTERN", help="Only these rigs: a group, or a pattern of names.")
@click.option("--service", metavar="NAME", help="Only this service, with all its replicas.")
def rollback(inventory: str, limit: tuple[str, ...], service: str | None) -> None:
    """Bring back what each service of INVENTORY ran before: release, unit and plan, in seconds.

    It needs the names of the services alone: no model file, no key, no lock. What has no earlier release is left as it
    is and named, and the exit code is 1. A later deploy moves forward again: change the inventory too.
    """
    from rigwright.inventory.rows import require_inventory

    require_inventory(inventory)
    with tempfile.TemporaryDirectory() as scratch:
        # pyinfra wants deploy code in a file; an installed rigwright has no deploys/ beside it.
        deploy = Path(scratch) / "rollback.py"
        deploy.write_text(_DEPLOY)
        command = [sys.executable, "-m", "pyinfra", "-y", inventory, str(deploy)]
        for pattern in limit:
            command += ["--limit", pattern]
        if service:
            command += ["--data", f"rollback_service={service}"]
        sys.exit(subprocess.run(command).returncode)
