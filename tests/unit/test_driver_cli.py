"""`rigwright driver`: one screen, JSON by its schema, exit codes, nothing of a recording that a terminal obeys."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner, Result

from rigwright.cli import main
from rigwright.view.answers.driver import DriverAnswer
from rigwright.view.answers.schema import schema

BARE = Path(__file__).parent / "data/machines/bare-3090"
CAPTURES = Path(__file__).parents[1] / "captures"
CHECK = jsonschema.Draft202012Validator(schema(DriverAnswer))


def driver(*words: str, columns: int = 80) -> Result:
    return CliRunner(env={"COLUMNS": str(columns)}).invoke(main, ["driver", *words])


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_bare_machine_is_one_screen(columns: int) -> None:
    """Verdict, driver, reboot, packages, steps; no line is wider than the terminal."""
    done = driver("--capture", str(BARE), columns=columns)
    lines = done.stdout.splitlines()
    assert done.exit_code == 0 and len(lines) < 60 and max(map(len, lines)) <= columns
    said = " ".join(done.stdout.split())
    for words in (
        "verdict install",
        "driver 595, open modules, NVIDIA's repository",
        "reboot yes: nouveau holds the GPUs",
    ):
        assert words in said
    assert said.index("1. repository") < said.index("4. install driver 595") < said.index("cuInit counts as many GPUs")


@pytest.mark.parametrize("path", [BARE, *sorted(CAPTURES.iterdir())], ids=lambda path: path.name)
def test_answer_keeps_its_schema(path: Path) -> None:
    """Whatever was recorded; exit code 1 says that it is refused, and why."""
    done = driver("--capture", str(path), "--json")
    answer = json.loads(done.stdout)
    CHECK.validate(answer)
    assert done.exit_code == (1 if answer["verdict"] == "refuse" else 0)
    assert bool(answer["refused_by"]) == (answer["verdict"] == "refuse")
    assert set(answer["refused_by"]) <= {problem["code"] for problem in answer["problems"]}
    assert "Traceback" not in done.output and driver("--capture", str(path)).exit_code == done.exit_code


def test_what_a_recorded_machine_shall_serve_counts(tmp_path: Path) -> None:
    """An engine that is built wants a toolkit; a wish of the inventory is obeyed."""
    spec = tmp_path / "rig.yml"
    services = "services:\n- {name: chat, model: auto}\n"
    spec.write_text(f"{services}nvidia: {{branch: 590}}\ncuda: {{source: nvidia, version: 13.0}}\n")
    answer = json.loads(driver("--capture", str(BARE), "--spec", str(spec), "--json").stdout)
    assert (answer["driver"]["branch"], answer["cuda"]["packages"]) == (590, ["cuda-toolkit-13-0"])
    assert answer["cuda"]["targets"] == ["86"]
    spec.write_text("services: []\nnvidia: {branch: latest}\n")
    wrong = driver("--capture", str(BARE), "--spec", str(spec))
    assert wrong.exit_code == 1 and "nvidia.branch" in wrong.stderr and len(wrong.stderr.splitlines()) == 1


def test_recording_says_nothing_to_the_terminal(tmp_path: Path) -> None:
    """Escapes in the name of a kernel or a package are shown, and obeyed by nobody."""
    for file in BARE.iterdir():
        (tmp_path / file.name).write_text(file.read_text())
    (tmp_path / "system.txt").write_text("ID=debian\nVERSION_ID=13\nKERNEL=6.12.117\x1b[31m+deb13\n")
    (tmp_path / "dpkg.txt").write_text("iF  nvidia-\x1b]0;owned\x07dkms  580.1  amd64  x\n")
    assert "\x1b" not in driver("--capture", str(tmp_path)).output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "name an inventory, @local, or --capture DIR"),
        (("rig.py", "--capture", "x"), "name an inventory, @local, or --capture DIR"),
        (("--capture", "/nodir"), "no such folder"),
        (("@local", "--limit", "x"), "--limit chooses rigs of an inventory"),
        (("rig.py", "--spec", "x.yml"), "--spec goes with --capture and @local"),
        (("nope.py",), "does not exist"),
    ],
)
def test_wrong_words_are_one_line(words: tuple[str, ...], said: str) -> None:
    """With what to do."""
    done = driver(*words)
    assert done.exit_code in (1, 2) and said in done.stderr and "Traceback" not in done.output
