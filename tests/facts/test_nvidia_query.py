"""nvidia_query: what `nvidia-smi -q` says."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from rigwright.hardware.sources import nvidia_query
from rigwright.hardware.values import PcieLink, PowerLimit

CAPTURES = Path(__file__).parents[1] / "captures"
MIB = 1024**2
# As drivers before 530 print it, all but what is read left out; the numbers are those of the capture xml-rtx3090-vm.
OLD = """
Driver Version                            : 525.147.05

Attached GPUs                             : 2
GPU 00000000:01:00.0
    Product Name                          : NVIDIA GeForce RTX 3090
    GPU UUID                              : GPU-67a571b1-79ee-1016-8ea3-c1fff3f1c1d2
    FB Memory Usage
        Total                             : 24576 MiB
    Power Readings
        Power Limit                       : 200.00 W
        Default Power Limit               : 350.00 W
        Enforced Power Limit              : 200.00 W
        Min Power Limit                   : 100.00 W
        Max Power Limit                   : 375.00 W
    Processes                             : None

GPU 00000000:41:00.0
    Product Name                          : Unknown Error
    GPU UUID                              : GPU-3e34e62f-d88e-f448-415e-be2cbf2c6178
    FB Memory Usage
        Total                             : GPU is lost
    Processes                             : GPU is lost
"""


def capture(name: str) -> str:
    return (CAPTURES / name).read_text()


def test_gpu_is_read():
    """Name, place, ids, memory, link and limits, and not the limits of the module."""
    reading = nvidia_query.read(capture("1x-rtx4080s-capture/smi-q.txt"))
    (gpu,) = reading.gpus
    assert (gpu.index, gpu.name, gpu.architecture) == (0, "NVIDIA GeForce RTX 4080 SUPER", "Ada Lovelace")
    assert (gpu.pci_address, gpu.pci_id, gpu.subsystem_id) == ("0000:01:00.0", "10de:2702", "1462:5110")
    assert (gpu.vram_bytes, gpu.has_display, gpu.mig, gpu.state) == (16376 * MIB, True, None, "ok")
    assert gpu.pcie == PcieLink(gen_current=1, gen_max=4, width_current=16, width_max=16)
    assert gpu.power == PowerLimit(current=320.0, default=320.0, min=150.0, max=400.0)
    assert (reading.driver_version, reading.is_driver_list, reading.is_whole) == ("595.71.05", True, True)


def test_mig_devices_do_not_replace_the_gpu():
    """Each MIG device has an index and a memory of its own."""
    (gpu,) = nvidia_query.read(capture("1x-h200-mig/smi-q.txt")).gpus
    assert (gpu.index, gpu.mig, gpu.vram_bytes) == (0, True, 143771 * MIB)


def test_text_without_indentation_is_read():
    """A paste may have lost its leading blanks."""
    text = capture("1x-h200-mig/smi-q.txt")
    flat = nvidia_query.read("\n".join(line.strip() for line in text.split("\n")))
    assert nvidia_query.read(text).gpus == flat.gpus


def test_old_power_section_is_read():
    """Drivers before 530 named it `Power Readings`."""
    assert nvidia_query.read(OLD).gpus[0].power == PowerLimit(current=200.0, default=350.0, min=100.0, max=375.0)


def test_lost_gpu_is_told():
    """Its values are the text `GPU is lost`; the other answers."""
    reading = nvidia_query.read(OLD)
    assert [(gpu.index, gpu.state, gpu.name) for gpu in reading.gpus] == [
        (0, "ok", "NVIDIA GeForce RTX 3090"),
        (1, "lost", None),
    ]
    assert [(p.code, p.where) for p in reading.problems] == [("gpu_lost", "GPU 1"), ("one_gpu_lost", "GPU 1")]


def test_cut_text_is_not_whole():
    """A section without its end, or fewer sections than attached GPUs."""
    assert not nvidia_query.read(OLD[: OLD.index("GPU 00000000:41")]).is_whole
    text = capture("1x-l40s-capture/smi-q.txt")
    assert not nvidia_query.read(text[: len(text) // 2]).is_whole


def test_name_that_was_cut_is_unknown():
    """The last word of a cut text may be a part of one."""
    (gpu,) = nvidia_query.read(OLD[: OLD.index(" 3090")]).gpus
    assert (gpu.pci_address, gpu.name) == ("0000:01:00.0", None)


def test_garbled_heading_does_not_mix_two_gpus():
    """What follows it is not the GPU before it."""
    (gpu,) = nvidia_query.read(OLD.replace("GPU 00000000:41:00.0", "GPU 0000000041:00.0")).gpus
    assert (gpu.uuid, gpu.state) == ("GPU-67a571b1-79ee-1016-8ea3-c1fff3f1c1d2", "ok")


@settings(max_examples=60, deadline=None)
@given(st.text(), st.integers(0, len(OLD)))
def test_any_text_is_read(text, place):
    """No text raises, and none adds a UUID."""
    nvidia_query.read(text)
    found = nvidia_query.read(OLD[:place] + text + OLD[place:])
    assert {gpu.uuid for gpu in found.gpus} <= {None, *(gpu.uuid for gpu in nvidia_query.read(OLD).gpus)}
