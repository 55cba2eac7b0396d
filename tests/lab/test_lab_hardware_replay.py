"""Every recorded machine, installed as in a rig and collected by our own script, without booting one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from rigwright.hardware import collection
from rigwright.hardware.capture import read_files
from rigwright.lab.hardware import PLACE, find_machine, install

pytestmark = pytest.mark.lab

CAPTURES = Path(__file__).parents[1] / "captures"
# A list of values, of no one machine.
MACHINES = sorted(path.name for path in CAPTURES.iterdir() if path.is_dir() and path.name != "error-csv-lost-values")


def collected(machine: str, root: Path) -> dict[str, str]:
    """What the stand-ins of a machine say to the script of a recording."""
    (root / "usr/bin").mkdir(parents=True)
    install(root, find_machine(str(CAPTURES / machine)))
    for tool in (root / "usr/bin").iterdir():
        tool.write_text(tool.read_text().replace(f"/{PLACE}", str(root / PLACE)))
    environment = os.environ | {"PATH": f"{root}/usr/bin:{os.environ['PATH']}"}
    script = collection.script(everything=True).replace(" /sys/", " /nowhere/")
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, env=environment, timeout=60, check=True)
    return collection.read(done.stdout.split("\n"))


@pytest.mark.parametrize("machine", MACHINES)
def test_machine_is_collected_as_it_was_recorded(machine: str, tmp_path: Path, picture, at_rest) -> None:
    """Our questions are those that the recordings answer, and no answer is lost on the way."""
    assert picture(read_files(at_rest(CAPTURES / machine))) == picture(read_files(collected(machine, tmp_path)))
