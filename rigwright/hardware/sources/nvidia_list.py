"""`nvidia-smi -L`: index, name and UUID of each GPU, and the MIG devices of each.

Source: recorded machines, drivers 470 to 595; `nvidia-smi -L` of a GPU cut with compute instances (H200, driver 590).
"""

from __future__ import annotations

import re
from dataclasses import replace

from rigwright.hardware.models import find
from rigwright.hardware.reading import Reading
from rigwright.hardware.sources import cells
from rigwright.hardware.values import Gpu

_GPU = re.compile(r"\s*GPU (0|[1-9][0-9]{0,2}): (\S.*)")
# Wherever it stands in a line: a log may have put something before it.
_LISTED = re.compile(r"(?<![\w-])GPU (0|[1-9][0-9]{0,2}): ((?:(?!GPU [0-9])[^:])+\(UUID: .*)")
_UUID = "(UUID: "
_MIG = re.compile(r"\s*MIG ((?:[0-9]+c\.)?[0-9]+g\.[0-9]+gb\S*)\s+Device\s+[0-9]+:.*")
_ERROR = re.compile(r"unable to determine|failed|unknown error|is lost|couldn't communicate", re.IGNORECASE)


def read(text: str) -> Reading:
    """The driver's list; lines between the GPUs that are none make it no whole list."""
    gpus: dict[int, Gpu] = {}
    is_whole = True
    owner: int | None = None
    for line in _with_uuids(text):
        gpu, mig = listed(line), _MIG.fullmatch(line)
        if gpu and gpu.index is not None:
            owner = gpu.index if gpu.index not in gpus else None
            is_whole &= gpus.setdefault(gpu.index, gpu).uuid == gpu.uuid and line.rstrip().endswith(")")
        elif mig and owner is not None:
            gpus[owner] = replace(gpus[owner], mig=True, mig_devices=(*gpus[owner].mig_devices, mig[1]))
        elif _GPU.match(line) or _ERROR.search(line):
            is_whole, owner = False, None
    return Reading(
        gpus=tuple(gpus.values()),
        vendor="NVIDIA" if gpus else None,
        is_driver_list=True,
        is_whole=is_whole and is_complete(gpus),
    )


def listed(line: str) -> Gpu | None:
    """The GPU that a line `GPU 0: NVIDIA L40S (UUID: GPU-…)` names; its UUID is None where it was cut or masked."""
    found = _LISTED.search(line)
    name, is_named, rest = found[2].partition(_UUID) if found else ("", "", "")
    if not found or not is_named or not name.strip():
        return None
    return Gpu(index=int(found[1]), name=name.strip(), uuid=cells.uuid(rest.partition(")")[0]), vendor="NVIDIA")


def _with_uuids(text: str) -> list[str]:
    """The lines; those of a list from which the UUIDs were taken away get an empty one where they name a known model.

    The last word of a text may be cut (`NVIDIA L40` of an L40S): it counts where a line before says the same.
    """
    lines = cells.lines(text)
    if "(U" in text:
        return lines
    named = [(found[2].strip() if (found := _GPU.match(line)) else "") for line in lines]
    known = [bool(name) and "(" not in name and find(name) is not None for name in named]
    known[-1] = known[-1] and named[-1] in named[:-1]
    return [f"{line} {_UUID})" if is_known else line for line, is_known in zip(lines, known, strict=True)]


def is_complete(indexes: dict[int, Gpu]) -> bool:
    """Whether the indexes run from 0 with none missing; the driver leaves out those of GPUs that it lost."""
    return bool(indexes) and sorted(indexes) == list(range(len(indexes)))
