"""Standing: how good a model is by published benchmarks, and the class that this puts it in."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Literal, get_args

from rigwright.models.known import KnownModel
from rigwright.models.variants import known_models

ModelClass = Literal["top", "strong", "good", "basic"]
CLASSES: tuple[ModelClass, ...] = get_args(ModelClass)
# Those that most makers publish: one that few publish would compare each model with another few.
GENERAL = ("mmlu_pro", "gpqa_diamond", "livecodebench_v6", "swe_bench_verified")
# The least that each class has of the best scores in the catalogue.
_LEAST: dict[ModelClass, float] = {"top": 0.9, "strong": 0.8, "good": 0.65}
# Small models publish the benchmarks that they are good at; in long work they are not the like of larger ones.
_SMALL = 13e9
NAMES = {
    "mmlu_pro": "MMLU-Pro",
    "gpqa_diamond": "GPQA Diamond",
    "livecodebench_v6": "LiveCodeBench v6",
    "swe_bench_verified": "SWE-bench Verified",
    "swe_bench_pro": "SWE-bench Pro",
    "terminal_bench_2": "Terminal-Bench 2",
    "bfcl_v4": "BFCL v4",
}


def class_of(known: KnownModel) -> ModelClass:
    """Its class; `basic` too where no benchmark of it is published."""
    index = index_of(known, GENERAL) or 0.0
    found: ModelClass = next((name for name, least in _LEAST.items() if index >= least), "basic")
    return "good" if known.total_parameters < _SMALL and found in ("top", "strong") else found


def index_of(known: KnownModel, benchmarks: Sequence[str]) -> float | None:
    """The mean of these benchmarks, each in parts of the best score in the catalogue; None where it has none."""
    best = _best_scores()
    found = [known.scores[name] / best[name] for name in benchmarks if name in known.scores]
    return sum(found) / len(found) if found else None


@cache
def _best_scores() -> dict[str, float]:
    best: dict[str, float] = {}
    for known in known_models():
        for name, points in known.scores.items():
            best[name] = max(points, best.get(name, 0.0))
    return best
