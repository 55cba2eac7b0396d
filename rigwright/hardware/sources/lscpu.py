"""lscpu: the processors and which of them belong to which NUMA node."""

from __future__ import annotations

import re

from rigwright.hardware.reading import Reading
from rigwright.hardware.sources import cells
from rigwright.hardware.values import Cpu, NumaNode

MAX_CPU = 8192  # Source: CONFIG_NR_CPUS goes up to 8192 (x86, Linux 6.12)
_NODE = re.compile(r"NUMA node([0-9]{1,4}) CPU\(s\)")
_RANGE = re.compile(r"([0-9]{1,7})(?:-([0-9]{1,7}))?")
_JSON = re.compile(r'"field"\s{0,9}:\s{0,9}"([^"\n]{1,80})"\s{0,99},\s{0,99}"data"\s{0,9}:\s{0,9}(?:"([^"\n]*)"|null)')


def cpu_list(text: str) -> tuple[int, ...]:
    """`0-7,16-23` (or numbers parted by blanks) as CPU numbers, in order; what is no CPU number is left out."""
    cpus: set[int] = set()
    for part in re.split(r"[,\s]+", text.strip()):
        found = _RANGE.fullmatch(part)
        if found:
            last = int(found[2] or found[1])
            cpus.update(range(int(found[1]), last + 1) if last < MAX_CPU else ())
    return tuple(sorted(cpus))


def read(text: str) -> Reading:
    """CPU and NUMA nodes from lscpu, plain or -J. Source: util-linux 2.41; nodes without CPUs as recorded on GH200."""
    facts: dict[str, str] = {}
    nodes: dict[int, NumaNode] = {}
    for key, value in _pairs(text):
        facts.setdefault(key, value)
        node = _NODE.fullmatch(key)
        if node:
            nodes.setdefault(int(node[1]), NumaNode(int(node[1]), cpu_list(value)))
    return Reading(cpu=_cpu(facts), numa=tuple(nodes[node] for node in sorted(nodes)))


def _pairs(text: str) -> list[tuple[str, str]]:
    lines = cells.lines(text)
    if '"lscpu"' in text:
        return [(key.strip().rstrip(":"), value.strip()) for key, value in _JSON.findall("\n".join(lines))]
    parted = (line.partition(":") for line in lines)
    return [(key.strip(), value.strip()) for key, colon, value in parted if colon]


def _count(facts: dict[str, str], key: str) -> int | None:
    value = cells.whole(facts.get(key, ""))
    return value if value is not None and 0 < value <= MAX_CPU else None


def _cpu(facts: dict[str, str]) -> Cpu | None:
    """Cores per socket times sockets; where those lines are missing, threads divided by threads per core."""
    model, logical, sockets = facts.get("Model name"), _count(facts, "CPU(s)"), _count(facts, "Socket(s)")
    cores = _count(facts, "Core(s) per socket")
    threads = _count(facts, "Thread(s) per core")
    physical = cores * (sockets or 1) if cores else logical // threads if logical and threads else None
    logical = logical or (physical * threads if physical and threads else None)
    if not (model or logical):
        return None
    return Cpu(model=(model or "unknown")[:120], physical_cores=physical, logical_cores=logical, sockets=sockets)
