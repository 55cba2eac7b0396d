"""The table of plain `nvidia-smi`, in all its generations: three columns with two or three lines for each GPU.

Source: recorded machines, drivers 375 to 610. The name is cut to the column (`NVIDIA A100-SXM...`); `Disp.A` and the
bus stand in the second column, `usage / capacity` of power in the first and of memory in the second.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from rigwright.hardware.reading import Reading
from rigwright.hardware.sources import cells
from rigwright.hardware.values import Gpu, GpuState, PowerLimit, Problem

_VERSION = re.compile(r"(?:Driver|KMD) Version: ([0-9]{2,4}(?:\.[0-9]{1,4}){1,3})(?=[\s|])")
_HEADER = re.compile(r"\s*\|(?: *NVIDIA-SMI [0-9]| *GPU +Name |=+[+|]=)")
# The other lines of the header: rules, and the titles of the second and third line.
_TITLE = re.compile(r"\s*\|(?:-| *Fan +Temp | *\|[ |]*MIG M\.)")
_SECTION = re.compile(r"\s*\| *(?:Processes|MIG devices):")
_BORDER = re.compile(r"\s*\+-+\+-+\+-+\+\s*")
_ERROR = re.compile(r"unable to determine|failed to|couldn't communicate", re.IGNORECASE)
_INDEX = re.compile(r"0|[1-9][0-9]{0,2}")
_NO_BUS = re.compile(r"N/A +(?:N/A|On|Off)")  # Jetson: the GPU is part of the chip
_MEMORY = re.compile(r"[0-9]{1,8}MiB */ *([0-9]{1,8}MiB)")
_NO_MEMORY = ("Not Supported", "N/A", "ERR!", "Unknown Error", "GPU is lost")
# What stands at the end of the name's cell: persistence mode, on Windows the driver model.
_MODES = ("On", "Off", "N/A", "ERR!", "WDDM", "TCC", "MCDM")
_DISPLAY = {"On": True, "Off": False}
_MIG = {"Enabled": True, "Disabled": False}

Row = tuple[str, str, str]


@dataclass
class Table:
    """The lines of each GPU, as cells; whole from the header to the border under the last, with nothing left over."""

    blocks: list[list[Row]] = field(default_factory=list)
    has_header: bool = False
    is_closed: bool = False
    has_strays: bool = False

    @property
    def is_whole(self) -> bool:
        return self.has_header and self.is_closed and not self.has_strays


def read(text: str) -> Reading:
    """The GPUs of the table; whole where it is and no index is missing."""
    lines = cells.lines(text)
    table = _table(lines)
    # A guide leaves out the second line of all GPUs, a cut that of the last.
    is_short = table.is_closed and all(len(block) == 1 for block in table.blocks)
    read_blocks = [gpu for block in table.blocks if (is_short or len(block) > 1) and (gpu := _gpu(block))]
    gpus = {gpu.index: gpu for gpu in reversed(read_blocks) if gpu.index is not None}
    version = next((found[1] for line in lines if (found := _VERSION.search(line))), None)
    is_whole = table.is_whole and len(read_blocks) == len(table.blocks) and not any(map(_ERROR.search, lines))
    return Reading(
        gpus=tuple(gpus[index] for index in sorted(gpus)),
        vendor="NVIDIA" if gpus else None,
        driver_version=version,
        is_driver_list=True,
        is_whole=is_whole and bool(gpus) and sorted(gpus) == list(range(len(gpus))),
        problems=tuple(_problem(gpus[index]) for index in sorted(gpus) if gpus[index].state == "error"),
    )


def _table(lines: list[str]) -> Table:
    """What stands above the MIG devices and processes; those have other columns."""
    table = Table()
    is_open = False
    for line in lines:
        if _SECTION.match(line):
            break
        row = _row(line)
        if _HEADER.match(line):
            table.has_header, is_open = True, False
        elif row and _is_first(row):
            table.blocks.append([row])
            is_open, table.is_closed = True, False
        elif row and is_open:
            table.blocks[-1].append(row)
        elif _BORDER.fullmatch(line):
            is_open, table.is_closed = False, bool(table.blocks)
        elif "|" in line and line.lstrip().startswith(("|", "+")):
            is_open = False
            table.has_strays |= table.has_header and not _TITLE.match(line)
    return table


def _row(line: str) -> Row | None:
    inner = line.strip()
    row = tuple(cell.strip() for cell in inner[1:-1].split("|"))
    return (row[0], row[1], row[2]) if len(row) == 3 and inner.startswith("|") and inner.endswith("|") else None


def _is_first(row: Row) -> bool:
    index, _, name = row[0].partition(" ")
    is_bus = cells.pci_address(row[1].partition(" ")[0]) or _NO_BUS.fullmatch(row[1])
    return bool(_INDEX.fullmatch(index) and name and is_bus)


def _gpu(block: list[Row]) -> Gpu | None:
    """One GPU; None where its second line is cut."""
    (head, bus, _), (power, memory, _) = block[0], block[1] if len(block) > 1 else ("", "", "")
    capacity = _MEMORY.search(memory)
    if len(block) > 1 and not capacity and not memory.startswith(_NO_MEMORY):
        return None
    index, *words = head.split()
    name = " ".join(words[:-1]) if words and words[-1] in _MODES else ""
    address, _, display = bus.partition(" ")
    mode = block[2][2] if len(block) > 2 else ""
    return Gpu(
        index=int(index),
        vendor="NVIDIA",
        name=None if cells.is_lost(name) else name.removesuffix("...").strip() or None,
        is_name_cut=name.endswith("..."),
        pci_address=cells.pci_address(address),
        vram_bytes=cells.size_bytes(capacity[1]) if capacity else None,
        power=PowerLimit(current=cells.number(power.rpartition("/")[2])),
        state=_state(
            " ".join(
                [
                    *block[0],
                    *(cell for row in block[1:2] for cell in _without_fan(row)),
                    *(cell for row in block[2:] for cell in row),
                ]
            )
        ),
        mig=_MIG.get(mode.rstrip("*")),
        has_display=_DISPLAY.get(display.strip()),
    )


def _without_fan(row: Row) -> Row:
    """A fan that cannot be read (ERR! on WSL, or a broken one) says nothing of the GPU."""
    return row[0].removeprefix("ERR!"), row[1], row[2]


def _state(text: str) -> GpuState:
    if "is lost" in text:
        return "lost"
    return "error" if any(word in text for word in ("ERR!", "Unknown Error", "requires reset")) else "ok"


def _problem(gpu: Gpu) -> Problem:
    return Problem(
        code="err_fields",
        where=gpu.label,
        what="nvidia-smi shows ERR! instead of values",
        do=(
            "look for Xid in `journalctl -k -g NVRM`, stop the services that use the GPU and reset it with "
            f"`nvidia-smi --gpu-reset -i {gpu.index}`, or reboot; if it returns, suspect GSP firmware or power"
        ),
    )
