"""bus_lists, device_blocks, programs: what other programs than the drivers' own say of GPUs."""

from __future__ import annotations

import pytest

from rigwright.hardware.sources import bus_lists, device_blocks, programs

TREE = """-+-[0000:00]-+-00.0  Intel Corporation Sky Lake-E DMI3 Registers
 |           \\-02.0-[03]--+-00.0  Advanced Micro Devices, Inc. [AMD/ATI] Navi 31 [Radeon RX 7900 XTX]
 |                        \\-00.1  Advanced Micro Devices, Inc. [AMD/ATI] Navi 31 HDMI/DP Audio
 \\-[0001:64]---00.0-[65-67]----00.0-[66-67]----01.0-[67]----00.0  NVIDIA Corporation GA102 [GeForce RTX 3090]
"""


def test_tree_gives_the_bus_right_before_a_gpu():
    """The domain is that of its root, the bus the last one in brackets."""
    found = [(gpu.pci_address, gpu.vendor, gpu.name) for gpu in bus_lists.read(TREE).gpus]
    assert found == [("0000:03:00.0", "AMD", "Radeon RX 7900 XTX"), ("0001:67:00.0", "NVIDIA", "GeForce RTX 3090")]


@pytest.mark.parametrize("damaged", ["[6\u00b27]", "[]", "[6]", "[0x67]"])
def test_tree_whose_last_bus_is_damaged_tells_no_address(damaged):
    """The bus of a bridge before it would be another device's."""
    found = [gpu.pci_address for gpu in bus_lists.read(TREE.replace("[67]", damaged)).gpus]
    assert found == ["0000:03:00.0"]


VULKAN = """GPU0:
\tdeviceType         = PHYSICAL_DEVICE_TYPE_CPU
\tdeviceName         = llvmpipe (LLVM 19.1.1, 256 bits)
GPU1:
\tdeviceType         = PHYSICAL_DEVICE_TYPE_DISCRETE_GPU
\tdeviceName         = AMD Radeon RX 7900 XTX (RADV NAVI31)
"""


def test_gpus_among_devices_are_numbered_without_the_cpus():
    """The runtime of the GPUs does not count a renderer on the CPU."""
    reading = device_blocks.read(VULKAN)
    assert [(gpu.index, gpu.name) for gpu in reading.gpus] == [(0, "AMD Radeon RX 7900 XTX")]
    assert reading.is_whole


@pytest.mark.parametrize("lost", ["GPU0:\n", "\tdeviceType         = PHYSICAL_DEVICE_TYPE_CPU\n"])
def test_list_of_devices_with_a_gap_numbers_no_gpu(lost):
    """What was lost may have been a GPU."""
    reading = device_blocks.read(VULKAN.replace(lost, ""))
    assert ([gpu.index for gpu in reading.gpus], reading.is_whole) == ([None], False)


def test_devices_that_were_printed_twice_are_none():
    """Nothing tells the second list from more devices."""
    assert device_blocks.read(VULKAN + VULKAN).gpus == ()


OLLAMA = (
    'msg="inference compute" id=GPU-11111111-2222-3333-4444-55555555555{0} library=CUDA compute=8.6 name=CUDA{0} '
    'description="NVIDIA GeForce RTX 3090" pci_id=0000:0{0}:00.0 total="24.0 GiB"\n'
)


def test_gpu_that_a_log_names_twice_is_one():
    """The second time a word was lost: its UUID is still the same."""
    first, second = OLLAMA.format(1), OLLAMA.format(0)
    reading = programs.read(second + first + first.replace("name=CUDA1 description", "name=CUDA1description"))
    assert sorted(gpu.index for gpu in reading.gpus) == [0, 1]
    assert reading.is_whole


def test_log_without_its_first_gpu_is_not_whole():
    """CUDA1 alone: there is a CUDA0."""
    reading = programs.read(OLLAMA.format(1))
    assert ([gpu.index for gpu in reading.gpus], reading.is_whole) == ([1], False)
