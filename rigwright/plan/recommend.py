"""Which model to run on a rig: the catalogue's models, each as its best candidate, ranked for a purpose."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Literal, NamedTuple, get_args

from pydantic import Field

from rigwright.errors import DoesNotFit, Refused, RigwrightError, WrongSpec
from rigwright.hardware.values import Hardware
from rigwright.models.variants import KnownModel, Variant, known_models, variants
from rigwright.plan.candidates import Engines
from rigwright.plan.devices import devices
from rigwright.plan.ranking import score_of_plan
from rigwright.plan.rig_plan import Request, plan_rig
from rigwright.plan.service import ServicePlan
from rigwright.plan.wish import Goal, ModelSource, ServiceWish
from rigwright.strict import Strict

Purpose = Literal["general", "coding", "agents", "long-context", "quality", "cheap"]
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)


class _Aim(NamedTuple):
    """What a purpose counts: published benchmarks, their weight beside the plan's own score, the plan's goal."""

    goal: Goal
    benchmarks: tuple[str, ...]
    weight: float
    per_gigabyte: float = 0.0


# A weight of 8: a model that is a tenth better in its benchmarks may be half as fast.
_AIMS: dict[Purpose, _Aim] = {
    "general": _Aim("latency", ("mmlu_pro", "gpqa_diamond", "livecodebench_v6", "swe_bench_verified"), 8.0),
    "coding": _Aim("latency", ("swe_bench_verified", "livecodebench_v6", "terminal_bench_2"), 8.0),
    "agents": _Aim("latency", ("bfcl_v4", "swe_bench_verified", "terminal_bench_2"), 6.0),
    "long-context": _Aim("context", ("mmlu_pro", "livecodebench_v6"), 6.0),
    "quality": _Aim("quality", ("gpqa_diamond", "mmlu_pro", "livecodebench_v6", "swe_bench_verified"), 20.0),
    "cheap": _Aim("latency", ("mmlu_pro", "gpqa_diamond"), 2.0, per_gigabyte=0.03),
}
_PURPOSES: dict[Goal | None, Purpose] = {"quality": "quality", "context": "long-context"}
# Models without a published score of the kind that counts are ranked below all that have one.
_UNSCORED = 0.4


class Recommendation(Strict):
    """One model at its best on this rig; `index` is its mean benchmark in parts of the best in the catalogue."""

    model: str
    key: str
    plan: ServicePlan
    index: float | None
    score: float
    because: str


class NotRecommended(Strict):
    """A model that this rig cannot serve, and why."""

    model: str = Field(description="its name")
    key: str = Field(description="its key in the catalogue")
    why: str = Field(description="what it lacks, and by how much")


class Ranked(NamedTuple):
    """The models that fit, the best first, and those that do not."""

    fitting: tuple[Recommendation, ...]
    others: tuple[NotRecommended, ...]


def recommend(
    hardware: Hardware,
    purpose: Purpose = "general",
    *,
    users: int = 1,
    context: int | None = None,
    is_preview: bool = True,
    base: ServiceWish | None = None,
    part: float = 1.0,
    engines: Engines | None = None,
) -> Ranked:
    """The catalogue's models for a rig, ranked; `base` is a wish whose other keys hold, `part` what it may have."""
    fitting, others = [], []
    for known in known_models():
        wish = _wish(known, purpose, users=users, context=context, base=base)
        asked = [Request(wish, _files(known, base))]
        try:
            rig = plan_rig(hardware, asked, is_preview=is_preview, alternatives_count=0, part=part, engines=engines)
        except (Refused, WrongSpec) as error:
            others.append(NotRecommended(model=known.name, key=known.key, why=_plain(error)))
            continue
        fitting.append(_recommendation(known, rig.services[0], wish, purpose))
    ranked = sorted(fitting, key=lambda one: (-one.score, one.key))
    return Ranked(tuple(ranked), tuple(others))


def _wish(
    known: KnownModel, purpose: Purpose, *, users: int, context: int | None, base: ServiceWish | None
) -> ServiceWish:
    source = ModelSource(name=known.key)
    if base:
        goal = base.goal or _AIMS[purpose].goal
        return base.model_copy(update={"model": source, "goal": goal if base.users < 3 else base.goal})
    goal = _AIMS[purpose].goal if users < 3 or purpose in ("quality", "long-context") else "throughput"
    return ServiceWish(name="model", model=source, goal=goal, users=users, context=context)


def _recommendation(known: KnownModel, plan: ServicePlan, wish: ServiceWish, purpose: Purpose) -> Recommendation:
    aim, index = _AIMS[purpose], index_of(known, purpose)
    worth = score_of_plan(plan, wish) + aim.weight * (index if index is not None else _UNSCORED)
    worth -= aim.per_gigabyte * (plan.file_bytes or 0) / 1e9
    return Recommendation(
        model=known.name, key=known.key, plan=plan, index=index, score=round(worth, 4), because=known.good_at
    )


def index_of(known: KnownModel, purpose: Purpose) -> float | None:
    """The mean of the benchmarks that count, each in parts of the best score in the catalogue."""
    best = _best_scores()
    found = [known.scores[name] / best[name] for name in _AIMS[purpose].benchmarks if name in known.scores]
    return sum(found) / len(found) if found else None


@cache
def _best_scores() -> dict[str, float]:
    best: dict[str, float] = {}
    for known in known_models():
        for name, points in known.scores.items():
            best[name] = max(points, best.get(name, 0.0))
    return best


def _plain(error: RigwrightError) -> str:
    """The message without the name of the wish."""
    return error.message.removeprefix("services.model: ")


def _files(known: KnownModel, wish: ServiceWish | None) -> tuple[Variant, ...]:
    """The files of a model, or those of the quant that `auto:Q8_0` names."""
    quant = wish.model.quant if wish else None
    return tuple(one for one in variants(known) if not quant or one.quant.lower() == quant.lower())


def chosen_for(
    hardware: Hardware, wish: ServiceWish, *, is_preview: bool, services: int = 1, engines: Engines | None = None
) -> KnownModel:
    """The model that `model: auto` comes to; one of several services is chosen for its part of the rig.

    Raises:
        DoesNotFit: no model of the catalogue fits.
    """
    mine, part = _part(hardware, wish, services, is_preview=is_preview)
    purpose = _PURPOSES.get(wish.goal, "general")
    ranked = recommend(mine, purpose, is_preview=is_preview, base=wish, part=part, engines=engines)
    if not ranked.fitting:
        causes = Counter(other.why.removeprefix(f"services.{wish.name}: ") for other in ranked.others)
        why = "no model of the catalogue fits this rig; use one with more memory"
        if not any(" short" in cause for cause in causes):
            why = causes.most_common(1)[0][0]
        raise DoesNotFit(f"services.{wish.name}: {why}")
    return next(known for known in known_models() if known.key == ranked.fitting[0].key)


def _part(hardware: Hardware, wish: ServiceWish, services: int, *, is_preview: bool) -> tuple[Hardware, float]:
    """What one of several services may count on: as many GPUs as each can have, or its part of one and of RAM."""
    usable = [device.gpu for device in devices(hardware, is_preview=is_preview)]
    if services == 1 or wish.gpu not in ("auto", "none"):
        return hardware, 1.0
    if len(usable) < services:
        return hardware, max(1, len(usable)) / services
    mine = usable[: len(usable) // services]
    indexes = {gpu.index for gpu in mine}
    links = tuple(link for link in hardware.links if {link.first, link.second} <= indexes)
    return replace(hardware, gpus=tuple(mine), gpu_count=len(mine), links=links), 1.0


def name_models(
    hardware: Hardware, requests: Sequence[Request], engines: Engines | None = None, *, is_preview: bool
) -> list[Request]:
    """The requests with a model of the catalogue in place of each `auto`."""
    named: list[Request] = []
    chosen: dict[str, KnownModel] = {}
    for request in requests:
        if request.wish.model.name != "auto":
            named.append(request)
            continue
        same = request.wish.model_dump_json(exclude={"name", "port", "alias"})
        if same not in chosen:
            chosen[same] = chosen_for(
                hardware, request.wish, is_preview=is_preview, services=len(requests), engines=engines
            )
        known = chosen[same]
        source = ModelSource(name=known.key, quant=request.wish.model.quant)
        files = _files(known, request.wish)
        named.append(request._replace(wish=request.wish.model_copy(update={"model": source}), variants=files))
    return named
