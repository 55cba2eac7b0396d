"""`transfer.csv`: what copies between RAM and each GPU reached, measured by `rigwright hardware --under-load`."""

from __future__ import annotations

import re

from rigwright.hardware.reading import Reading
from rigwright.hardware.sources.cells import lines
from rigwright.hardware.values import Gpu

_ROW = re.compile(r"([0-9]{1,3}), ([0-9]{1,5}\.[0-9]{1,3}), ([0-9]{1,5}\.[0-9]{1,3})")


def read(text: str) -> Reading:
    """Rows of `index, host_to_device_gbytes_per_second, device_to_host_gbytes_per_second`; the first way counts."""
    rows = [found for line in lines(text) if (found := _ROW.fullmatch(line.strip()))]
    return Reading(gpus=tuple(Gpu(index=int(row[1]), copied_gbytes_per_second=float(row[2])) for row in rows))
