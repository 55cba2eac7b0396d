"""The JSON contract: its schema, and what unknown means."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from rigwright.hardware.capture import read_folder
from rigwright.hardware.topology import group
from rigwright.hardware.values import Cpu, Gpu, Hardware, Link, NumaNode, Problem
from rigwright.view.answers.hardware import Rig, hardware_answer
from rigwright.view.answers.schema import schema

ROOT = Path(__file__).parents[2]
CAPTURES = sorted(path for path in (ROOT / "tests" / "captures").iterdir() if path.is_dir())
CHECK = jsonschema.Draft202012Validator(schema(Rig))
ALIKE = ("gpu_count", "nvlink_islands", "nvlink_pairs", "pair_class", "nics", "tp2_groups", "cuda_visible_devices")


def report(hardware: Hardware) -> dict[str, Any]:
    return hardware_answer(hardware).plain()


def gpu(index: int, **known: object) -> Gpu:
    return Gpu(index=index, uuid=f"GPU-{index}", vram_bytes=24 * 1024**3, state="ok", **known)


@pytest.mark.parametrize("folder", CAPTURES, ids=lambda folder: folder.name)
def test_report_of_a_capture_validates(folder):
    """The report of every recorded machine is JSON that keeps the contract."""
    lines = report(read_folder(folder))
    CHECK.validate(json.loads(json.dumps(lines, allow_nan=False)))


@pytest.mark.parametrize(
    "name", ["4x-crossed-pairs-03-12-p2p-cns", "8x-v100-sxm2-dgx1-mesh", "3x-a6000-pair01-plus-one"]
)
def test_report_tells_what_an_engineer_read(name):
    """Islands, classes, groups and order of recorded machines are those that a person read from the matrix."""
    folder = ROOT / "tests" / "captures" / name
    expected = json.loads((folder / "meta.json").read_text())["expected"]
    lines = report(read_folder(folder))
    assert {key: lines[key] for key in ALIKE} == {key: expected[key] for key in ALIKE}
    assert [one["numa_node"] for one in lines["gpus"]] == expected["numa_node"]


def test_report_has_every_field_of_the_schema():
    """A field is always there: unknown is null, not missing."""
    lines = report(Hardware(gpus=(gpu(0), gpu(1)), cpu=Cpu("cpu", 4, 8), numa=(NumaNode(0, (0, 1)),), os_id="debian"))
    CHECK.validate(lines)
    assert lines["cpu"] == {"model": "cpu", "physical_cores": 4, "logical_cores": 8, "sockets": None}
    assert lines["os"] == {"id": "debian", "version": None, "kernel": None, "architecture": None}


def test_report_of_an_unknown_rig_guesses_nothing():
    """No driver, no facts: null wherever a value would be a guess."""
    lines = report(Hardware())
    CHECK.validate(lines)
    unknown = (
        "gpu_count",
        "vendor",
        "nvlink_islands",
        "xgmi_islands",
        "cuda_visible_devices",
        "cpu",
        "ram_bytes",
        "os",
    )
    assert {key: lines[key] for key in unknown} == dict.fromkeys(unknown)


def test_no_nvlink_is_known_once_a_driver_gives_its_list():
    """A driver that lists its GPUs and no NVLink says that there is none; one that gives no whole list says nothing."""
    assert report(Hardware(gpu_count=0))["nvlink_islands"] == []
    assert report(Hardware(gpu_count=None, gpus=(gpu(0),)))["nvlink_islands"] is None


def test_numa_node_is_a_text_where_only_a_range_was_printed():
    """`0-1` names no node; it is told as it was printed."""
    lines = report(Hardware(gpu_count=3, gpus=(gpu(0, numa_node=1), gpu(1, numa_affinity="0-1"), gpu(2))))
    assert [one["numa_node"] for one in lines["gpus"]] == [1, "0-1", None]


def test_numa_cpus_are_told_as_the_kernel_lists_them():
    """Runs of CPUs are ranges; a node that is memory alone has none."""
    nodes = (NumaNode(0, (0, 1, 2, 3, 8, 10, 11)), NumaNode(1))
    assert [node["cpus"] for node in report(Hardware(numa=nodes))["numa_nodes"]] == ["0-3,8,10-11", ""]


def test_problems_and_groups_reach_the_report():
    """Findings, bottlenecks and what was left out are told by index and code."""
    links = (Link(0, 1, "NV4", "OK"), Link(0, 2), Link(1, 2))
    lost = Gpu(index=2, state="lost")
    problem = Problem("gpu_lost", "GPU 2", "fell off the bus", "power the machine off and on")
    rig = Hardware(gpu_count=3, gpus=(gpu(0), gpu(1), lost), links=links, problems=(problem,))
    lines = report(rig)
    CHECK.validate(lines)
    assert (lines["tp2_groups"], lines["p2p"], lines["pair_class"]) == ([[0, 1]], {"0-1": "OK"}, {"0-1": "NV4"})
    assert lines["problems"][0]["code"] == "gpu_lost"
    assert [row["index"] for row in lines["left_out"]] == [index for index, _ in group(rig).left_out] == [2]
    assert lines["bottlenecks"][0]["class"] == "NV4"
