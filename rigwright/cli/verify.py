"""`rigwright verify`: the checks of every role, against the rigs of an inventory."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import click

from rigwright.errors import RigwrightError

CHECKS = ("rigwright.roles.base.verify", "rigwright.roles.weights.verify", "rigwright.roles.llamacpp.verify")


@click.command()
@click.argument("inventory", type=click.Path())
@click.option("--limit", multiple=True, metavar="PATTERN", help="Only these rigs: a group, or a pattern of names.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of pytest's report.")
def verify(inventory: str, limit: tuple[str, ...], as_json: bool) -> None:
    """Check that every rig of INVENTORY serves as planned. Nothing on a rig is changed."""
    for package in ("pytest", "testinfra"):
        if importlib.util.find_spec(package) is None:
            raise RigwrightError(f"verify: {package} is not installed; pip install 'rigwright[verify]'")
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.json"
        # An own rootdir: neither the user's pytest settings nor their tests have a say here.
        command = [
            sys.executable,
            "-m",
            "pytest",
            "--pyargs",
            *CHECKS,
            "-q",
            "--no-header",
            "--tb=short",
            "-p",
            "no:cacheprovider",
        ]
        command += ["--rootdir", scratch, "-c", "/dev/null", "--rigs", inventory, "--rig-report", str(report)]
        command += [f"--rig-limit={pattern}" for pattern in limit]
        done = subprocess.run(command, capture_output=as_json, text=True)
        rows = json.loads(report.read_text()) if report.exists() else []
    if done.returncode not in (0, 1):
        said = (done.stderr or done.stdout or "").strip().splitlines() if as_json else []
        raise RigwrightError(
            "\n".join(line for line in said if line.startswith("ERROR"))
            or "verify: the checks could not run; see above"
        )
    counts = Counter(row["outcome"] for row in rows)
    if as_json:
        click.echo(json.dumps({"passed": counts["passed"], "failed": counts["failed"], "checks": rows}, indent=1))
    else:
        click.echo("verify: " + ", ".join(f"{counts[name]} {name}" for name in ("passed", "failed") if counts[name]))
    sys.exit(done.returncode)
