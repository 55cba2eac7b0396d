"""nvidia_said: the errors that nvidia-smi prints instead of a list, or between its rows."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rigwright.hardware.sources import driver_version, nvidia_said

CAPTURES = Path(__file__).parents[1] / "captures"
HANDLE = "Unable to determine the device handle for "


def capture(name: str) -> str:
    return (CAPTURES / name).read_text()


def codes(text: str) -> list[str]:
    return [problem.code for problem in nvidia_said.read(text).problems]


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("error-cannot-communicate", "driver_not_running"),
        ("error-no-devices", "no_devices"),
        ("error-nvml-unknown-container", "nvml_unknown_error"),
        ("error-version-mismatch", "driver_library_mismatch"),
        ("error-gpu-is-lost", "gpu_lost"),
    ],
)
def test_recorded_errors_are_named(name, code):
    """The driver was asked and gave no whole list."""
    reading = nvidia_said.read(capture(f"{name}/smi.txt"))
    assert [problem.code for problem in reading.problems] == [code]
    assert (reading.is_driver_list, reading.is_whole) == (True, False)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("sh: 1: nvidia-smi: not found", "driver_missing"),
        ("bash: line 1: nvidia-smi: command not found", "driver_missing"),
        ("zsh: command not found: nvidia-smi", "driver_missing"),
        ("Command 'nvidia-smi' not found, but can be installed with:", "driver_missing"),
        ("Failed to initialize NVML: Driver Not Loaded", "driver_not_running"),
        ("Failed to initialize NVML: GPU access blocked by the operating system", "gpu_access_blocked"),
        ("Failed to initialize NVML: Insufficient Permissions", "insufficient_permissions"),
        ("Failed to initialize NVML: ERROR_LIBRARY_NOT_FOUND", "driver_library_missing"),
        ("NVIDIA-SMI couldn't find libnvidia-ml.so library in your system. Please make sure", "driver_library_missing"),
        ("Failed to initialize NVML: Timeout", "nvml_failed"),
        ("nvidia-smi: timed out after 20 s", "driver_hangs"),
        ("@timeout", "driver_hangs"),
        ("GPU has fallen off the bus", "fallen_off_bus"),
    ],
)
def test_other_errors_are_named(text, code):
    """Words of shells, of NVML and of our own collector."""
    assert codes(text) == [code]


def test_mismatch_names_the_versions():
    """The library's is printed; the module's where the text has it."""
    (problem,) = nvidia_said.read(capture("error-version-mismatch/smi.txt")).problems
    assert "595.84" in problem.what
    module = driver_version.read(capture("error-version-mismatch/proc-driver-nvidia-version.txt"))
    assert module.kernel_module_version == "595.71.05"


@pytest.mark.parametrize(
    ("line", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.90.07  Fri May 31 09:35:42 UTC 2024", "550.90.07"),
        ("NVRM version:  NVIDIA UNIX Open Kernel Module for x86_64  515.57  Release Build Mi 20. Jul 2022", "515.57"),
        ("595.71.05\n", "595.71.05"),
        ("GCC version:  gcc version 11.2.0 (Ubuntu 11.2.0-19ubuntu1)", None),
    ],
)
def test_version_of_the_loaded_module_is_read(line, version):
    """Closed and open modules, and the bare number of /sys."""
    assert driver_version.read(line).kernel_module_version == version


def test_lost_gpu_is_named_by_its_address():
    """The older wording has the address alone."""
    (gpu,) = nvidia_said.read(capture("error-gpu-is-lost/smi.txt")).gpus
    assert (gpu.index, gpu.pci_address, gpu.vendor, gpu.state) == (None, "0000:0c:00.0", "NVIDIA", "lost")


def test_lost_gpu_is_named_by_its_index():
    """The newer wording has the index before the address."""
    reading = nvidia_said.read(HANDLE + "GPU2: 0000:41:00.0: GPU is lost.  Reboot the system to recover this GPU")
    assert [(gpu.index, gpu.pci_address, gpu.state) for gpu in reading.gpus] == [(2, "0000:41:00.0", "lost")]
    assert [(p.code, p.where) for p in reading.problems] == [
        ("gpu_lost", "0000:41:00.0"),
        ("one_gpu_lost", "0000:41:00.0"),
    ]


def test_gpu_without_a_blank_before_its_address_has_no_index():
    """Drivers 52x glued word and address: `GPU0000:07:00.0`."""
    (gpu,) = nvidia_said.read(HANDLE + "GPU0000:07:00.0: Unknown Error").gpus
    assert (gpu.index, gpu.pci_address, gpu.state) == (None, "0000:07:00.0", "error")


def test_others_that_answer_are_seen():
    """A table after the message shows them."""
    text = HANDLE + "GPU 0000:34:00.0: Unknown Error\n" + capture("2x3090-nvlink-x299-lxc/smi.txt")
    assert codes(text) == ["device_handle_unknown_error", "one_gpu_lost"]


def test_two_lost_gpus_are_two():
    """Each message counts; the second does not vanish in the reason of the first."""
    text = HANDLE + "GPU 0000:02:00.0: Unknown Error\n" + HANDLE + "GPU 0000:03:00.0: No data\n"
    assert [gpu.pci_address for gpu in nvidia_said.read(text).gpus] == ["0000:02:00.0", "0000:03:00.0"]


def test_error_beside_no_devices_leaves_no_other_gpu():
    """Where the only GPU gives no handle no other answers."""
    text = HANDLE + "GPU0: 0000:01:00.0: Unknown Error\nNo devices were found"
    assert sorted(codes(text)) == ["device_handle_unknown_error", "no_devices"]


def test_wrapped_and_coloured_text_is_read():
    """A terminal breaks lines at blanks and adds colours."""
    text = "\x1b[31mNVIDIA-SMI has failed because it couldn't communicate\r\n   with the  NVIDIA\r\ndriver.\x1b[0m"
    assert codes(text) == ["driver_not_running"]


def test_warning_beside_a_list_leaves_it_whole():
    """A corrupted InfoROM is told under a whole table."""
    reading = nvidia_said.read("WARNING: infoROM is corrupted at gpu 0000:B3:00.0")
    assert [(p.code, p.where) for p in reading.problems] == [("inforom_corrupted", "0000:b3:00.0")]
    assert (reading.is_whole, reading.gpus) == (True, ())


def test_list_without_an_error_says_nothing():
    """No recorded list is taken for an error."""
    names = [path for path in sorted(CAPTURES.glob("[0-9x]*/*")) if path.suffix in (".txt", ".csv", ".xml")]
    assert len(names) > 100
    assert [path.name for path in names if nvidia_said.read(path.read_text()) != nvidia_said.Reading()] == []


@settings(max_examples=100, deadline=None)
@given(st.text(), st.text(), st.text())
def test_any_text_is_read(before, between, after):
    """No text raises."""
    nvidia_said.read(before)
    nvidia_said.read(f"{before}Failed to initialize NVML: {between}\n{HANDLE}GPU{after}")
    driver_version.read(before)
    driver_version.read(f"NVRM version: {before}")


def test_said_by_a_container_engine():
    """What nvidia-container-cli and the engine say of the driver is understood as from nvidia-smi."""
    cli = "nvidia-container-cli: initialization error: nvml error: driver not loaded: unknown.\n"
    engine = 'Error response from daemon: could not select device driver "" with capabilities: [[gpu]].\n'
    assert [problem.code for problem in nvidia_said.read(cli).problems] == ["driver_not_running"]
    assert [problem.code for problem in nvidia_said.read(engine).problems] == ["container_toolkit_missing"]
