"""GPUs that work in the machine's memory: what is theirs of it, and how the system lets them have more."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from rigwright.hardware.values import Hardware
from rigwright.models.variants import Variant
from rigwright.plan.devices import Device, ram_of
from rigwright.units import GIB, MIB, format_bytes

_PAGE_BYTES = 4096
# What macOS gets along with beside a GPU that has all the rest.
_MAC_SHARE = 7 / 8
# Less than that more is no gain.
_WORTH = 0.9
# An embedding of a gigabyte or two is no table: what is left beside a GPU holds it. Beside a table of n-grams in RAM
# there are buffers, checkpoints and a cache of prompts.
_LARGE_TABLE_BYTES, _BESIDE_TABLE_BYTES = 4 * GIB, 4 * GIB


def kept_bytes(models: Iterable[Sequence[Variant]]) -> int:
    """What llama.cpp keeps in RAM of each model whatever GPUs hold, where that is much; of its files the most."""
    tables = (
        max((one.model.input_bytes for one in files if one.has_model and one.format == "gguf"), default=0)
        for files in models
    )
    return sum(size + _BESIDE_TABLE_BYTES for size in tables if size > _LARGE_TABLE_BYTES)


def divided(usable: tuple[Device, ...], ram_bytes: int, kept: int) -> tuple[tuple[Device, ...], int]:
    """The GPUs and the RAM beside them: what a GPU may have of RAM is not there twice, and `kept` is RAM's first."""
    mine = [one for one in usable if one.is_in_ram]
    left = max(0, ram_bytes - sum(one.offered_bytes + (one.gpu.reserve_bytes or 0) for one in mine))
    if not mine or kept <= left:
        return usable, left
    each = (min(kept, ram_bytes) - left) // len(mine)
    fewer = (replace(one, offered_bytes=max(0, one.offered_bytes - each)) if one.is_in_ram else one for one in usable)
    return tuple(fewer), min(kept, ram_bytes)


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
