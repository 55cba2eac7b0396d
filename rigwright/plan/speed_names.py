"""The pace of a GPU by its name, as people write it: `rtx 3090`, `P40`, `Strix Halo`, `M4 Max`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any

from rigwright import catalogue
from rigwright.errors import WrongSpec
from rigwright.hardware import models
from rigwright.plan.speed_kinds import Pace, settings

# An Apple chip that nobody has named: the slowest.
_APPLE_GBYTES_PER_SECOND = 68.0


def pace_of(name: str, bandwidth_gbytes_per_second: float | None = None) -> Pace:
    """The pace of a GPU; a bandwidth that is given goes before the catalogue's.

    A name without a row needs its bandwidth, and what kind it is then shows from its words.

    Raises:
        WrongSpec: The bandwidth is known from nowhere; the line names what is like it.
    """
    model, chip = known_model(name), apple_chip(name)
    bandwidth = bandwidth_gbytes_per_second
    if not bandwidth:
        bandwidth = chip["bandwidth_gbytes_per_second"] if chip else model and model.bandwidth_gbytes_per_second
    row = _by_words(model.name if model else name)
    is_known = bool(bandwidth)
    if not bandwidth and row.get("vendor") == "Apple":
        bandwidth = _APPLE_GBYTES_PER_SECOND
    if not bandwidth:
        raise WrongSpec(f"GPU {name[:60]!r}: the bandwidth of its memory is not known; {_advice(name)}")
    return Pace(
        float(bandwidth),
        model.vendor if model else row.get("vendor"),
        model.compute_capability if model else None,
        row.get("backend", "cuda"),
        is_known=is_known,
        kind=row.get("kind"),
    )


def known_model(name: str) -> models.GpuModel | None:
    """The catalogue's model of that name, or the only one whose name holds all its words: `3090`, `rx 7900 xtx`."""
    if found := models.find(name):
        return found
    wanted = _words(name)
    like = [row for row in _named() if wanted and wanted <= _words(row)]
    exact = [row for row in like if len(_words(row)) == min(len(_words(other)) for other in like)]
    return models.find(exact[0]) if len(exact) == 1 else None


def apple_chip(name: str) -> Mapping[str, Any] | None:
    """The row of an Apple chip: `Apple M4 Max`, `m4 max`, `M4 Max (40-core GPU)`."""
    wanted = _words(name) | {"apple"}
    rows = catalogue.load("apple")["chips"]
    fitting = [row for row in rows if _words(row["name"]) <= wanted]
    return max(fitting, key=lambda row: len(_words(row["name"])), default=None)


def gpu_names() -> tuple[str, ...]:
    """Every name that the catalogues know."""
    return (*_named(), *(row["name"] for row in catalogue.load("apple")["chips"]))


@cache
def _named() -> tuple[str, ...]:
    rows = catalogue.load("gpus")["gpus"]
    return tuple(part["name"] for row in rows for part in ({**row, **part} for part in row.get("variants", [{}])))


def _words(name: str) -> set[str]:
    return set(re.findall(r"[a-z0-9+]+", name[:120].lower())) - {"gpu", "tm"}


def _by_words(name: str) -> Mapping[str, Any]:
    text = name[:120].lower()
    return next((row for row in settings()["names"] if re.search(row["words"], text)), {})


def _advice(name: str) -> str:
    by_lower = {full.lower(): full for full in gpu_names()}
    by_short = {re.sub(r"^(nvidia |amd |apple |geforce |tesla |radeon |instinct )+", "", low): low for low in by_lower}
    near = get_close_matches(name.lower(), by_short, n=3, cutoff=0.5)
    names = ", ".join(by_lower[by_short[short]] for short in near)
    return f"give it with --gpu-bandwidth, in GB/s{f', or name one of {names}' if names else ''}"
