"""Operating system and memory: os-release, our KERNEL and ARCHITECTURE lines, /proc/meminfo, sw_vers."""

from __future__ import annotations

import re

from rigwright.hardware.reading import Reading
from rigwright.hardware.software import NOBODY_ASKED
from rigwright.hardware.sources import cells, software_text

_KEYS = frozenset({"ID", "VERSION_ID", "VERSION_CODENAME", "KERNEL", "ARCHITECTURE", "VIRTUALIZATION"})
_ASSIGNMENT = re.compile(r"\s*([A-Z_]{2,30})=(.{0,200})")
# Slurm prints `ID=7696487 File=/dev/nvidia0 …`: what os-release says is one word.
_WORD = re.compile(r"[A-Za-z0-9][\w.+~-]*")
_MEMORY = re.compile(r"\s*MemTotal:\s*([0-9]{1,15})\s*kB\s*")
_MACOS = re.compile(r"\s*ProductVersion:\s*([0-9][0-9.]{0,20})\s*")
_KIB = 1024


def read(text: str) -> Reading:
    """The system as os-release names it (`ID=debian`); macOS is `macos`.

    Source: os-release(5); proc_meminfo(5), whose kB are 1024 bytes; sw_vers as recorded on macOS 26.
    """
    os: dict[str, str] = {}
    ram_bytes = None
    for line in cells.lines(text):
        assignment, memory, macos = _ASSIGNMENT.fullmatch(line), _MEMORY.fullmatch(line), _MACOS.fullmatch(line)
        if assignment and assignment[1] in _KEYS and _WORD.fullmatch(_plain(assignment[2])):
            os.setdefault(assignment[1], _plain(assignment[2]))
        elif memory:
            ram_bytes = ram_bytes or int(memory[1]) * _KIB
        elif macos:
            os.setdefault("ID", "macos")
            os.setdefault("VERSION_ID", macos[1])
    kind = os.pop("VIRTUALIZATION", "")
    software = software_text.answer("virtualization", virtualization=kind).software if kind else NOBODY_ASKED
    return Reading(os=os, ram_bytes=ram_bytes or None, software=software)


def _plain(value: str) -> str:
    """A value of os-release without its quotes."""
    return value.strip().strip("\"'").strip()
