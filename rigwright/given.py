"""Values as people give them: `64k`, `Q8_0`, one word for a list, what YAML makes of `no`, and words out of a page."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator

from rigwright.errors import WrongSpec
from rigwright.units import parse_bytes

Item = TypeVar("Item")
_NUMBER = re.compile(r"(\d{1,3}(?:[_, ']\d{3})+|\d+)(?:\.0+)?")
# Of tokens nobody has a fraction: `32.768` is how half of Europe writes 32,768.
_TOKENS = re.compile(r"(\d{1,3}(?:[_, '.]\d{3})+|\d+)(?:\.0+)?")
# Below, thousands and 1024s are written alike: 32K is 32,768 in both.
_LEAST_IN_THOUSANDS = 65
# 65.536 becomes 65 or 66.
_ROUNDED = 600
_SHORT_TOKENS = re.compile(r"(\d+(?:\.\d+)?)\s*([kKmM])(?:i?[bB]?)")
# Modules of memory, and words of their kind behind them, which say nothing of how much it is: no other size.
_MODULES = re.compile(
    r"(?:(?P<count>\d{1,2})\s*[x×*]\s*)?(?P<size>\d+(?:[.,]\d{1,2})?)\s*(?P<unit>[KMGT]?)"
    r"(?:i?B|igs?|igabytes?|erabytes?|o)?(?:\s*[x×*]\s*(?P<after>\d{1,2}))?"
    r"(?:[\s,/@-]+(?!\d+(?:[.,]\d+)?\s*[GT]i?B?\b)[\w.]+)*",
    re.IGNORECASE,
)
# What stands around a word on a page: quotes, emphasis, `<…>`; pairs, so that the star of a pattern is left.
_PAIRS = ("**", "__", "`", '"', "'", "“”", "‘’", "„“", "«»", "<>")
_BULLET = re.compile(r"(?:[-*+•·–—]|\d{1,2}[.)])\s+")
# Blanks that do not break a line or have no width, and line ends of Windows.
_BLANKS = str.maketrans(
    {
        **dict.fromkeys("\u00a0\u2007\u202f\u2009\u3000\t\r", " "),
        **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u00ad", ""),
    }
)


def undressed(text: str) -> str:
    """A text without what pages, chats and editors put around it: `qwen3.5-9b` of `- **“qwen3.5-9b”**,`."""
    text = text.translate(_BLANKS).strip()
    while (bare := _less(text)) != text:
        text = bare
    return text


def _less(text: str) -> str:
    """It without one piece of its dressing."""
    text = text.removesuffix("\\n").rstrip(",;").strip()
    if bullet := _BULLET.match(text):
        return text[bullet.end() :]
    for pair in _PAIRS:
        first, last = (pair[0], pair[1]) if len(set(pair)) == 2 else (pair, pair)
        if len(text) > len(first) + len(last) and text.startswith(first) and text.endswith(last):
            return text[len(first) : -len(last)].strip()
        # Half of a pair, which somebody's mouse took along.
        if text.startswith(first) and last not in text[len(first) :]:
            return text[len(first) :]
        if text.endswith(last) and first not in text[: -len(last)]:
            return text[: -len(last)]
    return text


def at_home(text: str) -> Path:
    """The path with the home of `~` or `~name` in its place.

    Raises:
        WrongSpec: there is no such account here.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise WrongSpec(f"{text}: there is no account {text.split('/')[0]} here; write the path in full") from None


def tokens(text: str) -> int:
    """`65536` of `64k`, `65,536`, `64K tokens`; K is 1024, as the names of models and flags have it.

    A number that is a power of two in thousands is that one: `262K` and `131k`, as articles write them, are 262,144 and
    131,072 tokens.

    Raises:
        ValueError: the text is no number of tokens.
    """
    plain = re.sub(r"\s*(?:\([^()]*\)|tokens?|toks?|ctx|context)$", "", undressed(text), flags=re.IGNORECASE)
    if found := _SHORT_TOKENS.fullmatch(plain):
        number, is_kilo = float(found[1]), found[2] in "kK"
        return (_in_thousands(number) if is_kilo else None) or int(number * (1 << 10 if is_kilo else 1 << 20))
    if found := _TOKENS.fullmatch(plain):
        return int(re.sub(r"\D", "", found[1]))
    raise ValueError(f"{text!r} is no number of tokens; write for example 65536 or 64K")


def _in_thousands(number: float) -> int | None:
    """The power of two that so many thousands are meant for: 262144 of 262, and of 262.1."""
    if number < _LEAST_IN_THOUSANDS:
        return None
    powers = (1 << bits for bits in range(16, 24))
    return next((one for one in powers if abs(number * 1000 - one) < _ROUNDED and number != one / 1024), None)


def memory(text: str) -> int:
    """The bytes of RAM as shops and owners write it: `128G`, `4x32GB DDR4-3200`, `64 gigs`, `1,5T`, `2x32G + 2x16G`.

    Raises:
        ValueError: the text is no size.
    """
    parts = [_MODULES.fullmatch(part) for part in re.split(r"\s*\+\s*", re.sub(r"\s*\([^()]*\)", "", undressed(text)))]
    if any(part is None for part in parts):
        raise ValueError(f"{text!r} is no size; write for example 20G or 512M")
    return sum(
        int(part["count"] or part["after"] or 1) * parse_bytes(part["size"].replace(",", ".") + part["unit"][:1])
        for part in parts
        if part
    )


def _no_boolean(value: Any) -> Any:
    if isinstance(value, bool):
        said = "true" if value else "false"
        raise ValueError(
            f"{said} is no number (YAML reads {'yes and on' if value else 'no and off'} as {said}); write one"
        )
    return value


def _count(value: Any) -> Any:
    """`65536` of `65_536`, `65,536` and `'65536'`."""
    value = _no_boolean(value)
    if isinstance(value, str):
        if not (found := _NUMBER.fullmatch(value.strip())):
            raise ValueError(f"{value!r} is no whole number; write one, like 4")
        return int(re.sub(r"\D", "", found[1]))
    return value


def _tokens(value: Any) -> Any:
    """`65536` of `64k` too."""
    value = _no_boolean(value)
    return tokens(value) if isinstance(value, str) else value


def _size(value: Any) -> Any:
    """Bytes of `10G`."""
    value = _no_boolean(value)
    if isinstance(value, str):
        return parse_bytes(value)
    return value


# Of whole numbers, tokens of context, bytes. They stand behind the limits of a field, which its schema then tells.
COUNT, TOKENS, SIZE = BeforeValidator(_count), BeforeValidator(_tokens), BeforeValidator(_size)


def word(choices: Iterable[str], others: dict[str, str] | None = None) -> BeforeValidator:
    """The validator of a word: any case, with blanks or underscores for dashes; near ones are proposed.

    Args:
        choices: The words.
        others: What words of other programs mean here: `{"off": "instruct switches thinking off"}`.
    """
    names = tuple(choices)

    def check(value: Any) -> Any:
        if isinstance(value, bool):
            said = "true" if value else "false"
            told = (others or {}).get(said) or f"use {_either(names)}"
            raise ValueError(f"{said} is none of the words that go here (YAML reads yes, no, on and off so); {told}")
        if not isinstance(value, str):
            return value
        plain = {_plain(name): name for name in names}
        if _plain(value) in plain:
            return plain[_plain(value)]
        if other := (others or {}).get(_plain(value)):
            raise ValueError(f"{value!r} is none of the words that go here; {other}")
        near = [plain[one] for one in plain if _plain(value) and _plain(value) in one]
        near = near or [plain[one] for one in get_close_matches(_plain(value), plain, n=2)]
        raise ValueError(
            f"{value!r} is none of the words that go here; "
            + (f"did you mean {_either(near)}?" if near else f"use {_either(names)}")
        )

    return BeforeValidator(check)


def _listed(value: Any) -> Any:
    """A list of one where one thing is given; `a, b` is two."""
    if isinstance(value, str):
        return tuple(part for part in re.split(r"[\s,]+", value.strip().strip("[]")) if part)
    return (value,) if isinstance(value, int | float) and not isinstance(value, bool) else value


# A list, for which one word is enough.
OneOrMore = Annotated[tuple[Item, ...], BeforeValidator(_listed)]


def _plain(text: str) -> str:
    return re.sub(r"[\s_.-]+", "", text.strip().lower())


def _either(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last
