"""A terminal page as an SVG that follows the viewer: dark on light, or light on dark."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme

from rigwright.errors import RigwrightError

_WIDTH = 100
# Each colour with a contrast of 4.5 and more on its ground, what is dim too.
_LIGHT = TerminalTheme(
    (255, 255, 255),
    (15, 20, 28),
    [(15, 20, 28), (196, 26, 38), (20, 115, 50), (138, 84, 0), (9, 83, 190), (130, 55, 180), (0, 112, 128),
     (93, 107, 124)],
    [(75, 85, 99), (196, 26, 38), (20, 115, 50), (138, 84, 0), (9, 83, 190), (130, 55, 180), (0, 112, 128),
     (15, 20, 28)],
)  # fmt: skip
_DARK = TerminalTheme(
    (22, 27, 34),
    (225, 231, 238),
    [(75, 85, 99), (255, 123, 114), (126, 211, 131), (227, 179, 65), (121, 184, 255), (210, 168, 255), (86, 212, 221),
     (225, 231, 238)],
    [(145, 155, 168), (255, 123, 114), (126, 211, 131), (227, 179, 65), (121, 184, 255), (210, 168, 255),
     (86, 212, 221), (255, 255, 255)],
)  # fmt: skip
_CLASS = re.compile(r'class="(page-r\d+)"')
_RULE = re.compile(r"\.(page-r\d+) \{ (.*?) \}")


def picture(show: Callable[[Console], None], *, title: str) -> str:
    """The SVG of what `show` prints; its colours are those that `prefers-color-scheme` asks for."""
    light, dark = (_drawn(show, title, theme) for theme in (_LIGHT, _DARK))
    rules = [dict(_RULE.findall(text)) for text in (light, dark)]
    # Two styles may look alike in one of the themes alone: a class for each pair.
    pairs = list(zip(_CLASS.findall(light), _CLASS.findall(dark), strict=True))
    names = {pair: f"page-c{number}" for number, pair in enumerate(dict.fromkeys(pairs), 1)}
    styles = [
        "\n".join(f"    .{name} {{ {rules[side].get(pair[side], '')} }}" for pair, name in names.items())
        for side in (0, 1)
    ]
    classes = iter(pairs)
    text = _CLASS.sub(lambda _: f'class="{names[next(classes)]}"', light)
    text = re.sub(r"\n\s*\.page-r\d+ \{.*?\}", "", text)
    grounds = [_ground(side) for side in (light, dark)]
    text = text.replace(grounds[0], '<rect class="page-ground"', 1)
    inks = [_ink(side) for side in (light, dark)]
    text = text.replace(f'class="page-title" fill="{inks[0]}"', 'class="page-title"', 1)
    own = [_own(ground, ink, style) for ground, ink, style in zip(grounds, inks, styles, strict=True)]
    return text.replace(
        "</style>", f"{own[0]}\n    @media (prefers-color-scheme: dark) {{\n{own[1]}\n    }}\n    </style>", 1
    )


def write_picture(file: Path, text: str) -> None:
    """Write an SVG.

    Raises:
        RigwrightError: it cannot be written there, or the name promises another format.
    """
    if file.suffix.lower() not in ("", ".svg"):
        raise RigwrightError(f"{file}: an SVG is drawn, no {file.suffix[1:].upper()}; name it {file.stem}.svg")
    try:
        file.write_text(text, "utf-8")
    except OSError as error:
        raise RigwrightError(f"{file}: cannot be written: {error.strerror}; name another file") from None


def _drawn(show: Callable[[Console], None], title: str, theme: TerminalTheme) -> str:
    console = Console(file=io.StringIO(), width=_WIDTH, record=True, force_terminal=True, color_system="truecolor")
    show(console)
    console.print()  # below the last line there is no room for what hangs under letters
    console.width = _WIDTH + 1  # nor beside the last column for a viewer's font that is wider
    text = console.export_svg(title=title, theme=theme, unique_id="page")
    # rich would fetch its font from a server; the viewer's own does as well
    return re.sub(r"\s*@font-face \{.*?\}\n", "\n", text, flags=re.DOTALL).replace("Fira Code", "monospace")


def _ground(text: str) -> str:
    """The window, up to its place: `<rect fill="#292929" stroke="…" stroke-width="1"`."""
    found = re.search(r'<rect fill="[^"]*" stroke="[^"]*" stroke-width="1"', text)
    return found[0] if found else ""


def _ink(text: str) -> str:
    found = re.search(r'class="page-title" fill="([^"]*)"', text)
    return found[1] if found else ""


def _own(ground: str, ink: str, styles: str) -> str:
    fill = re.search(r'fill="([^"]*)"', ground)
    edge = "rgba(128,128,128,0.5)"
    window = f"    .page-ground {{ fill: {fill[1] if fill else '#ffffff'}; stroke: {edge}; stroke-width: 1 }}"
    return f"{styles}\n{window}\n    .page-title {{ fill: {ink} }}"
