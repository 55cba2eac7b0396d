"""`make check` looks at every shell script, and finds what is wrong with one; each exception has its reason."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def program() -> ModuleType:
    """tests/shellcheck.py."""
    spec = importlib.util.spec_from_file_location("shellcheck_all", ROOT / "tests/shellcheck.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_script_is_checked(program: ModuleType) -> None:
    """What git tracks as a shell script is among the texts, by its name and with its last line."""
    texts = dict(program.scripts())
    listed = subprocess.run(
        ["git", "ls-files", "*.sh", ".ci/run"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.split():
        last = (ROOT / name).read_text().rstrip().splitlines()[-1]
        assert any(last in text for text in texts.values()), name


def test_every_joined_script_is_there(program: ModuleType) -> None:
    """A script that was renamed is renamed here too."""
    names = {name for names in program.JOINED for name in names} | program.ASKED | {program.PRELUDE}
    assert [name for name in names if not (ROOT / "roles" / name).is_file()] == []


def test_finding_is_found(program: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unquoted path is said with its line."""
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    assert "SC2086" in program.check("#!/bin/sh\nrm $1\n")
    assert program.check('#!/bin/sh\nrm "$1"\n') == ""


def test_each_exception_has_its_reason() -> None:
    """`# shellcheck disable=SC… # why`."""
    scripts = [*(ROOT / "roles").rglob("*.sh"), *(ROOT / "rigwright/lab").glob("*.sh"), *(ROOT / "tests").rglob("*.sh")]
    for script in scripts:
        for line in re.findall(r"^\s*# shellcheck .*$", script.read_text(), re.MULTILINE):
            assert re.search(r"disable=SC\d+ # \w", line), (script, line)


def test_no_function_is_defined_twice_in_what_runs_as_one(program: ModuleType) -> None:
    """The later one would be called by who means the earlier one."""
    for names in program.JOINED:
        texts = [(ROOT / "roles" / name).read_text() for name in (program.PRELUDE, *names)]
        found = [name for text in texts for name in re.findall(r"^(\w+)\(\)", text, re.MULTILINE)]
        assert sorted(found) == sorted(set(found)), names
