"""What `nvidia-smi nvlink --status` says."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rigwright.hardware.sources import nvidia_nvlink

CAPTURES = Path(__file__).parents[1] / "captures"


def captured(rig: str) -> str:
    return (CAPTURES / rig / "nvlink.txt").read_text()


@pytest.mark.parametrize(
    ("rig", "speeds"),
    [
        ("1x-h100-capture", {0: (26.562,) * 18}),
        ("2x3090-nvlink-x299-lxc", {0: (14.062,) * 4, 1: (14.062,) * 4}),
        ("3x-a6000-pair01-plus-one", {0: (14.062,) * 4, 1: (14.062,) * 4, 2: ()}),
        ("8x-v100-sxm2-dgx1-mesh", {index: (25.781,) * 6 for index in range(8)}),
        ("1x-l40s-capture", {0: ()}),
        ("1x-rtx2080s-capture", {0: ()}),
        ("1x-h200-mig", {}),
    ],
)
def test_nvlink_speed_is_told_for_each_active_link(rig, speeds):
    """Links, none, or nothing said: a card without a bridge has no problem."""
    reading = nvidia_nvlink.read(captured(rig))
    assert speeds == reading.nvlinks
    assert (reading.nvlinks_down, reading.problems, reading.is_whole) == ({}, (), True)


def test_nvlink_names_the_gpus():
    """The line above the links holds index, name and UUID."""
    gpus = nvidia_nvlink.read(captured("3x-a6000-pair01-plus-one")).gpus
    assert (
        gpus[1].index,
        gpus[1].name,
        gpus[1].uuid,
    ) == (1, "NVIDIA RTX A6000", "GPU-39fc2446-cb50-2067-2867-d95efd470a2c")


def test_nvlink_in_mig_mode_tells_that_the_gpu_is_cut():
    """The driver refuses the question for a GPU in MIG mode."""
    (gpu,) = nvidia_nvlink.read(captured("1x-h200-mig")).gpus
    assert gpu.mig


def test_nvlink_inactive_link_is_a_problem():
    """A link that is there and down is told, with its number."""
    reading = nvidia_nvlink.read(
        captured("2x3090-nvlink-x299-lxc").replace("Link 2: 14.062 GB/s", "Link 2: <inactive>", 1)
    )
    assert (reading.nvlinks, reading.nvlinks_down) == ({0: (14.062,) * 3, 1: (14.062,) * 4}, {0: (2,)})
    (problem,) = reading.problems
    assert (problem.code, problem.where, problem.what) == ("nvlink_down", "GPU 0", "1 of 4 NVLinks are inactive: 2")


@pytest.mark.parametrize("rig", ["2x3090-nvlink-x299-lxc", "3x-a6000-pair01-plus-one"])
def test_nvlink_lost_line_gives_no_links_to_another(rig):
    """Links whose GPU line was lost belong to nobody."""
    lines = captured(rig).splitlines(keepends=True)
    whole = nvidia_nvlink.read(captured(rig)).nvlinks
    for number, line in enumerate(lines):
        part = nvidia_nvlink.read("".join(lines[:number] + lines[number + 1 :]))
        assert all(len(speeds) <= len(whole[index]) for index, speeds in part.nvlinks.items())
        assert not (line.startswith("GPU") and part.is_whole and number < len(lines) - 2)


@given(st.text())
def test_nvlink_never_raises(text):
    """Whatever the text, there is a reading, and none of these names a GPU."""
    assert nvidia_nvlink.read(text).gpus == ()
