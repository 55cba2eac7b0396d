"""`nvidia-smi nvlink --status`: the speed of each active NVLink of each GPU, and the links that are down.

Source: recorded machines, drivers 470 to 610: `Link 0: 14.062 GB/s`, `Link 2: <inactive>`, and the sentences below.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from rigwright.hardware.reading import Reading
from rigwright.hardware.sources import cells
from rigwright.hardware.sources.nvidia_list import is_complete, listed
from rigwright.hardware.values import Gpu, Problem

_LINK = re.compile(r"Link ([0-9]{1,2}): (?:([0-9]{1,4}(?:\.[0-9]{1,6})?) GB/s|<(inactive)>)", re.IGNORECASE)
_CUT_LINK = re.compile(r"\s*L(?:i(?:n(?:k.*)?)?)?")
_NONE = re.compile(r"all links are inactive|does not have or support nvlink", re.IGNORECASE)
_IN_MIG = re.compile(r"nvlink queries are not supported for devices in mig mode", re.IGNORECASE)
_ERROR = re.compile(r"unable to determine|failed|unknown error|is lost|couldn't communicate", re.IGNORECASE)

Links = dict[int, float | None]


def read(text: str) -> Reading:
    """The links of each GPU; a GPU of which nothing is said (it is cut into MIG devices) is not in `nvlinks`."""
    gpus: dict[int, Gpu] = {}
    links: dict[int, Links] = {}
    owner: int | None = None
    is_whole = True
    for line in cells.lines(text):
        gpu = listed(line)
        if gpu and gpu.index is not None:
            owner = gpu.index if gpu.index not in gpus else None
            gpus.setdefault(gpu.index, gpu)
            is_whole &= ")" in line
        elif line.lstrip().startswith("GPU") or _ERROR.search(line):
            owner, is_whole = None, False
        is_whole &= not _CUT_LINK.fullmatch(line) or bool(_LINK.search(line))
        if owner is not None and not _add(line, owner, gpus, links):
            owner, is_whole = None, False
    return Reading(
        gpus=tuple(gpus.values()),
        nvlinks={index: tuple(speed for speed in messages.values() if speed) for index, messages in links.items()},
        nvlinks_down={index: down for index, messages in links.items() if (down := _down(messages))},
        vendor="NVIDIA" if gpus else None,
        is_driver_list=True,
        is_whole=is_whole and is_complete(gpus) and all(index in links or gpu.mig for index, gpu in gpus.items()),
        problems=tuple(_problem(index, messages) for index, messages in links.items() if _down(messages)),
    )


def _add(line: str, owner: int, gpus: dict[int, Gpu], links: dict[int, Links]) -> bool:
    """Add what a line says of a GPU; False where it must be another's, whose own line was lost."""
    if _IN_MIG.search(line):
        gpus[owner] = replace(gpus[owner], mig=True)
    elif _NONE.search(line):
        links.setdefault(owner, {})
    for found in _LINK.finditer(line):
        number, messages = int(found[1]), links.get(owner)
        if messages is not None and (not messages or number in messages):
            return False
        links.setdefault(owner, {})[number] = float(found[2]) if found[2] else None
    return True


def _down(messages: Mapping[int, float | None]) -> tuple[int, ...]:
    return tuple(number for number, speed in sorted(messages.items()) if speed is None)


def _problem(index: int, messages: Links) -> Problem:
    down = _down(messages)
    numbers = ", ".join(str(number) for number in down)
    return Problem(
        code="nvlink_down",
        where=f"GPU {index}",
        what=f"{len(down)} of {len(messages)} NVLinks are inactive: {numbers}",
        do=(
            "switch the rig off and reseat the NVLink bridge (with NVSwitch: look at `systemctl status "
            "nvidia-fabricmanager`), then look for NVLink in `journalctl -k -g NVRM`"
        ),
    )
