"""lscpu: cores, threads, NUMA nodes."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from rigwright.hardware.sources import lscpu
from rigwright.hardware.values import Cpu

CAPTURES = Path(__file__).parents[1] / "captures"


def read(rig: str, file: str = "lscpu.txt") -> lscpu.Reading:
    """One recorded output."""
    return lscpu.read((CAPTURES / rig / file).read_text())


def test_lscpu_counts_the_cores_of_all_sockets() -> None:
    """Cores are per socket; the BIOS's name of the model is not the model."""
    expected = Cpu("Intel(R) Xeon(R) CPU E5-2665 0 @ 2.40GHz", 16, 32, 2)
    assert expected == read("3x3060ti-dual-socket-numa-range").cpu


def test_lscpu_splits_the_cpus_of_a_node() -> None:
    """A node's CPUs are ranges with holes."""
    nodes = read("3x3060ti-dual-socket-numa-range").numa
    assert [(*range(8), *range(16, 24)), (*range(8, 16), *range(24, 32))] == [node.cpus for node in nodes]


def test_lscpu_lists_nodes_without_cpus() -> None:
    """On GH200 eight of nine nodes are memory alone, and the output had no other section."""
    reading = read("1x-gh200-gpu-numa-id", "lscpu-gh200-other-host.txt")
    assert [(0, 72), *((node, 0) for node in range(1, 9))] == [(node.node, len(node.cpus)) for node in reading.numa]
    assert None is reading.cpu


def test_lscpu_json_says_the_same() -> None:
    """`lscpu -J` holds the same lines as objects."""
    text = (
        '{"lscpu": [{"field": "CPU(s):", "data": "24"}, {"field": "Vendor ID:", "data": "GenuineIntel", "children": ['
        '{"field": "Model name:", "data": "Intel(R) Xeon(R) CPU E5-2673 v3 @ 2.40GHz", "children": ['
        '{"field": "Thread(s) per core:", "data": "2"}, {"field": "Core(s) per socket:", "data": "12"},'
        '{"field": "Socket(s):", "data": "1"}]}]}, {"field": "NUMA node0 CPU(s):", "data": "0-23"}]}'
    )
    plain = read("2x2080ti-22g-nvlink-x99")
    assert (plain.cpu, plain.numa) == (lscpu.read(text).cpu, lscpu.read(text).numa)


def test_cpu_list_has_bounds() -> None:
    """A range that no kernel has is left out, not spelled out."""
    assert lscpu.cpu_list("0-9999999,1-3") == (1, 2, 3)


@given(st.text())
def test_lscpu_never_raises(text: str) -> None:
    """Whatever stands there."""
    assert lscpu.read(text).gpus == ()
