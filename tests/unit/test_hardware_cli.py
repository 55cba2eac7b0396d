"""`rigwright hardware` as it is typed: one clear line for what is wrong, nothing but the answer on stdout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rigwright.cli import main
from rigwright.hardware.capture import folder_files
from rigwright.inventory.live import Collected

CAPTURES = Path(__file__).parents[1] / "captures"
MESH = CAPTURES / "8x-v100-sxm2-dgx1-mesh"
FILES = folder_files(CAPTURES / "1x-h100-capture")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["hardware", *map(str, arguments)])


@pytest.fixture
def rigs(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, str]]:
    """The rigs of any inventory; empty files: it did not answer."""
    found: dict[str, dict[str, str]] = {}

    def collect(*_: object, **__: object) -> Collected:
        answered = {name: files for name, files in found.items() if files}
        return Collected(answered, {name: "no answer" for name in found if name not in answered})

    monkeypatch.setattr("rigwright.cli.hardware.collect", collect)
    return found


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "name an inventory, @local, or --capture DIR"),
        (("",), "name an inventory, @local, or --capture DIR"),  # "$INVENTORY" of a variable that is not set
        (("@local", "--capture", str(MESH)), "name an inventory, @local, or --capture DIR"),
        (("@local", "--limit", "rig1"), "--limit chooses rigs of an inventory"),
        (("--capture", str(MESH), "--record", "x"), "need real rigs"),
        (("--capture", "nosuch"), "nosuch: no such folder"),
        (("--capture", str(Path(__file__))), "no such folder"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments: tuple[str, ...], says: str) -> None:
    """Exit code 2, and why."""
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert says in result.stderr


def test_folder_that_cannot_be_read_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user's recording."""

    def refuse(_: Path) -> dict[str, str]:
        raise PermissionError(13, "Permission denied", "mybox/smi.txt")

    monkeypatch.setattr("rigwright.hardware.capture.folder_files", refuse)
    result = run("--capture", MESH)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "Error: mybox/smi.txt: cannot be read: Permission denied; let this user read it\n"


def test_recorded_machine_has_a_name_wherever_one_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--capture .` too."""
    monkeypatch.chdir(MESH)
    assert run("--capture", ".").stdout.startswith(f"{MESH.name}  8x V100")


def test_json_is_all_that_stdout_holds(rigs: dict[str, dict[str, str]], tmp_path: Path) -> None:
    """By name, whoever did not answer on stderr, and exit code 1."""
    rigs |= {"rig1": FILES, "dead": {}}
    result = run("rigs.py", "--json", "--svg", tmp_path / "rig.svg")
    assert list(json.loads(result.stdout)) == ["rig1"]
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (1, "dead: not read: no answer")


def test_recording_is_reported_as_the_machine_was(rigs: dict[str, dict[str, str]], tmp_path: Path) -> None:
    """`--record` and then `--capture` give the same object."""
    rigs["@local"] = {name: text for name, text in FILES.items() if "load" not in name}
    live = run("@local", "--json", "--record", tmp_path / "mybox")
    assert live.stdout == run("--capture", tmp_path / "mybox", "--json").stdout


def test_full_folder_is_refused_before_rigs_are_asked(tmp_path: Path) -> None:
    """Nobody waits for answers that cannot be kept."""
    (tmp_path / "notes.txt").write_text("mine")
    result = run("rigs.py", "--record", tmp_path)  # there is no rigs.py
    assert (result.exit_code, result.stderr) == (
        1,
        f"Error: {tmp_path}: is not empty; name a new folder for the recording\n",
    )


def test_names_of_rigs_make_no_paths(rigs: dict[str, dict[str, str]], tmp_path: Path) -> None:
    """pyinfra's names hold slashes; a rig that does not answer moves no other's folder."""
    rigs |= {"@docker/a": FILES, "..": FILES}
    result = run("rigs.py", "--record", tmp_path / "kept", "--svg", tmp_path / "rig.svg")
    assert result.exit_code == 0
    assert {path.name for path in (tmp_path / "kept").iterdir()} == {"@docker%2Fa", "%2E%2E"}
    assert {path.name for path in tmp_path.iterdir()} == {"kept", "rig-@docker%2Fa.svg", "rig-%2E%2E.svg"}
    rigs.clear()
    rigs |= {"rig1": FILES, "rig2": {}}
    run("rigs.py", "--record", tmp_path / "again")
    assert [path.name for path in (tmp_path / "again").iterdir()] == ["rig1"]


@pytest.mark.patience
@pytest.mark.parametrize(
    "environment", [{"PYTHONIOENCODING": "ascii"}, {"COLUMNS": "0"}, {"COLUMNS": "1"}, {"NO_COLOR": "1"}]
)
def test_any_terminal_shows_it(environment: dict[str, str]) -> None:
    """One that is not UTF-8, or says that it has no width."""
    command = [sys.executable, "-m", "rigwright", "hardware", "--capture", str(CAPTURES / "apple-m3-hardware")]
    done = subprocess.run(command, capture_output=True, env=os.environ | environment, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"apple-m3-hardware" in done.stdout and b"\x1b" not in done.stdout


@pytest.mark.patience
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize("options", [["--json"], []])
def test_full_disk_is_one_line(options: list[str]) -> None:
    """What could not be written is said."""
    command = [sys.executable, "-m", "rigwright", "hardware", "--capture", str(MESH), *options]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == "Error: standard output: cannot be written: No space left on device; make room there\n"
