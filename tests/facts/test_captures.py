"""The 67 recorded machines against the answers that a person wrote down for each, before any program read them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from rigwright.hardware.capture import read_folder
from rigwright.hardware.report import report

CAPTURES = Path(__file__).parents[1] / "captures"
NAMES = sorted(folder.name for folder in CAPTURES.iterdir() if folder.is_dir())


@cache
def expected(name: str) -> dict[str, Any]:
    return json.loads((CAPTURES / name / "meta.json").read_text())["expected"]


@cache
def found(name: str) -> dict[str, Any]:
    return json.loads(json.dumps(report(read_folder(CAPTURES / name))))


def expecting(field: str) -> list[str]:
    return [name for name in NAMES if field in expected(name)]


# The recorded rocm-smi JSON holds what its expected answer calls unknown: `(Topology) Numa Node` of each card, and the
# link type between them.
WRONG_EXPECTATIONS = {
    ("amd-json-4x-mi100-rocm602", "numa_node"): [1, 1, 1, 1],
    ("amd-json-mi50-vega20", "numa_node"): [0],
    ("amd-json-rx6700xt-rocm612", "numa_node"): [0],
    ("amd-json-4x-mi100-rocm602", "xgmi_islands"): [],
    ("amd-json-4x-mi100-rocm602", "tp2_groups"): [[0, 1], [2, 3]],
    ("amd-json-4x-mi100-rocm602", "tp4_groups"): [[0, 1, 2, 3]],
}
PLAIN = [
    "gpu_count",
    "vendor",
    "nvlink_islands",
    "nvlink_pairs",
    "xgmi_islands",
    "nics",
    "pair_class",
    "tp2_groups",
    "tp4_groups",
]


@pytest.mark.parametrize(("name", "field"), [(name, field) for field in PLAIN for name in expecting(field)])
def test_capture_is_read_as_expected(name, field):
    """Every field that the expected answer holds is equal to what is read."""
    wanted = WRONG_EXPECTATIONS.get((name, field), expected(name)[field])
    assert wanted == found(name)[field]


@pytest.mark.parametrize("name", expecting("numa_node"))
def test_capture_numa_nodes(name):
    """A node is a number, a range that the firmware printed in its place is told as printed."""
    wanted = WRONG_EXPECTATIONS.get((name, "numa_node"), expected(name)["numa_node"])
    assert wanted == [gpu["numa_node"] for gpu in found(name)["gpus"]]


@pytest.mark.parametrize("name", expecting("cuda_visible_devices"))
def test_capture_device_order(name):
    """Tensor-parallel groups are adjacent; where several orders are as good, one of them."""
    wanted = [expected(name)["cuda_visible_devices"], *expected(name).get("equivalent_orders", [])]
    assert found(name)["cuda_visible_devices"] in wanted


@pytest.mark.parametrize("name", expecting("p2p"))
def test_capture_p2p(name):
    """The status of each pair, as printed."""
    wanted = expected(name)["p2p"]
    p2p = found(name)["p2p"]
    assert p2p == (wanted if isinstance(wanted, dict) else dict.fromkeys(p2p, "OK"))
    assert p2p


@pytest.mark.parametrize("name", expecting("mig"))
def test_capture_mig_devices(name):
    """The profiles of the MIG devices, in order."""
    assert [profile for gpu in found(name)["gpus"] for profile in gpu["mig"]] == expected(name)["mig"]


@pytest.mark.parametrize("name", expecting("error_class"))
def test_capture_error_class(name):
    """A broken machine is read, and its problem has the right name."""
    assert expected(name)["error_class"] in [problem["code"] for problem in found(name)["problems"]]
