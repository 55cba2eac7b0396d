"""What `nvidia-smi -L` says."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from rigwright.hardware.sources import nvidia_list

CAPTURES = Path(__file__).parents[1] / "captures"
# The lines of the 3x A6000 machine, as `nvidia-smi nvlink -s` and `-L` print them alike.
A6000 = """\
GPU 0: NVIDIA RTX A6000 (UUID: GPU-5baec991-de63-c196-1766-04c38407e133)
GPU 1: NVIDIA RTX A6000 (UUID: GPU-39fc2446-cb50-2067-2867-d95efd470a2c)
GPU 2: NVIDIA RTX A6000 (UUID: GPU-02c05ee3-bdb5-aac7-f9e8-a4c8f3f725b3)
"""


def test_list_names_each_gpu_with_its_uuid():
    """A line holds index, name and UUID."""
    reading = nvidia_list.read(A6000)
    assert (
        reading.gpus[2].index,
        reading.gpus[2].name,
        reading.gpus[2].uuid,
    ) == (2, "NVIDIA RTX A6000", "GPU-02c05ee3-bdb5-aac7-f9e8-a4c8f3f725b3")
    assert (len(reading.gpus), reading.is_whole, reading.is_driver_list) == (3, True, True)


def test_list_mig_devices_belong_to_their_gpu():
    """MIG devices stand below their GPU and are none themselves."""
    (gpu,) = nvidia_list.read((CAPTURES / "1x-h200-mig" / "list.txt").read_text()).gpus
    assert gpu.mig_devices == ("1c.3g.71gb", "2c.3g.71gb", "2g.35gb", "1g.18gb", "1g.18gb")
    assert gpu.mig


def test_list_with_an_error_in_between_is_not_whole():
    """A driver that lost a GPU says so in place of its line."""
    first, second, third = A6000.splitlines(keepends=True)
    reading = nvidia_list.read(
        first + "Unable to determine the device handle for GPU0000:CB:00.0: Unknown Error\n" + third
    )
    assert ([gpu.index for gpu in reading.gpus], reading.is_whole) == ([0, 2], False)
    assert not nvidia_list.read(first + second[:30]).is_whole


def test_list_of_an_error_has_no_gpus():
    """What stands in place of a list is no list."""
    reading = nvidia_list.read((CAPTURES / "error-no-devices" / "smi.txt").read_text())
    assert (reading.gpus, reading.is_whole) == ((), False)


def test_list_cut_anywhere_tells_no_lie():
    """A list cut at any byte names no GPU and no UUID that the whole does not name."""
    whole = {(gpu.index, gpu.name) for gpu in nvidia_list.read(A6000).gpus}
    for end in range(len(A6000)):
        part = nvidia_list.read(A6000[:end]).gpus
        assert {(gpu.index, gpu.name) for gpu in part} <= whole
        assert all(gpu.uuid is None or gpu.uuid in A6000 for gpu in part)


@given(st.text())
def test_list_never_raises(text):
    """Whatever the text, there is a reading, and none of these is a list."""
    assert nvidia_list.read(text).gpus == ()


def test_list_without_uuids():
    """A list from which the UUIDs were taken away still names its GPUs, where the models are known."""
    reading = nvidia_list.read("GPU 0: NVIDIA RTX A6000\nGPU 1: NVIDIA RTX A6000\n")
    assert [(gpu.index, gpu.name, gpu.uuid) for gpu in reading.gpus] == [
        (0, "NVIDIA RTX A6000", None),
        (1, "NVIDIA RTX A6000", None),
    ]
    assert reading.is_whole


def test_list_without_uuids_last_word_may_be_cut():
    """An L40 at the very end may be an L40S that was cut."""
    assert [gpu.index for gpu in nvidia_list.read("GPU 0: NVIDIA L40S\nGPU 1: NVIDIA L40").gpus] == [0]
