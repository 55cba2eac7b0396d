"""numactl -H: the memory and the CPUs of each NUMA node."""

from __future__ import annotations

import re

from rigwright.hardware.reading import Reading
from rigwright.hardware.sources import cells, lscpu
from rigwright.hardware.values import NumaNode

_LINE = re.compile(r"\s*node\s+([0-9]{1,4})\s+(cpus|size):(.*)")
_SIZE = re.compile(r"\s*([0-9]{1,12})\s*MB\s*")
_MIB = 1024**2


def read(text: str) -> Reading:
    """NUMA nodes; their "MB" are MiB. Source: numactl 2.0.19, numactl.c: sizes are printed shifted right by 20 bits."""
    cpus: dict[int, tuple[int, ...]] = {}
    sizes: dict[int, int] = {}
    for line in cells.lines(text):
        found = _LINE.fullmatch(line)
        size = _SIZE.fullmatch(found[3]) if found else None
        if found and found[2] == "cpus":
            cpus.setdefault(int(found[1]), lscpu.cpu_list(found[3]))
        elif found and size:
            sizes.setdefault(int(found[1]), int(size[1]) * _MIB)
    nodes = sorted({*cpus, *sizes})
    return Reading(numa=tuple(NumaNode(node, cpus.get(node, ()), sizes.get(node)) for node in nodes))
