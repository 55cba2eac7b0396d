"""What all formats share: terminal dressing, sentinels in place of numbers, PCI addresses, sizes."""

from __future__ import annotations

import re

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_NUMBER = re.compile(r"-?\d{1,18}(?:\.\d{1,9})?")
# A domain has four digits, or eight from nvidia-smi; five and more where it needs them. Another one was damaged.
_ADDRESS = re.compile(
    r"(?:(?<![0-9])(?P<domain>[0-9a-fA-F]{8}|[1-9a-fA-F][0-9a-fA-F]{4,6}|[0-9a-fA-F]{4}):)?"
    r"(?P<bus>[0-9a-fA-F]{2}):(?P<device>[0-9a-fA-F]{2})\.(?P<fn>[0-7])"
)
# What is left of a domain before an address that has none: `00F:01:00.0`, `0000000 F:01:00.0`.
_LEFT_OF_DOMAIN = re.compile(r"(?:(?:^|[^a-zA-Z])[0-9a-fA-F]{1,8}|[^\x00-\x7f]):[^\x20-\x7e\t]*$")
_UUID = re.compile(r"\b(?:GPU|MIG)-[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")
_UNITS = {"": 1, "b": 1, "kb": 1000, "mb": 1000**2, "gb": 1000**3, "kib": 1024, "mib": 1024**2, "gib": 1024**3}
# Source: strings seen in place of numbers in nvidia-smi output of recorded machines, and nvidia-smi(1).
LOST = ("gpu is lost", "gpu requires reset", "err!", "unknown error")


def lines(text: str) -> list[str]:
    """The lines of a command's output without dressing: colours, carriage returns, byte order mark, a mail's `>`."""
    plain = _ANSI.sub("", text).lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    found = plain.split("\n")
    if plain.startswith(">") and all(line.startswith(">") for line in found if line):
        return [line[1:].removeprefix(" ") for line in found]
    return found


def number(text: str) -> float | None:
    """The number that a cell begins with (`78.28 W`, `16x`, `143771 MiB`), None for `[N/A]`, `ERR!` and the like."""
    found = _NUMBER.match(text.strip())
    return float(found[0]) if found else None


def whole(text: str) -> int | None:
    """`number`, for what is counted."""
    found = number(text)
    return int(found) if found is not None and found == int(found) else None


def size_bytes(text: str, *, default_unit: str = "b") -> int | None:
    """`81559 MiB`, `24 GB` or a bare number of `default_unit` in bytes; None where there is no number."""
    amount = number(text)
    if amount is None:
        return None
    word = re.sub(r"^[-\d.\s]+", "", text.strip()).split(" ")[0].lower()
    unit = _UNITS.get(word or default_unit)
    return int(amount * unit) if unit else None


def pci_address(text: str) -> str | None:
    """`00000000:0C:00.0` or `0c:00.0` as `0000:0c:00.0`; None where the text names no device, or one in part."""
    found = _ADDRESS.search(text)
    if not found or (not found["domain"] and _LEFT_OF_DOMAIN.search(text[: found.start()])):
        return None
    domain = (found["domain"] or "0000")[-4:]
    return f"{domain}:{found['bus']}:{found['device']}.{found['fn']}".lower()


def uuid(text: str) -> str | None:
    """The GPU or MIG UUID that a text ends with; one that goes on in some way is damaged, and none."""
    found = _UUID.search(text.strip())
    return found[0] if found else None


def is_lost(text: str) -> bool:
    """Whether a cell holds one of the sentinels of a GPU that no longer answers."""
    cell = text.strip().strip("[]").lower()
    return any(cell.startswith(sentinel) for sentinel in LOST)
