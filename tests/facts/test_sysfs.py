"""/sys/bus/pci: cards, their slots, and the class of the path between them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rigwright.hardware.sources import sysfs
from rigwright.hardware.values import PcieLink

ROOT = "/sys/devices/pci0000:40"
SWITCH = f"{ROOT}/0000:40:01.1/0000:41:00.0"  # root port, upstream port of a switch

# The layout of our collector; the values are those that the kernel prints for an RTX 3090 in a slot of 8 lanes.
TEXT = """\
device=0000:01:00.0
path=/sys/devices/pci0000:00/0000:00:01.1/0000:01:00.0
class=0x030000
vendor=0x10de
device_id=0x2204
subsystem_vendor=0x1458
subsystem_device=0x4043
numa_node=-1
driver=nvidia
local_cpulist=0-23
current_link_speed='2.5 GT/s PCIe'
current_link_width=8
max_link_speed=16.0 GT/s PCIe
max_link_width=16
slot_max_link_speed=8.0 GT/s PCIe
slot_max_link_width=8

device=0000:01:00.1
class=0x040300
vendor=0x10de

device=0000:03:00.0
class=0x030000
vendor=0x1a03

device=0000:81:00.0
path=/sys/devices/pci0000:80/0000:80:01.1/0000:81:00.0
class=0x030000
vendor=0x10de
device_id=0x2204
numa_node=-1
current_link_speed=Unknown
current_link_width=63

nic=mlx5_0 path=/sys/devices/pci0000:00/0000:00:02.1/0000:02:00.0
"""


@pytest.mark.parametrize(
    ("expected", "path_a", "path_b", "numa"),
    [
        ("PIX", f"{SWITCH}/0000:42:00.0/0000:43:00.0", f"{SWITCH}/0000:42:01.0/0000:44:00.0", (0, 0)),
        ("PIX", f"{SWITCH}/0000:42:00.0/0000:43:00.0", f"{SWITCH}/0000:42:00.0/0000:43:00.1", (0, 0)),
        (
            "PXB",
            f"{SWITCH}/0000:42:00.0/0000:43:00.0/0000:44:00.0/0000:45:00.0",
            f"{SWITCH}/0000:42:01.0/0000:46:00.0/0000:47:00.0/0000:48:00.0",
            (0, 0),
        ),
        ("PHB", f"{ROOT}/0000:40:01.1/0000:41:00.0", f"{ROOT}/0000:40:03.1/0000:44:00.0", (0, 0)),
        ("PHB", "/sys/devices/pci0000:00/0000:00:05.0", "/sys/devices/pci0000:00/0000:00:06.0", (None, None)),
        ("NODE", f"{ROOT}/0000:40:01.1/0000:41:00.0", "/sys/devices/pci0000:60/0000:60:01.1/0000:61:00.0", (0, 0)),
        ("SYS", f"{ROOT}/0000:40:01.1/0000:41:00.0", "/sys/devices/pci0000:c0/0000:c0:01.1/0000:c1:00.0", (0, 1)),
        (None, f"{ROOT}/0000:40:01.1/0000:41:00.0", "/sys/devices/pci0000:c0/0000:c0:01.1/0000:c1:00.0", (0, None)),
        (None, f"{ROOT}/0000:40:01.1/0000:41:00.0", f"{ROOT}/0000:40:01.1/0000:41:00.0", (0, 0)),
        (None, "", f"{ROOT}/0000:40:01.1/0000:41:00.0", (0, 0)),
    ],
)
def test_kind_follows_the_tree(
    expected: str | None, path_a: str, path_b: str, numa: tuple[int | None, int | None]
) -> None:
    """One switch is PIX, several are PXB, a host bridge is PHB, beyond it NUMA decides, unknown NUMA says nothing."""
    assert expected == sysfs.kind(path_a, path_b, *numa) == sysfs.kind(path_b, path_a, *reversed(numa))


def test_sysfs_tells_card_and_slot_apart() -> None:
    """What the card can do and what its slot can do are two links."""
    gpu = sysfs.read(TEXT).gpus[0]
    assert (
        gpu.pci_id,
        gpu.subsystem_id,
        gpu.numa_node,
        gpu.cpu_affinity,
    ) == ("10de:2204", "1458:4043", None, "0-23")
    assert PcieLink(1, 4, 8, 16) == gpu.pcie
    assert PcieLink(None, 3, None, 8) == gpu.slot


def test_sysfs_lists_graphics_of_gpu_vendors_only() -> None:
    """Audio functions and the screen of the board are no GPUs."""
    assert [gpu.pci_address for gpu in sysfs.read(TEXT).gpus] == ["0000:01:00.0", "0000:81:00.0"]


def test_sysfs_reports_a_card_that_reads_as_ones() -> None:
    """63 lanes is what a card that is gone answers."""
    reading = sysfs.read(TEXT)
    assert [gpu.state for gpu in reading.gpus if gpu.state] == ["lost"]
    assert PcieLink() == reading.gpus[1].pcie
    assert [(problem.code, problem.where) for problem in reading.problems] == [("fallen_off_bus", "0000:81:00.0")]


def test_sysfs_names_links_by_position() -> None:
    """Pairs and adapters speak of places in the list; a path whose class is not known is left out."""
    reading = sysfs.read(TEXT)
    assert reading.kinds == {}
    assert [(nic.name, nic.kinds) for nic in reading.nics] == [("mlx5_0", {0: "PHB"})]
    known = sysfs.read(TEXT.replace("numa_node=-1", "numa_node=0", 1).replace("numa_node=-1", "numa_node=1"))
    assert known.kinds == {(0, 1): "SYS"}


@given(st.text())
def test_sysfs_never_raises(text: str) -> None:
    """Whatever stands there, nothing is invented."""
    assert sysfs.read(text).gpus == ()


@given(st.text(max_size=8), st.integers(0, len(TEXT)), st.integers(0, 40))
def test_sysfs_damaged_invents_no_gpu(noise: str, place: int, lost: int) -> None:
    """A list with a hole holds at most the two cards that were there."""
    assert len(sysfs.read(TEXT[:place] + noise + TEXT[place + lost :]).gpus) <= 2
