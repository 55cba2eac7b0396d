"""`lsmod`, `/proc/modules`: which kernel modules are loaded, and whether something has a GPU open.

Source: lsmod(8) of kmod 30 and 34; proc_modules(5): name, size, uses, who uses it, state, address.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from rigwright.hardware.reading import Reading
from rigwright.hardware.sources import cells, software_text

_HEADER = re.compile(r"\s*Module\s+Size\s+Used by\s*")
_ROW = re.compile(
    r"\s*(?P<name>[a-z0-9][\w-]{1,60})\s+(?P<size>[0-9]{3,10})\s+(?P<uses>-?[0-9]{1,6})(?:\s+(?P<by>.*?))?\s*"
)
_STATE = re.compile(r"\b(?:Live|Loading|Unloading)\b")
_RELEVANT = re.compile(r"nvidia|nouveau|nova|ib_umad|ib_core|mlx5|vfio|gdrdrv|amdgpu|nvlink")
_ASKED = r"(?:/s?bin/)?lsmod|cat /proc/modules"


def read(text: str) -> Reading:
    """The modules of GPUs and their fabric; without NVIDIA's, none of its versions runs.

    A whole list has its header, or the addresses of /proc/modules; `nvidia_uvm 4` in `users` are four open devices.
    """
    lines = cells.lines(text)
    has_header = any(_HEADER.fullmatch(line) for line in lines)
    rows = [row for line in lines if (row := _ROW.fullmatch(line)) and not line.lstrip()[:1].isdigit()]
    has_states = any(_STATE.search(row["by"] or "") for row in rows)
    command = software_text.asked(text, _ASKED)
    if not rows and not has_header and text.strip() and not command:
        return Reading()
    names = tuple(dict.fromkeys(row["name"].replace("-", "_") for row in rows))
    is_whole = (has_header or has_states) and not software_text.has_filter(command) and not _is_grepped(names)
    has_nvidia = "nvidia" in names
    answered = [
        "loaded_modules",
        *(["users"] if has_nvidia else []),
        *(["loaded"] if is_whole and not has_nvidia else []),
    ]
    return software_text.answer(
        *answered,
        partial=[] if is_whole else ["loaded_modules"],
        loaded_modules=tuple(name for name in names if _RELEVANT.search(name)),
        users=tuple(_users(rows)),
    )


def _is_grepped(names: tuple[str, ...]) -> bool:
    """Whether a grep with its header left nothing but modules of GPUs: no machine has these alone."""
    return bool(names) and all(_RELEVANT.search(name) for name in names)


def _users(rows: list[re.Match[str]]) -> Iterator[str]:
    """Uses of NVIDIA's modules beyond those of each other: what has a device open."""
    for row in rows:
        name = row["name"].replace("-", "_")
        if not name.startswith("nvidia"):
            continue
        by = [one for one in re.split(r"[,\s]+", _STATE.split(row["by"] or "")[0]) if one not in ("", "-")]
        uses = int(row["uses"]) - len([one for one in by if re.fullmatch(r"[a-z][\w-]*", one)])
        if uses > 0:
            yield f"{name} {uses}"
