"""`df`: what is free on / and /boot.

Source: df(1) of coreutils 8.32 to 9.7, with -h, -k, -m, -B1, -P, -T and --output=avail,target.
"""

from __future__ import annotations

import re
from typing import Any

from rigwright.hardware.reading import Reading
from rigwright.hardware.sources import cells, software_text

_HEADER = re.compile(r"\s*(?:Filesystem|Avail)\b.*\bMounted on\s*|\s*Filesystem\s.*")
_ROW = re.compile(
    r"(?:.*\s)?(?P<size>[0-9.]+[KMGTPE]?(?:i?B)?)\s+(?P<used>[0-9.]+[KMGTPE]?(?:i?B)?)\s+(?P<free>[0-9.]+[KMGTPE]?(?:i?B)?)\s+(?:[0-9]{1,3}%|-)\s+(?P<place>/\S*)\s*"
)
_SHORT = re.compile(r"\s*(?P<free>[0-9.]+[KMGTPE]?)\s+(?P<place>/\S*)\s*")
_UNITS = (
    ("1K-blocks", 1024),
    ("1024-blocks", 1024),
    ("1M-blocks", 1024**2),
    ("1G-blocks", 1024**3),
    ("1B-blocks", 1),
    ("512-blocks", 512),
)
_SUFFIXES = {suffix: 1024**power for power, suffix in enumerate("KMGTPE", start=1)}
_FREE = re.compile(r"(?P<number>[0-9]{1,18}(?:\.[0-9]{1,3})?)(?P<suffix>[KMGTPE]?)(?:i?B)?")


def read(text: str) -> Reading:
    """Free bytes; a /boot that is no file system of its own has none."""
    unit = 0
    free: dict[str, int] = {}
    for line in cells.lines(text):
        if _HEADER.fullmatch(line):
            unit = next((size for word, size in _UNITS if word in line), 1024)
        elif unit and (row := _ROW.fullmatch(line) or _SHORT.fullmatch(line)):
            size = _bytes(row["free"], unit)
            if size is not None:
                free.setdefault(row["place"], size)
    values: dict[str, Any] = {"root_free_bytes": free.get("/"), "boot_free_bytes": free.get("/boot")}
    answered = [name for name, value in values.items() if value is not None]
    return software_text.answer(*answered, **values) if answered else Reading(is_quiet=bool(free))


def _bytes(said: str, unit: int) -> int | None:
    found = _FREE.fullmatch(said)
    return int(float(found["number"]) * _SUFFIXES.get(found["suffix"], unit)) if found else None
