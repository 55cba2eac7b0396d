"""kernel_log: what the drivers of the GPUs wrote into the kernel's log. The lines are from public issues."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rigwright.hardware.capture import read_files
from rigwright.hardware.sources import kernel_log

# Source: NVIDIA/NVSentinel issue 155.
PROBE = """[ 1843.308145] NVRM: The NVIDIA GPU 0000:b3:00.0
               NVRM: (PCI ID: 10de:26b5) installed in this system has
               NVRM: fallen off the bus and is not responding to commands.
[ 1843.439662] NVRM: The NVIDIA probe routine failed for 1 device(s).
"""
# Source: negativo17/nvidia-driver issue 43, stackhpc/ansible-slurm-appliance issue 287, Frogging-Family/nvidia-all 394.
MISMATCHES = (
    (
        "NVRM: API mismatch: the client has the version 390.25, but\n"
        "NVRM: this kernel module has the version 390.12.  Please\n"
        "NVRM: make sure that this kernel module and all NVIDIA driver\n",
        "390.25",
        "390.12",
    ),
    (
        "Jun 30 11:07:05 gpu-0 kernel: NVRM: API mismatch: the client has the version 535.54.03, but#012NVRM: "
        "this kernel module has the version 530.30.02.  Please#012NVRM: make sure",
        "535.54.03",
        "530.30.02",
    ),
    (
        "[    9.424670] NVRM: API mismatch: the client 'kwin_wayland' (pid 1005)\n"
        "               NVRM: has the version 595.84, but this kernel module has\n"
        "               NVRM: the version 595.80.  Please make sure that this\n",
        "595.84",
        "595.80",
    ),
)


def lines(text: str) -> list[tuple[str, str]]:
    return [(problem.code, problem.where) for problem in kernel_log.read(text).problems]


@pytest.mark.parametrize(
    "text",
    [
        "Okt 06 17:59:27 host kernel: NVRM: Xid (PCI:0000:b3:00): 79, pid=1122, GPU has fallen off the bus.\n"
        "Okt 06 17:59:27 host kernel: NVRM: GPU 0000:b3:00.0: GPU has fallen off the bus.\n",
        "[   49.261458] NVRM: GPU at 0000:b3:00.0 has fallen off the bus.",
        "[1] NVRM: Xid (0000:b3:00): 79, GPU has fallen off the bus.",
        PROBE,
    ],
)
def test_gpu_that_fell_off_the_bus_is_lost(text):
    """One problem and one GPU, however many lines tell it."""
    reading = kernel_log.read(text)
    assert lines(text) == [("fallen_off_bus", "0000:b3:00.0")]
    assert [(gpu.pci_address, gpu.vendor, gpu.state) for gpu in reading.gpus] == [("0000:b3:00.0", "NVIDIA", "lost")]
    assert (reading.is_driver_list, reading.is_whole) == (False, True)


def test_lost_gpu_has_the_uuid_that_the_log_names():
    """NVRM tells the UUID before the first Xid of a GPU."""
    text = (
        "NVRM: GPU at PCI:0000:41:00: GPU-67a571b1-79ee-1016-8ea3-c1fff3f1c1d2\n"
        "NVRM: Xid (PCI:0000:41:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.\n"
    )
    assert [gpu.uuid for gpu in kernel_log.read(text).gpus] == ["GPU-67a571b1-79ee-1016-8ea3-c1fff3f1c1d2"]


def test_xids_are_counted_per_gpu():
    """One problem per GPU and kind."""
    line = "kernel: NVRM: Xid (PCI:0000:0f:00): 119, pid=1, name=a, Timeout after 6s of waiting for RPC response\n"
    (problem,) = kernel_log.read(line * 3).problems
    assert (problem.code, problem.where) == ("gsp_timeout", "0000:0f:00.0")
    assert "3 times" in problem.what
    assert kernel_log.read(line).gpus == ()


def test_xids_of_programs_are_left_out():
    """A program that crashes says nothing of the rig."""
    text = (
        "NVRM: Xid (PCI:0000:00:06): 31, pid=79749, name=exe, Ch 0000000a, intr 00000000. MMU Fault\n"
        "NVRM: Xid (PCI:0000:dc:00): 45, pid=1818990, name=python3, Ch 00000001 caused by previous Xid 149\n"
    )
    assert lines(text) == []


@pytest.mark.parametrize(("text", "client", "module"), MISMATCHES)
def test_mismatch_names_both_versions(text, client, module):
    """However the message is broken into lines."""
    reading = kernel_log.read(text)
    (problem,) = reading.problems
    assert problem.code == "driver_library_mismatch"
    assert client in problem.what
    assert module in problem.what
    assert reading.kernel_module_version == module


@pytest.mark.parametrize(
    ("text", "code", "where"),
    [
        ("NVRM: GPU 0000:01:00.0: RmInitAdapter failed! (0x26:0x56:1463)", "gpu_init_failed", "0000:01:00.0"),
        (
            "NVRM: The NVIDIA GPU 0000:01:00.0 (PCI ID: 10de:2b85)\nNVRM: installed in this system requires use of the"
            " NVIDIA open kernel modules.",
            "wrong_kernel_module",
            "0000:01:00.0",
        ),
        (
            "NVRM: This PCI I/O region assigned to your NVIDIA device is invalid:\n"
            "NVRM: BAR1 is 0M @ 0x0 (PCI:0000:0b:00.0)",
            "bar_missing",
            "0000:0b:00.0",
        ),
        ("amdgpu 0000:03:00.0: amdgpu: GPU reset begin!", "gpu_reset", "0000:03:00.0"),
    ],
)
def test_other_failures_are_named(text, code, where):
    """Each with the place of its GPU."""
    assert lines(text) == [(code, where)]


def test_earlier_boots_do_not_count():
    """A log file may hold many boots."""
    assert lines(PROBE + "Oct  6 18:00:01 host kernel: Linux version 6.12.0-1-amd64\n") == []


@settings(max_examples=100, deadline=None)
@given(st.text(), st.integers(0, len(PROBE)))
def test_any_text_is_read(text, place):
    """No text raises."""
    kernel_log.read(text)
    kernel_log.read(PROBE[:place] + text + PROBE[place:])
    kernel_log.read(f"NVRM: Xid (PCI:{text}): 79\nNVRM: {text}")


def test_kernel_log_fatal_error_of_a_switch():
    """A fatal SXid is a problem of the NVSwitch that it names; one that is not fatal is none."""
    fatal = "[ 10.0] nvidia-nvswitch0: SXid (PCI:0000:c4:00.0): 20034, Fatal, Link 30 LTSSM Fault Up\n"
    minor = "[ 10.0] nvidia-nvswitch0: SXid (PCI:0000:c5:00.0): 12028, Non-fatal, Link 32 egress\n"
    problems = kernel_log.read(fatal + minor).problems
    assert [(problem.code, problem.where) for problem in problems] == [("nvswitch_error", "0000:c4:00.0")]


def test_sentence_about_a_card_is_no_list_of_cards():
    """A prefix that looks like an index, before lines of the kernel's log, makes no GPU of a sentence."""
    lines = ["NVIDIA NVS4200M GPU installed in this system is", "supported through the NVIDIA 390.xx Legacy drivers."]
    text = "".join(f"GPU {number}: {line}\n" for number, line in enumerate(lines))
    assert read_files({"k.txt": text}).gpus == ()
