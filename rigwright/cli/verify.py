"""`rigwright verify`: the checks of every role, against the rigs of an inventory."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import click

from rigwright.cli.machine import limit_option
from rigwright.errors import RigwrightError

_SHARED = tuple(f"rigwright.roles.{role}.verify" for role in ("base", "nvidia", "cuda", "weights", "service"))
_OUTCOMES = ("passed", "failed", "skipped")


def checks() -> list[str]:
    """The modules of checks: those of every service, and those of each engine that has some."""
    from rigwright.catalogue.engines import brought, engine_names
    from rigwright.plan.engines import planner_of

    own = [
        planner_of(name).checks if name in brought() else f"rigwright.roles.{name}.verify" for name in engine_names()
    ]
    return [*_SHARED, *(module for module in own if module and _exists(module))]


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


@click.command()
@click.argument("inventory", type=click.Path())
@limit_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of pytest's report.")
def verify(inventory: str, limit: tuple[str, ...], as_json: bool) -> None:
    """Check that every rig of INVENTORY serves as planned. Nothing on a rig is changed."""
    for package in ("pytest", "testinfra"):
        if importlib.util.find_spec(package) is None:
            raise RigwrightError(f"verify: {package} is not installed; pip install 'rigwright[verify]'")
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.json"
        # An own rootdir, no settings and no conftest.py: neither the user's own nor their tests have a say here.
        command = [sys.executable, "-m", "pytest", "--pyargs", *checks(), "-q", "--no-header", "--tb=line"]
        command += ["-p", "no:cacheprovider", "--capture=sys", "--rootdir", scratch, "-c", "/dev/null", "--noconftest"]
        command += ["--rigs", inventory, "--rig-report", str(report), *(f"--rig-limit={one}" for one in limit)]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        output = subprocess.PIPE if as_json else None
        done = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, text=True, env=environment)
        rows = json.loads(report.read_text()) if report.exists() else []
    counts = Counter(row["outcome"] for row in rows)
    if done.returncode == 0 and not counts["passed"]:
        raise RigwrightError("verify: no check ran")
    if as_json and rows:
        click.echo(json.dumps({**{name: counts[name] for name in _OUTCOMES}, "checks": rows}, indent=1))
        sys.exit(min(done.returncode, 1))
    if done.returncode not in (0, 1):
        said = [line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if line.strip()]
        raise RigwrightError("\n".join(said) or "verify: the checks could not run; see above")
    click.echo("verify: " + ", ".join(f"{counts[name]} {name}" for name in _OUTCOMES if counts[name]))
    sys.exit(done.returncode)
