"""The throughput of a GPU by its name, as people write it: `rtx 3090`, `P40`, `Strix Halo`, `M4 Max`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any

from rigwright.catalogue import load
from rigwright.errors import WrongSpec
from rigwright.hardware import models
from rigwright.plan.speed.kinds import Throughput, settings

# An Apple chip that nobody has named: the slowest.
_APPLE_GBYTES_PER_SECOND = 68.0
# Words that make another card of the same number.
_MEANINGFUL = frozenset(("ti", "super", "pro", "max", "ultra", "ada", "sff", "laptop", "q", "d", "xt", "xtx", "gre"))
# Words that no board maker puts behind a card's name: they name another card.
_OTHER_CARD = frozenset(
    (
        "ti",
        "super",
        "laptop",
        "mobile",
        "maxq",
        "q",
        "d",
        "m",
        "xt",
        "xtx",
        "gre",
        "ada",
        "sff",
        "pro",
        "blackwell",
        "nvl",
        "server",
    )
)
# What people leave out before a number, and how they write a size: `24G`, `24GD6X`.
_NUMBERED = re.compile(r"^(?:NVIDIA GeForce|AMD Radeon) [RG]T?X ")
_SIZED = re.compile(r"\bo?(\d{1,3}) ?g(?:i?b|d\w*)?\b")
_MAKERS = frozenset(("nvidia", "amd", "intel", "geforce", "radeon", "tesla", "instinct", "generation", "edition"))
# Words that name no card by themselves.
_SERIES_WORDS = _MAKERS | {"rtx", "gtx", "rx", "quadro", "arc", "pro"}
_SERIES = re.compile(r"\b(rtx|gtx|gt|rx|arc)(?=[a-z]?\d)")
_JOINED = re.compile(r"(?<=\d\d)(xtx|xt|gre|ti|super|d)\b")


@cache
def throughput_of(name: str, bandwidth_gbytes_per_second: float | None = None) -> Throughput:
    """The pace of a GPU; a bandwidth that is given goes before the catalogue's.

    A name without a row needs its bandwidth, and what kind it is then shows from its words.

    Raises:
        WrongSpec: The bandwidth is known from nowhere, or differs between the cards of that name.
    """
    rows, chip = known_models(name), apple_chip(name)
    found = {row.bandwidth_gbytes_per_second for row in rows}
    bandwidth = bandwidth_gbytes_per_second or (chip and chip["bandwidth_gbytes_per_second"])
    bandwidth = bandwidth or (found.pop() if len(found) == 1 else None)
    model = rows[0] if rows else None
    words = _by_words(model.name if model else name)
    if not bandwidth and words.get("vendor") != "Apple":
        raise WrongSpec(f"GPU {name[:60]!r}: the bandwidth of its memory is not known; {_advice(name, rows)}")
    return Throughput(
        float(bandwidth or _APPLE_GBYTES_PER_SECOND),
        model.vendor if model else words.get("vendor"),
        model.compute_capability if model else None,
        words.get("backend", "cuda"),
        is_known=bool(bandwidth),
        kind=words.get("kind"),
    )


def known_models(name: str) -> tuple[models.GpuModel, ...]:
    """The catalogue's model of that name, or those whose names hold all its words: `3090`, `rx 7900 xtx`, `P100`.

    More than one where a name leaves the size or the socket open: `A100`, `RTX 4060 Ti`.
    """
    found = models.find(name)
    if found and found.bandwidth_gbytes_per_second:
        return (found,)
    wanted = _words(name)
    like = [row for row in _named() if wanted - _SERIES_WORDS and wanted <= _words(row)]
    # `3080` is no `3080 Ti`: what a name does not say, the card does not have; size and socket aside.
    plain = [row for row in like if not (_words(row) - wanted) & _MEANINGFUL]
    return tuple(model for model in map(models.find, plain) if model)


def models_of_words(name: str) -> tuple[models.GpuModel, ...]:
    """All models whose names hold each word of a name, `RTX 6000`, whatever else they hold."""
    wanted = _words(name)
    like = [row for row in _named() if wanted - _SERIES_WORDS and wanted <= _words(row)]
    like = [row for row in like if not (_words(row) - wanted) & {"ti", "super", "xt", "xtx", "gre", "d"}]
    return tuple(model for model in map(models.find, like) if model)


def models_within(name: str) -> tuple[models.GpuModel, ...]:
    """The models that a shop's or a board maker's name holds: `MSI GeForce RTX 3090 SUPRIM X 24G`, `4 x 3090s`.

    Those with most words; none where a word is left over that makes another card of it, `laptop` or another number.
    """
    said = _words(_SIZED.sub(r" \1gb ", re.sub(r"(?<=\d|i)['’]?s\b", "", name[:120].lower())))
    held = [(words, row) for row, words in _short_names() if words <= said]
    longest = [(words, row) for words, row in held if not any(words < other for other, _ in held)]
    rows = tuple(dict.fromkeys(row for _, row in longest))
    left = said.difference(*(words for words, _ in longest))
    if any(word in _OTHER_CARD or re.search(r"(?<!\d)\d{4}(?!\d)|^\d{1,2}[qcab]$", word) for word in left):
        return ()
    return tuple(model for model in map(models.find, rows) if model)


@cache
def _short_names() -> tuple[tuple[str, frozenset[str]], ...]:
    """Every name with its words, makers and series aside."""
    named = [
        (part["name"], name)
        for row in load("gpus")["gpus"]
        for part in ({**row, **one} for one in row.get("variants", [{}]))
        for name in (part["name"], *part.get("aliases", []), _NUMBERED.sub("", part["name"]))
    ]
    short = ((row, frozenset(_words(name) - _MAKERS)) for row, name in named)
    return tuple(
        (row, words) for row, words in short if any(re.search(r"\d|halo|titan|orin|thor|spark", word) for word in words)
    )


def apple_chip(name: str) -> Mapping[str, Any] | None:
    """The row of an Apple chip: `Apple M4 Max`, `m4 max`, `M4 Max (40-core GPU)`."""
    wanted = _words(name) | {"apple"}
    rows = load("apple")["chips"]
    fitting = [row for row in rows if _words(row["name"]) <= wanted]
    fitting = [row for row in fitting if not (wanted - _words(row["name"])) & _MEANINGFUL]
    return max(fitting, key=lambda row: len(_words(row["name"])), default=None)


def gpu_names() -> tuple[str, ...]:
    """Every name that the catalogues know."""
    return (*_named(), *(row["name"] for row in load("apple")["chips"]))


@cache
def _named() -> tuple[str, ...]:
    rows = load("gpus")["gpus"]
    return tuple(part["name"] for row in rows for part in ({**row, **part} for part in row.get("variants", [{}])))


def _words(name: str) -> set[str]:
    spaced = _JOINED.sub(r" \1", _SERIES.sub(r"\1 ", name[:120].lower()))
    return set(re.findall(r"[a-z0-9+]+", spaced)) - {"gpu", "tm", "core", "graphics"}


def _by_words(name: str) -> Mapping[str, Any]:
    text = name[:120].lower()
    return next((row for row in settings()["names"] if re.search(row["words"], text)), {})


def _advice(name: str, rows: tuple[models.GpuModel, ...]) -> str:
    if rows:
        return f"name one of {', '.join(row.name for row in rows)}, or give it with --gpu-bandwidth, in GB/s"
    by_lower = {full.lower(): full for full in gpu_names()}
    by_short = {re.sub(r"^(nvidia |amd |apple |geforce |tesla |radeon |instinct )+", "", low): low for low in by_lower}
    near = get_close_matches(name.lower(), by_short, n=3, cutoff=0.5)
    names = ", ".join(by_lower[by_short[short]] for short in near)
    return f"give it with --gpu-bandwidth, in GB/s{f', or name one of {names}' if names else ''}"
