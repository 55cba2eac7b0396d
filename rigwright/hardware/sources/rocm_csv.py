"""`rocm-smi … --csv`: a header that begins with `device`, a row per card.

Source: rocm-smi of ROCm 5 to 7 as pasted in public issues; a comma within a name shifts the row, which is left out.
"""

from __future__ import annotations

import re

from rigwright.hardware.reading import Reading
from rigwright.hardware.sources import cells, rocm_text

_CARD = re.compile(r"card([0-9]{1,3})")


def read(text: str) -> Reading:
    """The cards whose rows have as many cells as the header; whole where none was left out."""
    header: list[str] = []
    gpus = {}
    is_whole = True
    for line in cells.lines(text):
        row = [cell.strip() for cell in line.split(",")]
        card = _CARD.fullmatch(row[0])
        if row[0] == "device" and len(row) > 1:
            header = [name.lower() for name in row]
        elif card and header:
            gpu = rocm_text.gpu(int(card[1]), dict(zip(header, row, strict=False))) if len(row) == len(header) else None
            is_whole &= gpu is not None
            if gpu:
                gpus[int(card[1])] = gpu
    return Reading(
        gpus=tuple(gpus[index] for index in sorted(gpus)),
        vendor="AMD" if gpus else None,
        is_driver_list=True,
        is_whole=is_whole and bool(gpus) and sorted(gpus) == list(range(len(gpus))),
    )
