"""Every recorded machine, installed as in a rig and collected by our own script, without booting one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from rigwright.errors import RigwrightError
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
    for name in ("lscpu", "numactl"):  # those of this machine know nothing of that one's CPUs
        if not (root / "usr/bin" / name).exists():
            (root / "usr/bin" / name).write_text("#!/bin/sh\nexit 1\n")
            (root / "usr/bin" / name).chmod(0o755)
    environment = os.environ | {"PATH": f"{root}/usr/bin:{os.environ['PATH']}"}
    script = collection.script(everything=True).replace(" /sys/", " /nowhere/")
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, env=environment, timeout=60, check=True)
    return collection.read(done.stdout.split("\n"))


@pytest.mark.parametrize("machine", MACHINES)
def test_machine_is_collected_as_it_was_recorded(machine: str, tmp_path: Path, picture, at_rest) -> None:
    """Our questions are those that the recordings answer, and no answer is lost on the way."""
    assert picture(read_files(at_rest(CAPTURES / machine))) == picture(read_files(collected(machine, tmp_path)))


@pytest.mark.parametrize("link", ["dmesg.txt", "rc.txt", "query.csv", "commands.json"])
def test_recording_that_leads_out_of_its_folder_is_refused(tmp_path: Path, link: str) -> None:
    """What a link or a name points to elsewhere is copied into no rig, nor waited for; links within are files."""
    machine = tmp_path / "machine"
    machine.mkdir()
    (machine / "smi.txt").write_text("+--\n")
    (machine / "list.txt").symlink_to("smi.txt")
    install(tmp_path / "rig", find_machine(str(machine)))
    assert (tmp_path / "rig" / PLACE / "machine/list.txt").read_text() == "+--\n"

    if link == "commands.json":
        (machine / link).write_text('{"../../../../../../../../../proc/kmsg": "$ dmesg"}')
    else:
        (machine / link).symlink_to("/proc/kmsg")
    with pytest.raises(RigwrightError, match=r"leads out of the recording to /proc/kmsg; put the file itself there"):
        find_machine(str(machine))
