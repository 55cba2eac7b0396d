"""Options and fixtures that the tests share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).parents[1]

# Two busy cores are slow at times; that is no finding.
settings.register_profile("rigs", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("rigs")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`make golden` renews the recorded files."""
    parser.addoption("--renew-golden", action="store_true", help="write the golden files anew")


def run_plainly(*command: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command in an environment that knows nothing of the checkout."""
    plain = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run(command, cwd=cwd, env=plain | environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def plainly() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a command outside of the checkout."""
    return run_plainly


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built as a release is built."""
    target = tmp_path_factory.mktemp("dist")
    done = run_plainly(
        sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(target), str(ROOT), cwd=target
    )
    assert done.returncode == 0, done.stderr
    return next(target.glob("rigwright-*.whl"))


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin directory of an environment with nothing but the wheel and what it declares."""
    home = tmp_path_factory.mktemp("user")
    assert run_plainly(sys.executable, "-m", "venv", "venv", cwd=home).returncode == 0
    done = run_plainly(str(home / "venv/bin/pip"), "install", "-q", f"{wheel}[verify]", cwd=home)
    assert done.returncode == 0, done.stderr
    return home / "venv" / "bin"
