"""An SVG being drawn: shapes, wires with round corners, text that is measured before it is placed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from unicodedata import east_asian_width
from xml.etree import ElementTree

from rigwright.view.hardware_words import clean

FONT = "'DejaVu Sans', Verdana, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif"
# What the shapes are drawn in: calm surfaces, the links in front of them.
BACKGROUND, SURFACE, EDGE = "#f4f6fa", "#ffffff", "#d3dbe6"
INK, FAINT, RED, AMBER = "#1d2733", "#5d6b7c", "#d1242f", "#b7791f"
CPU_FILL, CPU_EDGE = "#e6ebf4", "#b9c5d6"
NIC_FILL, NIC_EDGE = "#fff6e0", "#dba63c"
PAIR_FILL, PAIR_EDGE, QUAD_FILL, QUAD_EDGE = "#d9e8fd", "#4a86d8", "#f0f5fe", "#9dbfec"
NVLINK, XGMI = "#5f9c0e", "#9333c7"

# The same by night. What is drawn in a colour that is not here keeps it.
_NIGHT = {
    BACKGROUND: "#151b23", SURFACE: "#1f2731", EDGE: "#3a4655", INK: "#e6edf3", FAINT: "#9aa8b8", RED: "#ff7b72",
    AMBER: "#e3b341", CPU_FILL: "#26303c", CPU_EDGE: "#4b5a6c", NIC_FILL: "#3a2f14", NIC_EDGE: "#b98a2f",
    PAIR_FILL: "#16304f", PAIR_EDGE: "#5b9bf0", QUAD_FILL: "#16222f", QUAD_EDGE: "#3d6ea8", NVLINK: "#8bd433",
    XGMI: "#c084fc", "#ebe4f8": "#372f4d", "#fdecec": "#4a1f22", "#8fa0b5": "#7d8fa5", "#7f8ea3": "#8496ab",
    "#2f4a6b": "#9cc2f0", "#47678f": "#86aee0", "#6b7f98": "#93a8c2", "#8494a8": "#8496ab", "#a2642c": "#e0a06a",
}  # fmt: skip

Point = tuple[float, float]

# Widths of DejaVu Sans, the widest of the fonts above, in em; what fits in it fits in the others.
_WIDTHS = (
    (re.compile(r"[iIljJ.,:;'|! ]"), 0.34),
    (re.compile(r"[ftr()\[\]\-/]"), 0.41),
    (re.compile(r"[mwMW@%…]"), 0.98),
)


def text_width(text: str, size: float, *, is_bold: bool = False) -> float:
    """How wide a text is at most, in pixels."""
    return sum(map(_em, text)) * size * (1.1 if is_bold else 1.0)


def fit(text: str, size: float, width: float, *, is_bold: bool = False) -> str:
    """The text, or as much of it as there is room for."""
    text = clean(text)
    if text_width(text, size, is_bold=is_bold) <= width:
        return text
    while text and text_width(text + "…", size, is_bold=is_bold) > width:
        text = text[:-1].rstrip()
    return text + "…"


def wrap(text: str, size: float, width: float, *, most: int = 2, is_bold: bool = False) -> list[str]:
    """The text in at most `most` lines; the last one is cut where it does not end."""
    words, rows = clean(text).split(" "), [""]
    while words:
        longer = f"{rows[-1]} {words[0]}".strip()
        if text_width(longer, size, is_bold=is_bold) <= width or not rows[-1]:
            rows[-1] = longer
            words.pop(0)
        elif len(rows) < most:
            rows.append("")
        else:
            rows[-1] = f"{rows[-1]} {' '.join(words)}"
            break
    return [fit(row, size, width, is_bold=is_bold) for row in rows]


class Canvas:
    """Shapes in the order in which they are drawn."""

    def __init__(self, title: str) -> None:
        self.root = ElementTree.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "role": "img"})
        ElementTree.SubElement(self.root, "title").text = clean(title)
        rules = "".join(
            f'[{kind}="{day}"]{{{kind}:{night}}}' for day, night in _NIGHT.items() for kind in ("fill", "stroke")
        )
        ElementTree.SubElement(self.root, "style").text = f"@media (prefers-color-scheme: dark){{{rules}}}"
        self._defs()
        self.body = ElementTree.SubElement(self.root, "g", {"font-family": FONT, "font-size": "11", "fill": INK})

    def _defs(self) -> None:
        defs = ElementTree.SubElement(self.root, "defs")
        hatch = {"id": "hatch", "width": "8", "height": "8", "patternUnits": "userSpaceOnUse"}
        pattern = ElementTree.SubElement(defs, "pattern", {**hatch, "patternTransform": "rotate(45)"})
        ElementTree.SubElement(pattern, "rect", {"width": "3", "height": "8", "fill": "#ebe4f8"})

    def _add(self, tag: str, /, **attributes: str | float) -> ElementTree.Element:
        named = {name.rstrip("_").replace("_", "-"): _number(value) for name, value in attributes.items()}
        return ElementTree.SubElement(self.body, tag, named)

    def rect(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        *,
        radius: float = 8,
        hint: str = "",
        **style: str | float,
    ) -> None:
        """A rectangle with round corners; `hint` is what shows under the pointer."""
        shape = self._add("rect", x=x, y=y, width=width, height=height, rx=radius, **style)
        if hint:
            ElementTree.SubElement(shape, "title").text = clean(hint)

    def text(self, x: float, y: float, text: str, *, size: float = 11, is_bold: bool = False, **style: str) -> None:
        """One line of text; `y` is its middle."""
        weight = {"font_weight": "bold"} if is_bold else {}
        self._add("text", x=x, y=y + size * 0.36, font_size=size, **weight, **style).text = clean(text)

    def line(self, points: Sequence[Point], *, radius: float = 9, casing: float = 0, **style: str | float) -> None:
        """A wire along right angles with round corners; `casing` sets it off from what it crosses."""
        path = _path(points, radius)
        width = float(style.get("stroke_width", 1))
        if casing:
            self._add("path", d=path, fill="none", stroke=SURFACE, stroke_width=width + 2 * casing)
        self._add("path", d=path, fill="none", **{"stroke_linecap": "round", **style})

    def dot(self, x: float, y: float, colour: str) -> None:
        """Where a line ends in a bar."""
        self._add("circle", cx=x, cy=y, r=3.2, fill=colour)

    def pill(self, x: float, y: float, text: str, colour: str, *, size: float = 10, is_solid: bool = False) -> None:
        """A text in a frame around the point."""
        width, height = text_width(text, size, is_bold=True) + 12, size + 7
        fill, ink = (colour, SURFACE) if is_solid else (SURFACE, colour)
        self.rect(x - width / 2, y - height / 2, width, height, radius=height / 2, fill=fill, stroke=colour)
        self.text(x, y, text, size=size, is_bold=True, text_anchor="middle", fill=ink)

    def svg(self, width: float, height: float) -> str:
        """The drawing as text."""
        self.root.attrib |= {
            "viewBox": f"0 0 {_number(width)} {_number(height)}",
            "width": _number(width),
            "height": _number(height),
        }
        back = ElementTree.Element("rect", {"width": "100%", "height": "100%", "rx": "12", "fill": BACKGROUND})
        self.body.insert(0, back)
        ElementTree.indent(self.root, " ")
        return ElementTree.tostring(self.root, encoding="unicode") + "\n"


def _em(letter: str) -> float:
    if east_asian_width(letter) in "WF":
        return 1.05
    for pattern, width in _WIDTHS:
        if pattern.match(letter):
            return width
    return 0.7 if letter.isupper() else 0.64


def _number(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.1f}".removesuffix(".0")


def _path(points: Sequence[Point], radius: float) -> str:
    corners = [point for place, point in enumerate(points) if not place or point != points[place - 1]]
    parts = [f"M{_number(corners[0][0])} {_number(corners[0][1])}"]
    for before, corner, after in zip(corners, corners[1:], corners[2:], strict=False):
        bend = min(radius, _distance(before, corner) / 2, _distance(corner, after) / 2)
        enter, leave = _towards(corner, before, bend), _towards(corner, after, bend)
        parts.append(f"L{_number(enter[0])} {_number(enter[1])}")
        parts.append(f"Q{_number(corner[0])} {_number(corner[1])} {_number(leave[0])} {_number(leave[1])}")
    parts.append(f"L{_number(corners[-1][0])} {_number(corners[-1][1])}")
    return "".join(parts)


def _distance(a: Point, b: Point) -> float:
    return abs(a[0] - b[0]) + abs(a[1] - b[1])


def _towards(start: Point, end: Point, length: float) -> Point:
    whole = _distance(start, end) or 1.0
    return start[0] + (end[0] - start[0]) * length / whole, start[1] + (end[1] - start[1]) * length / whole
