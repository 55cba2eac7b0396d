"""lspci: which devices are GPUs, and how their links are."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rigwright.hardware.sources import lspci
from rigwright.hardware.values import PcieLink

CAPTURES = Path(__file__).parents[1] / "captures"

# The layout of lspci(8) with -nnvvk; the ids are those of pci.ids 2025.06.09.
SERVER = """\
00:01.1 PCI bridge [0604]: Advanced Micro Devices, Inc. [AMD] Starship/Matisse GPP Bridge [1022:1483] (prog-if 00)
\t\tLnkCap:\tPort #0, Speed 16GT/s, Width x16, ASPM L1, Exit Latency L1 <64us
\t\tLnkSta:\tSpeed 8GT/s (downgraded), Width x4 (downgraded)
01:00.0 VGA compatible controller [0300]: NVIDIA Corporation GA102 [GeForce RTX 3090] [10de:2204] (rev a1) (prog-if 00)
\tSubsystem: Gigabyte Technology Co., Ltd Device [1458:4043]
\tNUMA node: 1
\tCapabilities: [78] Express (v2) Legacy Endpoint, MSI 00
\t\tLnkCap:\tPort #0, Speed 16GT/s, Width x16, ASPM L0s L1, Exit Latency L0s <512ns, L1 <16us
\t\tLnkSta:\tSpeed 2.5GT/s (downgraded), Width x16
\t\tLnkCap2: Supported Link Speeds: 2.5-16GT/s, Crosslink- Retimer+ 2Retimers+ DRS-
\t\tLnkCtl2: Target Link Speed: 16GT/s, EnterCompliance- SpeedDis-
\t\tLnkSta2: Current De-emphasis Level: -3.5dB, EqualizationComplete+
\tKernel driver in use: nouveau
\tKernel modules: nouveau, nvidia_drm, nvidia
01:00.1 Audio device [0403]: NVIDIA Corporation GA102 High Definition Audio Controller [10de:1aef] (rev a1)
\t\tLnkCap:\tPort #0, Speed 16GT/s, Width x16, ASPM L0s L1
\t\tLnkSta:\tSpeed 16GT/s, Width x1
03:00.0 VGA compatible controller [0300]: ASPEED Technology, Inc. ASPEED Graphics Family [1a03:2000] (rev 41)
"""


def test_lspci_lists_cards_without_a_driver() -> None:
    """Cards are on the bus where nvidia-smi says nothing."""
    gpus = lspci.read((CAPTURES / "error-cannot-communicate" / "lspci.txt").read_text()).gpus
    assert [(gpu.pci_address, gpu.name) for gpu in gpus] == [
        ("0000:01:00.0", "GeForce RTX 3090"),
        ("0000:07:00.0", "GeForce RTX 3090"),
    ]


def test_lspci_reads_what_a_grep_left() -> None:
    """Cards behind a `Card:` mark keep their own link, and LnkCtl2 is no link."""
    gpus = lspci.read((CAPTURES / "lspci-2x2060-x8-ok-suffix" / "lspci-grep.txt").read_text()).gpus
    assert [PcieLink(3, 3, 8, 16)] * 2 == [gpu.pcie for gpu in gpus]


def test_lspci_of_bare_addresses_is_read_when_all_have_links() -> None:
    """Blocks that hold nothing but an address and its link are cards of an unknown vendor."""
    for generation in (1, 2, 3, 4):
        text = (CAPTURES / "amd-4x-mi50-pcie-x8" / f"lspci-gen{generation}.txt").read_text()
        gpus = lspci.read(text).gpus
        assert [gpu.pci_address for gpu in gpus] == ["0000:31:00.0", "0000:34:00.0", "0000:4b:00.0", "0000:4e:00.0"]
        assert {PcieLink(generation, 4, 8, 16)} == {gpu.pcie for gpu in gpus}
        assert {None} == {gpu.vendor for gpu in gpus}
    assert lspci.read("31:00.0\n\tLnkCap: Port #0, Speed 16GT/s, Width x16\n34:00.0\n").gpus == ()


def test_lspci_names_a_superchip_by_what_stands_before_the_bracket() -> None:
    """`GH200 120GB [Grace Hopper "Superchip"]` is a GH200 120GB."""
    (gpu,) = lspci.read((CAPTURES / "lspci-gh200-old-pciutils" / "lspci.txt").read_text()).gpus
    assert gpu.name == "GH200 120GB"
    assert PcieLink(4, 4, 16, 16) == gpu.pcie


def test_lspci_keeps_bridges_audio_and_board_graphics_apart() -> None:
    """Only the card is a GPU, with its own link, ids and node."""
    reading = lspci.read(SERVER)
    (gpu,) = reading.gpus
    assert (gpu.pci_id, gpu.subsystem_id, gpu.numa_node) == ("10de:2204", "1458:4043", 1)
    assert PcieLink(1, 4, 16, 16) == gpu.pcie
    assert [problem.code for problem in reading.problems] == ["nouveau_loaded"]


def test_lspci_reports_a_card_that_fell_off_the_bus() -> None:
    """A device that answers with ones only is lost."""
    text = (
        "0000:41:00.0 3D controller: NVIDIA Corporation GA100 [A100 PCIe 40GB] (rev ff) (prog-if ff)\n"
        "\t!!! Unknown header type 7f\n\tKernel driver in use: nvidia\n"
    )
    reading = lspci.read(text)
    assert [gpu.state for gpu in reading.gpus] == ["lost"]
    assert [(problem.code, problem.where) for problem in reading.problems] == [("fallen_off_bus", "0000:41:00.0")]


def test_lspci_reads_numbers_in_place_of_names() -> None:
    """`lspci -n` names class and device by number."""
    (gpu,) = lspci.read("0001:c1:00.0 0302: 10de:20b5 (rev a1)\n").gpus
    assert (gpu.pci_address, gpu.pci_id, gpu.vendor, gpu.name) == ("0001:c1:00.0", "10de:20b5", "NVIDIA", None)


def test_lspci_takes_no_npu_or_virtual_screen_for_a_gpu() -> None:
    """Accelerators of a CPU and the screens of virtual machines run no model."""
    text = (
        "00:0b.0 Processing accelerators: Intel Corporation Meteor Lake NPU (rev 04)\n"
        "00:02.0 VGA compatible controller: Red Hat, Inc. Virtio 1.0 GPU (rev 01)\n"
        "00:0f.0 VGA compatible controller: VMware SVGA II Adapter\n"
        "04:00.0 VGA compatible controller: Matrox Electronics Systems Ltd. G200eR2 (rev 01)\n"
    )
    assert lspci.read(text).gpus == ()


def test_lspci_link_that_is_down_has_no_speed() -> None:
    """`Speed unknown, Width x0` is no link."""
    text = (
        "0a:00.0 Display controller: Advanced Micro Devices, Inc. [AMD/ATI] Arcturus GL-XL [Instinct MI100] (rev 01)\n"
        "\t\tLnkCap:\tPort #0, Speed 16GT/s, Width x16, ASPM L0s L1\n\t\tLnkSta:\tSpeed unknown, Width x0\n"
        "\tKernel driver in use: vfio-pci\n"
    )
    reading = lspci.read(text)
    assert [("AMD", "Instinct MI100", PcieLink(None, 4, None, 16))] == [
        (g.vendor, g.name, g.pcie) for g in reading.gpus
    ]
    assert [problem.code for problem in reading.problems] == ["gpu_passed_through"]


@given(st.text())
def test_lspci_never_raises(text: str) -> None:
    """Whatever stands there, nothing is invented."""
    assert lspci.read(text).gpus == ()


@given(st.text(max_size=8), st.integers(0, len(SERVER)), st.integers(0, 40))
def test_lspci_damaged_invents_no_gpu(noise: str, place: int, lost: int) -> None:
    """A listing with a hole holds at most the card that was there."""
    assert len(lspci.read(SERVER[:place] + noise + SERVER[place + lost :]).gpus) <= 1


def test_lspci_machine_readable():
    """`lspci -mm -nn` puts class, vendor and device in quotes."""
    text = (
        '01:00.0 "VGA compatible controller [0300]" "NVIDIA Corporation [10de]" "GA102 [GeForce RTX 3090] [2204]" -ra1 '
        '"Gigabyte Technology Co., Ltd [1458]" "Device [403b]"\n'
        '01:00.1 "Audio device [0403]" "NVIDIA Corporation [10de]" "GA102 High Definition Audio Controller [1aef]"\n'
    )
    found = [(gpu.pci_address, gpu.vendor, gpu.name, gpu.pci_id) for gpu in lspci.read(text).gpus]
    assert found == [("0000:01:00.0", "NVIDIA", "GeForce RTX 3090", "10de:2204")]


def test_lspci_flags_name_the_numa_node():
    """`lspci -v` has the node among the flags."""
    text = (
        "41:00.0 VGA compatible controller: NVIDIA Corporation AD102 [GeForce RTX 4090] (rev a1)\n"
        "\tFlags: bus master, fast devsel, latency 0, IRQ 11, NUMA node 1, IOMMU group 12\n"
    )
    assert [gpu.numa_node for gpu in lspci.read(text).gpus] == [1]


def test_lspci_command_names_the_device():
    """Of the links of one device, cut out with grep, the command says whose they are."""
    text = (
        "# lspci -s 41:00.0 -vv | grep Lnk\n"
        "\t\tLnkCap:\tPort #16, Speed 8GT/s, Width x16, ASPM not supported\n"
        "\t\tLnkSta:\tSpeed 2.5GT/s, Width x4 (downgraded)\n"
    )
    found = [(gpu.pci_address, gpu.pcie.width_current, gpu.pcie.width_max) for gpu in lspci.read(text).gpus]
    assert found == [("0000:41:00.0", 4, 16)]


@pytest.mark.parametrize(
    ("region", "codes"),
    [
        ("Memory at <unassigned> (64-bit, prefetchable)", ["bar_missing"]),
        ("Memory at <ignored> (64-bit, prefetchable) [size=32G]", ["bar_missing"]),
        ("Memory at e0000000 (64-bit, prefetchable) [disabled] [size=256M]", []),
        ("Memory at 382000000000 (64-bit, prefetchable) [size=64G]", []),
    ],
)
def test_window_without_an_address_is_a_problem(region, codes):
    """One that is switched off has an address: the card has no driver yet."""
    text = (
        f"01:00.0 3D controller [0302]: NVIDIA Corporation GA102GL [A40] [10de:2235] (rev a1)\n\tRegion 1: {region}\n"
    )
    assert [problem.code for problem in lspci.read(text).problems] == codes
