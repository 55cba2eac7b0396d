"""Recordings that strangers would paste, each of a kind that was once refused, misread or lost in silence.

`cases.json`: by name the files (lines), why the case is there, and the answer that a person wrote down. A new one is an
entry; the fields of `expected` are those of the JSON answer, or a row of CHECKS.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from rigwright.hardware.capture import read_files
from rigwright.view.answers.hardware import hardware_answer

CASES: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "cases.json").read_text())


@cache
def found(name: str) -> dict[str, Any]:
    files = {file: "\n".join(lines) for file, lines in CASES[name]["files"].items()}
    return json.loads(json.dumps(hardware_answer(read_files(files)).plain()))


def codes(answer: dict[str, Any]) -> list[str]:
    return [problem["code"] for problem in answer["problems"]]


def of_gpus(field: str) -> Callable[[dict[str, Any]], list[Any]]:
    return lambda answer: [gpu[field] for gpu in answer["gpus"]]


def in_order(groups: Any) -> Any:
    return None if groups is None else sorted(map(sorted, groups))


def groups_of(answer: dict[str, Any]) -> list[list[int]]:
    return answer["tp2_groups"] + answer["tp4_groups"]


# By field of `expected`: whether the answer is as it says.
CHECKS: dict[str, Callable[[dict[str, Any], Any], bool]] = {
    "numa_node": lambda answer, wanted: of_gpus("numa_node")(answer) == wanted,
    "names": lambda answer, wanted: of_gpus("name")(answer) == wanted,
    "pci_address": lambda answer, wanted: of_gpus("pci_address")(answer) == wanted,
    "names_contain": lambda answer, wanted: all(wanted in name for name in of_gpus("name")(answer)),
    "vram_bytes": lambda answer, wanted: set(of_gpus("vram_bytes")(answer)) == {wanted},
    "nics": lambda answer, wanted: sorted(answer["nics"]) == sorted(wanted),
    "nvlink_islands": lambda answer, wanted: in_order(answer["nvlink_islands"]) == in_order(wanted),
    "xgmi_islands": lambda answer, wanted: in_order(answer["xgmi_islands"]) == in_order(wanted),
    "tp2_groups": lambda answer, wanted: in_order(answer["tp2_groups"]) == in_order(wanted),
    "tp4_groups": lambda answer, wanted: in_order(answer["tp4_groups"]) == in_order(wanted),
    "tp4_groups_any": lambda answer, wanted: any(group in answer["tp4_groups"] for group in wanted),
    "error_class": lambda answer, wanted: wanted in codes(answer),
    "error_codes": lambda answer, wanted: set(wanted) <= set(codes(answer)),
    "error_class_absent": lambda answer, wanted: not set(wanted) & set(codes(answer)),
    "error_where": lambda answer, wanted: wanted in [problem["where"] for problem in answer["problems"]],
    "no_group_contains": lambda answer, wanted: not any(set(wanted) & set(group) for group in groups_of(answer)),
    "left_out_must_contain": lambda answer, wanted: set(wanted) <= {left["index"] for left in answer["left_out"]},
    "problems_must_say": lambda answer, wanted: all(words in json.dumps(answer["problems"]) for words in wanted),
    "commands_must_not_contain": lambda answer, wanted: not any(w in json.dumps(answer["problems"]) for w in wanted),
    "pcie": lambda answer, wanted: wanted.items() <= answer["gpus"][0]["pcie"].items(),
}
PLAIN = ("gpu_count", "nvlink_pairs", "pair_class", "vendor", "cuda_visible_devices", "driver_version")
# Remarks of the person who wrote the case.
NOTES = ("what", "hip_note", "gpu_count_note", "refused_is_wrong")


@pytest.mark.parametrize(("name", "field"), [(n, f) for n, c in CASES.items() for f in c["expected"] if f not in NOTES])
def test_case_is_read_as_expected(name, field):
    """Every field that the expected answer holds."""
    wanted, answer = CASES[name]["expected"][field], found(name)
    if field in PLAIN:
        assert wanted == answer[field]
    else:
        assert CHECKS[field](answer, wanted), (wanted, answer)


@pytest.mark.parametrize("name", [name for name in CASES if not name.startswith("no-gpu-claimed")])
def test_case_has_no_file_that_is_not_read(name):
    """Each file is understood to its end, but where lspci could not look."""
    assert found(name)["not_read"] == []


def test_hip_counts_in_its_own_numbers():
    """Where amd-smi tells HIP's numbers, HIP_VISIBLE_DEVICES holds those."""
    assert found("amd-smi-text-4x-mi210-two-bridges")["cuda_visible_devices"] == "0,1,3,2"


@pytest.mark.parametrize(
    ("name", "files"),
    [("no-gpu-claimed-from-nothing", ["ethtool.txt"]), ("no-gpu-claimed-lspci-failed", ["lspci.txt"])],
)
def test_case_names_the_files_that_nothing_was_understood_of(name, files):
    """They show no GPU, and the answer does not say that there is none."""
    assert files == found(name)["not_read"]
