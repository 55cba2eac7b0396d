"""What every page has on a terminal: colours that read on any ground, and nothing that needs them."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from rich.color import Color
from rich.text import Text

import rigwright.view
from rigwright.cli import main
from rigwright.cli.unanswered import tell_missing
from rigwright.view.terminal import READABLE, console

GROUNDS = {"white": (255, 255, 255), "black": (0, 0, 0), "dark grey": (30, 30, 30), "Solarized light": (253, 246, 227)}
COLOUR = re.compile(r'"(?:bold )?(dim|black|red|green|yellow|blue|magenta|cyan|white|bright_\w+)"')


def luminance(rgb: tuple[int, ...]) -> float:
    """Source: WCAG 2.2, relative luminance."""
    linear = [part / 255 / 12.92 if part <= 10 else ((part / 255 + 0.055) / 1.055) ** 2.4 for part in rgb]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: tuple[int, ...], other: tuple[int, ...]) -> float:
    """Source: WCAG 2.2, contrast ratio."""
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch):
    """The console of a terminal of that kind."""

    def made(**environment: str):
        for name in ("NO_COLOR", "COLORTERM", "FORCE_COLOR"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
        return console()

    return made


@pytest.mark.parametrize("name", READABLE)
@pytest.mark.parametrize("ground", GROUNDS)
def test_colour_reads_on_light_and_on_dark(screen, name, ground):
    """3.5 to one; no colour has more than 4.1 on white and on dark grey both. xterm's yellow has 1.7 on white."""
    for words in (name, f"bold {name}"):
        style = screen(TERM="xterm-256color").get_style(words)
        assert style.color and not style.dim and bool(style.bold) == (words != name)
        assert contrast(style.color.get_truecolor(), GROUNDS[ground]) > 3.45


def test_colours_of_pages_are_those_that_read():
    """A page that takes another colour would not be seen by somebody."""
    pages = Path(rigwright.view.__file__).parent.glob("*.py")
    named = {colour for page in pages for colour in COLOUR.findall(page.read_text())}
    assert named and named <= set(READABLE)


def test_terminal_of_sixteen_colours_keeps_its_own(screen):
    """It has no others: its owner chose them."""
    assert screen(TERM="xterm").get_style("yellow").color == Color.parse("yellow")


def test_who_wants_no_colour_gets_none(screen):
    """NO_COLOR leaves bold; what was grey is ink."""
    plain = screen(TERM="xterm-256color", NO_COLOR="1")
    with plain.capture() as found:
        plain.print(Text.assemble(("grey ", "dim"), ("alarm", "bold red")))
    assert found.get() == "grey \x1b[1malarm\x1b[0m\n"


@pytest.mark.parametrize(
    ("environment", "start"),
    [({"TERM": "xterm-256color"}, "\x1b[38;5;196m"), ({"TERM": "xterm"}, "\x1b[31m"), ({"NO_COLOR": "1"}, "rig1: ")],
)
def test_rig_without_an_answer_is_red_as_the_terminal_can(monkeypatch, environment, start):
    """The red of many terminals cannot be read on dark grey; NO_COLOR has none."""
    for name in ("TERM", "COLORTERM", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    said = []
    monkeypatch.setattr(click, "echo", lambda line, **_: said.append(line))
    tell_missing({"rig1": "no answer"})
    assert said[0].startswith(start) and "rig1: not read: no answer" in said[0]


WISH = """services:
  - {name: chat, model: qwen3.5-35b-a3b, engine: vllm}
  - {name: embed, model: qwen3.5-0.8b, port: 8082}
"""


def test_picture_reads_in_light_and_in_dark(tmp_path):
    """4.5 to one for all that is written, what is dim too."""
    (tmp_path / "two.yml").write_text(WISH)
    words = (
        "plan",
        "--gpu",
        "4x3090",
        "--spec",
        str(tmp_path / "two.yml"),
        "--why",
        "--svg",
        str(tmp_path / "plan.svg"),
    )
    assert CliRunner().invoke(main, words).exit_code == 0
    text = (tmp_path / "plan.svg").read_text()
    light, _, dark = text[: text.index("</style>")].partition("prefers-color-scheme: dark")
    for side in (light, dark):
        fills = dict(re.findall(r"(page-\w+) \{ fill: #(\w{6})", side))
        ground = tuple(bytes.fromhex(fills.pop("page-ground")))
        low = {name: fill for name, fill in fills.items() if contrast(tuple(bytes.fromhex(fill)), ground) < 4.45}
        assert len(fills) > 8 and not low


def test_picture_cuts_no_letter_at_its_edge(tmp_path):
    """The longest line ends a column before the window does: a pixel of it was cut, and more with other fonts."""
    spec, drawn = tmp_path / "two.yml", tmp_path / "plan.svg"
    spec.write_text(WISH)
    words = ("plan", "--gpu", "4x3090", "--spec", str(spec), "--svg", str(drawn))
    assert CliRunner().invoke(main, words).exit_code == 0
    text = drawn.read_text()
    window = re.search(r'id="page-clip-terminal">\s*<rect x="0" y="0" width="([\d.]+)"', text)
    found = re.findall(r'x="([\d.]+)" y="[\d.]+" textLength="([\d.]+)"[^>]*>(.*?)</text>', text, re.DOTALL)
    ends = [float(x) + float(length) for x, length, said in found if said.strip()]
    assert window and len(ends) > 30 and max(ends) + 10 < float(window[1])
