"""`nvidia-smi topo -m`: how GPUs and network adapters reach each other, their CPUs and NUMA nodes.

Source: the legend that the command prints; recorded machines, drivers 375 to 610.
"""

from __future__ import annotations

import re

from rigwright.hardware.reading import Pair, Reading
from rigwright.hardware.sources import cells
from rigwright.hardware.sources.matrix import Matrix, Row, gpu_index, matrices
from rigwright.hardware.sources.matrix_mended import mended
from rigwright.hardware.values import Gpu, Nic, Problem

_KIND = re.compile(r"NV[1-9][0-9]?|PIX|PXB|PHB|NODE|SYS|SOC")
# A row of `nvidia-smi topo -p2p`, which is a matrix of its own.
_P2P = re.compile(r"\s*GPU[0-9]{1,3}\s(?:.*\s)?(?:OK|CNS|GNS|TNS|NS|DR)(?:\s|$)")
_LEGEND = re.compile(r"\s*(NIC[0-9]{1,3}):\s*([A-Za-z0-9_.:-]{1,32})\s*")
_LIST = re.compile(r"[0-9]{1,5}(?:[-,][0-9]{1,5})*")
_WIDTHS = (60, 400)  # of a terminal
_NODE = re.compile(r"[0-9]{1,5}")
_ERROR = re.compile(r"unable to determine|failed to|couldn't communicate", re.IGNORECASE)


def read(text: str) -> Reading:
    """The matrix: a GPU is one that has both a column and a row."""
    lines = [line for line in cells.lines(text) if not _P2P.match(line)]
    found = _matrices(lines)
    for version in (_joined(lines), *mended(lines)):
        other = _matrices(version)
        if len(other) == 1 and other[0].is_whole and _told(other) > _told(found):
            lines, found = version, other
    gpus: dict[int, Gpu] = {}
    kinds: dict[Pair, str] = {}
    nics: dict[str, dict[int, str]] = {}
    problems: dict[tuple[str, str], Problem] = {}
    for matrix in found:
        for index in matrix.gpus:
            gpus.setdefault(index, _gpu(index, matrix.rows[f"GPU{index}"]))
        for nic in matrix.nics:
            nics.setdefault(nic, {})
        for pair, said in matrix.links().items():
            if len(said) > 1:
                problems.setdefault(pair, _inconsistent(pair, said))
            else:
                _keep(matrix, pair, said.pop(), kinds, nics)
    return Reading(
        gpus=tuple(gpus[index] for index in sorted(gpus)),
        kinds=kinds,
        nics=_named(nics, lines),
        vendor="NVIDIA" if gpus else None,
        is_driver_list=True,
        is_whole=_is_whole(lines, found, sorted(gpus)),
        unread=tuple(dict.fromkeys(part for matrix in found for part in matrix.unread())),
        problems=tuple(problems.values()),
    )


def _matrices(lines: list[str]) -> list[Matrix]:
    return matrices(lines, _KIND)


def _told(found: list[Matrix]) -> tuple[bool, int]:
    """How much a reading of the lines tells: whether a matrix is whole, and how many values it has."""
    rows = [row for matrix in found for row in matrix.rows.values()]
    values = sum(len(row.cells) + sum(map(bool, row.tail.values())) for row in rows)
    return any(matrix.is_whole for matrix in found), values + sum(len(matrix.nics) for matrix in found)


def _joined(lines: list[str]) -> list[str]:
    """The lines before a terminal broke them at its width, nothing where it broke none.

    A header that goes on in the next line is as wide as the terminal, as are all the lines that go on.
    """
    top = next((number for number, line in enumerate(lines) if line.split(maxsplit=1)[:1] == ["GPU0"]), None)
    width = len(lines[top]) if top is not None else 0
    if (
        top is None
        or not _WIDTHS[0] <= width <= _WIDTHS[1]
        or "\t" in lines[top]
        or "GPU0" in "".join(lines[top + 1 : top + 2])
    ):
        return []
    joined, is_open = lines[:top], False
    for line in lines[top:]:
        joined[len(joined) - is_open :] = [joined[-1] + line if is_open else line]
        is_open = len(line) == width
    return joined


def _gpu(index: int, row: Row) -> Gpu:
    cpus, nodes, memory = (row.tail.get(name, "") for name in ("CPU Affinity", "NUMA Affinity", "GPU NUMA ID"))
    is_node = bool(_NODE.fullmatch(nodes))
    return Gpu(
        index=index,
        vendor="NVIDIA",
        cpu_affinity=cpus if _LIST.fullmatch(cpus) else None,
        numa_node=int(nodes) if is_node else None,
        numa_affinity=nodes if _LIST.fullmatch(nodes) and not is_node else None,
        numa_memory_node=int(memory) if _NODE.fullmatch(memory) else None,
    )


def _keep(
    matrix: Matrix, pair: tuple[str, str], kind: str, kinds: dict[Pair, str], nics: dict[str, dict[int, str]]
) -> None:
    first, second = (gpu_index(name) for name in pair)
    if first is not None and second is not None:
        if f"GPU{first}" in matrix.rows and f"GPU{second}" in matrix.rows:
            kinds.setdefault((min(first, second), max(first, second)), kind)
    elif first is not None and pair[1] in nics and f"GPU{first}" in matrix.rows:
        nics[pair[1]].setdefault(first, kind)


def _named(nics: dict[str, dict[int, str]], lines: list[str]) -> tuple[Nic, ...]:
    """The adapters under the names that the NIC legend gives them, where there is one."""
    legend = {found[1]: found[2] for line in lines if (found := _LEGEND.fullmatch(line))}
    return tuple(Nic(legend.get(name, name), kinds) for name, kinds in nics.items())


def _is_whole(lines: list[str], found: list[Matrix], gpus: list[int]) -> bool:
    has_error = any(_ERROR.search(line) for line in lines)
    is_one_whole = any(matrix.is_whole and sorted(matrix.gpus) == gpus for matrix in found)
    return bool(gpus) and is_one_whole and gpus == list(range(len(gpus))) and not has_error


def _inconsistent(pair: tuple[str, str], said: set[str]) -> Problem:
    return Problem(
        code="matrix_inconsistent",
        where=" and ".join(f"GPU {index}" if (index := gpu_index(name)) is not None else name for name in pair),
        what=f"the two rows of the topology matrix differ: {' and '.join(sorted(said))}",
        do="run `nvidia-smi topo -m` again and record all of its output",
    )
