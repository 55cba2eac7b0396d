"""What the table of plain `nvidia-smi` says, in all its generations."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rigwright.hardware.sources import nvidia_table

CAPTURES = Path(__file__).parents[1] / "captures"
# Recorded in public: two lines for each GPU, short bus ids, the fan and the power of GPU 1 unreadable.
DRIVER_375 = """\
+-----------------------------------------------------------------------------+
| NVIDIA-SMI 375.66                 Driver Version: 375.66                    |
|-------------------------------+----------------------+----------------------+
| GPU  Name        Persistence-M| Bus-Id        Disp.A | Volatile Uncorr. ECC |
| Fan  Temp  Perf  Pwr:Usage/Cap|         Memory-Usage | GPU-Util  Compute M. |
|===============================+======================+======================|
|   0  GeForce GTX 980     Off  | 0000:03:00.0     Off |                  N/A |
| 26%   39C    P8    20W / 180W |      0MiB /  4037MiB |      0%      Default |
+-------------------------------+----------------------+----------------------+
|   1  GeForce GTX 980     Off  | 0000:05:00.0     Off |                  N/A |
|ERR!   47C    P0   ERR! / 180W |      0MiB /  4038MiB |      0%      Default |
+-------------------------------+----------------------+----------------------+

+-----------------------------------------------------------------------------+
| Processes:                                                       GPU Memory |
|  GPU       PID  Type  Process name                               Usage      |
|=============================================================================|
|    0      1696     G  /usr/lib/xorg/Xorg                             42MiB |
+-----------------------------------------------------------------------------+
"""
# Recorded in public (DGX Spark): memory is one with that of the CPU, no power limit, PCI domain 15.
GB10 = """\
| NVIDIA-SMI 580.126.09             Driver Version: 580.126.09     CUDA Version: 13.0     |
+-----------------------------------------+------------------------+----------------------+
|   0  NVIDIA GB10                    On  |   0000000F:01:00.0 Off |                  N/A |
| N/A   50C    P0             11W /  N/A  | Not Supported          |      0%      Default |
|                                         |                        |                  N/A |
+-----------------------------------------+------------------------+----------------------+
"""


def captured(rig: str) -> str:
    return (CAPTURES / rig / "smi.txt").read_text()


def test_table_gives_place_memory_and_power_of_each_gpu():
    """Two 2080 Ti changed to 22 GB, of different power limits: 22528 MiB are 23622320128 bytes."""
    reading = nvidia_table.read(captured("2x2080ti-22g-nvlink-x99"))
    assert [(gpu.pci_address, gpu.power.current) for gpu in reading.gpus] == [
        ("0000:02:00.0", 280.0),
        ("0000:03:00.0", 260.0),
    ]
    assert {("NVIDIA GeForce RTX 2080 Ti", 22528 * 1024**2, "ok", False, False)} == {
        (gpu.name, gpu.vram_bytes, gpu.state, gpu.is_name_cut, gpu.has_display) for gpu in reading.gpus
    }
    assert (reading.driver_version, reading.is_whole, reading.problems) == ("590.48.01", True, ())


@pytest.mark.parametrize(("rig", "version"), [("2x3090-nvlink-x299-lxc", "610.43.02"), ("1x-l40s-capture", "595.80")])
def test_table_driver_version_comes_from_either_header(rig, version):
    """Driver 610 calls it KMD Version."""
    assert version == nvidia_table.read(captured(rig)).driver_version


def test_table_cut_name_is_told():
    """The column cuts long names; the dots are no part of them."""
    (gpu,) = nvidia_table.read(captured("1x-rtx2080s-capture")).gpus
    assert (gpu.name, gpu.is_name_cut, gpu.has_display) == ("NVIDIA GeForce RTX 2080", True, True)


def test_table_mig_devices_are_no_gpus():
    """The blocks of MIG devices and processes have indexes too."""
    (gpu,) = nvidia_table.read(captured("1x-h200-mig")).gpus
    assert (gpu.mig, gpu.vram_bytes) == (True, 143771 * 1024**2)


def test_table_excerpt_with_an_error_row_is_not_whole():
    """GPU 5 shows ERR! in an excerpt: the count is unknown, the problem is not."""
    reading = nvidia_table.read(captured("error-row-ERR-a100-gsp"))
    assert [(gpu.index, gpu.state, gpu.name) for gpu in reading.gpus] == [
        (4, "ok", "NVIDIA A100-SXM"),
        (5, "error", None),
    ]
    assert [(problem.code, problem.where) for problem in reading.problems] == [("err_fields", "GPU 5")]
    assert "--gpu-reset -i 5" in reading.problems[0].do
    assert not reading.is_whole


def test_table_of_an_old_driver_is_read():
    """Drivers before 384 print short bus ids and two lines for each GPU."""
    reading = nvidia_table.read(DRIVER_375)
    assert [(gpu.index, gpu.pci_address, gpu.state, (gpu.vram_bytes or 0) // 1024**2) for gpu in reading.gpus] == [
        (0, "0000:03:00.0", "ok", 4037),
        (1, "0000:05:00.0", "error", 4038),
    ]
    assert (reading.driver_version, reading.is_whole) == ("375.66", True)


def test_table_without_memory_of_its_own_is_read():
    """A GB10 shares the memory of its CPU and prints none."""
    (gpu,) = nvidia_table.read(GB10).gpus
    assert (
        gpu.name,
        gpu.pci_address,
        gpu.vram_bytes,
        gpu.power.current,
        gpu.state,
    ) == ("NVIDIA GB10", "000f:01:00.0", None, None, "ok")


@pytest.mark.parametrize(
    "rig", ["error-cannot-communicate", "error-gpu-is-lost", "error-no-devices", "error-nvml-unknown-container"]
)
def test_table_of_an_error_has_no_gpus(rig):
    """What stands in place of the table is no list."""
    reading = nvidia_table.read(captured(rig))
    assert (reading.gpus, reading.is_whole) == ((), False)


def test_table_after_an_error_is_not_whole():
    """A driver that lost its last GPU says so above the table of the others."""
    lost = "Unable to determine the device handle for GPU2: 0000:5F:00.0: Unknown Error\n"
    reading = nvidia_table.read(lost + captured("2x2080ti-22g-nvlink-x99"))
    assert (len(reading.gpus), reading.is_whole) == (2, False)


def test_table_cut_anywhere_tells_no_lie():
    """A table cut at any byte gives only GPUs whose two lines are there, as they are."""
    whole = {(gpu.index, gpu.vram_bytes, gpu.power) for gpu in nvidia_table.read(DRIVER_375).gpus}
    for end in range(len(DRIVER_375)):
        part = nvidia_table.read(DRIVER_375[:end]).gpus
        assert {(gpu.index, gpu.vram_bytes, gpu.power) for gpu in part} <= whole


@given(st.text())
def test_table_never_raises(text):
    """Whatever the text, there is a reading, and none of these is a table."""
    assert nvidia_table.read(text).gpus == ()


def test_table_gpu_without_bus():
    """The GPU of a Jetson is part of the chip: no bus address, no memory of its own."""
    row = "|   0  Orin (nvgpu)                  N/A  | N/A              N/A |                  N/A |"
    values = "| N/A   N/A  N/A               N/A /  N/A | Not Supported        |     N/A          N/A |"
    header = "| GPU  Name                 Persistence-M | Bus-Id        Disp.A | Volatile Uncorr. ECC |"
    border = "+-----------------------------------------+----------------------+----------------------+"
    reading = nvidia_table.read("\n".join([header, row, values, border]))
    assert [(gpu.index, gpu.name, gpu.pci_address, gpu.vram_bytes, gpu.state) for gpu in reading.gpus] == [
        (0, "Orin (nvgpu)", None, None, "ok")
    ]
    assert reading.is_whole
