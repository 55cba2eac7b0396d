r"""What terminals, logs, pages and mails put around a tool's output, taken off again.

`plain` takes away what no tool prints: escape sequences, real or made visible (`^[[4m`), and invisible characters.
`versions` are the ways in which the rest may be dressed: as a page, as a JSON string, with a prefix on each line,
broken at the width of a terminal. Which of them is right only a reader can tell: the one that is understood best.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise, takewhile

from rigwright.hardware.encodings import DECODERS, TAG

# How ESC looks where it is shown: cat -v, less, bash, C, JSON, Rust, PowerShell, Unicode's picture, code page 437, what
# a decoder puts in place of it, editors, HTML, quoted-printable, URLs.
_ESC = (
    r"(?:\x1b|\^\[|\\?\\e|\\?\\E|\\?\\x1b|\\?\\0?33|\\?\\u001b|\\?\\u\{1b\}|`e|[\u241b\u2190\ufffd]|&#27;|&#x1b;|[=%]1b"
    r"|[<\[({](?:esc|0?x?1b|u\+001b)[>\])}])"
)
_VISIBLE = re.compile(rf"{_ESC}(?:\[[0-9;?]{{0,20}}(?-i:[A-HJKSThlmsu])|[()][0-9AB])", re.IGNORECASE)
_LOST_ESC = re.compile(
    r"\[(?:[0-9]{1,3}(?:;[0-9]{1,3}){0,4}m(?:\[K)?|m(?=\[K|\s|$))|(?<!\w)[014]m(?=GPU[0-9])|(?<=ID)0?m$", re.MULTILINE
)
_OVERSTRUCK = re.compile("[^\n]\x08")
# Blanks that a page, a word processor or a chat puts in place of the one of the keyboard.
_BLANKS = "\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
_ODD = str.maketrans(dict.fromkeys(_BLANKS, " ") | dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u00ad", ""))
# A chat lets the text begin and end on the lines of the fence: ```GPU 0: …```
_GLUED_FENCE = re.compile(r"^(?P<begin>```+)(?=[^\n`]*[^\w\n`+.-][^\n`]*\S)|(?<=[^\s`])(?P<end>```+)$", re.MULTILINE)
_SHOWN = (("^I", "\t"), ("\u2409", "\t"), ("\u240a", "\n"), ("\u240d", ""))
_SHOWN_RETURN = re.compile(r"(?:\^M|\\r|<CR>)$", re.MULTILINE)

_MARKDOWN = re.compile(r"\\([_*\[\]])")  # mlx5\_0
_MOST_CHARACTERS = 1 << 20
_LOOKED_AT = 20_000
_MOST_LINES, _MOST_PREFIXES = 300, 24
_ENDS = '$|\u2502\u2503\\"\u00b6\u21b5;,'
_BOUNDARY = re.compile(r"[\s|:>\])}\u2502\u2503\u00bb#*\"'/+;=~%$-]")
_LEAST_WIDTH = 40
_WIDTHS = (80, 100, 120, 132)  # of terminals: the longest line may have been broken there
_FRAME = ("|", "+")
_QUOTES = (">", "#", "\u2502")
_PANE_LINES, _MOST_COLUMNS = "\u2502\u2503", 500


def plain(text: str) -> str:
    """The text without escape sequences, real or shown, struck-over and invisible characters."""
    text = _VISIBLE.sub("", _MARKDOWN.sub(r"\1", text.translate(_ODD)))
    text = _SHOWN_RETURN.sub("", _OVERSTRUCK.sub("", _LOST_ESC.sub("", text)))
    for shown, meant in _SHOWN:
        text = text.replace(shown, meant)
    return _GLUED_FENCE.sub(lambda found: "```\n" if found["begin"] else "\n```", text)


def versions(text: str) -> Iterator[str]:
    """The ways in which a text may have been dressed, undone; each once, and the text itself not among them."""
    if len(text) > _MOST_CHARACTERS:
        return
    seen = {text}
    bases = [text]
    for depth in range(2):  # a JSON string on a page
        for base in bases[depth > 0 :] or bases[:1]:
            for undo in DECODERS:
                found = undo(base)
                if found and (found := plain(found)) not in seen:
                    seen.add(found)
                    bases.append(found)
                    yield found
        if len(bases) == 1:
            break
    for base in bases:
        for found in _undressed(base):
            if found not in seen:
                seen.add(found)
                yield found


def is_dressed(text: str) -> bool:
    """Whether a text looks as if something was put around it, though it is understood as it is."""
    filled = [line.rstrip() for line in text[:_LOOKED_AT].split("\n") if line.strip()]
    shapes = [_shape(line) for line in filled]
    shared = _shared(min(shapes), max(shapes)) if len(shapes) > 1 else ""
    has_ends = len({line[-1] for line in filled} & set(_ENDS)) == 1 and len({line[-1] for line in filled}) < 3
    is_quoted = sum(line.lstrip().startswith(_QUOTES) for line in filled) * 2 > len(filled)
    return bool(
        _BOUNDARY.search(shared.lstrip())
        or is_quoted
        or max((len(line) for line in text[:_LOOKED_AT].split("\n")), default=0) in _WIDTHS
        or any(panes(text))
        or has_ends
        or TAG.search(text)
        or len(re.findall(r"\\[nt]|=20|=09|=3D", text)) > 1
    )


def _undressed(text: str) -> Iterator[str]:
    yield from panes(text)
    for version in (text, _without_ends(text)):
        if version:
            yield version
            yield from _without_prefix(version)
            yield _unbroken(version)
            yield _unbroken("\n".join(line.rstrip() for line in version.split("\n")))  # a pane fills its lines
            yield _unbroken_rows(version)
            yield _from_markdown_table(version)


def _without_ends(text: str) -> str:
    """The lines without a mark that most end with: `cat -A`, the frame of a pane; nothing where there is none."""
    lines = text.split("\n")
    filled = [line.rstrip() for line in lines if line.strip()]
    marks = Counter(line[-1] for line in filled if line[-1] in _ENDS)
    mark, count = marks.most_common(1)[0] if marks else ("", 0)
    if count < 2 or count * 5 < len(filled) * 4:
        return ""
    return "\n".join(line.rstrip().removesuffix(mark) for line in lines)


def _without_prefix(text: str) -> Iterator[str]:
    """The lines without what many begin with: a time, a container's name, a number, `> `. Numbers may differ in it."""
    lines = text.split("\n")
    shapes = [_shape(line) for line in lines[:_MOST_LINES] if line.strip()]
    counts: Counter[str] = Counter()
    for one, other in pairwise(shapes):
        shared = _shared(one, other)
        counts.update({shared[: found.end()] for found in _BOUNDARY.finditer(shared)})
    # Cells of a table stand behind commas: a log's prefix has none but in its time.
    likely = [
        shape for shape, count in counts.items()
        if shape.strip() and ", " not in shape and count * 3 >= len(shapes) - 1
    ]  # fmt: skip
    likely.sort(key=lambda shape: (-counts[shape], len(shape)))
    for shape in likely[: _MOST_PREFIXES if len(text) < _LOOKED_AT else _MOST_PREFIXES // 3]:
        yield "\n".join(_stripped(lines, shape))


def _shared(one: str, other: str) -> str:
    """What both begin with."""
    same = takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return "".join(mark for mark, _ in same)


def _shape(line: str) -> str:
    """A line with each number as 0 and each run of blanks as one: alike for lines that a log began alike."""
    return re.sub("[0-9]+", "0", re.sub(r"[ \t]+", " ", f"{line[:400].rstrip()} "))


def _stripped(lines: Iterable[str], shape: str) -> list[str]:
    """The lines without a prefix of that shape; of the blanks behind it go as many as all lines have."""
    parts = {" ": r"[ \t]+", "0": "[0-9]+"}
    body = "".join(parts.get(mark, re.escape(mark)) for mark in shape.strip())
    pattern = re.compile((r"[ \t]*" if shape[0] == " " else "") + body)
    found = [(line, pattern.match(line)) for line in lines]
    rests = [line[match.end() :] for line, match in found if match]
    blanks = [rest[: len(rest) - len(rest.lstrip(" \t"))] for rest in rests if rest.strip()]
    shared = len(_shared(min(blanks), max(blanks))) if blanks and shape[-1] == " " else 0
    return [line[match.end() + shared :] if match else line for line, match in found]


def _unbroken(text: str) -> str:
    """The lines joined that a terminal broke: those that are as wide as it."""
    lines = [line.rstrip("\r") for line in text.split("\n")]
    width = max(map(len, lines))
    if width < _LEAST_WIDTH or len(lines) < 2:
        return text
    joined = [lines[0]]
    for before, line in pairwise(lines):
        if len(before) == width:
            joined[-1] += line
        else:
            joined.append(line)
    return "\n".join(joined)


def _unbroken_rows(text: str) -> str:
    """The rows of a framed table joined that a terminal broke, though the blanks at its edge were stripped or filled.

    The rules of the table show how wide the terminal is; a row that its frame does not end goes on in the next line.
    """
    lines = [line.rstrip() for line in text.split("\n")]
    width = max(map(len, lines))
    if width < _LEAST_WIDTH or sum(len(line) == width for line in lines) < 2:
        return text
    frame = next((line for line in lines if len(line) == width and line.lstrip()[:1] in _FRAME), "")
    starts = tuple(frame[: len(frame) - len(frame.lstrip())] + mark for mark in _FRAME)
    joined = [lines[0]]
    for before, line in pairwise(lines):
        if before.startswith(starts) and not line.startswith(starts) and line.endswith(_FRAME):
            joined[-1] = joined[-1].ljust(width) + line
        else:
            joined.append(line)
    return "\n".join(joined)


def panes(text: str) -> Iterator[str]:
    """What stands left and right of a line that a terminal drew between two panes."""
    if not any(mark in text for mark in _PANE_LINES):
        return
    lines = text.split("\n")
    columns = Counter(place for line in lines for place, mark in enumerate(line[:_MOST_COLUMNS]) if mark in _PANE_LINES)
    column, count = columns.most_common(1)[0] if columns else (0, 0)
    if column and count > 1 and count * 3 >= 2 * sum(bool(line.strip()) for line in lines):
        yield "\n".join(line[:column].rstrip() for line in lines)
        yield "\n".join(line[column + 1 :] for line in lines)


def _from_markdown_table(text: str) -> str:
    """A table as Markdown writes it, with tabs between the cells."""
    rows = [line.strip() for line in text.split("\n")]
    if not any(re.fullmatch(r"\|?(?:\s*:?-{2,}:?\s*\|)+(?:\s*:?-{2,}:?\s*)?", row) for row in rows):
        return text
    cells = [[cell.strip(" *`") for cell in row.strip("|").split("|")] if "|" in row else [row] for row in rows]
    return "\n".join("\t".join(row) for row in cells)
