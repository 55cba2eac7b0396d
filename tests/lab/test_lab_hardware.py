"""Recorded machines: what a rig answers for one, and that it never guesses."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rigwright.errors import RigwrightError
from rigwright.lab import Lab, RigWish
from rigwright.lab.hardware import MACHINES, answers, find_machine

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="virtual rigs need root"),
]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Three recorded machines and one machine without any."""
    lab = Lab("t-hardware")
    lab.down()
    lab.up(
        [
            RigWish("bare"),
            RigWish("h100", hardware="1x-h100-capture"),
            RigWish("crossed", hardware="4x-crossed-pairs-03-12-p2p-cns"),
            RigWish("broken", hardware=str(MACHINES / "error-cannot-communicate")),
        ]
    )
    yield lab
    lab.down()


def ask(lab: Lab, rig: str, line: str) -> subprocess.CompletedProcess[str]:
    return lab.exec(rig, ["sh", "-c", line], check=False)


@pytest.mark.parametrize(
    ("line", "file"),
    [
        ("nvidia-smi", "smi.txt"),
        ("nvidia-smi -q", "smi-q.txt"),
        ("nvidia-smi --list-gpus", "list.txt"),
        ("nvidia-smi topo -m", "topo.txt"),
        ("nvidia-smi nvlink --status", "nvlink.txt"),
    ],
)
def test_recorded_answers_come_back_byte_for_byte(lab: Lab, line: str, file: str) -> None:
    """A stand-in says what the machine said."""
    assert (MACHINES / "1x-h100-capture" / file).read_text() == ask(lab, "h100", line).stdout


def test_query_selects_columns_in_the_asked_order(lab: Lab) -> None:
    """Expected: read by eye from the recorded query.csv."""
    done = ask(lab, "h100", "nvidia-smi --query-gpu=memory.total,index,name --format=csv")
    assert done.stdout == "memory.total [MiB], index, name\n81559 MiB, 0, NVIDIA H100 80GB HBM3\n"


def test_query_leaves_header_and_units_away(lab: Lab) -> None:
    """noheader and nounits work as in the real tool, in either order of the options."""
    done = ask(lab, "h100", "nvidia-smi --format=csv,noheader,nounits --query-gpu=gpu_name,memory.total,power.limit")
    assert done.stdout == "NVIDIA H100 80GB HBM3, 81559, 700.00\n"


def test_all_recorded_fields_come_back(lab: Lab) -> None:
    """Asking for everything gives the recording itself, 212 columns wide."""
    recorded = (MACHINES / "1x-h100-capture" / "query.csv").read_text()
    fields = ",".join(name.split(" [")[0] for name in recorded.splitlines()[0].split(", "))
    assert recorded == ask(lab, "h100", f"nvidia-smi --query-gpu={fields} --format=csv").stdout


@pytest.mark.parametrize(
    ("rig", "line", "what"),
    [
        ("h100", "nvidia-smi --query-gpu=warp.core --format=csv", "field warp.core in 1x-h100-capture"),
        ("h100", "nvidia-smi --query-gpu=index,warp.core --format=csv,noheader", "field warp.core in 1x-h100-capture"),
        ("h100", "nvidia-smi -pl 300", "`nvidia-smi -pl 300` in 1x-h100-capture"),
        ("crossed", "nvidia-smi -L", "`nvidia-smi -L` in 4x-crossed-pairs-03-12-p2p-cns"),
    ],
)
def test_what_nobody_recorded_is_refused(lab: Lab, rig: str, line: str, what: str) -> None:
    """A stand-in never guesses."""
    done = ask(lab, rig, line)
    tool = line.split()[0]
    assert (64, "", f"stand-in {tool}: no recording of {what}; record it on a real machine\n") == (
        done.returncode,
        done.stdout,
        done.stderr,
    )


def test_fields_that_were_recorded_come_back_under_their_header(lab: Lab) -> None:
    """What is missing is said, and no column can be taken for another."""
    done = ask(lab, "h100", "nvidia-smi --query-gpu=warp.core,index,memory.total --format=csv")
    assert (done.returncode, done.stdout) == (64, "index, memory.total [MiB]\n0, 81559 MiB\n")
    assert "no recording of field warp.core" in done.stderr


def test_listing_answers_whatever_options_it_is_asked_with(lab: Lab) -> None:
    """Of lspci there is one recording, as detailed as it was made."""
    recorded = (MACHINES / "error-cannot-communicate" / "lspci.txt").read_text()
    assert recorded == ask(lab, "broken", "lspci -D -nn -vv").stdout


def test_broken_driver_answers_every_question_with_its_error(lab: Lab) -> None:
    """nvidia-smi fails before it looks at its arguments; 9 is its code for a driver that is not loaded."""
    done = ask(lab, "broken", "nvidia-smi --query-gpu=index --format=csv")
    assert done.returncode == 9 and done.stdout.startswith("NVIDIA-SMI has failed")


def test_machine_without_recordings_has_no_tools(lab: Lab) -> None:
    """No recording, no stand-in: neither on a bare rig nor for a tool that the recording lacks."""
    assert ask(lab, "bare", "command -v nvidia-smi lspci").stdout == ""
    assert ask(lab, "h100", "command -v lspci").stdout == ""


def test_stand_in_says_what_it_is(lab: Lab) -> None:
    """Whoever opens the file sees at once that it is not the real tool."""
    assert "# This is a stand-in of `rigwright lab`" in ask(lab, "h100", "sed -n 2p /usr/bin/nvidia-smi").stdout


def test_unknown_machine_names_the_known_ones() -> None:
    """A typo is answered with the choice."""
    with pytest.raises(RigwrightError, match=r"no recorded machine 'nosuch'; use a folder .* 1x-h100-capture"):
        find_machine("nosuch")


def test_ragged_recording_is_refused(tmp_path: Path) -> None:
    """A row that does not fit its header would mix up columns."""
    (tmp_path / "query.csv").write_text("index, name\n0, a, b\n")
    with pytest.raises(RigwrightError, match="line 2 has 3 values, the header 2"):
        find_machine(str(tmp_path))


def test_exit_code_is_replayed(tmp_path: Path) -> None:
    """rc.txt holds the code of the recorded failure."""
    (tmp_path / "smi.txt").write_text("Failed to initialize NVML: Unknown Error\n")
    (tmp_path / "rc.txt").write_text("255\n")
    assert answers(tmp_path) == [("nvidia-smi *", "smi.txt", "255")]
