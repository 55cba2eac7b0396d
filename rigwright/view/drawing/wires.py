"""The lane between two rows of cards: NVLinks as wires on tracks of their own, or one bus where all pairs are alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from rigwright.hardware.links import nvlinks_of
from rigwright.view.drawing.canvas import Point, text_width
from rigwright.view.drawing.parts import Card, Layout

TRACK, BUS = 24.0, 46.0
# More wires than this are a hairball; a bus says the same.
MOST_WIRES = 18

Edge = tuple[int, int, str]


@dataclass
class Wire:
    """One NVLink or XGMI connection; `points` run from card to card, `label_at` is the middle of its label."""

    first: Card
    second: Card
    kind: str
    label: str
    ports: tuple[float, float] = (0.0, 0.0)
    track: int = 0
    points: list[Point] = field(default_factory=list)
    label_at: Point = (0.0, 0.0)

    @property
    def is_cross(self) -> bool:
        """Whether it joins the upper and the lower row."""
        return self.first.is_up != self.second.is_up

    @property
    def span(self) -> tuple[float, float]:
        """Its reach from left to right, with its label where it stands upright."""
        left, right = min(self.ports), max(self.ports)
        half = text_width(self.label, 10, is_bold=True) / 2 + 6 if self.is_cross else 0.0
        return min(left, (left + right) / 2 - half), max(right, (left + right) / 2 + half)


@dataclass
class Bus:
    """GPUs that reach each other alike, drawn as one bar."""

    cards: list[Card]
    kind: str
    label: str
    track: int = 0
    y: float = 0.0

    @property
    def span(self) -> tuple[float, float]:
        """Its reach from left to right."""
        centres = [card.centre for card in self.cards]
        return min(centres) - 40, max(centres) + 40


@dataclass
class Lane:
    """What lies between the two rows of a tier."""

    wires: list[Wire] = field(default_factory=list)
    buses: list[Bus] = field(default_factory=list)

    def tracks(self, *, is_up: bool) -> int:
        """How many tracks the wires along one row need."""
        return max(
            (wire.track + 1 for wire in self.wires if not wire.is_cross and wire.first.is_up == is_up), default=0
        )

    @property
    def middle(self) -> float:
        """The height of the part between the tracks of both rows."""
        cross = max((wire.track + 1 for wire in self.wires if wire.is_cross), default=0)
        buses = max((bus.track + 1 for bus in self.buses), default=0)
        return cross * TRACK + buses * BUS + (16 if cross else 0)

    def margin(self, *, is_up: bool) -> float:
        """The height of the tracks along one row."""
        count = self.tracks(is_up=is_up)
        return count * TRACK + 8 if count else 0.0


def lanes(layout: Layout, edges: Sequence[Edge], label: Callable[[Edge], str]) -> list[Lane]:
    """One lane for each tier, with tracks and ports; `route` sets the heights."""
    found = [Lane() for _ in layout.tiers]
    for island in _islands(edges):
        inside = [edge for edge in edges if edge[0] in island]
        cards = [layout.cards[place] for place in island]
        if _is_bus(island, inside, cards):
            for number, lane in enumerate(found):
                if here := [card for card in cards if card.tier == number]:
                    lane.buses.append(Bus(here, inside[0][2], _bus_label(island, inside, label)))
        else:
            wires = [Wire(layout.cards[a], layout.cards[b], kind, label((a, b, kind))) for a, b, kind in inside]
            found[cards[0].tier].wires += wires
    for lane in found:
        _set_ports(lane.wires)
        for is_up in (True, False):
            _set_tracks([wire for wire in lane.wires if not wire.is_cross and wire.first.is_up == is_up])
        bent = [wire for wire in lane.wires if wire.is_cross]
        _set_tracks(bent)
        _set_tracks(lane.buses)
    return found


def route(lane: Lane, top: float, bottom: float) -> None:
    """Set the heights: `top` and `bottom` are those of the part between the tracks of both rows."""
    for bus in lane.buses:
        bus.y = top + (bus.track + 0.5) * BUS
    buses = max((bus.track + 1 for bus in lane.buses), default=0) * BUS
    for wire in lane.wires:
        (x1, x2), (y1, y2) = wire.ports, (wire.first.inner, wire.second.inner)
        if wire.is_cross:
            y = top + buses + 8 + (wire.track + 0.5) * TRACK
        else:
            step = 36.0 + wire.track * TRACK
            y = y1 + step if wire.first.is_up else y1 - step
        wire.points = [(x1, y1), (x1, y), (x2, y), (x2, y2)] if abs(x1 - x2) > 0.5 else [(x1, y1), (x1, y2)]
    for wire in lane.wires:
        wire.label_at = _label_at(wire, lane.wires, top + buses + 8)


def _label_at(wire: Wire, wires: Iterable[Wire], cross_top: float) -> Point:
    """The middle of the wire, or the place next to it where no other wire runs through the label."""
    (left, right), half = sorted(wire.ports), text_width(wire.label, 10, is_bold=True) / 2 + 9
    if len(wire.points) == 2:
        return left, cross_top + (wire.track + 0.5) * TRACK
    y = wire.points[1][1]
    crossing = [x for other in wires if other is not wire for x, low, high in _verticals(other) if low < y < high]
    middle = (left + right) / 2
    for shift in (0, 12, -12, 24, -24, 36, -36, 48, -48, 64, -64, 80, -80, 100, -100, 130, -130, 160, -160):
        x = middle + shift
        if left + half <= x <= right - half and all(abs(x - other) > half for other in crossing):
            return x, y
    return middle, y


def _verticals(wire: Wire) -> list[tuple[float, float, float]]:
    pairs = zip(wire.points, wire.points[1:], strict=False)
    return [(a[0], min(a[1], b[1]), max(a[1], b[1])) for a, b in pairs if a[0] == b[0]]


def _set_ports(wires: Sequence[Wire]) -> None:
    """Spread the wires of a card over its edge: leftward ones at the left, the nearest target outermost."""
    ends: dict[int, list[tuple[Card, Card, Wire]]] = {}
    for wire in wires:
        ends.setdefault(wire.first.place, []).append((wire.first, wire.second, wire))
        ends.setdefault(wire.second.place, []).append((wire.second, wire.first, wire))
    x: dict[tuple[int, int], float] = {}
    for place, leaving in ends.items():
        leaving.sort(key=lambda end: _side(end[0], end[1]))
        step = min(22.0, (leaving[0][0].width - 20) / len(leaving))
        for number, (card, _, wire) in enumerate(leaving):
            shift = 7.0 if wire.is_cross and not card.is_up and abs(wire.first.centre - wire.second.centre) > 1 else 0.0
            x[place, id(wire)] = shift + card.centre + (number - (len(leaving) - 1) / 2) * step
    for wire in wires:
        wire.ports = x[wire.first.place, id(wire)], x[wire.second.place, id(wire)]


def _side(card: Card, target: Card) -> tuple[int, float]:
    if card.is_up != target.is_up:
        return 1, target.centre
    return (0 if target.centre < card.centre else 2), -target.centre


def _set_tracks(things: Sequence[Wire | Bus]) -> None:
    """Short ones nearest to the cards; what overlaps gets a track of its own. A straight wire needs none."""
    taken: list[list[tuple[float, float]]] = []
    for thing in sorted(things, key=lambda thing: (thing.span[1] - thing.span[0], thing.span)):
        left, right = thing.span
        free = (n for n, spans in enumerate(taken) if all(right + 10 < low or high + 10 < left for low, high in spans))
        thing.track = next(free, len(taken))
        if thing.track == len(taken):
            taken.append([])
        taken[thing.track].append((left, right))


def _is_bus(island: Sequence[int], inside: Sequence[Edge], cards: Sequence[Card]) -> bool:
    is_complete = len(inside) == len(island) * (len(island) - 1) // 2
    is_alike = is_complete and len({kind for _, _, kind in inside}) == 1 and len(island) > 3
    return is_alike or len(inside) > MOST_WIRES or len({card.tier for card in cards}) > 1


def _bus_label(island: Sequence[int], inside: Sequence[Edge], label: Callable[[Edge], str]) -> str:
    pairs = len(island) * (len(island) - 1) // 2
    kinds = Counter(kind for _, _, kind in inside)
    if len(kinds) == 1 and len(inside) == pairs:
        return f"every pair {label(inside[0])}"
    return ", ".join(f"{count} pairs {kind}" for kind, count in kinds.most_common()) + f" of {pairs} pairs"


def _islands(edges: Iterable[Edge]) -> list[list[int]]:
    found: list[set[int]] = []
    for a, b, _ in edges:
        joined = {a, b}.union(*(island for island in found if island & {a, b}))
        found = [island for island in found if not island & joined] + [joined]
    return sorted(sorted(island) for island in found)


def wire_width(kind: str) -> float:
    """Thicker with the number of links, as far as an eye can tell them."""
    return min(1.6 + 1.1 * nvlinks_of(kind), 9.0) if nvlinks_of(kind) else 5.0
