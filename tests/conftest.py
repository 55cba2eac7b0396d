"""Options and fixtures that the tests share."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).parents[1]

# Two busy cores are slow at times; that is no finding.
settings.register_profile("rigs", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("rigs")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`make golden` renews the recorded files."""
    parser.addoption("--renew-golden", action="store_true", help="write the golden files anew")


# What `sh` is: of Debian and Ubuntu, of Fedora and all others, of the smallest.
SHELLS = ("dash", "bash", "busybox")


class _Noted(subprocess.Popen[bytes]):
    """Keeps what shells are given to run."""

    texts: ClassVar[list[str]] = []

    def __init__(self, args: Any, *rest: Any, **options: Any) -> None:
        self.texts += map(str, args) if isinstance(args, list | tuple) else [str(args)]
        super().__init__(args, *rest, **options)


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A folder that other accounts may enter: pytest closes its own, at the start of each of its processes."""
    with tempfile.TemporaryDirectory(prefix="rigwright-test-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture(params=SHELLS)
def each_sh(request: pytest.FixtureRequest, open_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Whatever starts `sh` gets each of the shells that rigs have; the scripts of the marker `runs` are among it."""
    program = shutil.which(request.param)
    if program is None:
        pytest.skip(f"{request.param} is not installed here; make host installs it")
    folder = open_path / "sh-alone"
    folder.mkdir()
    (folder / "sh").symlink_to(program)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(_Noted, "texts", [])
    monkeypatch.setattr(subprocess, "Popen", _Noted)
    yield request.param
    marker = request.node.get_closest_marker("runs")
    for name in marker.args if marker else ():
        # Its first line is a comment of its own, which no test rewrites.
        first = (ROOT / "roles" / name).read_text().partition("\n")[0]
        within = shlex.quote(first)[1:-1]  # a script may be a value of another
        assert any(first in text or within in text for text in _Noted.texts), f"{name} was not run"


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
