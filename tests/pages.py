"""The pages: their blocks and commands, and whether a block is what was really printed.

A block of output begins with the command, `$ rigwright …`, and tests/unit/test_docs.py runs it; or it comes from a rig,
and the test on rigs that sees it calls `page_shows`. A block that nobody owns is refused.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
READ = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES = [*READ, ROOT / "CHANGELOG.md", *sorted((ROOT / "docs/adr").glob("*.md"))]
# In front of a command of ours: root's, or without an installation.
BEFORE = r"(?:sudo |uvx --from \. |pipx run --spec \. )?"
COMMAND = re.compile(rf"^(?:\$ )?{BEFORE}((?:pyinfra|rigwright|make) .*)$")
FENCE = re.compile(r"^```(\S*) ?(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# `…` in a line of its own leaves out lines, elsewhere the rest of a word or of a line.
LEFT_OUT = re.compile(r"^ *…\n|…", re.MULTILINE)
# What another rig, or another day, has otherwise. All else is as it stands on the page.
VARIES = {
    "memory": r"\d+(?:\.\d+)? (?:MiB|GiB)",
    "release": r"\b[0-9a-f]{12}\b",
}
_VARIES = re.compile("|".join(f"(?P<{name}>{pattern})" for name, pattern in VARIES.items()))


class Block(NamedTuple):
    """A code block; `file` is the name that the reader gives it, where the page says one."""

    page: Path
    line: int
    language: str
    file: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    def begins(self, page: str, opening: str) -> bool:
        """Whether it is the block of that page that begins so, but for what it leaves out."""
        return self.page == ROOT / page and self.text.lstrip(" …\n").startswith(opening)


def blocks(page: Path) -> list[Block]:
    """Those between fences."""
    text = page.read_text("utf-8")
    return [Block(page, text.count("\n", 0, found.start()) + 1, *found.groups()) for found in FENCE.finditer(text)]


def indented(page: Path) -> list[str]:
    """The lines of indented blocks."""
    prose = FENCE.sub("", page.read_text("utf-8"))
    return [line.strip() for line in prose.splitlines() if line.startswith("    ")]


def spans(page: Path) -> list[str]:
    """What stands between backticks in the text."""
    return re.findall(r"`([^`\n]+)`", FENCE.sub("", page.read_text("utf-8")))


def commands(page: Path) -> Iterator[list[str]]:
    """The words of each command of ours in code: fenced blocks, indented blocks, spans between backticks."""
    code = [line for block in blocks(page) for line in block.text.splitlines() if not block.file]
    code += indented(page) + spans(page)
    code += [part for line in code for part in line.split("# or: ")[1:]]
    for line in code:
        if found := COMMAND.match(line.strip()):
            yield shlex.split(found[1], comments=True)


def lines_of(printed: str) -> str:
    """What came, without blanks at the ends of lines."""
    return "".join(f"{line.rstrip()}\n" for line in printed.splitlines())


def pattern_of(shown: str, *, varies: bool = False) -> str:
    """What matches the lines of a block, with those that it leaves out and, of rigs, what varies."""
    parts, end = [], 0
    for gap in LEFT_OUT.finditer(shown):
        parts += [_literal(shown[end : gap.start()], varies=varies), r"(?:.*\n)*?" if "\n" in gap[0] else ".*"]
        end = gap.end()
    return "".join([*parts, _literal(shown[end:], varies=varies)])


def _literal(text: str, *, varies: bool) -> str:
    parts, end = [], 0
    for found in _VARIES.finditer(text) if varies else ():
        parts += [re.escape(text[end : found.start()]), VARIES[str(found.lastgroup)]]
        end = found.end()
    return "".join([*parts, re.escape(text[end:])])


def block_of(page: str, opening: str) -> Block:
    """The one block of the page that begins so."""
    found = [block for block in blocks(ROOT / page) if block.begins(page, opening)]
    assert len(found) == 1, f"{page}: {len(found)} blocks begin with {opening!r}"
    return found[0]


def page_shows(page: str, opening: str, printed: str) -> None:
    """The block of the page that begins so is what a rig was just seen to say, but for what varies."""
    block = block_of(page, opening)
    pattern = f"^{pattern_of(block.text, varies=True)}"
    assert re.search(pattern, lines_of(printed), re.MULTILINE), (
        f"{block} shows\n{block.text}\nand what came is\n{printed}"
    )
