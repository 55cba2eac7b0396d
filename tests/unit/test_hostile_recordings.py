"""Recordings of strangers: links, pipes, endless files, numbers of 5000 digits; and what redacting them costs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from rigwright.cli.hardware import hardware
from rigwright.errors import RigwrightError
from rigwright.hardware.capture import LARGEST_BYTES, folder_files, read_files
from rigwright.hardware.record import redact
from rigwright.lab.hardware import answers, install
from rigwright.view.answers.hardware import hardware_answer

CAPTURES = Path(__file__).parents[1] / "captures"
MACHINES = sorted(path.name for path in CAPTURES.iterdir() if path.is_dir())
PLAIN = "4x3090-nvlink-pairs" if "4x3090-nvlink-pairs" in MACHINES else MACHINES[0]


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A recorded machine, to which a stranger adds files."""
    shutil.copytree(CAPTURES / PLAIN, tmp_path / "machine")
    return tmp_path / "machine"


def test_only_plain_files_are_read(machine, tmp_path):
    """A link to a secret, one to what never ends, a pipe, a folder, a huge file: as if they were not there."""
    before = folder_files(machine)
    secret = tmp_path / "secret"
    secret.write_text("hunter2\n")
    (machine / "a.txt").symlink_to(secret)
    (machine / "b.txt").symlink_to("/proc/kmsg")
    (machine / "c.txt").symlink_to("/dev/zero")
    os.mkfifo(machine / "d.txt")
    (machine / "e.txt").mkdir()
    with (machine / "f.txt").open("wb") as file:
        file.truncate(LARGEST_BYTES + 1)
    with (machine / "g.txt").open("wb") as file:
        file.truncate(1 << 40)
    script = f"""
from pathlib import Path
from rigwright.hardware.capture import folder_files
print(sorted(folder_files(Path({str(machine)!r}))))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == str(sorted(before))
    assert folder_files(machine) == before


def test_folder_of_a_hundred_thousand_files_is_one_line(tmp_path):
    """A folder that is no recording, the home of somebody, is not read through."""
    for number in range(300):
        (tmp_path / f"{number}.txt").touch()
    done = CliRunner().invoke(hardware, ["--capture", str(tmp_path)])
    assert done.exit_code == 2
    assert done.output == f"Error: {tmp_path}: holds more than 200 files; name a folder of recorded outputs\n"


@pytest.mark.patience
@pytest.mark.parametrize("name", MACHINES)
def test_numbers_of_5000_digits_are_no_numbers(name):
    """Every number of every recorded output, one after the other a very long one: nothing is raised."""
    files = folder_files(CAPTURES / name)
    for digits in ("9" * 5000, "9" * 400, "٣" * 30):
        for step in range(7):
            places = iter(range(1 << 30))
            damaged = {
                file: re.sub(r"\d+", lambda found: digits if next(places) % 7 == step else found[0], text[:20_000])  # noqa: B023
                for file, text in files.items()
            }
            hardware_answer(read_files(damaged)).plain()


@pytest.mark.parametrize(
    "text", ["[" * 200_000, '{"card0": ' * 100_000, '{"card0": {"Unique ID": ' + "9" * 5000 + "}}"]
)
def test_json_that_is_too_deep_is_not_read(text):
    """rocm-smi's form, nested 200,000 times."""
    assert read_files({"rocm-smi.json": text}).gpus == ()


@pytest.mark.patience
@pytest.mark.parametrize(
    "unit",
    ["<processes>", "<accounted_processes>", "</processes>", "<processes></processes>", "| Processes:\n", '"PID1": "',
     "<serial>", "Serial Number : ", "a@", "1:", "10.0.0.", "00:11:", "/home/", "[x@y ", "pid=1, name=", "\x1b["],
)  # fmt: skip
def test_redacting_takes_time_in_proportion(unit):
    """Four times the text takes four times as long, not sixteen: `<processes>` took hours for 4 MiB."""

    def seconds(size: int) -> float:
        text = (unit * (size // len(unit) + 1))[:size]
        began = time.process_time()
        redact({"smi.xml": text})
        return time.process_time() - began

    small = max(min(seconds(1 << 17) for _ in range(2)), 0.002)
    assert seconds(1 << 19) < 10 * small


def test_processes_are_left_out_of_xml():
    """What stands between the tags goes, the tags stay; one that is never closed hides nothing after it."""
    text = "<a><processes><p>secret</p></processes><b/><accounted_processes>x</accounted_processes><processes><q>"
    expected = "<a><processes></processes><b/><accounted_processes></accounted_processes><processes><q>"
    assert redact({"smi.xml": text})["smi.xml"] == expected


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("commands.json", "[" * 100_000, "is no table of files and their commands"),
        ("commands.json", '{"smi.txt": "$ nvidia-smi\\nrm -rf /"}', "is no table of files and their commands"),
        ("commands.json", '{"smi.txt": 7}', "is no table of files and their commands"),
        ("rc.txt", "0; reboot", "holds no exit code"),
        ("commands.json", '{"../../secret": "$ nvidia-smi"}', "leads out of the recording"),
    ],
)
def test_lab_refuses_what_is_no_recording(machine, tmp_path, file, content, says):
    """One line, and nothing of the host lies in the rig."""
    (tmp_path / "secret").write_text("hunter2")
    (machine / file).write_text(content)
    with pytest.raises(RigwrightError, match=says):
        answers(machine)
    with pytest.raises(RigwrightError, match=says):
        install(tmp_path / "root", machine)
    assert not any("hunter2" in path.read_text() for path in (tmp_path / "root").rglob("*") if path.is_file())
