"""`xpu-smi discovery`: Intel's GPUs, each with its number, name and place.

Source: xpu-smi 1.2 and 1.3 as pasted in public issues, as a table and with `-d N`.
"""

from __future__ import annotations

import re

from rigwright.hardware.reading import Reading
from rigwright.hardware.sources import cells
from rigwright.hardware.values import Gpu

_FIRST = re.compile(r"\s*\|?\s*([0-9]{1,2})\s*\|?\s+Device (?:Name|Type): .*")
_FACT = re.compile(r"[^:]*?\b(Device Name|PCI Device ID|PCI BDF Address|Memory Physical Size): *([^|]{2,80}?)\s*\|?\s*")


def read(text: str) -> Reading:
    """The GPUs that have a number; whole where they are numbered from 0."""
    found: dict[int, dict[str, str]] = {}
    index: int | None = None
    for line in cells.lines(text):
        if first := _FIRST.fullmatch(line):
            index = int(first[1])
        if index is not None and (fact := _FACT.fullmatch(line)):
            found.setdefault(index, {}).setdefault(fact[1], fact[2].strip())
    gpus = [_gpu(number, facts) for number, facts in sorted(found.items()) if "Device Name" in facts]
    return Reading(
        gpus=tuple(gpus),
        vendor="Intel" if gpus else None,
        is_driver_list=True,
        is_whole=bool(gpus) and [gpu.index for gpu in gpus] == list(range(len(gpus))),
    )


def _gpu(index: int, facts: dict[str, str]) -> Gpu:
    device = re.fullmatch(r"0x([0-9a-fA-F]{4})", facts.get("PCI Device ID", ""))
    return Gpu(
        index=index,
        pci_address=cells.pci_address(facts.get("PCI BDF Address", "")),
        pci_id=f"8086:{device[1].lower()}" if device else None,
        vendor="Intel",
        name=facts["Device Name"].replace("(R)", "").replace("(TM)", ""),
        vram_bytes=cells.size_bytes(facts.get("Memory Physical Size", "")),
        state="ok",
    )
