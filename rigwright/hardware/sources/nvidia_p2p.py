"""`nvidia-smi topo -p2p r|w|rw|n|a|p`: whether the driver lets two GPUs read and write each other's memory.

Source: the legend that the command prints; nvmlGpuP2PStatus_t of NVML.
"""

from __future__ import annotations

import re

from rigwright.hardware.reading import Pair, Reading
from rigwright.hardware.sources import cells
from rigwright.hardware.sources.matrix import gpu_index, matrices
from rigwright.hardware.values import Gpu, Problem

_STATUS = re.compile(r"OK|CNS|GNS|TNS|NS|DR|U")


def read(text: str) -> Reading:
    """The status of each pair as printed; of several matrices the first that names it. The GPUs are the matrix's."""
    statuses: dict[Pair, str] = {}
    problems: dict[Pair, Problem] = {}
    found = matrices(cells.lines(text), _STATUS)
    for matrix in found:
        present = set(matrix.gpus)
        for names, said in matrix.links().items():
            first, second = (gpu_index(name) for name in names)
            if first is None or second is None or not {first, second} <= present:
                continue
            pair = (min(first, second), max(first, second))
            if len(said) > 1:
                problems.setdefault(pair, _inconsistent(pair, said))
            else:
                statuses.setdefault(pair, said.pop())
    listed = sorted({index for matrix in found for index in matrix.gpus})
    return Reading(
        gpus=tuple(Gpu(index=index, vendor="NVIDIA") for index in listed),
        p2p=statuses,
        vendor="NVIDIA" if listed else None,
        is_driver_list=True,
        is_whole=any(matrix.is_whole and sorted(matrix.gpus) == listed for matrix in found)
        and listed == list(range(len(listed))),
        problems=tuple(problems.values()),
    )


def _inconsistent(pair: Pair, said: set[str]) -> Problem:
    return Problem(
        code="matrix_inconsistent",
        where=f"GPU {pair[0]} and GPU {pair[1]}",
        what=f"the two rows of the P2P matrix differ: {' and '.join(sorted(said))}",
        do="run `nvidia-smi topo -p2p rw` again and record all of its output",
    )
