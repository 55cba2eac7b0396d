"""Arrows run one way: who may import whom."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[2]


def imports(path: Path) -> set[str]:
    """The modules that a file names in its import statements, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def ours(path: Path) -> set[str]:
    return {name for name in imports(path) if name.startswith("rigwright")}


def test_plan_is_pure():
    """The planner knows values alone: no pyinfra, no files, no network, no clock."""
    allowed = (
        "rigwright.hardware",
        "rigwright.models",
        "rigwright.given",
        "rigwright.units",
        "rigwright.errors",
        "rigwright.strict",
        "rigwright.shown",
        "rigwright.catalogue",
    )
    forbidden = {
        "os",
        "time",
        "datetime",
        "random",
        "subprocess",
        "socket",
        "pathlib.Path",
        "pyinfra",
        "urllib.request",
    }
    for path in (ROOT / "rigwright" / "plan").rglob("*.py"):
        assert [name for name in ours(path) if not name.startswith(("rigwright.plan", *allowed))] == [], path
        assert imports(path) & forbidden == set(), path


def test_packages_import_downwards_and_in_no_circle():
    """The layers and contracts of pyproject.toml, which follow the link from rigwright/roles to roles."""
    modules = grimp.build_graph("rigwright", cache_dir=None).modules
    assert {"rigwright.roles.base.operations", "rigwright.roles.llamacpp.engine"} <= modules
    # In a process of its own: it turns the loggers of its process off.
    command = [Path(sys.executable).with_name("lint-imports"), "--config", ROOT / "pyproject.toml", "--no-cache"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout


def test_verify_shares_nothing_with_what_it_checks():
    """The oracle is independent: no pyinfra, no facts, no operations, no parser of ours."""
    modules = [*(ROOT / "roles").glob("*/verify.py"), *(ROOT / "rigwright" / "verify").glob("*.py")]
    for path in modules:
        allowed = (
            "rigwright.verify",
            "rigwright.spec",
            "rigwright.inventory",
            "rigwright.plan.wish",
            "rigwright.errors",
            "rigwright.catalogue",
        )
        assert [name for name in ours(path) if not name.startswith(allowed)] == [], path
        assert [name for name in imports(path) if name.startswith("pyinfra")] == [], path


def test_everything_beside_the_roles_runs_without_pyinfra():
    """Only roles talk to rigs."""
    for path in (ROOT / "rigwright").rglob("*.py"):
        if not path.is_relative_to(ROOT / "rigwright" / "roles"):
            assert [name for name in imports(path) if name.startswith("pyinfra")] == [], path


def test_deploys_are_short_and_hold_no_logic():
    """One file per outcome, at most ten lines."""
    for path in (ROOT / "deploys").glob("*.py"):
        assert len(path.read_text().splitlines()) <= 10, path


def test_modules_are_short():
    """No module above 300 lines."""
    sizes = {
        path: len(path.read_text().splitlines())
        for top in ("rigwright", "roles")
        for path in (ROOT / top).rglob("*.py")
    }
    assert {path: size for path, size in sizes.items() if size > 300} == {}
