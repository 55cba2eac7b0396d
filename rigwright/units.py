"""Bytes in, text out: sizes are whole bytes everywhere inside, and converted here once."""

from __future__ import annotations

import re

KIB = 1024
MIB = 1024**2
GIB = 1024**3

_SUFFIXES = {"": 1, "K": KIB, "M": MIB, "G": GIB, "T": 1024 * GIB}


def format_bytes(count: int) -> str:
    """Bytes as a person reads them, in binary units: `22.9 GiB`, `512 MiB`, `17 KiB`."""
    for size, unit in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if count >= size:
            value = count / size
            return f"{value:.1f} {unit}" if value < 100 else f"{value:.0f} {unit}"
    return f"{count} B"


def whole_number(text: str) -> int | None:
    """The number that a text of a rig or a server is; None for what is none, or is larger than any count of theirs."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else None


def parse_bytes(text: str) -> int:
    """`20G`, `512M`, `1.5GiB` or plain bytes as whole bytes; the units are binary.

    Raises:
        ValueError: the text is no size.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*", text, re.IGNORECASE)
    if not match:
        raise ValueError(f"{text!r} is no size; write for example 20G or 512M")
    return int(float(match[1]) * _SUFFIXES[match[2].upper()])
