"""Values of an inventory as people give them: `64k`, `Q8_0`, one word for a list, and what YAML makes of `no`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator

from rigwright.units import parse_bytes

Item = TypeVar("Item")
_NUMBER = re.compile(r"(\d{1,3}(?:[_, ']\d{3})+|\d+)(?:\.0+)?")


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
    """`65536` of `64k` too; K is 1024, as the names of models and flags have it."""
    value = _no_boolean(value)
    if not isinstance(value, str):
        return value
    if found := re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kKmM])(?:i?[bB]|\s*tokens)?", value.strip()):
        return int(float(found[1]) * (1 << 10 if found[2] in "kK" else 1 << 20))
    if found := _NUMBER.fullmatch(re.sub(r"\s*tokens?$", "", value.strip())):
        return int(re.sub(r"\D", "", found[1]))
    raise ValueError(f"{value!r} is no number of tokens; write for example 65536 or 64K")


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
