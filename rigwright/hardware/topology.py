"""Which GPUs belong together: NVLink islands, the best groups of two and four, and the order that keeps them adjacent.

The ranking of a pair: NV# (more links first) and XGMI > PIX > PXB > PHB > NODE > SYS (SOC with old drivers) > not
recorded; then direct access that works, then the shorter way (AMD's weight), the same NUMA node, the wider PCIe link.
Only GPUs of one model that answer and are not cut into MIG devices are grouped. Groups of two are a maximum-weight
matching, so that no good pair is spent where it leaves two bad ones; groups of four are a matching of those pairs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from rigwright.hardware.links import (
    NVLINK_RANK,
    Group,
    islands,
    link_gbytes_per_second,
    outsiders,
    rank,
    xgmi_islands,
)
from rigwright.hardware.reading import Pair
from rigwright.hardware.values import Gpu, Hardware, Link

__all__ = ["Bottleneck", "Grouping", "group", "islands", "link_gbytes_per_second", "xgmi_islands"]


@dataclass(frozen=True)
class Bottleneck:
    """The slowest link inside a group; `gbytes_per_second` is one direction, None where nobody says."""

    group: Group
    first: int
    second: int
    kind: str | None
    gbytes_per_second: float | None


@dataclass(frozen=True)
class Grouping:
    """The groups of a rig by index: `pairs` (TP=2), `quads` (TP=4), and the `order` in which they are adjacent.

    `left_out` holds (index, why) of every GPU that is in no pair. `confidence` is high where every link was recorded.
    """

    pairs: tuple[Group, ...] = ()
    quads: tuple[Group, ...] = ()
    order: Group = ()
    left_out: tuple[tuple[int, str], ...] = ()
    bottlenecks: tuple[Bottleneck, ...] = ()
    confidence: Literal["high", "medium", "low"] = "low"
    because: str = "no link between GPUs was recorded"


def group(hardware: Hardware) -> Grouping:
    """The best groups over all GPUs that answer; see the module's first lines for the ranking."""
    table = _Links(hardware)
    usable = [gpu for gpu in hardware.gpus if gpu.index is not None and _is_usable(gpu, hardware)]
    outside = outsiders(hardware)
    whole = [gpu for gpu in usable if not gpu.mig and gpu.index not in outside]
    pairs: list[Group] = []
    quads: list[Group] = []
    for same in _by_model(whole):
        if len(same) > 2 and not table.has_evidence(same):
            continue  # any pair would be a guess
        found = _pairs(table, same)
        pairs += found
        quads += _quads(table, found)
    pairs, quads = sorted(pairs), sorted(quads)
    order = _order(pairs, quads, usable)
    left = _left_out(hardware, {index for pair in pairs for index in pair}, whole)
    confidence, because = _confidence(table, hardware, whole)
    slow = tuple(slowest for each in (*pairs, *quads) if (slowest := _bottleneck(table, hardware, each)))
    listed = tuple(_listed(table, quad) for quad in quads)
    return Grouping(tuple(pairs), listed, order, left, slow, confidence, because)


class _Links:
    """The links of a rig, and what each pair is worth."""

    def __init__(self, hardware: Hardware) -> None:
        self.links = {(link.first, link.second): link for link in hardware.links}
        self.gpus = {gpu.index: gpu for gpu in hardware.gpus if gpu.index is not None}

    def link(self, first: int, second: int) -> Link:
        pair = (min(first, second), max(first, second))
        return self.links.get(pair) or Link(*pair)

    def rank(self, first: int, second: int) -> int:
        return rank(self.link(first, second).kind)

    def has_evidence(self, gpus: Sequence[Gpu]) -> bool:
        links = [self.link(a, b) for a, b in combinations(_indexes(gpus), 2)]
        return any(link.kind or link.weight is not None for link in links) or all(
            gpu.numa_node is not None for gpu in gpus
        )

    def ties(self, first: int, second: int) -> tuple[int, int, int, int]:
        """What decides between links of one class: direct access (0-1), closeness (0-255), NUMA (0-2), lanes (0-16)."""
        a, b = self.gpus[first], self.gpus[second]
        link = self.link(first, second)
        lanes = [gpu.pcie.width_current or gpu.pcie.width_max or 0 for gpu in (a, b)]
        return int(link.p2p == "OK"), self.closeness(first, second), _nearness(a, b), min(*lanes, 16)

    def closeness(self, first: int, second: int) -> int:
        """255 less what the driver weighs the way between two GPUs with."""
        return 255 - min(self.link(first, second).weight or 0, 255)


def _pairs(table: _Links, gpus: Sequence[Gpu]) -> list[Group]:
    indexes = _indexes(gpus)
    cohesion = _cohesion(table, indexes)
    span = max(indexes, default=0) + 1
    weights = {}
    for a, b in combinations(indexes, 2):
        direct, close, near, lanes = table.ties(a, b)
        levels = [(direct, 1), (close, 255), (near, 2), (lanes, 16), (cohesion.get((a, b), 0), len(cohesion) + 1)]
        levels += [(span - (b - a), span), (2 * span - a - b, 2 * span)]
        weights[a, b] = _weight(table.rank(a, b), levels, pairs=len(indexes) // 2)
    return _matching(weights)


def _quads(table: _Links, pairs: Sequence[Group]) -> list[Group]:
    """Pairs joined by what lies between them: the weakest link first, then all four, then NUMA, then the index."""
    span = max((index for pair in pairs for index in pair), default=0) + 1
    weights = {}
    for one, other in combinations(range(len(pairs)), 2):
        between = [(a, b) for a in pairs[one] for b in pairs[other]]
        ranks = [table.rank(a, b) for a, b in between]
        close = sum(table.closeness(a, b) for a, b in between)
        near = sum(table.ties(a, b)[2] for a, b in between)
        apart = abs(pairs[one][0] - pairs[other][0])
        first = 2 * span - pairs[one][0] - pairs[other][0]
        levels = [(sum(ranks), 4 * 64), (close, 4 * 255), (near, 8), (span - apart, span), (first, 2 * span)]
        weights[one, other] = _weight(min(ranks), levels, pairs=len(pairs) // 2)
    return [(*pairs[one], *pairs[other]) for one, other in _matching(weights)]


def _cohesion(table: _Links, indexes: Sequence[int]) -> dict[Pair, int]:
    """How good the best quad around each pair is: of two equal matchings the one that keeps good quads wins."""
    ranks = {pair: table.rank(*pair) for pair in combinations(indexes, 2)}
    close = {pair: table.closeness(*pair) for pair in combinations(indexes, 2)}
    best: dict[Pair, tuple[int, int, int]] = {}
    for quad in combinations(indexes, 4):
        inside = list(combinations(quad, 2))
        found = [ranks[pair] for pair in inside]
        score = (min(found), sum(found), sum(close[pair] for pair in inside))
        for pair in inside:
            if score > best.get(pair, (-1, -1, -1)):
                best[pair] = score
    places = {score: place for place, score in enumerate(sorted(set(best.values())))}
    return {pair: places[score] for pair, score in best.items()}


def _weight(class_rank: int, levels: Iterable[tuple[int, int]], *, pairs: int) -> int:
    """One number in which a level counts only where all those before it are equal, summed over `pairs` pairs.

    `levels` holds (value, highest value).
    """
    weight: int = (pairs + 1) ** class_rank
    for value, highest in levels:
        weight = weight * (highest * pairs + 1) + value
    return weight


def _matching(weights: dict[Pair, int]) -> list[Group]:
    import networkx  # 0.1 s: only where a rig has GPUs to group

    graph: networkx.Graph[int] = networkx.Graph()
    graph.add_weighted_edges_from((a, b, weight) for (a, b), weight in weights.items())
    found = networkx.max_weight_matching(graph)
    return sorted((min(pair), max(pair)) for pair in found)


def _listed(table: _Links, quad: Group) -> Group:
    """A quad whose GPUs are all linked is told by index; any other pair after pair, because the pairs matter."""
    is_linked = all(table.rank(a, b) > NVLINK_RANK for a, b in combinations(quad, 2))
    return tuple(sorted(quad)) if is_linked else quad


def _order(pairs: Sequence[Group], quads: Sequence[Group], usable: Sequence[Gpu]) -> Group:
    """Quads pair by pair, then the other pairs, then single GPUs, then those that are cut into MIG devices."""
    placed = [index for quad in quads for index in quad]
    placed += [index for pair in pairs for index in pair if index not in placed]
    singles = sorted(usable, key=lambda gpu: (bool(gpu.mig), gpu.index))
    return tuple(placed + [index for index in _indexes(singles) if index not in placed])


def _left_out(hardware: Hardware, paired: set[int], whole: Sequence[Gpu]) -> tuple[tuple[int, str], ...]:
    models = [_model(gpu) for gpu in whole]
    outside = outsiders(hardware)
    found = []
    for gpu in hardware.gpus:
        if gpu.index is None or gpu.index in paired:
            continue
        if gpu.state in ("lost", "error"):
            reason = "lost" if gpu.state == "lost" else "reports errors"
        elif gpu.index in outside:
            reason = "its NVLinks are down"
        elif gpu.mig:
            reason = "cut into MIG devices"
        elif gpu not in whole:
            reason = "no driver answers for it"
        elif models.count(_model(gpu)) == 1 and len(models) > 1:
            reason = "no other of its model"
        elif models.count(_model(gpu)) > 2 and not paired:
            reason = "no link was recorded"
        else:
            reason = "no partner left" if len(models) != 1 else "the only GPU"
        found.append((gpu.index, reason))
    return tuple(found)


def _confidence(
    table: _Links, hardware: Hardware, whole: Sequence[Gpu]
) -> tuple[Literal["high", "medium", "low"], str]:
    pairs = list(combinations(_indexes(whole), 2))
    if not pairs:
        return "high", "there is nothing to group"
    recorded = sum(1 for pair in pairs if table.link(*pair).kind)
    if not recorded:
        return (
            ("medium", "by NUMA node: no link was recorded") if table.has_evidence(whole) else ("low", Grouping.because)
        )
    if recorded < len(pairs):
        return "medium", f"{len(pairs) - recorded} of {len(pairs)} links were not recorded"
    if any(gpu.name is None for gpu in whole):
        return "medium", "every link was recorded, the models were not"
    if all(gpu.state is None for gpu in whole):
        return "medium", "PCIe paths alone: NVLinks show only once a driver runs"
    return "high", "every link was recorded"


def _bottleneck(table: _Links, hardware: Hardware, members: Group) -> Bottleneck | None:
    links = [table.link(a, b) for a, b in combinations(members, 2)]
    rated = [(rank(link.kind), link_gbytes_per_second(hardware, link), link) for link in links]
    if not any(place for place, _, _ in rated):
        return None
    _, rate, link = min(rated, key=lambda row: (row[0], row[1] or 0.0))
    return Bottleneck(members, link.first, link.second, link.kind, rate)


def _by_model(gpus: Sequence[Gpu]) -> list[list[Gpu]]:
    models = dict.fromkeys(_model(gpu) for gpu in gpus)
    return [[gpu for gpu in gpus if _model(gpu) == model] for model in models]


def _model(gpu: Gpu) -> tuple[str | None, int | None]:
    """Cards of one name and size work at one pace; a name that was cut says no more than the PCI id."""
    gibibytes = round(gpu.vram_bytes / 2**30) if gpu.vram_bytes else None
    return gpu.pci_id if gpu.is_name_cut and gpu.pci_id else gpu.name, gibibytes


def _nearness(a: Gpu, b: Gpu) -> int:
    """2 on one NUMA node, 0 on two, 1 where that is not known. Old drivers print no node but the CPUs of each GPU."""
    if a.numa_node is not None and b.numa_node is not None:
        return 2 if a.numa_node == b.numa_node else 0
    if a.numa_affinity is None and b.numa_affinity is None and a.cpu_affinity and b.cpu_affinity:
        return 2 if a.cpu_affinity == b.cpu_affinity else 0
    return 1


def _is_usable(gpu: Gpu, hardware: Hardware) -> bool:
    """It answers; or no driver was asked, and nothing speaks against it."""
    return gpu.state == "ok" or (gpu.state is None and hardware.gpu_count is not None)


def _indexes(gpus: Iterable[Gpu]) -> list[int]:
    return [gpu.index for gpu in gpus if gpu.index is not None]
