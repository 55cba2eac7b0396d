"""Numbers as people type them: `262144`, `256K`, `21G`. For click, which shows the name of the function in --help."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import click

from rigwright.units import parse_bytes


class Words(click.Choice[str]):
    """A choice that also takes what people call it: other case, a beginning that is one word's alone, `others`."""

    def __init__(self, choices: Sequence[str], others: Mapping[str, str] | None = None) -> None:
        super().__init__(choices, case_sensitive=False)
        self._others = dict(others or {})

    def convert(self, value: str, param: click.Parameter | None, context: click.Context | None) -> str:
        """The word that is meant."""
        plain = re.sub(r"[\s._-]+", "", str(value).lower())
        known = {re.sub(r"[\s._-]+", "", one): one for one in self.choices} | self._others
        begun = {word for name, word in known.items() if name.startswith(plain)}
        return super().convert(known.get(plain) or (begun.pop() if len(begun) == 1 else value), param, context)


class Whole(click.IntRange):
    """A whole number between two; `name` is what --help shows."""

    name = "integer range"

    def __init__(self, least: int, most: int | None = None) -> None:
        super().__init__(least, most)

    def convert(self, value: object, param: click.Parameter | None, context: click.Context | None) -> int:
        """The number, or why it is none."""
        text = str(value).replace(",", "").replace("_", "").strip()
        if not re.fullmatch(r"[+-]?\d{1,18}", text):
            self.fail(f"{str(value)[:60]!r} is no whole number; write one, like 4", param, context)
        return int(super().convert(int(text), param, context))


def number(text: str | int) -> int:
    """A whole number above zero, with K, M, G or T for powers of 1024.

    Raises:
        BadParameter: the text is none.
    """
    if isinstance(text, int):
        return text
    from rigwright.given import tokens as tokens_of  # which takes a while to import

    try:
        found = tokens_of(text)
    except ValueError:
        try:
            found = parse_bytes(text)
        except ValueError:
            raise click.BadParameter(f"{text!r} is no number; write for example 262144, 256K or 21G") from None
    if not 0 < found < 2**63:
        raise click.BadParameter(f"{text!r} is out of range; write for example 262144, 256K or 21G")
    return found


def tokens(text: str | int) -> int:
    """What `number` takes, and 0.

    Raises:
        BadParameter: the text is none.
    """
    return 0 if str(text).strip() == "0" else number(text)


def rate(text: str | float) -> float:
    """A finite number above zero.

    Raises:
        BadParameter: the text is none.
    """
    try:
        found = float(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is no number; write for example 936.2") from None
    if not 0 < found < 1e6:
        raise click.BadParameter(f"{text!r} is out of range; write a number above 0")
    return found


def size(text: str | None, option: str) -> int | None:
    """`64G` as bytes; None where the option is not given.

    Raises:
        UsageError: the text is no size.
    """
    if text is None:
        return None
    from rigwright.given import memory

    try:
        found = memory(text)
    except ValueError as error:
        raise click.UsageError(f"{option}: {error}") from None
    if not found:
        raise click.UsageError(f"{option}: {text} is nothing; write for example 64G")
    if found < 1 << 20 and not re.search(r"\d\s*[KkMm]", text):
        number = re.match(r"\W*([\d.]+)", text)
        example = f"{number[1] if number else 64}G"
        raise click.UsageError(f"{option}: {text} has no unit, and would be bytes; write for example {example}")
    return found
