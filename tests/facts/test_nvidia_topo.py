"""What `nvidia-smi topo -m` says, whole or mangled."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rigwright.hardware.sources import nvidia_topo

CAPTURES = Path(__file__).parents[1] / "captures"
BRIDGES = """\
\tGPU0\tGPU1\tGPU2\tGPU3\tNIC0\tCPU Affinity\tNUMA Affinity\tGPU NUMA ID
GPU0\t X \tNV12\tSYS\tSYS\tSYS\t0-23\t0\t\tN/A
GPU1\tNV12\t X \tSYS\tSYS\tSYS\t0-23\t0\t\tN/A
GPU2\tSYS\tSYS\t X \tNV12\tPXB\t24-47\t1\t\tN/A
GPU3\tSYS\tSYS\tNV12\t X \tPIX\t24-47\t1\t\tN/A
NIC0\tSYS\tSYS\tPXB\tPIX\t X \t\t\t\t

NIC Legend:

  NIC0: mlx5_2
"""
KINDS = {(0, 1): "NV12", (0, 2): "SYS", (0, 3): "SYS", (1, 2): "SYS", (1, 3): "SYS", (2, 3): "NV12"}


def captured(rig: str) -> str:
    return (CAPTURES / rig / "topo.txt").read_text()


@pytest.mark.parametrize(
    ("rig", "pairs"),
    [
        ("2x-a100-sxm-of-4-cross-numa", {(0, 1): "NV4"}),
        ("4x-crossed-pairs-03-12-p2p-cns", {(0, 3): "NV4", (1, 2): "NV4"}),
        ("8x-a6000-bridges-baobab-nics", {(0, 1): "NV4", (2, 3): "NV4", (4, 5): "NV4", (6, 7): "NV4"}),
        ("8x-4090-all-sys-2nics", {}),
    ],
)
def test_topo_names_the_pairs_joined_by_nvlink(rig, pairs):
    """NVLink pairs come from the matrix, however its header was indented."""
    reading = nvidia_topo.read(captured(rig))
    assert pairs == {pair: kind for pair, kind in reading.kinds.items() if kind.startswith("NV")}
    assert reading.is_whole and reading.is_driver_list and not reading.problems


@pytest.mark.parametrize(
    ("rig", "nodes", "affinity"),
    [
        ("4x-v100-power9-traverse-numa8", [0, 0, 8, 8], None),
        ("3x3060ti-dual-socket-numa-range", [None] * 3, "0-1"),
        ("4x-legacy-soc-mlx4", [None] * 4, None),
        ("2x3090-nvlink-x299-lxc", [0, 0], None),
    ],
)
def test_topo_numa_node_is_a_number_or_unknown(rig, nodes, affinity):
    """A range of NUMA nodes is kept as printed and names no node; no column, no node."""
    gpus = nvidia_topo.read(captured(rig)).gpus
    assert nodes == [gpu.numa_node for gpu in gpus]
    assert {affinity} == {gpu.numa_affinity for gpu in gpus}


def test_topo_memory_node_of_a_superchip_is_its_own():
    """GH200 prints the node of the GPU's own memory beside that of its CPUs."""
    (gpu,) = nvidia_topo.read(captured("1x-gh200-gpu-numa-id")).gpus
    assert (gpu.numa_node, gpu.numa_memory_node, gpu.cpu_affinity) == (0, 1, "0-71")


@pytest.mark.parametrize(
    ("rig", "names"),
    [
        ("8x-v100-sxm2-dgx1-mesh", ["mlx5_2"]),
        ("8x4090-symmetric-one-socket", ["ibp177s0f0", "ibp177s0f1"]),
        ("4x-a100-leonardo-4nics-slurm", ["NIC0", "NIC1", "NIC2", "NIC3"]),
        ("8x-p40-pix-pxb-soc-nic", ["mlx5_0"]),
    ],
)
def test_topo_adapter_has_the_name_of_the_legend(rig, names):
    """The NIC legend names the adapters; without one the column does."""
    assert names == [nic.name for nic in nvidia_topo.read(captured(rig)).nics]


def test_topo_adapter_has_the_class_to_each_gpu():
    """The adapter of the A30 machine hangs off the switches of GPU 2 and 3."""
    (nic,) = nvidia_topo.read(captured("4x-a30-pairs-01-23-nic")).nics
    assert nic.kinds == {0: "SYS", 1: "SYS", 2: "PXB", 3: "PIX"}


def test_topo_old_class_is_kept_as_printed():
    """Old drivers say SOC where new ones say SYS."""
    assert nvidia_topo.read(captured("4x-legacy-soc-mlx4")).kinds[0, 3] == "SOC"


@pytest.mark.parametrize(
    "dressed",
    [
        BRIDGES.expandtabs(),
        BRIDGES.replace("\t", " "),
        BRIDGES.lstrip("\t"),
        BRIDGES.replace("\n", "\r\n"),
        BRIDGES.replace("\tGPU0\tGPU1", "\t\x1b[4mGPU0\tGPU1").replace("NUMA ID", "NUMA ID\x1b[0m"),
        "rig$ nvidia-smi topo -m\n" + BRIDGES,
        BRIDGES + "\n" + BRIDGES,
    ],
)
def test_topo_reads_the_same_however_it_was_pasted(dressed):
    """Tabs turned to spaces, colours, prompts and line ends change nothing."""
    reading = nvidia_topo.read(dressed)
    assert reading.kinds == KINDS
    assert [gpu.numa_node for gpu in reading.gpus] == [0, 0, 1, 1]
    assert [(nic.name, nic.kinds) for nic in reading.nics] == [("mlx5_2", {0: "SYS", 1: "SYS", 2: "PXB", 3: "PIX"})]
    assert reading.is_whole


def test_topo_empty_numa_fields_are_unknown():
    """No NUMA node is printed as nothing or as N/A after two tabs (github.com/Project-HAMi/HAMi/pull/99)."""
    text = "\tGPU0\tGPU1\tCPU Affinity\tNUMA Affinity\tGPU NUMA ID\n"
    rows = "GPU0\t X \tPHB\t0-7\t\tN/A\t\tN/A\nGPU1\tPHB\t X \t0-7\t\t\tN/A\n"
    gpus = nvidia_topo.read(text + rows).gpus
    assert [(gpu.cpu_affinity, gpu.numa_node, gpu.numa_affinity, gpu.numa_memory_node) for gpu in gpus] == [
        ("0-7", None, None, None)
    ] * 2


def test_topo_gap_in_the_indexes_is_no_whole_list():
    """A driver that lost GPU 1 prints the others under their own indexes."""
    text = "\tGPU0\tGPU2\tCPU Affinity\nGPU0\t X \tNV4\t0-7\nGPU2\tNV4\t X \t0-7\n"
    reading = nvidia_topo.read(text)
    assert ([gpu.index for gpu in reading.gpus], reading.kinds, reading.is_whole) == ([0, 2], {(0, 2): "NV4"}, False)


def test_topo_lost_row_shifts_nothing():
    """The GPU whose row was cut does not count; the others keep their classes."""
    lost = "".join(line for line in BRIDGES.splitlines(keepends=True) if not line.startswith("GPU1"))
    reading = nvidia_topo.read(lost)
    assert [gpu.index for gpu in reading.gpus] == [0, 2, 3]
    assert {pair: kind for pair, kind in KINDS.items() if 1 not in pair} == reading.kinds
    assert not reading.is_whole


def test_topo_disagreement_leaves_the_pair_out():
    """Where the two rows of a pair differ nobody knows which is right."""
    reading = nvidia_topo.read(BRIDGES.replace("GPU1\tNV12", "GPU1\tNODE"))
    assert {pair: kind for pair, kind in KINDS.items() if pair != (0, 1)} == reading.kinds
    (problem,) = reading.problems
    assert (problem.code, problem.where) == ("matrix_inconsistent", "GPU 0 and GPU 1")


def test_topo_shifted_row_is_not_believed():
    """A row whose X stands under another's column lost a cell."""
    text = "\tGPU0\tGPU1\tGPU2\nGPU0\t X \tNV4\tSYS\nGPU1\t X \tSYS\nGPU2\tSYS\tSYS\t X\n"
    assert nvidia_topo.read(text).kinds == {(0, 1): "NV4", (0, 2): "SYS", (1, 2): "SYS"}


@pytest.mark.parametrize("rig", ["4x-a30-pairs-01-23-nic", "8x-a100-sxm-4nics", "1x-gh200-gpu-numa-id"])
def test_topo_cut_anywhere_tells_no_lie(rig):
    """A matrix cut at any byte names no GPU, class or node that the whole does not name."""
    text = captured(rig)
    whole = nvidia_topo.read(text)
    for end in range(text.index("Legend")):
        part = nvidia_topo.read(text[:end])
        assert part.kinds.items() <= whole.kinds.items()
        nodes = {(gpu.index, gpu.numa_node, gpu.numa_memory_node) for gpu in whole.gpus}
        known = {(index, None, None) for index, _, _ in nodes} | {(index, node, None) for index, node, _ in nodes}
        assert {(gpu.index, gpu.numa_node, gpu.numa_memory_node) for gpu in part.gpus} <= nodes | known
        assert not part.is_whole or len(part.gpus) == len(whole.gpus)


def test_topo_without_one_tab_tells_no_lie():
    """A lost tab glues two cells; what they said is left out."""
    for place, letter in enumerate(BRIDGES):
        if letter == "\t":
            part = nvidia_topo.read(BRIDGES[:place] + BRIDGES[place + 1 :])
            assert part.kinds.items() <= KINDS.items()
            assert {gpu.index for gpu in part.gpus} <= {0, 1, 2, 3}
            assert all(gpu.numa_node in (None, gpu.index // 2) for gpu in part.gpus)


@given(st.text())
def test_topo_never_raises(text):
    """Whatever the text, there is a reading, and none of these is a matrix."""
    assert nvidia_topo.read(text).gpus == ()


@given(st.text(alphabet="GPUNICXV0129SY\t \n-,:/A"))
def test_topo_never_raises_on_its_own_letters(text):
    """Nor does text made of the letters of a matrix make it raise, and a GPU has its row."""
    assert all(f"GPU{gpu.index}" in text for gpu in nvidia_topo.read(text).gpus)


def test_topo_broken_at_the_width_of_the_terminal():
    """Lines that a terminal broke at its width are read as they were before."""
    header = "        " + "".join(f"GPU{n}    " for n in range(8)) + "CPU Affinity    NUMA Affinity"
    rows = []
    for row in range(8):
        classes = "".join(" X      " if row == column else "NV18    " for column in range(8))
        rows.append(f"GPU{row}    {classes}0-47            {row // 4}")
    broken = [line[place : place + 84] for line in [header, *rows] for place in range(0, len(line), 84)]
    assert len(broken) > 9
    reading = nvidia_topo.read("\n".join(broken) + "\n")
    assert reading.is_whole
    assert set(reading.kinds.values()) == {"NV18"}
    assert len(reading.kinds) == 28
    assert [gpu.numa_node for gpu in reading.gpus] == [0, 0, 0, 0, 1, 1, 1, 1]


def test_topo_quoted_in_a_mail():
    """A quote of a mail or an issue is read without its marks."""
    text = "> \tGPU0\tGPU1\tCPU Affinity\n> GPU0\t X \tNV4\t0-31\n> GPU1\tNV4\t X \t0-31\n"
    assert nvidia_topo.read(text).kinds == {(0, 1): "NV4"}
