"""The command line: instant help, lazy commands, one-line errors."""

from __future__ import annotations

import subprocess
import sys

import pytest
from click.testing import CliRunner

from rigwright.cli import main


def test_help_imports_nothing_heavy():
    """--help is typed without thinking: nothing that takes time to import is imported for it."""
    code = (
        "import sys\nfrom rigwright.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'pyinfra', 'pydantic', 'paramiko', 'jinja2', 'yaml', 'pytest', 'gguf'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "HEAVY []"


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
