"""The network adapters of a rig's drawing: each beside the line of its closest GPU, those that are alike in one box.

An adapter hangs on a switch that it shares with its GPUs, on the lines of one or two GPUs, or on the CPU box. In a
stack those of the CPU box come first and those of a switch last, so that no wire runs through another adapter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from rigwright.hardware.cpus import cpu_list
from rigwright.hardware.values import Hardware, Nic
from rigwright.view.drawing import canvas as ink
from rigwright.view.drawing.canvas import Canvas, fit
from rigwright.view.drawing.parts import BAR_HEIGHT, NIC_HEIGHT, NIC_WIDTH, Adapter, Band, Bar, Row

LEVELS = ("PIX", "PXB", "PHB", "NODE", "NODE")
_NEAR = ("PIX", "PXB", "PHB", "PCIE", "NODE")
# As many that are alike have a box each; more have one together, as virtual functions do.
_MOST_ALIKE = 2
_TRUNK = 8.0  # from the edge of a box to the wire that passes the boxes below it
Way = Literal["cpu", "line", "bar"]


def assign(hardware: Hardware, bands: Iterable[Band]) -> list[Nic]:
    """Give each adapter to the row of its closest GPU; those across the interconnect of the sockets are handed back."""
    home = {card.gpu.index: row for band in bands for row in band.rows for card in row.cards}
    alike: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    elsewhere = []
    for nic in hardware.nics:
        kinds = {index: kind for index, kind in nic.kinds.items() if kind in _NEAR and index in home}
        best = min(kinds.values(), key=_NEAR.index, default=None)
        if best is None:
            elsewhere.append(nic)
            continue
        closest = tuple(sorted(index for index, kind in kinds.items() if kind == best))
        alike.setdefault((best, closest), []).append(nic.name)
    for (kind, closest), names in alike.items():
        most = 1 if kind in ("NODE", "PCIE") else _MOST_ALIKE
        boxes = [names] if len(names) > most else [[name] for name in names]
        home[closest[0]].adapters += [Adapter(tuple(box), kind, closest) for box in boxes]
    return elsewhere


def stack(row: Row, slots: Sequence[float]) -> None:
    """Give each adapter a slot between two cards and its place in it; those that are equally close share one."""
    stacks: dict[float, list[Adapter]] = {slot: [] for slot in slots}
    groups: dict[tuple[str, tuple[int, ...]], list[Adapter]] = {}
    for adapter in row.adapters:
        groups.setdefault((adapter.kind, adapter.closest), []).append(adapter)
    ways = {key: _way(row, adapters[0]) for key, adapters in groups.items()}
    for way in ("line", "bar", "cpu"):
        for key, adapters in groups.items():
            if ways[key] == way:
                slot = _slot(row, adapters[0], way, stacks)
                stacks[slot][:] = [*adapters, *stacks[slot]] if way == "cpu" else [*stacks[slot], *adapters]
    for slot, adapters in stacks.items():
        for level, adapter in enumerate(adapters):
            adapter.x, adapter.level = slot, level


def _slot(row: Row, adapter: Adapter, way: Way, stacks: dict[float, list[Adapter]]) -> float:
    """The emptiest slot from which a wire reaches what the adapter hangs on, and of those the nearest."""
    cards = [card.centre for card in row.cards if card.gpu.index in adapter.closest]
    wanted = _lines(row, adapter)[:2] if way == "line" else cards
    middle = sum(wanted) / len(wanted)
    bar = _bar(row, adapter)
    reached = {
        "line": [x for x in stacks if abs(x - wanted[0]) < row.cards[0].width],
        "bar": [x for x in stacks if bar and bar.left < x < bar.right],
        "cpu": list(stacks),
    }[way]
    between = [x for x in reached if min(wanted) < x < max(wanted)] if way == "line" else []
    return min(between or reached or stacks, key=lambda x: (len(stacks[x]), abs(x - middle), x))


def _way(row: Row, adapter: Adapter) -> Way:
    if _bar(row, adapter):
        return "bar"
    count = sum(card.gpu.index in adapter.closest for card in row.cards)
    # A host bridge of many GPUs is the CPU's, a switch of many that no bar shows is behind each of them.
    return "line" if adapter.kind in ("PIX", "PXB") or (adapter.kind == "PHB" and count < 3) else "cpu"


def _bar(row: Row, adapter: Adapter) -> Bar | None:
    """The switch or host bridge where the adapter meets its GPUs."""
    members = {card.place for card in row.cards if card.gpu.index in adapter.closest}
    fitting = (bar for bar in row.bars if LEVELS[min(bar.branch.level, 4)] == adapter.kind)
    return next((bar for bar in fitting if members <= set(bar.branch.members)), None)


def _lines(row: Row, adapter: Adapter) -> list[float]:
    """Where the lines of its GPUs run beside the adapter: that of a switch, or of the GPU itself."""
    centre = {card.place: card.centre for card in row.cards}
    places = [card.place for card in row.cards if card.gpu.index in adapter.closest]
    tops = [branch for branch in row.tree.children or (row.tree,) if set(places) & set(branch.members)]
    return sorted({centre[branch.members[0]] for branch in tops})


def draw(picture: Canvas, band: Band, row: Row) -> None:
    """The wires of a row's adapters, and the adapters on them."""
    for adapter in row.adapters:
        _wire(picture, band, row, adapter)
    for adapter in row.adapters:
        _box(picture, band, adapter)


def _wire(picture: Canvas, band: Band, row: Row, adapter: Adapter) -> None:
    y, way = band.at(_depth(band, adapter)), _way(row, adapter)
    style: dict[str, Any] = {"stroke": ink.NIC_EDGE, "stroke_width": 1.6}
    if way == "line":
        for x in _lines(row, adapter):
            if abs(x - adapter.x) < row.cards[0].width:
                picture.line([(adapter.x, y), (x, y)], **style)
                picture.dot(x, y, ink.NIC_EDGE)
        return
    bar = _bar(row, adapter)
    end = band.at(band.bar_at(bar.depth) - BAR_HEIGHT / 2 if bar else 12 + band.box)
    others = [other.level for other in row.adapters if other.x == adapter.x]
    is_free = adapter.level == (max(others) if bar else 0)
    x = adapter.x if is_free else adapter.x + (1 if bar else -1) * (NIC_WIDTH / 2 + _TRUNK)
    picture.line([(adapter.x, y), (x, y), (x, end)], **style)
    picture.dot(x, end, ink.NIC_EDGE)


def _depth(band: Band, adapter: Adapter) -> float:
    return 12 + band.box + 12 + adapter.level * (NIC_HEIGHT + 6) + NIC_HEIGHT / 2


def _box(picture: Canvas, band: Band, adapter: Adapter) -> None:
    y, x = band.at(_depth(band, adapter)), adapter.x - NIC_WIDTH / 2
    hint = ", ".join(adapter.names) if len(adapter.names) > 1 else ""
    style: dict[str, Any] = {"fill": ink.NIC_FILL, "stroke": ink.NIC_EDGE, "hint": hint}
    picture.rect(x, y - NIC_HEIGHT / 2, NIC_WIDTH, NIC_HEIGHT, radius=6, **style)
    near = adapter.kind if adapter.kind in ("NODE", "PCIE") else f"{adapter.kind} to GPU {cpu_list(adapter.closest)}"
    count = f"{len(adapter.names)} · " if len(adapter.names) > 1 else ""
    for shift, text, is_bold in ((-7, names(adapter.names), True), (7, f"{count}{near}", False)):
        words = fit(text, 9, NIC_WIDTH - 10, is_bold=is_bold)
        picture.text(adapter.x, y + shift, words, size=9, is_bold=is_bold, text_anchor="middle")


def names(all_names: Sequence[str]) -> str:
    """Names that differ in their number as one: `mlx5_0-3,6`; else the first and the last."""
    found = [re.fullmatch(r"(.*?)([0-9]{1,6})", name, re.DOTALL) for name in all_names]
    numbers = {int(match[2]) for match in found if match}
    if len(all_names) > 1 and len(numbers) == len(all_names) and len({match[1] for match in found if match}) == 1:
        return f"{found[0][1] if found[0] else ''}{cpu_list(numbers)}"
    return all_names[0] if len(all_names) == 1 else f"{all_names[0]} … {all_names[-1]}"
