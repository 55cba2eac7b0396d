"""Reading the rigs of an inventory: who answers is read, who does not is named, nothing stays behind."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from rigwright.errors import RigwrightError
from rigwright.inventory.live import Collected, collect
from rigwright.inventory.program import pyinfra
from rigwright.inventory.rows import read_rows

pytestmark = pytest.mark.patience  # each starts pyinfra

DEAD = '("dead", {"ssh_hostname": "127.0.0.1", "ssh_port": 9})'


def read(folder: Path, inventory: str, *limit: str) -> Collected:
    (folder / "inventory.py").write_text(inventory)
    return collect(str(folder / "inventory.py"), limit=limit, under_load=False)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_this_machine_is_read_without_ssh() -> None:
    """@local needs no inventory, no key and no root."""
    found = collect("@local", under_load=False)
    assert list(found.files) == ["local"] and found.missing == {}
    kernel = Path("/proc/sys/kernel/osrelease").read_text().strip()
    assert f"KERNEL={kernel}\n" in found.files["local"]["system.txt"]


def test_this_machine_is_not_waited_for_forever(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where `timeout` is missing, a tool that hangs keeps the answers of the others."""
    said = "printf '@rigwright source %s\\n|ID=debian\\n' system.txt; sleep 60"
    monkeypatch.setattr("rigwright.inventory.live.collection.script", lambda **_: said)
    monkeypatch.setattr("rigwright.inventory.live.collection.limit_seconds", lambda **_: 1)
    assert collect("@local").files == {"local": {"system.txt": "ID=debian\n"}}


def test_rig_that_does_not_answer_is_named_and_the_others_are_read(here: Path) -> None:
    """With what pyinfra said of it; rigs need no `rig` data to be read."""
    found = read(here, f'rigs = ["@local", {DEAD}]')
    assert list(found.files) == ["@local"]
    assert list(found.missing) == ["dead"] and "Unable to connect to port 9" in found.missing["dead"]


def test_no_rig_answers(here: Path) -> None:
    """Then all are named."""
    assert list(read(here, f"rigs = [{DEAD}]").missing) == ["dead"]


def test_limit_chooses_rigs(here: Path) -> None:
    """As pyinfra's own --limit."""
    found = read(here, f'good = ["@local"]\nbad = [{DEAD}]', "good")
    assert list(found.files) == ["@local"] and found.missing == {}


@pytest.mark.parametrize(
    ("inventory", "limit", "says"),
    [
        ("rigs = [", (), ":1: '[' was never closed; correct the Python"),
        ("import nosuchmodule", (), "cannot read it: ModuleNotFoundError: No module named 'nosuchmodule'"),
        ("rigs = ['@local']", ("other",), "No host matches found for --limit pattern: other"),
        ("rigs = []", (), "it names no rig"),
    ],
)
def test_inventory_that_cannot_be_read_is_one_line(
    here: Path, inventory: str, limit: tuple[str, ...], says: str
) -> None:
    """What is wrong, and no debug file left in the user's directory."""
    with pytest.raises(RigwrightError) as error:
        read(here, inventory, *limit)
    assert says in error.value.message and "\n" not in error.value.message
    assert {path.name for path in here.iterdir()} - {"__pycache__"} == {"inventory.py"}


def test_inventory_that_is_not_there_is_named(here: Path) -> None:
    """A typo in its name."""
    with pytest.raises(RigwrightError, match=r"^nosuch\.py: does not exist; check the path of the inventory$"):
        collect("nosuch.py", under_load=False)


def test_interrupt_ends_what_was_begun(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C leaves no pyinfra behind."""
    begun: list[subprocess.Popen[bytes]] = []

    class Noted(subprocess.Popen):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            begun.append(self)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("rigwright.inventory.program.subprocess.Popen", Noted)
    monkeypatch.setattr("rigwright.inventory.program.select.select", interrupted)
    with pytest.raises(KeyboardInterrupt):
        read(here, 'rigs = ["@local"]')
    assert begun[0].returncode is not None


def test_pyinfra_that_is_told_nothing_asks_nobody(here: Path) -> None:
    """A plan that ends before, as over a mistake in a spec, leaves none behind."""
    with pyinfra() as started:
        assert started.process.poll() is None
    assert started.process.returncode is not None and started.err.closed


def test_pyinfra_that_was_started_before_asks(here: Path) -> None:
    """It gives the same answers as one that is started for each of them."""
    (here / "inventory.py").write_text('rigs = ["@local"]')
    with pyinfra() as started:
        (row,) = read_rows(str(here / "inventory.py"), started=started)
        found = collect(str(here / "inventory.py"), started=started)
    assert row["name"] == "@local" and "system.txt" in found.files["@local"]
