"""Memory as a bar: one letter or shade for each kind of use, so that it can be read without colour."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rich.text import Text

# Kinds of use in the order in which they lie in a bar, with the names that estimates give to their parts.
_KINDS = {
    "weights": ("weights", "projector", "draft model"),
    "KV cache": ("KV cache", "SWA cache", "KV pool"),
    "prompt cache": ("prompt cache",),
    "state": ("recurrent state", "context checkpoints"),
    "compute": ("compute buffers", "CUDA context", "drafting", "image buffers"),
    "margin": ("margin for compute",),
}
KINDS = tuple(_KINDS)
FREE, RESERVED, OVER = "free", "reserved", "does not fit"
_SHADES = {
    "weights": "█",
    "KV cache": "▓",
    "prompt cache": "▞",
    "state": "▒",
    "compute": "░",
    "margin": "╱",
    FREE: "·",
    RESERVED: "╳",
    OVER: "!",
}
_LETTERS = {
    "weights": "W",
    "KV cache": "K",
    "prompt cache": "P",
    "state": "S",
    "compute": "C",
    "margin": "M",
    FREE: ".",
    RESERVED: "x",
    OVER: "!",
}
# One colour for each service.
_COLOURS = ("cyan", "magenta", "yellow", "green", "blue", "red")


class Share(NamedTuple):
    """A stretch of a bar: the service that takes it, None for what nobody takes."""

    service: str | None
    kind: str
    size_bytes: int


def kind_of(part: str) -> str:
    """The kind of use that a part of an estimate is."""
    return next((kind for kind, names in _KINDS.items() if part in names), "compute")


def shares(uses: Iterable[tuple[str, str, int]]) -> list[Share]:
    """The uses by service and kind, each service's together."""
    sums: dict[tuple[str, str], int] = {}
    for service, part, size in uses:
        key = service, kind_of(part)
        sums[key] = sums.get(key, 0) + size
    services = list(dict.fromkeys(service for service, _ in sums))
    order = sorted(sums, key=lambda key: (services.index(key[0]), KINDS.index(key[1])))
    return [Share(*key, sums[key]) for key in order if sums[key]]


def bar(found: Sequence[Share], *, total_bytes: int, offered_bytes: int, width: int, colours: Colours) -> Text:
    """A bar of `width` columns for `total_bytes`; `│` stands between two services, red is more than there is."""
    used = sum(share.size_bytes for share in found)
    rest = [
        Share(None, FREE, max(0, offered_bytes - used)),
        Share(None, RESERVED, max(0, total_bytes - max(used, offered_bytes))),
    ]
    whole = max(total_bytes, used, 1)
    text, before, last = Text(), 0, found[0].service if found else None
    for share in (*found, *rest):
        cells = round((before + share.size_bytes) / whole * width) - round(before / whole * width)
        before += share.size_bytes
        if share.service and cells:
            is_next = share.service != last
            text.append("│" * is_next, "bold")
            cells -= is_next
            last = share.service
        text.append(colours.shade(share.kind) * cells, colours.of(share.service) if share.service else "dim")
    if used <= offered_bytes:
        return text
    fits = min(width - 1, round(offered_bytes / whole * width))
    return text[:fits] + Text(colours.shade(OVER) * (width - fits), "bold red")


class Colours:
    """The colour of each service of a rig, and the shades that its terminal can show."""

    def __init__(self, services: Iterable[str], *, is_ascii: bool) -> None:
        self._services = list(services)
        self._shades = _LETTERS if is_ascii else _SHADES

    def of(self, service: str) -> str:
        """The service's colour."""
        place = self._services.index(service) if service in self._services else 0
        return _COLOURS[place % len(_COLOURS)]

    def shade(self, kind: str) -> str:
        """The character that stands for a kind of use."""
        return self._shades[kind]

    def legend(self, kinds: Iterable[str], width: int) -> Text:
        """What each shade means, for the kinds that occur, in lines of `width`."""
        present = set(kinds)
        lines = [""]
        for word in (f"{self.shade(kind)} {kind}" for kind in (*KINDS, FREE, RESERVED, OVER) if kind in present):
            if lines[-1] and len(lines[-1]) + 2 + len(word) > width:
                lines.append("")
            lines[-1] += f"  {word}" if lines[-1] else word
        return Text("\n".join(lines))
