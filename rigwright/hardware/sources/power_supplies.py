"""`dmidecode -t 39`: what the power supplies can give.

Source: dmidecode 3.3 to 3.6; SMBIOS 3.4, "System Power Supply (Type 39)".
"""

from __future__ import annotations

import re

from rigwright.hardware.reading import Reading
from rigwright.hardware.sources import cells, software_text

_BLOCK = re.compile(r"\s*System Power Supply\s*")
_HANDLE = re.compile(r"\s*Handle 0x[0-9A-Fa-f]{1,8}")
_FIELD = re.compile(r"\s*(?P<key>[A-Z][\w /]{2,40}): *(?P<value>.*?)\s*")
_WATTS = re.compile(r"(?P<number>[0-9]{2,6}) (?P<unit>m?W)")


def read(text: str) -> Reading:
    """The sum of those that are there; unknown where one does not tell."""
    found: dict[str, dict[str, str]] = {}
    handle, block = "", dict[str, str]()
    for number, line in enumerate(cells.lines(text)):
        if begun := _HANDLE.match(line):
            handle, block = begun[0], {}
        elif _BLOCK.fullmatch(line):
            block = found.setdefault(handle or str(number), {})
            handle = ""
        elif field := _FIELD.fullmatch(line):
            block.setdefault(field["key"], field["value"])
    blocks = list(found.values())
    there = [block for block in blocks if not re.search(r"Not Present|Unplugged", block.get("Status", ""))]
    watts = [_watts(block.get("Max Power Capacity", "")) for block in there if block.get("Plugged", "Yes") != "No"]
    if not watts:
        return Reading(is_quiet=bool(blocks) or text.lstrip().startswith("# dmidecode"))
    total = None if None in watts else sum(one for one in watts if one)
    return software_text.answer("psu_watts", psu_watts=total) if total else Reading(is_quiet=True)


def _watts(said: str) -> int | None:
    found = _WATTS.fullmatch(said)
    return int(found["number"]) // (1000 if found["unit"] == "mW" else 1) if found else None
