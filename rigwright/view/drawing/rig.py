"""A rig as a picture: NUMA nodes, GPUs, what joins them, which of them belong together. One SVG without scripts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from rigwright.hardware.links import nvlinks_of, outsiders
from rigwright.hardware.topology import Grouping, link_gbytes_per_second
from rigwright.hardware.values import Gpu, Hardware, Link
from rigwright.units import format_bytes
from rigwright.view.drawing import canvas as ink
from rigwright.view.drawing.canvas import Canvas, fit, text_width
from rigwright.view.drawing.host import draw_host, draw_interconnect
from rigwright.view.drawing.layout import lay_out
from rigwright.view.drawing.notes import draw_mark, draw_notes, finding_marks, write_empty
from rigwright.view.drawing.parts import MARGIN, Band, Card, Layout
from rigwright.view.drawing.wires import Edge, Lane, lanes, route, wire_width
from rigwright.view.hardware_words import clean, count_words, pcie_words, rig_words, short_name, speed_words

_LANE_GAP, _LOW = 30.0, 60.0


def draw(name: str, hardware: Hardware, grouping: Grouping) -> str:
    """The rig called `name` as the text of an SVG file. The same rig gives the same text."""
    picture = Canvas(f"{name}: {count_words(hardware)}")
    places = {gpu.index: place for place, gpu in enumerate(hardware.gpus) if gpu.index is not None}
    links = {
        (places[link.first], places[link.second]): link
        for link in hardware.links
        if link.first in places and link.second in places
    }

    def link(a: int, b: int) -> Link | None:
        return links.get((a, b)) or links.get((b, a))

    def kind(a: int, b: int) -> str | None:
        found = link(a, b)
        return found.kind if found else None

    def label(edge: Edge) -> str:
        found = link(edge[0], edge[1])
        speed = link_gbytes_per_second(hardware, found) if found else None
        return f"{edge[2]} {speed_words(speed)}".strip()

    outside = outsiders(hardware)
    layout = lay_out(hardware, grouping, kind)
    edges = [
        (a, b, one.kind) for (a, b), one in links.items() if one.kind and (nvlinks_of(one.kind) or one.kind == "XGMI")
    ]
    found = lanes(layout, edges, label)
    y = _draw_head(picture, name, hardware, layout.width)
    y = _set_heights(layout, found, y)
    draw_host(picture, layout, hardware, found, link)
    _draw_groups(picture, layout, grouping)
    for lane in found:
        _draw_lane(picture, lane)
    _draw_trunk(picture, layout, found)
    marks = finding_marks(hardware)
    for card in layout.cards.values():
        is_low = card.height < _LOW  # without room below its name
        _draw_card(picture, card, grouping, name_room=card.width - (20.0 if card.place in marks and is_low else 0))
        if card.place in marks:
            y_of_mark = card.y + 16 if is_low else card.y + card.height - 16
            draw_mark(picture, card.x + card.width - 16, y_of_mark, marks[card.place])
        if card.gpu.index in outside:
            y_of_wire = card.inner + (14 if card.is_up else -14)
            picture.pill(card.centre, y_of_wire, "NVLinks down", ink.RED, size=9)
    draw_interconnect(picture, layout, kind)
    if not hardware.gpus:
        y = write_empty(picture, hardware, layout.width, y)
    y = draw_notes(picture, layout, hardware, grouping, y)
    return picture.svg(layout.width, y)


def _draw_head(picture: Canvas, name: str, hardware: Hardware, width: float) -> float:
    picture.text(MARGIN, 40, fit(name, 20, width - 2 * MARGIN, is_bold=True), size=20, is_bold=True)
    picture.text(
        MARGIN,
        66,
        fit(count_words(hardware), 13, width - 2 * MARGIN, is_bold=True),
        size=13,
        is_bold=True,
        fill=ink.PAIR_EDGE,
    )
    about = " · ".join(rig_words(hardware))
    picture.text(MARGIN, 87, fit(about, 11, width - 2 * MARGIN), fill=ink.FAINT)
    return 112.0 if about else 92.0


def _set_heights(layout: Layout, found: Sequence[Lane], y: float) -> float:
    for tier, lane in zip(layout.tiers, found, strict=True):
        tier.upper.outer = y
        top = y + tier.upper.height + lane.margin(is_up=True)
        bottom = top + lane.middle
        if tier.lower:
            is_one = tier.lower.rows[0].node == tier.upper.rows[0].node
            bottom += _LANE_GAP if not lane.middle and not is_one else 0
            tier.lower.outer = bottom + lane.margin(is_up=False) + tier.lower.height
        for band in filter(None, (tier.upper, tier.lower)):
            _set_cards(band)
        route(lane, top, bottom)
        y = (tier.lower.outer if tier.lower else bottom) + 26
    return y


def _set_cards(band: Band) -> None:
    for card in (card for row in band.rows for card in row.cards):
        card.y = band.at(band.cards_at) if band.is_up else band.at(band.cards_at) - card.height


def _draw_groups(picture: Canvas, layout: Layout, grouping: Grouping) -> None:
    """Groups of four around groups of two; one that is not adjacent is drawn in parts."""
    slowest = {frozenset(one.group): one for one in grouping.bottlenecks}
    halos = []
    for title, groups, pad in (("TP=4", grouping.quads, 18.0), ("TP=2", grouping.pairs, 9.0)):
        for group in groups:
            one = slowest.get(frozenset(group))
            words = [one.kind or "", speed_words(one.gbytes_per_second)] if one else []
            for band, cards in _parts(layout, group):
                whole = len(cards) == len(group)
                text = " ".join(filter(None, [title, "" if whole else "+".join(map(str, group)), *words]))
                halos.append((band, cards, pad, text))
    for _, cards, pad, _ in halos:
        style: dict[str, Any] = {"fill": ink.PAIR_FILL, "stroke": ink.PAIR_EDGE, "stroke_width": 1.3}
        if pad > 10:
            style = {"fill": ink.QUAD_FILL, "stroke": ink.QUAD_EDGE, "stroke_width": 1.3, "stroke_dasharray": "5 4"}
        left, right = cards[0].x - pad, cards[-1].x + cards[-1].width + pad
        picture.rect(left, cards[0].y - pad, right - left, cards[0].height + 2 * pad, radius=10, **style)
    for band, cards, pad, text in halos:
        middle = (cards[0].x + cards[-1].x + cards[-1].width) / 2
        if len(cards) == 1:
            middle = cards[0].x + text_width(text, 9, is_bold=True) / 2 - pad
        y = band.at(band.cards_at - pad - (10 if pad > 10 and len(cards) < 4 else 1))
        picture.pill(middle, y, text, ink.PAIR_EDGE, size=9, is_solid=pad < 10)


def _parts(layout: Layout, group: Sequence[int]) -> list[tuple[Band, list[Card]]]:
    """The cards of a group, as far as they stand next to each other."""
    found: list[tuple[Band, list[Card]]] = []
    for band in layout.bands:
        is_open = False
        for card in (card for row in band.rows for card in row.cards):
            if card.gpu.index in group and card.gpu.index is not None:
                if is_open:
                    found[-1][1].append(card)
                else:
                    found.append((band, [card]))
            is_open = card.gpu.index in group
    return found


def _colour(kind: str) -> str:
    return ink.NVLINK if nvlinks_of(kind) else ink.XGMI


def _draw_lane(picture: Canvas, lane: Lane) -> None:
    for bus in lane.buses:
        colour, width = _colour(bus.kind), min(wire_width(bus.kind), 6.0)
        for card in bus.cards:
            picture.line([(card.centre, card.inner), (card.centre, bus.y)], stroke=colour, stroke_width=width, casing=2)
        left, right = bus.span
        picture.rect(left, bus.y - 12, right - left, 24, radius=12, fill=colour)
        title = f"{'NVLink' if nvlinks_of(bus.kind) else 'XGMI'}: {bus.label.removesuffix(' XGMI')}"
        text = fit(title, 12, right - left - 16, is_bold=True)
        picture.text((left + right) / 2, bus.y, text, size=12, is_bold=True, fill=ink.SURFACE, text_anchor="middle")
    for wire in lane.wires:
        style: dict[str, Any] = {"stroke": _colour(wire.kind), "stroke_width": wire_width(wire.kind)}
        picture.line(wire.points, casing=2, radius=12, **style)
    for wire in lane.wires:
        picture.pill(*wire.label_at, wire.label, _colour(wire.kind))


def _draw_trunk(picture: Canvas, layout: Layout, found: Sequence[Lane]) -> None:
    """Buses of one island in several tiers are one."""
    ends = [bus for lane in found for bus in lane.buses]
    for bus, other in pairwise(ends):
        if bus.label == other.label and bus.cards[0].tier != other.cards[0].tier:
            x = layout.width - MARGIN / 2
            points = [(bus.span[1], bus.y), (x, bus.y), (x, other.y), (other.span[1], other.y)]
            picture.line(points, stroke=_colour(bus.kind), stroke_width=6)


def _draw_card(picture: Canvas, card: Card, grouping: Grouping, *, name_room: float) -> None:
    gpu, x, y = card.gpu, card.x, card.y
    is_bad, is_out = gpu.state in ("lost", "error"), bool(grouping.order) and gpu.index not in grouping.order
    edge = ink.RED if is_bad else "#8fa0b5"
    style: dict[str, Any] = {"stroke_dasharray": "5 4"} if is_out else {}
    fill = "#fdecec" if is_bad else ink.SURFACE
    picture.rect(
        x,
        y,
        card.width,
        card.height,
        hint=_hint(gpu),
        fill=fill,
        stroke=edge,
        stroke_width=1.6 if is_bad else 1.2,
        **style,
    )
    if gpu.mig:
        picture.rect(x + 1, y + 1, card.width - 2, card.height - 2, radius=7, fill="url(#hatch)")
    number = str(gpu.index) if gpu.index is not None else "?"
    badge = max(24.0, text_width(number, 14, is_bold=True) + 10)
    picture.rect(x + 8, y + 8, badge, 24, radius=6, fill=ink.RED if is_bad else ink.INK)
    picture.text(x + 8 + badge / 2, y + 20, number, size=14, is_bold=True, fill=ink.SURFACE, text_anchor="middle")
    rows = _name_rows(gpu, name_room - badge - 22, card.width - 20)
    picture.text(x + badge + 15, y + 20, rows[0], is_bold=True)
    if rows[1]:
        picture.text(x + 10, y + 42, rows[1], is_bold=True)
    facts = _facts(gpu)
    step = 14.0 if rows[1] else 16.0
    first = y + (57 if rows[1] else 46)
    for number_of_row, (text, colour) in enumerate(facts[: 2 if rows[1] else 3]):
        picture.text(x + 10, first + number_of_row * step, fit(text, 10, card.width - 18), size=10, fill=colour)


def _name_rows(gpu: Gpu, first: float, second: float) -> tuple[str, str]:
    """The name on one line beside the index, or on that one and the next."""
    name = short_name(gpu) if gpu.name else gpu.pci_address or "GPU"
    name = clean(name)
    breaks = [found.end() for found in re.finditer(r"[ -]|$", name)]
    fitting = [end for end in breaks if text_width(name[:end].rstrip(), 11, is_bold=True) <= first]
    cut = max(fitting, default=0)
    if not cut:
        return fit(name, 11, first, is_bold=True), ""
    return name[:cut].rstrip(), fit(name[cut:], 11, second, is_bold=True)


def _facts(gpu: Gpu) -> list[tuple[str, str]]:
    if gpu.state in ("lost", "error"):
        words = {"lost": "lost: does not answer", "error": "reports errors"}[gpu.state]
        return [(words, ink.RED), (gpu.pci_address or "" if gpu.name else "", ink.FAINT)]
    memory = [
        format_bytes(gpu.vram_bytes) if gpu.vram_bytes else "",
        f"cc {gpu.compute_capability}" if gpu.compute_capability else "",
    ]
    link = gpu.pcie
    is_narrow = bool(link.width_current and link.width_max and link.width_current < link.width_max)
    best = pcie_words(link).partition(" (")[0]
    mig = f"MIG: {len(gpu.mig_devices)} devices" if gpu.mig_devices else "MIG"
    rows = [
        (" · ".join(filter(None, memory)), ink.INK),
        (mig if gpu.mig else "", ink.XGMI),
        (f"PCIe {best}" if best else "", ink.AMBER if is_narrow else ink.FAINT),
        (gpu.pci_address or "" if gpu.name else "", ink.FAINT),
    ]
    return [row for row in rows if row[0]]


def _hint(gpu: Gpu) -> str:
    parts = [
        gpu.label,
        gpu.name or "",
        gpu.uuid or "",
        gpu.pci_address or "",
        f"PCIe {pcie_words(gpu.pcie)}",
        *gpu.mig_devices,
    ]
    return ", ".join(part for part in parts if part and part != "PCIe ")
