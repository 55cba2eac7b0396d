"""`nvidia-smi -q`: a section per GPU, in the order of their indexes; `Key : Value` under indented headings.

Source: recorded output of drivers 340 to 595.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from rigwright.hardware.reading import Reading
from rigwright.hardware.sources import cells, nvidia_fields
from rigwright.hardware.sources.nvidia_fields import Row

_SECTION = re.compile(r"GPU ((?:[0-9A-Fa-f]{4}){1,2}:[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-7])")
_POWER = ("GPU Power Readings", "Power Readings")
# Our name by key. These keys stand in one place only.
_KEYS = {
    "Product Name": "name",
    "Product Architecture": "architecture",
    "GPU UUID": "uuid",
    "Device Id": "pci_id",
    "Sub System Id": "subsystem",
    "Display Active": "display",
}
# Our name by heading and key. `Module Power Readings` are those of the whole board, CPU included: not these.
_PLACES = {
    ("MIG Mode", "Current"): "mig",
    ("Fabric", "State"): "fabric_state",
    ("Fabric", "Status"): "fabric_status",
    ("FB Memory Usage", "Total"): "memory",
    ("PCIe Generation", "Max"): "gen_max",
    ("PCIe Generation", "Current"): "gen",
    ("PCIe Generation", "Device Current"): "gen_device",
    ("PCIe Generation", "Device Max"): "gen_gpu",
    ("PCIe Generation", "Host Max"): "gen_host",
    ("Link Width", "Max"): "width_max",
    ("Link Width", "Current"): "width",
    **{(part, name): "power" for part in _POWER for name in ("Current Power Limit", "Power Limit")},
    **{(part, name): "power_enforced" for part in _POWER for name in ("Enforced Power Limit", "Requested Power Limit")},
    **{(part, "Default Power Limit"): "power_default" for part in _POWER},
    **{(part, "Min Power Limit"): "power_min" for part in _POWER},
    **{(part, "Max Power Limit"): "power_max" for part in _POWER},
}
_APART = ("MIG Device", "Processes", "Accounted Processes", "Compute Processes")


@dataclass
class _Section:
    """One GPU's lines: our fields, all values by heading and key, the names of its headings."""

    fields: dict[str, str]
    printed: dict[str, str] = field(default_factory=dict)
    headings: set[str] = field(default_factory=set)

    @property
    def is_cut(self) -> bool:
        """Whether it begins as a whole one does and lacks its end. `-d MEMORY` asks for a part and has neither."""
        return "name" in self.fields and not any(name.endswith("Processes") for name in self.headings)


@dataclass(frozen=True)
class _Line:
    """A line: the headings that it stands under (nearest first), its key, and its value, None for a heading."""

    above: tuple[str, ...]
    key: str
    value: str | None


def read(text: str) -> Reading:
    """The GPUs of a `-q` text; nothing for a text without a section."""
    head: dict[str, str] = {}
    sections: dict[str, _Section] = {}
    current: _Section | None = None
    *lines, last = _lines(text) or [_Line((), "", None)]
    if last.value and not text.endswith("\n") and not last.value.endswith(("W", "MiB", "x")):
        last = replace(last, value="")  # where the text was cut, its last word may be
    for line in [*lines, last]:
        found = _SECTION.fullmatch(line.key) if line.value is None else None
        if found:
            address = cells.pci_address(found[1]) or ""
            current = sections.setdefault(address, _Section({"bus": found[1]}))
        elif line.value is None and not line.above:
            current = None  # a garbled heading: what follows is not the GPU before it
        elif current is not None:
            _take(current, line)
        elif line.value is not None:
            head.setdefault(line.key, line.value)
    if not sections:
        is_log = "NVSMI LOG" in text
        return Reading(is_driver_list=is_log, is_whole=not is_log)
    # Where not all are listed (`-i 2`, a lost one, a cut text) the place in the list need not be the index.
    is_numbered = head.get("Attached GPUs") == str(len(sections))
    rows = [
        Row(index if is_numbered else None, section.fields, section.printed)
        for index, section in enumerate(sections.values())
    ]
    return Reading(
        gpus=nvidia_fields.gpus(rows),
        vendor="NVIDIA",
        driver_version=nvidia_fields.version(head.get("Driver Version") or head.get("KMD Version")),
        is_driver_list=True,
        is_whole=is_numbered and not any(section.is_cut for section in sections.values()),
        attached=cells.whole(head.get("Attached GPUs", "")),
        problems=(*nvidia_fields.problems(rows), *nvidia_fields.fabric(rows)),
    )


def _lines(text: str) -> list[_Line]:
    """The lines that are not empty, each with the headings that it stands under."""
    messages: list[_Line] = []
    stack: list[tuple[int, str]] = []
    lines = [raw.expandtabs(4).rstrip() for raw in cells.lines(text)]
    is_flat = not any(line.startswith(" ") for line in lines)  # a paste that lost its indentation
    for line in filter(None, lines):
        body = line.lstrip()
        indent = len(line) - len(body)
        while stack and stack[-1][0] >= indent and not is_flat:
            stack.pop()
        key, colon, value = body.partition(" : ")
        if not colon and body.endswith(" :"):
            key, colon = body[:-2], ":"
        messages.append(
            _Line(tuple(name for _, name in reversed(stack)), key.strip(), value.strip() if colon else None)
        )
        if not colon and len(stack) < 20:
            stack = [(indent, key.strip())] if is_flat else [*stack, (indent, key.strip())]
    return messages


def _take(section: _Section, line: _Line) -> None:
    section.headings.add(line.key)
    if line.value is None or any(name in _APART for name in line.above):
        return
    heading = line.above[0] if line.above else ""
    # The first counts: what comes again belongs to another GPU, or to the next sample of a loop.
    section.printed.setdefault(f"{heading}/{line.key}", line.value)
    name = _KEYS.get(line.key) or _PLACES.get((heading, line.key))
    if name:
        section.fields.setdefault(name, line.value)
