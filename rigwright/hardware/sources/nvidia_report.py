"""GPUs as environment reports and programs name them: `GPU 0: NVIDIA B200`, without the UUID of `nvidia-smi -L`.

Source: collect_env.py of PyTorch, vLLM and SGLang (`GPU 0,1,2,3: NVIDIA GB200`); reports in Markdown
(`- **GPU 0:** NVIDIA RTX A6000 | 49140 MiB`); llama.cpp (`Device 0: NVIDIA GeForce RTX 3090, compute capability 8.6`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from rigwright.hardware.models import find
from rigwright.hardware.reading import Reading
from rigwright.hardware.sources import cells, nvidia_fields
from rigwright.hardware.values import Gpu, PowerLimit, Vendor

_NUMBERS = r"(?P<numbers>[0-9]{1,2}(?:-[0-9]{1,2})?(?:, ?[0-9]{1,2})*)"
_GPU = re.compile(
    rf"(?:[^:]{{0,60}}: ?)??[\s*+\u2022>#|-]*(?:GPUs? ?#?\[?{_NUMBERS}\]?|Device (?P<device>[0-9]{{1,2}}))"
    r"\s*(?:\*\*)?\s?[:=|]\s?(?:\*\*)?\s*(?P<rest>[A-Za-z].*)"
)
_ENDS = re.compile(r"\s*(?:[|,;(\[\u2013\u2014/]|\s-\s|\s{3,}|\*\*|$)")
_VENDORS: tuple[tuple[re.Pattern[str], Vendor], ...] = (
    (re.compile(r"(?:NVIDIA|Tesla|Quadro|GeForce|GRID|TITAN|RTX|GTX)\b"), "NVIDIA"),
    (re.compile(r"(?:AMD|Radeon|Instinct)\b"), "AMD"),
)
_MEMORY = re.compile(r"\b([0-9]{4,7}) ?MiB\b")
_CAPABILITY = re.compile(r"\bcompute capability ([0-9]{1,2}\.[0-9])\b")
_DRIVER = re.compile(
    r"[\s*|>-]*(?:(?:nvidia|cuda|gpu)[ _])?driver(?:[ _]version)?\s*(?:\*\*)?[:=|]\s*(?:\*\*)?\s*"
    r"([0-9]{3}\.[0-9]{1,4}(?:\.[0-9]{1,4})?)\b",
    re.IGNORECASE,
)
_BESIDE = re.compile(r"\bdriver:? ([0-9]{3}\.[0-9]{1,4}(?:\.[0-9]{1,4})?)\b")
_LIMIT = re.compile(r"\blimit=([0-9]{1,4}(?:\.[0-9]{1,2})?) ?W\b")
_MOST = 64
# A sentence about a card is no name: `NVIDIA NVS 4200M GPU installed in this system is`.
_PROSE = re.compile(r"\b(?:is|are|in|this|will|installed)\b", re.IGNORECASE)


def read(text: str) -> Reading:
    """The GPUs that lines name by number, and the driver's version. A report that counts from 1 names none."""
    lines = cells.lines(text)
    gpus: dict[int, Gpu] = {}
    owner: int | None = None
    is_whole = True
    for line in lines:
        for gpu in named(line):
            if gpu.index is not None:
                known = gpus.setdefault(gpu.index, gpu)
                is_whole &= known.name == gpu.name
                owner = gpu.index
        limit = _LIMIT.search(line)
        if limit and owner is not None and gpus[owner].power == PowerLimit():
            gpus[owner] = Gpu(**{**vars(gpus[owner]), "power": PowerLimit(current=float(limit[1]))})
    if gpus and min(gpus) > 0:
        gpus = {}
    found = (match for line in lines if (match := _DRIVER.match(line) or (gpus and _BESIDE.search(line))))
    versions = (nvidia_fields.version(next(filter(None, match.groups()), None)) for match in found)
    vendors = {gpu.vendor for gpu in gpus.values()}
    return Reading(
        gpus=tuple(gpus[index] for index in sorted(gpus)),
        vendor=vendors.pop() if len(vendors) == 1 else None,
        driver_version=next((version for version in versions if version), None),
        is_driver_list=bool(gpus),
        is_whole=is_whole and sorted(gpus) == list(range(len(gpus))),
    )


def named(line: str) -> Iterator[Gpu]:
    """The GPUs of a line; those with a UUID are `nvidia-smi -L`'s."""
    found = _GPU.match(line) if "GPU" in line or "Device" in line else None
    if not found or "(UUID" in line or "MIG" in line:
        return
    name = found["rest"][: _end(found["rest"])].strip(" *")
    vendor = next((vendor for pattern, vendor in _VENDORS if pattern.match(name)), None)
    if not vendor or len(name) > 60 or _PROSE.search(name) or not (find(name) or re.search(r"[0-9]|TITAN", name)):
        return
    memory, capability = _MEMORY.search(line), _CAPABILITY.search(line)
    size = int(memory[1]) << 20 if memory else None
    for index in _indexes(found["numbers"] or found["device"]):
        yield Gpu(
            index=index,
            vendor=vendor,
            name=name,
            vram_bytes=size if size and find(name, None, size) else None,
            compute_capability=capability[1] if capability and vendor == "NVIDIA" else None,
        )


def _end(rest: str) -> int:
    found = _ENDS.search(rest)
    return found.start() if found else len(rest)


def _indexes(numbers: str) -> list[int]:
    """`0,1,2` or `0-3`."""
    parts = (part.strip().partition("-") for part in numbers.split(","))
    indexes = [index for first, _, last in parts for index in range(int(first), int(last or first) + 1)]
    return indexes if len(indexes) <= _MOST else []
