"""What a process has on GPUs of AMD's, by the kernel's own account: no tool of theirs needs to be there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

# Of Vulkan's it is told by the files that are open, of ROCm's in a list of its own, with numbers that name no GPU.
# Source: Linux, Documentation/gpu/drm-usage-stats.rst; drivers/gpu/drm/amd/amdkfd/kfd_process.c.
QUESTION = "cat /proc/%s/fdinfo/* 2>/dev/null; cat /sys/class/kfd/kfd/proc/%s/vram_* 2>/dev/null"
_BEFORE, _AFTER = "/dev/dri/by-path/pci-", "-render"
_SIZES = ("drm-memory-vram", "drm-total-vram")


def idle(nodes: Sequence[str], said: str) -> list[str]:
    """The device files, of those that a unit opens, on whose GPUs its process has no memory; by QUESTION's answer."""
    lines = [line.strip() for line in said.splitlines()]
    files = [node for node in nodes if node != "/dev/kfd"]
    if len(files) < len(nodes):
        used = sum(line.isdecimal() and int(line) > 0 for line in lines)
        return files if used < len(files) else []
    memory = _by_address(lines)
    return [one for one in files if not (any(memory.values()) if one == "char-drm" else memory[_address(one)])]


def _address(node: str) -> str:
    return node.removeprefix(_BEFORE).removesuffix(_AFTER)


def _by_address(lines: Iterable[str]) -> defaultdict[str, int]:
    """KiB of VRAM by the GPU's address on the bus; a file that says nothing of memory has none."""
    found: defaultdict[str, int] = defaultdict(int)
    address = ""
    for line in lines:
        key, _, value = line.partition(":")
        words = value.split()
        if key == "pos":
            address = ""
        elif key == "drm-pdev":
            address = value.strip()
        elif key in _SIZES and address and words and words[0].isdecimal():
            found[address] = max(found[address], int(words[0]))
    return found
