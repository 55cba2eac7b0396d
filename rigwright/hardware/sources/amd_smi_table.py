"""The table of plain `amd-smi`: two lines for each GPU, with the number that HIP gives it beside the driver's.

Source: amd-smi 26 as recorded (MI210, MI300X, MI355X): its MB are MiB. HIP_VISIBLE_DEVICES counts HIP-IDs.
"""

from __future__ import annotations

import re

from rigwright.hardware.models import find
from rigwright.hardware.reading import Reading
from rigwright.hardware.sources import cells
from rigwright.hardware.values import Gpu, PowerLimit

_HEAD = re.compile(r"\s*\|\s*([0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7])\s+(.*?)\s*\|(.*)\|\s*")
_BODY = re.compile(r"\s*\|\s*([0-9]{1,3})\s+([0-9]{1,3}|N/A)\s+(\S+)\s+(\S+)\s*\|(.*)\|\s*")
_POWER = re.compile(r"[0-9]{1,5}/([0-9]{1,5})\s*W")
_MEMORY = re.compile(r"[0-9]{1,9}/([0-9]{1,9})\s*(MB|MiB|GB|GiB)")
_BORDER = re.compile(r"\s*[|+]-[-+]{20,}[|+]\s*")
_DEVICE_ID = re.compile(r"0x[0-9a-fA-F]{4}")
_VERSION = re.compile(r"amdgpu version: ([0-9][0-9.]{2,20}[0-9])")
_PROCESSES = re.compile(r"\s*\|\s*Processes:")
_MIB = 1024**2


def read(text: str) -> Reading:
    """The GPUs that have both their lines."""
    gpus: dict[int, Gpu] = {}
    heads, is_closed = 0, False
    head: re.Match[str] | None = None
    lines = cells.lines(text)
    for line in lines:
        if _PROCESSES.match(line):
            break
        if found := _HEAD.fullmatch(line):
            head, heads, is_closed = found, heads + 1, False
        elif head and (body := _BODY.fullmatch(line)):
            gpus.setdefault(int(body[1]), _gpu(head, body))
            head = None
        else:
            is_closed |= bool(_BORDER.fullmatch(line))
            head = None
    version = next((found[1] for line in lines if (found := _VERSION.search(line))), None)
    return Reading(
        gpus=tuple(gpus[index] for index in sorted(gpus)),
        vendor="AMD" if gpus else None,
        driver_version=version,
        is_driver_list=True,
        is_whole=bool(gpus) and is_closed and heads == len(gpus) and sorted(gpus) == list(range(len(gpus))),
    )


def _gpu(head: re.Match[str], body: re.Match[str]) -> Gpu:
    power, memory = _POWER.search(head[3]), _MEMORY.search(body[5])
    name = head[2].strip(".\u2026 ")  # cut in front: `...Radeon AI PRO R9700`
    size = int(memory[1]) * (_MIB if memory[2].startswith("M") else 1024 * _MIB) if memory else 0
    return Gpu(
        index=int(body[1]),
        hip_index=int(body[2]) if body[2].isdecimal() else None,
        pci_address=cells.pci_address(head[1]),
        # Without a name the table prints the device id: `0x1586`.
        pci_id=f"1002:{name[2:].lower()}" if _DEVICE_ID.fullmatch(name) else None,
        vendor="AMD",
        name=name if re.search("[A-Za-z]{2}", name) else None,
        is_name_cut=name != head[2] and find(name) is None,
        vram_bytes=size or None,
        state="ok",
        power=PowerLimit(current=float(power[1]) if power else None),
    )
