"""Rows of `nvidia-smi --query-gpu=… --format=csv,noheader` alone: only what a cell shows by itself can be known.

A UUID, a bus address and a name say what they are; so does a number with MiB where it is the only one of a row and the
model has that much memory. The other numbers could be anything.
"""

from __future__ import annotations

import re
from dataclasses import replace

from rigwright.hardware.models import find
from rigwright.hardware.reading import Reading
from rigwright.hardware.sources import cells, nvidia_fields
from rigwright.hardware.values import Gpu

_NAME = re.compile(
    r"(?:NVIDIA|Tesla|Quadro|GeForce|GRID|TITAN) [A-Za-z0-9][\w .+/()-]{0,60}|[AHBL][0-9]{2,3}[A-Z]?-[\w-]{3,30}"
)
_BUS = re.compile(r"[0-9A-Fa-f]{4,8}:[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-7]")
_MEMORY = re.compile(r"[0-9]{1,7} MiB")
_INDEX = re.compile(r"0|[1-9][0-9]?")
_UUID = re.compile(r"GPU-[0-9a-f]{8}-[0-9a-f-]{27}")
# What no row has: it is a piece of a JSON value or of a program's text.
_PIECE = re.compile(r"[\"'\\{}]")


def rows(lines: list[str]) -> list[str]:
    """The rows among other lines, of a report or a script that asked several things; all lines where none shows.

    A row that shows itself has the number of its GPU, then the name, and an address or a UUID.
    """
    shown = [line for line in lines if _is_row([cell.strip() for cell in line.split(",")])]
    return shown or lines


def _is_row(row: list[str]) -> bool:
    is_named = len(row) > 2 and bool(_INDEX.fullmatch(row[0]) and _NAME.fullmatch(row[1]))
    return is_named and any(pattern.fullmatch(cell) for pattern in (_BUS, _UUID) for cell in row)


def read(lines: list[str]) -> Reading:
    """The GPUs of a table without header: all its lines are rows of one width, each with a name of its GPU."""
    if any(map(_PIECE.search, lines)):
        return Reading()
    rows = [[cell.strip() for cell in line.split(",")] for line in lines]
    if rows and all(_INDEX.fullmatch(row[0]) for row in rows):
        rows = [row for place, row in enumerate(rows) if row not in rows[:place]]  # asked twice
    if not rows or len(rows) > 64 or len({len(row) for row in rows}) != 1 or len(rows[0]) < 2:
        return Reading()
    if any(_INDEX.fullmatch(cell) for row in rows for cell in row[:2][1:] if _INDEX.fullmatch(row[0])):
        return Reading()  # two numbers before the name: a log counted the lines
    found = [_gpu(row) for row in rows]
    gpus = [gpu for gpu in found if gpu]
    messages = [name for gpu in gpus for name in (gpu.uuid, gpu.pci_address) if name]
    if len(gpus) < len(rows) or len(set(messages)) < len(messages):
        return Reading()
    indexes = [int(row[0]) if _INDEX.fullmatch(row[0]) else None for row in rows]
    is_counted = indexes == list(range(len(rows)))
    has_index = None not in indexes
    if has_index and len(set(indexes)) < len(rows):
        return Reading()
    numbered = zip(gpus, indexes if has_index else range(len(rows)), strict=True)
    return Reading(
        gpus=tuple(replace(gpu, index=index) for gpu, index in numbered),
        vendor="NVIDIA",
        is_driver_list=True,
        is_whole=is_counted or not has_index,
    )


def _gpu(row: list[str]) -> Gpu | None:
    uuid = next((cells.uuid(cell) for cell in row if cell.startswith("GPU-") and cells.uuid(cell) == cell), None)
    bus = next((cells.pci_address(cell) for cell in row if _BUS.fullmatch(cell)), None)
    names = [cell for cell in row if _NAME.fullmatch(cell)]
    if not (uuid or bus or names) or len(names) > 1 or any(nvidia_fields.sentinel(cell) for cell in row):
        return None
    sizes = [size for cell in row if _MEMORY.fullmatch(cell) and (size := cells.size_bytes(cell)) is not None]
    name = names[0] if names else None
    model = find(name, None, sizes[0]) if len(sizes) == 1 else None
    memory = sizes[0] if model and model.vram_bytes else None
    return Gpu(uuid=uuid, pci_address=bus, vendor="NVIDIA", name=name, vram_bytes=memory, state="ok")
