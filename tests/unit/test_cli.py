"""The command line: instant help, lazy commands, one-line errors."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from rigwright.cli import main

# What takes 0.02 s or more to import.
HEAVY = {"pyinfra", "gevent", "paramiko", "huggingface_hub", "httpx2", "pydantic", "jinja2", "yaml", "pytest", "gguf"}


def imported(code: str) -> set[str]:
    """The heavy packages that a Python of its own has imported after `code`."""
    code += f"\nimport sys; print('HEAVY', *sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split()[1:])


def typed(*words: str) -> str:
    """Python that types a command."""
    return f"from rigwright.cli import main\ntry: main({list(words)!r})\nexcept SystemExit as end: assert not end.code"


@pytest.mark.parametrize("words", [("--help",), ("plan", "--help")])
def test_help_imports_nothing_heavy(words: tuple[str, ...]) -> None:
    """--help is typed without thinking: nothing that takes time to import is imported for it."""
    assert imported(typed(*words)) == set()


def test_plan_of_a_file_imports_no_more_than_it_needs(tmp_path: Path, tiny_dense: Path) -> None:
    """A recorded rig and a file at hand: no SSH, no hub, no template."""
    (tmp_path / "spec.yml").write_text(f"services: [{{name: a, model: {tiny_dense}, context: 4096}}]")
    capture = Path(__file__).parents[1] / "captures" / "1x-h100-capture"
    words = ("plan", "--capture", str(capture), "--spec", str(tmp_path / "spec.yml"))
    assert imported(typed(*words)) == {"pydantic", "yaml"}


def test_pyinfra_is_started_before_anything_else_is_imported() -> None:
    """`rigwright plan INVENTORY` waits for pyinfra, so what starts it is light."""
    assert imported("import rigwright.cli.plan, rigwright.inventory.live") == set()


def test_reading_rigs_imports_no_planner() -> None:
    """The deploy that reads rigs needs pyinfra, and neither specs nor plans."""
    assert "pydantic" not in imported("import rigwright.roles.hardware.deploy")


def test_every_command_of_the_help_exists():
    """The table of lazy commands is true."""
    runner = CliRunner()
    for name in main.list_commands(None):
        result = runner.invoke(main, [name, "--help"])
        assert result.exit_code == 0, (name, result.output)


def test_tiny_model_writes_a_model(tmp_path):
    """`rigwright tiny-model` makes the directory and the file."""
    path = tmp_path / "models" / "tiny.gguf"
    result = CliRunner().invoke(main, ["tiny-model", str(path), "--architecture", "llama"])
    assert result.exit_code == 0
    assert path.read_bytes()[:4] == b"GGUF"


@pytest.mark.patience
def test_verify_names_a_missing_inventory(tmp_path):
    """One line and exit code 1, without a traceback."""
    done = subprocess.run(
        [sys.executable, "-m", "rigwright", "verify", "none.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "none.py" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr + done.stdout


def _verify(directory, text, **environment):
    (directory / "rigs.py").write_text(text)
    return subprocess.run(
        [sys.executable, "-m", "rigwright", "verify", "rigs.py"],
        cwd=directory,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.patience
def test_verify_refuses_a_lock_file_that_is_not_there(tmp_path):
    """As a deploy does, in its words."""
    done = _verify(tmp_path, "rigs = [('@local', {'rig': {'services': []}, 'rig_lock': 'none.yml'})]")
    assert done.returncode == 1
    assert "Error: @local: rig_lock: none.yml does not exist; write it with `rigwright plan --write`" in done.stderr, (
        done.stderr
    )


@pytest.mark.patience
def test_verify_is_no_success_where_the_users_pytest_checks_nothing(tmp_path):
    """The variables of the user's pytest have no say: checks run, and this machine is no rig."""
    inventory = "rigs = [('@local', {'rig': {'services': []}})]"
    done = _verify(tmp_path, inventory, PYTEST_ADDOPTS="--collect-only", PYTEST_PLUGINS="none_such")
    assert done.returncode == 1, done.stdout
    assert "failed" in done.stdout or "unreachable" in done.stderr
