"""Blocks of `key: value` for each device, of which the GPUs are told: rocminfo, `vulkaninfo --summary`.

Source: rocminfo of ROCm 5 to 7 (`Agent 2`, `Marketing Name:`, `Device Type: GPU`; CPUs are agents too), vulkaninfo 1.3
and 1.4 (`GPU0:`, `deviceName =`, `deviceType =`; a renderer on the CPU is a device too).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from rigwright.hardware.reading import Reading
from rigwright.hardware.sources import cells
from rigwright.hardware.values import Gpu, Vendor

_AGENT = re.compile(r"\s*(?:Agent ([0-9]{1,3})|GPU([0-9]{1,2}):)\s*\**\s*")
_FACT = re.compile(r"\s*(Marketing Name|Device Type|Uuid|deviceName|deviceType)\s*[:=]\s*(\S.*?)\s*")
_VENDORS: tuple[tuple[str, Vendor], ...] = (
    (r"NVIDIA|GeForce|Quadro|Tesla", "NVIDIA"),
    (r"AMD|Radeon|Instinct", "AMD"),
    (r"Intel", "Intel"),
)


@dataclass
class _Block:
    number: int
    is_vulkan: bool
    facts: dict[str, str] = field(default_factory=dict)

    @property
    def is_gpu(self) -> bool:
        kind = self.facts.get("deviceType" if self.is_vulkan else "Device Type", "")
        return kind == "GPU" or (kind.startswith("PHYSICAL_DEVICE_TYPE_") and kind.endswith("_GPU"))


def read(text: str) -> Reading:
    """The GPUs among the devices; whole where each device up to the last says what it is."""
    blocks: list[_Block] = []
    for line in cells.lines(text):
        if head := _AGENT.fullmatch(line):
            blocks.append(_Block(int(head[1] or head[2]), head[2] is not None))
        elif blocks and (fact := _FACT.fullmatch(line)):
            blocks[-1].facts.setdefault(fact[1], fact[2])
    known = [block for block in blocks if {"Device Type", "deviceType"} & set(block.facts)]
    numbers = [block.number for block in known]
    if len(set(numbers)) < len(numbers):
        return Reading()  # two lists, or one that was printed twice
    first = 0 if any(block.is_vulkan for block in known) else 1
    is_counted = numbers == list(range(first, first + len(known)))
    found = [gpu for block in known if block.is_gpu and (gpu := _gpu(block))]
    # CPUs are devices too: the GPUs are numbered from the first of them, where no device is missing.
    gpus = [replace(gpu, index=place if is_counted else None) for place, gpu in enumerate(found)]
    vendors = {gpu.vendor for gpu in gpus}
    return Reading(
        gpus=tuple(gpus),
        vendor=vendors.pop() if len(vendors) == 1 else None,
        is_driver_list=bool(gpus),
        is_whole=is_counted and bool(known) and len(blocks) == len(known),
    )


def _gpu(block: _Block) -> Gpu | None:
    name = re.sub(r" \(.*", "", block.facts.get("deviceName" if block.is_vulkan else "Marketing Name", ""))
    vendor = next((vendor for words, vendor in _VENDORS if re.search(words, name)), None)
    return Gpu(vendor=vendor, name=name, state="ok") if vendor else None
