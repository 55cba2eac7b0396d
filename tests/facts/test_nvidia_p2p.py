"""What `nvidia-smi topo -p2p` says."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rigwright.hardware.sources import nvidia_p2p

CAPTURES = Path(__file__).parents[1] / "captures"


def captured(rig: str) -> str:
    return (CAPTURES / rig / "p2p.txt").read_text()


@pytest.mark.parametrize(
    ("rig", "statuses"),
    [
        ("2x3090-nvlink-x299-lxc", {(0, 1): "OK"}),
        ("2x5090-wrx80-gns", {(0, 1): "GNS"}),
        (
            "4x-crossed-pairs-03-12-p2p-cns",
            {(0, 1): "CNS", (0, 2): "CNS", (0, 3): "OK", (1, 2): "OK", (1, 3): "CNS", (2, 3): "CNS"},
        ),
    ],
)
def test_p2p_status_is_kept_as_printed(rig, statuses):
    """Each pair has the status that the driver printed; the matrix is no list of GPUs."""
    reading = nvidia_p2p.read(captured(rig))
    assert statuses == reading.p2p
    indexes = [gpu.index for gpu in reading.gpus]
    assert (list(range(len(indexes))), True) == (indexes, reading.is_driver_list)


def test_p2p_disagreement_leaves_the_pair_out():
    """Where the two rows of a pair differ nobody knows which is right."""
    reading = nvidia_p2p.read(captured("2x5090-wrx80-gns").replace("GPU1\tGNS", "GPU1\tOK"))
    assert reading.p2p == {}
    assert [problem.code for problem in reading.problems] == ["matrix_inconsistent"]


def test_p2p_after_the_topology_is_found():
    """One file may hold both matrices; the classes of the first are no statuses."""
    topology = (CAPTURES / "2x5090-wrx80-gns" / "topo.txt").read_text()
    assert nvidia_p2p.read(topology + captured("2x5090-wrx80-gns")).p2p == {(0, 1): "GNS"}


def test_p2p_cut_anywhere_tells_no_lie():
    """A matrix cut at any byte says nothing that the whole does not say."""
    text = captured("4x-crossed-pairs-03-12-p2p-cns")
    whole = nvidia_p2p.read(text).p2p
    assert all(nvidia_p2p.read(text[:end]).p2p.items() <= whole.items() for end in range(len(text)))


@given(st.text())
def test_p2p_never_raises(text):
    """Whatever the text, there is a reading, and none of these is a matrix."""
    assert nvidia_p2p.read(text).p2p == {}
