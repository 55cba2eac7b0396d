"""`rigwright rollback`: the deploy of the same name, without a question."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from rigwright.cli.machine import limit_option

_DEPLOY = """from pathlib import Path

from rigwright.roles.service.rollback import rollback

Path({mark!r}).touch()
rollback()
"""


@click.command()
@click.argument("inventory", type=click.Path())
@limit_option
@click.option("--service", metavar="NAME", help="Only this service, with all its replicas.")
@click.option(
    "--drain-seconds",
    type=click.IntRange(0, 3600),
    help="How long requests may go on before a service restarts; by default what it was deployed with.",
)
def rollback(inventory: str, limit: tuple[str, ...], service: str | None, drain_seconds: int | None) -> None:
    """Bring back what each service of INVENTORY ran before: release, unit and plan, in seconds.

    It needs the names of the services alone: no model file, no key, no lock. What has no earlier release is left as it
    is and named, and the exit code is 1. A later deploy moves forward again: change the inventory too.
    """
    from rigwright.errors import RigwrightError
    from rigwright.inventory.rows import require_inventory

    require_inventory(inventory)
    with tempfile.TemporaryDirectory() as scratch:
        # pyinfra wants deploy code in a file; an installed rigwright has no deploys/ beside it.
        deploy = Path(scratch) / "rollback.py"
        mark = Path(scratch) / "called"
        deploy.write_text(_DEPLOY.format(mark=str(mark)))
        command = [sys.executable, "-m", "pyinfra", "-y", inventory, str(deploy)]
        for pattern in limit:
            command += ["--limit", pattern]
        if service is not None:
            command += ["--data", f"rollback_service={json.dumps(service)}"]
        if drain_seconds is not None:
            command += ["--data", f"drain_seconds={drain_seconds}"]
        status = subprocess.run(command).returncode
        # pyinfra is content with an inventory, or a limit, that leaves no rig at all.
        if status == 0 and not mark.exists():
            which = f"no rig matches {', '.join(limit)}" if limit else "names no rig"
            raise RigwrightError(f"{inventory}: {which}; nothing was brought back")
    sys.exit(status)
