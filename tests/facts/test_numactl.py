"""numactl -H: nodes with their memory."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from rigwright.hardware.sources import numactl

CAPTURES = Path(__file__).parents[1] / "captures"


def test_numactl_reads_cpus_and_memory_of_nodes() -> None:
    """Odd and even CPUs, sizes in MiB although "MB" is printed."""
    nodes = numactl.read((CAPTURES / "4x-a100-pcie-adroit-odd-even" / "numactl.txt").read_text()).numa
    assert [tuple(range(0, 48, 2)), tuple(range(1, 48, 2))] == [node.cpus for node in nodes]
    assert [node.memory_bytes for node in nodes] == [515192 * 1024**2, 516088 * 1024**2]


@given(st.text())
def test_numactl_never_raises(text: str) -> None:
    """Whatever stands there."""
    assert numactl.read(text).numa == ()
