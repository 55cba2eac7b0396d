"""The marks of units that we wrote: the sum of their text, and what the process carries that they start."""

from __future__ import annotations

import hashlib
import re

MARKER = "RIGWRIGHT_UNIT"
_SUM = re.compile(
    r"\A(?P<header># Written by rigwright\.[^\n]*\n)# sha256 of the rest: (?P<sum>[0-9a-f]{64})\n(?P<rest>.*)\Z",
    re.DOTALL,
)


def is_ours(unit: str) -> bool:
    """True for the text of a unit that we wrote and nobody edited since."""
    found = _SUM.match(unit)
    return found is not None and found["sum"] == hashlib.sha256(found["rest"].encode()).hexdigest()


def was_ours(unit: str) -> bool:
    """True for the text of a unit that we wrote, edited or not."""
    return unit.startswith("# Written by rigwright.")


def marker_of(unit: str) -> str | None:
    """The mark that a process started from this unit text carries in its environment."""
    found = re.search(rf"^Environment={MARKER}=(\w+)$", unit, re.MULTILINE)
    return found[1] if found else None
