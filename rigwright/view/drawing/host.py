"""The host's part of a rig's drawing: NUMA panels, CPU boxes, PCIe switches, network adapters, what joins the nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations, pairwise
from typing import Any

from rigwright.hardware.cpus import cpu_list
from rigwright.hardware.values import Hardware, Link
from rigwright.units import format_bytes
from rigwright.view.drawing import adapters
from rigwright.view.drawing import canvas as ink
from rigwright.view.drawing.adapters import LEVELS
from rigwright.view.drawing.canvas import Canvas, fit, text_width
from rigwright.view.drawing.parts import (
    BAR_HEIGHT,
    Band,
    Bar,
    Card,
    Layout,
    Row,
)
from rigwright.view.drawing.tree import Branch, Kind, pcie_kinds
from rigwright.view.drawing.wires import Lane
from rigwright.view.hardware_words import clean

CLASS_COLOURS = {"PIX": "#2f4a6b", "PXB": "#47678f", "PHB": "#6b7f98", "NODE": "#8494a8", "PCIE": "#8494a8"}
FAR_COLOUR = "#a2642c"
_MEANINGS = ("one PCIe switch", "several PCIe switches", "one host bridge", "one NUMA node", "")


def class_colour(kind: str) -> str:
    """The colour of a PCIe class: the farther, the paler; across the interconnect brown."""
    return CLASS_COLOURS.get(kind, FAR_COLOUR)


FindLink = Callable[[int, int], Link | None]


def draw_host(picture: Canvas, layout: Layout, hardware: Hardware, lanes: Sequence[Lane], link: FindLink) -> None:
    """Panels and everything on the PCIe side of the cards."""
    extents: dict[int | None, list[float]] = {}
    areas: dict[int | None, tuple[float, float]] = {}
    for tier, lane in zip(layout.tiers, lanes, strict=True):
        for band in filter(None, (tier.upper, tier.lower)):
            inner = band.height + lane.margin(is_up=band.is_up) + (lane.middle if not tier.lower else 0)
            for row in band.rows:
                extents.setdefault(row.node, []).extend((band.at(0), band.at(inner)))
                areas[row.node] = (row.x, max(row.width, areas.get(row.node, (0, 0.0))[1]))
    for node, (x, width) in areas.items():
        top, bottom = min(extents[node]), max(extents[node])
        picture.rect(x, top, width, bottom - top, radius=12, fill=ink.SURFACE, stroke=ink.EDGE)
    for band in layout.bands:
        for row in band.rows:
            _root(picture, band, row, hardware, link)
            for bar in row.bars:
                _bar(picture, band, bar, link)
            _stubs(picture, band, row)
            adapters.draw(picture, band, row)
    _rails(picture, layout)


def _root(picture: Canvas, band: Band, row: Row, hardware: Hardware, link: FindLink) -> None:
    """The CPU box of a node; a further row has a rail in its place."""
    y = min(band.at(12), band.at(12 + band.box))
    x, width = row.x + 8, row.width - 16
    picture.rect(x, y, width, band.box, radius=7 if row.is_first else 3, fill=ink.CPU_FILL, stroke=ink.CPU_EDGE)
    if not row.is_first:
        return
    kinds, room = row.root.kinds, width - 20
    if kinds:
        text = "/".join(kinds) + _access(row.root, link)
        size = text_width(text, 10, is_bold=True) + 12
        if size < room * 0.62:
            picture.pill(x + width - 10 - size / 2, y + band.box / 2, text, class_colour(kinds[-1]))
            room -= size + 8
    title, about = _node(row, hardware)
    middle = y + band.box / 2
    picture.text(x + 10, middle - (8 if about else 0), fit(title, 11, room, is_bold=True), is_bold=True)
    if about:
        picture.text(x + 10, middle + 8, fit(about, 10, room), size=10, fill=ink.FAINT)


def _node(row: Row, hardware: Hardware) -> tuple[str, str]:
    if row.node is None:
        printed = sorted({clean(card.gpu.numa_affinity) for card in row.cards if card.gpu.numa_affinity})
        return "CPU", f"NUMA {', '.join(printed)}: the node is not named" if printed else "NUMA node not recorded"
    found = next((node for node in hardware.numa if node.node == row.node), None)
    parts = []
    if found:
        parts.append(f"CPUs {cpu_list(found.cpus)}" if found.cpus else "no CPU")
        parts += [format_bytes(found.memory_bytes)] if found.memory_bytes else []
    return f"NUMA node {row.node}", " · ".join(parts)


def _access(branch: Branch, link: FindLink) -> str:
    """What the driver says of direct access between the GPUs that meet here, where it says one thing of all of them."""
    children = branch.children or ()
    pairs = [(a, b) for one, other in combinations(children, 2) for a in one.members for b in other.members]
    found = [one for a, b in pairs if (one := link(a, b)) and one.kind in branch.kinds]
    said = {one.p2p for one in found}
    if len(said) != 1 or None in said:
        return ""
    status = said.pop() or ""
    return " · P2P" if status == "OK" else f" · no P2P ({clean(status)})"


def _bar(picture: Canvas, band: Band, bar: Bar, link: FindLink) -> None:
    y, level = band.at(band.bar_at(bar.depth)), min(bar.branch.level, 4)
    name = "/".join(bar.branch.kinds) or LEVELS[level]
    picture.rect(
        bar.left, y - BAR_HEIGHT / 2, bar.right - bar.left, BAR_HEIGHT, radius=5, fill=class_colour(LEVELS[level])
    )
    room = bar.right - bar.left - 12
    meaning = f"{name}: {_MEANINGS[level]}" if len(bar.branch.kinds) < 2 else name
    texts = (f"{meaning}{_access(bar.branch, link)}", f"{name}{_access(bar.branch, link)}", name)
    text = next((text for text in texts if text_width(text, 10, is_bold=True) <= room), name)
    picture.text((bar.left + bar.right) / 2, y, text, size=10, is_bold=True, fill=ink.SURFACE, text_anchor="middle")


def _stubs(picture: Canvas, band: Band, row: Row) -> None:
    """From each card to the bar above it, from each bar to the next, at last to the CPU box."""
    places = {card.place: card for card in row.cards}
    root = band.at(12 + band.box)

    def join(branch: Branch, parent_y: float) -> None:
        if not branch.children:
            card = places[branch.members[0]]
            _stub(picture, card.centre, band.at(band.cards_at), parent_y)
            return
        bar = next(bar for bar in row.bars if bar.branch is branch)
        y, side = band.bar_at(bar.depth), BAR_HEIGHT / 2
        centre = places[branch.members[0]].centre
        _stub(picture, centre, band.at(y - side), parent_y)
        for child in branch.children:
            join(child, band.at(y + side))

    for child in row.tree.children or (row.tree,):
        join(child, root)


def _stub(picture: Canvas, x: float, start: float, end: float) -> None:
    picture.line([(x, start), (x, end)], stroke="#7f8ea3", stroke_width=2, stroke_linecap="butt")
    picture.dot(x, end, "#7f8ea3")


def _rails(picture: Canvas, layout: Layout) -> None:
    """Further rows of a panel hang on the CPU box of the first one, along the left edge."""
    firsts = {row.node: (band, row) for band in layout.bands for row in band.rows if row.is_first}
    for band in layout.bands:
        for row in band.rows:
            if not row.is_first:
                first, _ = firsts[row.node]
                x = row.x + 11
                picture.line([(x, first.at(12 + first.box)), (x, band.at(15))], stroke=ink.CPU_EDGE, stroke_width=4)


def draw_interconnect(picture: Canvas, layout: Layout, kind: Kind) -> None:
    """What joins the NUMA nodes, drawn once."""
    boxes = [(band, row) for band in layout.bands for row in band.rows if row.is_first]
    if len(boxes) < 2:
        return
    nodes = [Branch(0, tuple(card.place for card in _cards(layout, row.node)), ()) for _, row in boxes]
    names = pcie_kinds(nodes, kind)
    style: dict[str, Any] = {"stroke": FAR_COLOUR, "stroke_width": 2.4, "stroke_dasharray": "7 5"}
    for (band, row), (other, after) in pairwise(boxes):
        y = band.at(12 + band.box / 2)
        if band is other:
            start, end = row.x + row.width - 8, after.x + 8
            picture.line([(start, y), (end, y)], **style)
            for number, name in enumerate(names):
                picture.pill((start + end) / 2, y + number * 22, name, FAR_COLOUR)
    heads = [(band, band.rows[0]) for band in layout.bands if band.rows[0].is_first]
    for (band, row), (other, after) in pairwise(heads):
        y, end = band.at(12 + band.box / 2), other.at(12 + other.box / 2)
        x = row.x - 22
        picture.line([(row.x + 8, y), (x, y), (x, end), (after.x + 8, end)], **style)
        for number, name in enumerate(names):
            picture.pill(x, (y + end) / 2 + (number - (len(names) - 1) / 2) * 22, name, FAR_COLOUR)


def _cards(layout: Layout, node: int | None) -> list[Card]:
    return [card for band in layout.bands for row in band.rows if row.node == node for card in row.cards]
