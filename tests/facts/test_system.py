"""The system and its memory."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from rigwright.hardware.sources import system

CAPTURES = Path(__file__).parents[1] / "captures"


def test_system_reads_os_release_kernel_and_memory() -> None:
    """os-release with and without quotes, our own lines, and kB that are KiB."""
    text = (
        'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nVERSION_ID="13"\nVERSION_CODENAME=trixie\nID=debian\n'
        "KERNEL=6.12.117+deb13-amd64\nARCHITECTURE=x86_64\nVIRTUALIZATION=kvm\nMemTotal:       24064332 kB\n"
    )
    reading = system.read(text)
    assert reading.os == {
        "ID": "debian",
        "VERSION_ID": "13",
        "VERSION_CODENAME": "trixie",
        "KERNEL": "6.12.117+deb13-amd64",
        "ARCHITECTURE": "x86_64",
    }
    assert (reading.software.virtualization, set(reading.software.answered)) == ("kvm", {"virtualization"})
    assert reading.ram_bytes == 24064332 * 1024


def test_system_reads_sw_vers() -> None:
    """A Mac tells its version with sw_vers."""
    reading = system.read((CAPTURES / "apple-m1-max-displays" / "sw_vers.txt").read_text())
    assert reading.os == {"ID": "macos", "VERSION_ID": "26.6.2"}


@given(st.text())
def test_system_never_raises(text: str) -> None:
    """Whatever stands there."""
    assert system.read(text).os == {}
