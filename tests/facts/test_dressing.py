"""The same outputs however they were handed on: what is read of a dressed text is what is read of the bare one."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from rigwright.hardware import dressing
from rigwright.hardware.capture import read_files
from rigwright.hardware.sources import cells
from rigwright.view.answers.hardware import hardware_answer

sys.path.insert(0, str(Path(__file__).parent))
from dressings import DRESSINGS, WRAPS

CAPTURES = Path(__file__).parents[1] / "captures"
# Of each format one: matrices with and without adapters, tables, lists, lspci, a kernel log.
FILES = (
    "8x-h100-sxm-vm-all-numa0/topo.txt", "4x-a30-pairs-01-23-nic/topo.txt", "8x-l40s-csv-idle/query.csv",
    "1x-h200-mig/list.txt", "2x3090-nvlink-x299-lxc/smi.txt", "error-cannot-communicate/lspci.txt",
    "amd-4x-mi50-pcie-x8/rocm-smi-showtopo.txt",
)  # fmt: skip


def answer(name: str, text: str) -> dict[str, Any]:
    """The answer without the names of the sources, and with the problems by their codes."""
    found = hardware_answer(read_files({name: text})).plain()
    return {**found, "problems": sorted(problem["code"] for problem in found["problems"])}


@cache
def bare(file: str) -> tuple[str, dict[str, Any]]:
    text = (CAPTURES / file).read_text()
    return text, answer(Path(file).name, text)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("name", DRESSINGS)
def test_dressed_output_is_read_as_the_bare_one(name, file):
    """Prefixes, escapes, strings, pages, mails."""
    text, wanted = bare(file)
    assert wanted == answer(Path(file).name, DRESSINGS[name](text))


@pytest.mark.parametrize("file", ["8x-h100-sxm-vm-all-numa0/topo.txt", "4x-a30-pairs-01-23-nic/topo.txt"])
@pytest.mark.parametrize("name", WRAPS)
def test_broken_matrix_is_read_as_the_whole_one(name, file):
    """Each width of a terminal, with the blanks at the break and without."""
    text, wanted = bare(file)
    assert wanted == answer("topo.txt", WRAPS[name](text))


@pytest.mark.parametrize("text", ["[MiB]", "GPU[0]", "[    0.000000] Linux", "[N/A]", "[mem 0x0-0xfff]", "<inactive>"])
def test_what_tools_print_in_brackets_is_no_escape(text):
    """Only what a terminal obeys is taken away."""
    assert text == dressing.plain(text)


def test_versions_are_bounded():
    """A text of any size gives a few versions, one too large none."""
    assert len(list(dressing.versions("a: b\n" * 1000))) < 60
    assert list(dressing.versions("x" * (2 << 20))) == []


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("00F:01:00.0", None),
        ("F:01:00.0", None),
        ("0000000 F:01:00.0", None),
        ("0000000\u0663F:01:00.0", None),
        ("0000000\u00b2F:\u202801:\ufeff00.0", None),
        ("F:\u202801:00.0", None),
        ("0000000F\u00b2:01:00.0", None),
        ("GPU 0: 01:00.0", "0000:01:00.0"),
        ("0000000:01:00.0", None),
        ("00000:01:00.0", None),
        ("0000000F:01:00.0", "000f:01:00.0"),
        ("000F:01:00.0", "000f:01:00.0"),
        ("PCI:01:00.0", "0000:01:00.0"),
        ("bus 01:00.0", "0000:01:00.0"),
        ("PCI:0000:01:00.0", "0000:01:00.0"),
    ],
)
def test_rest_of_a_damaged_address_is_none(text, address):
    """What a copy left of 0000000F:01:00.0 is not 0000:01:00.0, which another GPU may have."""
    assert cells.pci_address(text) == address
