"""The 67 recorded machines against the answers that a person wrote down for each, before any program read them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from rigwright.hardware.capture import read_folder
from rigwright.view.answers.hardware import hardware_answer

CAPTURES = Path(__file__).parents[1] / "captures"
NAMES = sorted(folder.name for folder in CAPTURES.iterdir() if folder.is_dir())


@cache
def expected(name: str) -> dict[str, Any]:
    return json.loads((CAPTURES / name / "meta.json").read_text())["expected"]


@cache
def found(name: str) -> dict[str, Any]:
    return json.loads(json.dumps(hardware_answer(read_folder(CAPTURES / name)).plain()))


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


# What the expected answers call the fields of a link: as nvidia-smi does, as lspci does, or by what it is at idle.
LINK = {
    "gen_current": "gen_current",
    "gen_max": "gen_max",
    "width_current": "width_current",
    "width_max": "width_max",
    "gen": "gen_current",
    "gen_idle": "gen_current",
    "width": "width_current",
    "cap_gen": "gen_max",
    "cap_width": "width_max",
    "sta_gen": "gen_current",
    "sta_width": "width_current",
}


@pytest.mark.parametrize("name", expecting("pcie"))
def test_capture_pcie_links(name):
    """Generation and lanes of each GPU; fewer lanes than possible are a finding, an idle generation is none."""
    links = expected(name)["pcie"]
    links = links if isinstance(links, list) else [links]
    assert [{key: link[key] for key in link if key in LINK} for link in links] == [
        {key: gpu["pcie"][LINK[key]] for key in link if key in LINK}
        for link, gpu in zip(links, found(name)["gpus"], strict=True)
    ]
    codes = [problem["code"] for problem in found(name)["problems"]]
    if any(link.get("width_bottleneck") for link in links):
        assert "link_width_reduced" in codes
    if any(link.get("idle_downshift") for link in links):
        assert not {"link_width_reduced", "link_generation_reduced"} & set(codes)


def test_capture_lanes_of_a_board_without_addresses_in_its_list():
    """rocm-smi names no address: lspci's four cards are its four GPUs, in PCI order."""
    name = "amd-4x-mi50-pcie-x8"
    assert expected(name)["pcie_width"] == [gpu["pcie"]["width_current"] for gpu in found(name)["gpus"]]


def test_capture_names_what_is_broken():
    """The lost GPU by its address, the GPU with errors by its index, both versions that do not fit together."""
    lost = [gpu["pci_address"] for gpu in found("error-gpu-is-lost")["gpus"] if gpu["state"] == "lost"]
    assert [address.lower() for address in expected("error-gpu-is-lost")["lost"]] == lost
    bad = [gpu["index"] for gpu in found("error-row-ERR-a100-gsp")["gpus"] if gpu["state"] == "error"]
    assert expected("error-row-ERR-a100-gsp")["bad"] == bad
    wanted = expected("error-version-mismatch")
    lines = " ".join(problem["what"] for problem in found("error-version-mismatch")["problems"])
    assert wanted["user_space"] in lines
    assert wanted["kernel_module"] in lines
    assert expected("error-cannot-communicate")["pci_cards"] == len(found("error-cannot-communicate")["gpus"])


def test_capture_of_a_mac():
    """Chip, GPU cores, CPU cores and memory; Apple's GB are GiB."""
    wanted = expected("apple-m1-max-displays")
    mac = found("apple-m1-max-displays")
    assert (wanted["chip"], wanted["gpu_cores"]) == (mac["chip"], mac["chip_gpu_cores"])
    wanted, mac = expected("apple-m3-hardware"), found("apple-m3-hardware")
    assert wanted["chip"] == mac["chip"]
    assert wanted["cpu_cores"] == mac["cpu"]["physical_cores"]
    assert wanted["memory_gb"] << 30 == mac["ram_bytes"]


@pytest.mark.parametrize("name", expecting("mig"))
def test_capture_mig_devices(name):
    """The profiles of the MIG devices, in order."""
    assert [profile for gpu in found(name)["gpus"] for profile in gpu["mig"]] == expected(name)["mig"]


@pytest.mark.parametrize("name", expecting("error_class"))
def test_capture_error_class(name):
    """A broken machine is read, and its problem has the right name."""
    assert expected(name)["error_class"] in [problem["code"] for problem in found(name)["problems"]]
