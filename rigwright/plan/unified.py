"""GPUs that work in the machine's memory: what the system lets them have of it, and how it lets them have more."""

from __future__ import annotations

from collections.abc import Sequence

from rigwright.hardware.values import Hardware
from rigwright.plan.devices import Device, ram_of
from rigwright.units import MIB, format_bytes

_PAGE_BYTES = 4096
# What macOS gets along with beside a GPU that has all the rest.
_MAC_SHARE = 7 / 8
# Less than that more is no gain.
_WORTH = 0.9


def limit_of(hardware: Hardware, usable: Sequence[Device]) -> str | None:
    """How such a GPU may have more, as a setting with its value; None where there is none, or it has all already."""
    mine = [one for one in usable if one.is_in_ram]
    if any(one.gpu.vendor == "AMD" for one in mine):
        return _amdgpu(hardware)
    if any(one.gpu.vendor == "Apple" for one in mine) and hardware.ram_bytes:
        size = int(hardware.ram_bytes * _MAC_SHARE)
        return f"`sudo sysctl iogpu.wired_limit_mb={size // MIB}` lets it have {format_bytes(size)} until a restart"
    return None


def _amdgpu(hardware: Hardware) -> str | None:
    """A limit that the kernel reads at boot. Source: Documentation/gpu/amdgpu and ttm_tt.c of Linux."""
    told = next((gpu.gtt_bytes for gpu in hardware.gpus if gpu.gtt_bytes), None)
    pages = ram_of(hardware)[1] // _PAGE_BYTES
    now = f"amdgpu lets it have {format_bytes(told)}" if told else "amdgpu's own limit is half"
    if told and told >= pages * _PAGE_BYTES * _WORTH:
        return None
    return (
        f"{now}; the kernel parameter ttm.pages_limit={pages} (on older kernels amdgpu.gttsize="
        f"{pages * _PAGE_BYTES // MIB}), and a boot, would give it {format_bytes(pages * _PAGE_BYTES)}"
    )
