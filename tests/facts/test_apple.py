"""system_profiler: chip, cores and memory of a Mac."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from rigwright.hardware.sources import apple
from rigwright.hardware.values import Cpu

CAPTURES = Path(__file__).parents[1] / "captures"
DISPLAYS = (CAPTURES / "apple-m1-max-displays" / "SPDisplaysDataType.txt").read_text()
HARDWARE = (CAPTURES / "apple-m3-hardware" / "SPHardwareDataType.txt").read_text()


def test_apple_displays_name_chip_and_gpu_cores() -> None:
    """The cores of a display section are those of the GPU."""
    reading = apple.read(DISPLAYS)
    assert [(g.index, g.vendor, g.name, g.vram_bytes) for g in reading.gpus] == [(0, "Apple", "Apple M1 Max", None)]
    assert (reading.chip, reading.chip_gpu_cores, reading.cpu) == ("Apple M1 Max", 32, None)


def test_apple_hardware_names_cpu_cores_and_memory() -> None:
    """The same label in the overview means the CPU's cores; 24 GB are 24 GiB; the chip is the GPU too."""
    reading = apple.read(HARDWARE)
    assert (Cpu("Apple M3", 8, 8), 24 * 1024**3) == (reading.cpu, reading.ram_bytes)
    assert [gpu.name for gpu in reading.gpus] == ["Apple M3"]
    assert None is reading.chip_gpu_cores


def test_apple_sections_in_one_file_are_one_machine() -> None:
    """Both data types of one call list the GPU once, in either order."""
    hardware = HARDWARE.replace("Apple M3", "Apple M1 Max")
    for text in (DISPLAYS + hardware, hardware + DISPLAYS):
        reading = apple.read(text)
        assert (len(reading.gpus), reading.chip_gpu_cores, reading.cpu and reading.cpu.physical_cores) == (1, 32, 8)


def test_apple_json_says_the_same() -> None:
    """The keys of `system_profiler -json`."""
    text = """{"SPDisplaysDataType": [{"_name": "Apple M1 Max", "spdisplays_vendor": "sppci_vendor_Apple",
      "sppci_bus": "spdisplays_builtin", "sppci_cores": "32", "sppci_model": "Apple M1 Max",
      "spdisplays_ndrvs": [{"_name": "Color LCD"}]}],
      "SPHardwareDataType": [{"_name": "hardware_overview", "chip_type": "Apple M1 Max",
      "number_processors": "proc 10:8:2", "physical_memory": "64 GB", "serial_number": "XXXXXXXXXX"}]}"""
    reading = apple.read(text)
    assert [(gpu.vendor, gpu.name) for gpu in reading.gpus] == [("Apple", "Apple M1 Max")]
    assert (reading.chip_gpu_cores, reading.ram_bytes) == (32, 64 * 1024**3)
    assert Cpu("Apple M1 Max", 10, 10) == reading.cpu


def test_apple_keeps_no_serial_number() -> None:
    """What identifies a person's machine is passed over."""
    reading = apple.read(HARDWARE + "      Serial Number (system): C02SECRET\n      Hardware UUID: 00SECRET\n")
    assert "SECRET" not in repr(reading)


def test_apple_intel_mac_lists_cards_of_their_vendors() -> None:
    """A Mac with an Intel processor has cards of others."""
    text = (
        "Graphics/Displays:\n\n    AMD Radeon Pro 5500M:\n\n      Chipset Model: AMD Radeon Pro 5500M\n"
        "      VRAM (Total): 8 GB\n      Vendor: AMD (0x1002)\n"
    )
    reading = apple.read(text)
    assert [(gpu.vendor, gpu.name) for gpu in reading.gpus] == [("AMD", "AMD Radeon Pro 5500M")]
    assert None is reading.chip


@given(st.text())
def test_apple_never_raises(text: str) -> None:
    """Whatever stands there, nothing is invented."""
    assert apple.read(text).gpus == ()


@given(st.text(max_size=8), st.integers(0, len(DISPLAYS)), st.integers(0, 40))
def test_apple_damaged_invents_no_gpu(noise: str, place: int, lost: int) -> None:
    """There is one GPU at most."""
    assert len(apple.read(DISPLAYS[:place] + noise + DISPLAYS[place + lost :]).gpus) <= 1
