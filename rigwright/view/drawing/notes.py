"""The words below a rig's drawing: the order to set, what the signs mean, what was found."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from rigwright.hardware.cpus import cpu_list
from rigwright.hardware.failures import is_grave
from rigwright.hardware.links import nvlinks_of
from rigwright.hardware.topology import Grouping
from rigwright.hardware.values import Hardware, Problem
from rigwright.view.drawing import canvas as ink
from rigwright.view.drawing.canvas import Canvas, fit, text_width, wrap
from rigwright.view.drawing.host import class_colour
from rigwright.view.drawing.parts import MARGIN, Layout
from rigwright.view.drawing.wires import wire_width
from rigwright.view.hardware_words import clean, order_words

_MOST_FINDINGS = 6
_MEANINGS = {
    "PIX": "PIX: one PCIe switch",
    "PXB": "PXB: several switches",
    "PHB": "PHB: host bridge",
    "NODE": "NODE: inside a NUMA node",
    "PCIE": "PCIE: over PCIe",
    "SYS": "SYS: between NUMA nodes",
    "SOC": "SOC: between sockets",
}
Sample = Callable[[Canvas, float, float], None]


def write_empty(picture: Canvas, hardware: Hardware, width: float, y: float) -> float:
    """What stands in place of cards; returns the height below it."""
    has_none = hardware.gpu_count == 0
    title = "no GPU" if has_none else "GPUs not known"
    picture.rect(
        MARGIN, y, width - 2 * MARGIN, 96, radius=12, fill=ink.SURFACE, stroke=ink.EDGE, stroke_dasharray="6 5"
    )
    picture.text(width / 2, y + 38, title, size=17, is_bold=True, fill=ink.FAINT, text_anchor="middle")
    about = "this rig has none that its driver or its PCI bus names" if has_none else "no driver gave a list of them"
    picture.text(width / 2, y + 62, about, fill=ink.FAINT, text_anchor="middle")
    return y + 120


def finding_marks(hardware: Hardware) -> dict[int, str]:
    """The colours of the marks of the GPUs that a finding is about, by their places; a fault's is red."""
    marks: dict[int, str] = {}
    for problem in hardware.problems:
        about = set(re.split(r", | and ", problem.where))
        for place, gpu in enumerate(hardware.gpus):
            if {gpu.label, gpu.pci_address} & about:
                marks[place] = ink.RED if marks.get(place) == ink.RED else _colour(problem)
    return marks


def _colour(problem: Problem) -> str:
    is_bad = is_grave(problem) or problem.code.endswith(("lost", "error", "missing", "_down"))
    return ink.RED if is_bad else ink.AMBER


def draw_mark(picture: Canvas, x: float, y: float, colour: str) -> None:
    """The sign of a finding around a point."""
    picture.rect(x - 8, y - 8, 16, 16, radius=8, fill=colour)
    picture.text(x, y, "!", size=11, is_bold=True, text_anchor="middle", fill=ink.SURFACE)


def draw_notes(picture: Canvas, layout: Layout, hardware: Hardware, grouping: Grouping, y: float) -> float:
    """Order, legend and findings from `y` on; returns the height of the whole drawing."""
    room = layout.width - 2 * MARGIN
    if grouping.order:
        y = _order(picture, order_words(hardware, grouping.order), hardware, grouping, room, y)
    for text in _remarks(layout, hardware, grouping):
        for row in wrap(text, 11, room):
            picture.text(MARGIN, y, row, fill=ink.FAINT)
            y += 17
    y = _findings(picture, hardware, room, y + 6)
    return _legend(picture, hardware, grouping, layout, y + 6)


def _order(picture: Canvas, text: str, hardware: Hardware, grouping: Grouping, room: float, y: float) -> float:
    size = 13.0
    width = min(text_width(text, size, is_bold=True) + 24, room)
    picture.rect(MARGIN, y - 14, width, 28, radius=7, fill=ink.INK)
    picture.text(MARGIN + 12, y, fit(text, size, room - 24, is_bold=True), size=size, is_bold=True, fill=ink.SURFACE)
    why = f"{grouping.confidence} confidence: {grouping.because}"
    if len(grouping.order) < 2 or hardware.vendor == "Intel":
        return y + 32
    if text_width(why, 11) < room - width - 14:
        picture.text(MARGIN + width + 14, y, why, fill=ink.FAINT)
        return y + 32
    picture.text(MARGIN, y + 26, fit(why, 11, room), fill=ink.FAINT)
    return y + 50


def _remarks(layout: Layout, hardware: Hardware, grouping: Grouping) -> Iterator[str]:
    reasons: dict[str, list[int]] = {}
    for index, why in grouping.left_out:
        reasons.setdefault(why, []).append(index)
    if len(hardware.gpus) > 1:
        for why, indexes in reasons.items():
            yield f"in no group: GPU {cpu_list(indexes)} ({clean(why)})"
    for title, nics in (
        ("network adapters across the interconnect", [nic for nic in layout.elsewhere if nic.kinds]),
        ("network adapters, their place was not recorded", [nic for nic in layout.elsewhere if not nic.kinds]),
    ):
        if nics:
            yield f"{title}: {', '.join(clean(nic.name) for nic in nics)}"
    empty = {node.node for node in hardware.numa} - {gpu.numa_node for gpu in hardware.gpus}
    if empty and hardware.gpus and all(gpu.numa_node is not None for gpu in hardware.gpus):
        yield f"NUMA node {cpu_list(empty)}: no GPU"


def _findings(picture: Canvas, hardware: Hardware, room: float, y: float) -> float:
    for problem in hardware.problems[:_MOST_FINDINGS]:
        picture.dot(MARGIN + 4, y, _colour(problem))
        text = f"{problem.where}: {problem.what}; {problem.do}"
        for row in wrap(text, 11, room - 18):
            picture.text(MARGIN + 16, y, row)
            y += 17
        y += 3
    if (more := len(hardware.problems) - _MOST_FINDINGS) > 0:
        picture.text(MARGIN + 16, y, f"and {more} more findings", fill=ink.FAINT)
        y += 20
    return y


def _legend(picture: Canvas, hardware: Hardware, grouping: Grouping, layout: Layout, y: float) -> float:
    x, right = MARGIN, layout.width - MARGIN
    entries = list(_entries(layout, hardware, grouping))
    if not entries:
        return y + 12
    picture.line([(MARGIN, y), (right, y)], stroke=ink.EDGE, stroke_width=1)
    y += 20
    for sample, text in entries:
        width = 34 + text_width(text, 10) + 18
        if x + width > right and x > MARGIN:
            x, y = MARGIN, y + 20
        sample(picture, x, y)
        picture.text(x + 34, y, text, size=10, fill=ink.FAINT)
        x += width
    return y + 28


def _entries(layout: Layout, hardware: Hardware, grouping: Grouping) -> Iterator[tuple[Sample, str]]:
    kinds = {link.kind for link in hardware.links if link.kind}
    for kind in sorted((kind for kind in kinds if nvlinks_of(kind)), key=nvlinks_of):
        count = nvlinks_of(kind)
        yield _line(ink.NVLINK, wire_width(kind)), f"{kind}: {count} NVLink{'s' if count > 1 else ''}"
    if "XGMI" in kinds:
        yield _line(ink.XGMI, 5), "XGMI"
    for kind, text in _MEANINGS.items():
        if kind in kinds:
            is_far = kind in ("SYS", "SOC")
            yield (_dashes if is_far else _block(class_colour(kind))), text
    if grouping.pairs:
        yield _frame(ink.PAIR_FILL, ink.PAIR_EDGE), "TP=2 group, its slowest link"
    if grouping.quads:
        yield _frame(ink.QUAD_FILL, ink.QUAD_EDGE), "TP=4 group"
    if len(layout.elsewhere) < len(hardware.nics):
        yield _frame(ink.NIC_FILL, ink.NIC_EDGE), "network adapter, its closest GPUs"
    if any(gpu.state in ("lost", "error") for gpu in hardware.gpus):
        yield _frame("#fdecec", ink.RED), "GPU that does not work"
    for colour, text in ((ink.RED, "a fault, told above"), (ink.AMBER, "a finding, told above")):
        if colour in finding_marks(hardware).values():
            yield _mark(colour), text
    if any(gpu.mig for gpu in hardware.gpus):
        yield _frame("url(#hatch)", "#8fa0b5"), "cut into MIG devices"


def _line(colour: str, width: float) -> Sample:
    return lambda picture, x, y: picture.line([(x + 3, y), (x + 24, y)], stroke=colour, stroke_width=width)


def _dashes(picture: Canvas, x: float, y: float) -> None:
    style: dict[str, Any] = {"stroke": class_colour("SYS"), "stroke_dasharray": "7 5"}
    picture.line([(x, y), (x + 26, y)], stroke_width=2.4, **style)


def _block(colour: str) -> Sample:
    return lambda picture, x, y: picture.rect(x, y - 5, 26, 10, radius=4, fill=colour)


def _mark(colour: str) -> Sample:
    return lambda picture, x, y: draw_mark(picture, x + 13, y, colour)


def _frame(fill: str, edge: str) -> Sample:
    return lambda picture, x, y: picture.rect(x, y - 6, 26, 12, radius=4, fill=fill, stroke=edge)
