"""Where everything of a rig's drawing stands. NUMA nodes are panels, their GPUs cards in rows.

Rows stand in tiers: two rows face each other with their NVLinks in the lane between them, and turn their PCIe side
outwards, so that the two kinds of lines never cross. GPUs stand in the order of the groups, so that a group
is adjacent and its lines are short.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rigwright.hardware.topology import Grouping
from rigwright.hardware.values import Hardware
from rigwright.view.drawing.adapters import assign, stack
from rigwright.view.drawing.parts import MARGIN, NIC_WIDTH, PAD, Band, Bar, Card, Layout, Row, Tier
from rigwright.view.drawing.tree import Branch, Kind, pcie_tree
from rigwright.view.hardware_words import pcie_words


def lay_out(hardware: Hardware, grouping: Grouping, kind: Kind) -> Layout:
    """Place the cards; heights follow once the lanes between the bands are known. `kind` goes by place."""
    panels = _panels(hardware, grouping)
    per_row = _per_row([len(places) for places in panels.values()])
    width, gap = (140.0, 42.0) if per_row <= 5 else (116.0, 42.0)
    height = _card_height(hardware)
    cards = {place: Card(place, gpu, width, height) for place, gpu in enumerate(hardware.gpus)}
    bands = list(_bands(panels, per_row, cards, kind))
    tiers = list(_tiers(bands))
    for tier in tiers:
        if tier.lower:
            _face(tier.upper, tier.lower, kind)
    elsewhere = assign(hardware, bands)
    left = MARGIN + (
        26.0 if sum(1 for band in bands for row in band.rows if row.is_first) > 1 and len(bands) > 1 else 0
    )
    grouped = {index for group in grouping.pairs for index in group}
    for band in bands:
        band.halo = 46.0 if any(card.gpu.index in grouped for row in band.rows for card in row.cards) else 16.0
        x = left
        for row in band.rows:
            _place(row, x, width, gap)
            x += row.width + 58.0
    for number, tier in enumerate(tiers):
        for band in filter(None, (tier.upper, tier.lower)):
            band.is_up = band is tier.upper
            for card in (card for row in band.rows for card in row.cards):
                card.tier, card.is_up = number, band.is_up
    right = max((row.x + row.width for band in bands for row in band.rows), default=0.0)
    return Layout(cards, tiers, elsewhere, max(right + MARGIN, 640.0))


def _panels(hardware: Hardware, grouping: Grouping) -> dict[int | None, list[int]]:
    rank: dict[int | None, int] = {index: place for place, index in enumerate(grouping.order)}
    order = sorted(
        range(len(hardware.gpus)),
        key=lambda place: (rank.get(hardware.gpus[place].index, len(rank)) if rank else 0, place),
    )
    nodes = {gpu.numa_node for gpu in hardware.gpus}
    panels: dict[int | None, list[int]] = {node: [] for node in sorted(node for node in nodes if node is not None)}
    for place in order:
        panels.setdefault(hardware.gpus[place].numa_node, []).append(place)
    return panels


def _per_row(sizes: Sequence[int]) -> int:
    """Cards beside each other: four, as a group of four is; five for five, eight where there are more than eight."""
    if sum(sizes) > 8:
        return 8
    return 5 if max(sizes, default=0) == 5 else 4


def _card_height(hardware: Hardware) -> float:
    """Low cards where nothing is known to stand on them."""
    if any(
        gpu.vram_bytes or gpu.pci_address or gpu.mig or pcie_words(gpu.pcie) or gpu.state != "ok"
        for gpu in hardware.gpus
    ):
        return 92.0
    return 56.0 if any(gpu.name for gpu in hardware.gpus) else 42.0


def _face(upper: Band, lower: Band, kind: Kind) -> None:
    """Turn pairs and quads of the lower row so that its links to the upper one run straight down."""
    column = {card.place: number for number, card in enumerate(card for row in upper.rows for card in row.cards)}
    start = 0
    for row in lower.rows:
        turned: list[Card] = []
        for first in range(0, len(row.cards), 4):
            quad = row.cards[first : first + 4]
            places = range(start + first, start + first + len(quad))
            turns = list(_turns(quad))
            costs = [_crossing(order, places, column, kind) for order in turns]
            turned += turns[costs.index(min(costs))]
        start += len(row.cards)
        row.cards[:] = turned


def _turns(quad: list[Card]) -> Iterator[list[Card]]:
    """The orders that keep the pairs of a quad adjacent, the one that it has first."""
    one, other = quad[:2], quad[2:]
    for a, b in ((one, other), (other, one)) if len(quad) == 4 else ((one, other),):
        for left in (a, a[::-1]):
            for right in (b, b[::-1]):
                yield left + right


def _crossing(order: Sequence[Card], places: Iterable[int], column: dict[int, int], kind: Kind) -> int:
    linked = (
        abs(place - at)
        for card, place in zip(order, places, strict=True)
        for other, at in column.items()
        if (kind(card.place, other) or "").startswith(("NV", "XGMI"))
    )
    return sum(linked)


def _bands(panels: dict[int | None, list[int]], per_row: int, cards: dict[int, Card], kind: Kind) -> Iterator[Band]:
    pending: list[Row] = []
    for node, places in panels.items():
        rows = [places[start : start + per_row] for start in range(0, len(places), per_row)]
        root = pcie_tree(places, kind, 2 if len(rows) == 1 else 0)
        made = [
            Row(
                node,
                [cards[place] for place in row],
                pcie_tree(row, kind, root.level),
                root,
                number == 0,
                len(rows) == 1,
            )
            for number, row in enumerate(rows)
        ]
        if pending and (len(made) > 1 or sum(len(row.cards) for row in pending) + len(places) > per_row):
            yield Band(pending)
            pending = []
        if len(made) > 1:
            yield from (Band([row]) for row in made)
        else:
            pending += made
    if pending:
        yield Band(pending)


def _tiers(bands: Sequence[Band]) -> Iterator[Tier]:
    rest = list(bands)
    while rest:
        upper = rest.pop(0)
        starts_rows = bool(rest) and rest[0].rows[0].is_first and not rest[0].rows[0].is_only
        yield Tier(upper, rest.pop(0) if rest and not starts_rows else None)


def _place(row: Row, x: float, width: float, gap: float) -> None:
    row.x = x
    for number, card in enumerate(row.cards):
        card.x = x + PAD + number * (width + gap)
    slots = [(one.centre + other.centre) / 2 for one, other in zip(row.cards, row.cards[1:], strict=False)]
    end = row.cards[-1].x + width
    if row.adapters and (not slots or len({adapter.closest for adapter in row.adapters}) > len(slots)):
        slots.append(row.cards[-1].centre + (width + gap) / 2)
        end = slots[-1] + NIC_WIDTH / 2
    row.width = max(end + PAD - x, 200.0)
    row.bars = _bars(row)
    stack(row, slots)


def _bars(row: Row) -> list[Bar]:
    centre = {card.place: card.centre for card in row.cards}
    bars: list[Bar] = []

    def visit(branch: Branch) -> int:
        depth = 1 + max((visit(child) for child in branch.children if child.children), default=0)
        if branch is row.tree:
            return depth
        left, right = min(centre[m] for m in branch.members) - 34, max(centre[m] for m in branch.members) + 34
        while any(bar.depth == depth and bar.left < right + 8 and left < bar.right + 8 for bar in bars):
            depth += 1
        bars.append(Bar(branch, depth, left, right))
        return depth

    visit(row.tree)
    return bars
