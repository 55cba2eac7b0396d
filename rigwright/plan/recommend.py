"""Which model to run on a rig: the catalogue's models, each as its best candidate, ranked for a purpose."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple, get_args

from pydantic import Field

from rigwright.errors import DoesNotFit, Refused, RigwrightError, WrongSpec
from rigwright.hardware.values import Hardware
from rigwright.models.standing import CLASSES, ModelClass, class_of, index_of
from rigwright.models.variants import KnownModel, Variant, known_models, variants
from rigwright.plan.candidates import Engines
from rigwright.plan.devices import devices
from rigwright.plan.limits import check_driver
from rigwright.plan.ranking import goal_of, score_of_plan
from rigwright.plan.rig_plan import Request, plan_rig
from rigwright.plan.service import RigPlan, ServicePlan
from rigwright.plan.source import ModelSource
from rigwright.plan.wish import ServiceWish
from rigwright.plan.wish_words import Goal
from rigwright.strict import Strict

Purpose = Literal["general", "coding", "agents", "long-context", "quality", "cheap"]
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)


class _Aim(NamedTuple):
    """What a purpose counts: published benchmarks, their weight beside the plan's own score, the plan's goal.

    `least_tokens` of context are needed for it. `counts_class`: a model of a better class comes before any other.
    """

    goal: Goal
    benchmarks: tuple[str, ...]
    weight: float
    least_tokens: int
    per_gigabyte: float = 0.0
    counts_class: bool = True


# A weight of 8: a model that is a tenth better in its benchmarks may be half as fast.
_AIMS: dict[Purpose, _Aim] = {
    "general": _Aim("latency", ("mmlu_pro", "gpqa_diamond", "livecodebench_v6", "swe_bench_verified"), 8.0, 8192),
    "coding": _Aim("latency", ("swe_bench_verified", "livecodebench_v6", "terminal_bench_2"), 8.0, 32768),
    "agents": _Aim("latency", ("bfcl_v4", "swe_bench_verified", "terminal_bench_2"), 6.0, 32768),
    "long-context": _Aim("context", ("mmlu_pro", "livecodebench_v6"), 6.0, 131072),
    "quality": _Aim("quality", ("gpqa_diamond", "mmlu_pro", "livecodebench_v6", "swe_bench_verified"), 20.0, 8192),
    "cheap": _Aim("latency", ("mmlu_pro", "gpqa_diamond"), 2.0, 4096, per_gigabyte=0.03, counts_class=False),
}
_PURPOSES: dict[Goal | None, Purpose] = {"quality": "quality", "context": "long-context"}
# How the reason begins of models that know no longer context.
_TRAINED = "trained for"
# Models without a published score of the kind that counts are ranked below all that have one.
_UNSCORED = 0.4
# Slower than that, an answer comes later than it is read.
LEAST_RATE = 10.0
# More than all other terms differ by inside a class.
_CLASS_STEP = 100.0


class Recommendation(Strict):
    """One model at its best on this rig; `index` is its mean benchmark in parts of the best in the catalogue.

    `points`, 0 to 100, are the score for people: twenty for each class, and inside it by how far behind the best of the
    class one is. `goal` is what a wish must name to be planned so. `lacks` says what it has too little of for the
    purpose; such models come last. `benchmarks` are in percent, as published.
    """

    model: str
    key: str
    plan: ServicePlan
    goal: Goal | None
    index: float | None
    score: float
    because: str
    model_class: ModelClass = "basic"
    points: float = 0.0
    lacks: str = ""
    benchmarks: dict[str, float] = Field(default_factory=dict)
    download_bytes: int = 0
    disk_bytes: int = 0


class NotRecommended(Strict):
    """A model that this rig cannot serve, and why."""

    model: str = Field(description="its name")
    key: str = Field(description="its key in the catalogue")
    why: str = Field(description="what it lacks, and by how much")
    reason: str = Field("", description="the same without what is its own: models with one reason stand together")
    short_bytes: int | None = Field(None, description="how much memory is missing; null where that is not the reason")


class Ranked(NamedTuple):
    """The models that fit, the best first, and those that do not."""

    fitting: tuple[Recommendation, ...]
    others: tuple[NotRecommended, ...]


def goal_for(purpose: Purpose) -> Goal:
    """What counts most in a plan for a purpose."""
    return _AIMS[purpose].goal


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
    is_for_one: bool = False,
) -> Ranked:
    """The catalogue's models for a rig, ranked; `base` is a wish whose other keys hold, `part` what it may have.

    Args:
        is_for_one: Only the first is wanted: models of a class below that of one that fits are not looked at.
    """
    check_driver(hardware, [base or ServiceWish(name="model", model=ModelSource(name="auto"))], devices(hardware))
    fitting, others, least = list[Recommendation](), list[NotRecommended](), 0
    by_class = is_for_one and _AIMS[purpose].counts_class
    for known in sorted(known_models(), key=lambda one: -_rank(class_of(one)) if by_class else 0):
        if by_class and _rank(class_of(known)) < least:
            break
        wish = _wish(known, purpose, users=users, context=context, base=base)
        asked = [Request(wish, _files(known, base), is_auto=True)]
        try:
            rig = plan_rig(hardware, asked, is_preview=is_preview, alternatives_count=0, part=part, engines=engines)
        except (Refused, WrongSpec) as error:
            others.append(_not_recommended(known, error, wish))
            continue
        fitting.append(_recommendation(known, rig, wish, purpose))
        least = least if fitting[-1].lacks else _rank(class_of(known))
    places = [known.key for known in known_models()]
    others.sort(key=lambda one: places.index(one.key))
    ranked = sorted(fitting, key=lambda one: (-one.score, one.key))
    return Ranked(tuple(_pointed(ranked, purpose)), tuple(others))


def _wish(
    known: KnownModel, purpose: Purpose, *, users: int, context: int | None, base: ServiceWish | None
) -> ServiceWish:
    source = ModelSource(name=known.key)
    if base:
        goal = base.goal or _AIMS[purpose].goal
        return base.model_copy(update={"model": source, "goal": goal if base.users < 3 else base.goal})
    goal = _AIMS[purpose].goal if users < 3 or purpose in ("quality", "long-context") else "throughput"
    return ServiceWish(name="model", model=source, goal=goal, users=users, context=context)


def _recommendation(known: KnownModel, rig: RigPlan, wish: ServiceWish, purpose: Purpose) -> Recommendation:
    aim, plan = _AIMS[purpose], rig.services[0]
    index, model_class = index_of(known, aim.benchmarks), class_of(known)
    worth = score_of_plan(plan, wish) + aim.weight * (index if index is not None else _UNSCORED)
    worth -= aim.per_gigabyte * (plan.file_bytes or 0) / 1e9
    lacks = _lacks(plan, wish, known, purpose)
    steps = 0 if lacks else 1 + (_rank(model_class) if aim.counts_class else 0)
    return Recommendation(
        model=known.name,
        key=known.key,
        plan=plan,
        goal=wish.goal if wish.goal != goal_of(wish.model_copy(update={"goal": None})) else None,
        index=index,
        score=round(worth + _CLASS_STEP * steps, 4),
        because=known.good_at,
        model_class=model_class,
        lacks=lacks,
        benchmarks={name: known.scores[name] for name in aim.benchmarks if name in known.scores},
        download_bytes=rig.cost.download_bytes,
        disk_bytes=rig.cost.disk_bytes,
    )


def _lacks(plan: ServicePlan, wish: ServiceWish, known: KnownModel, purpose: Purpose) -> str:
    """What it has too little of: context for the purpose, unless the person named one, or speed for a reader."""
    least, lines = min(_AIMS[purpose].least_tokens, known.native_context_tokens), []
    if not wish.context and plan.context_tokens < least:
        lines.append(f"{plan.context_tokens:,} tokens of context, {least:,} are wanted for {purpose}")
    if plan.speed and plan.speed.expected < LEAST_RATE:
        lines.append(f"{plan.speed.expected:.1f} tokens/s, slower than one reads")
    return "; ".join(lines)


def _rank(model_class: ModelClass) -> int:
    """0 for the last class, one more for each that is better."""
    return len(CLASSES) - 1 - CLASSES.index(model_class)


def _pointed(ranked: Sequence[Recommendation], purpose: Purpose) -> Iterator[Recommendation]:
    """With the score of 0 to 100 that people read, in the same order."""
    counts_class, best = _AIMS[purpose].counts_class, dict[float, float]()
    span = 100 / (1 + (len(CLASSES) if counts_class else 1))
    for one in ranked:
        floor = span * (0 if one.lacks else 1 + (_rank(one.model_class) if counts_class else 0))
        behind = best.setdefault(floor, one.score) - one.score
        yield one.model_copy(update={"points": round(floor + span * math.exp(-behind / 3), 1)})


def _plain(error: RigwrightError) -> str:
    """The message without the name of the wish."""
    return error.message.removeprefix("services.model: ")


def _not_recommended(known: KnownModel, error: RigwrightError, wish: ServiceWish) -> NotRecommended:
    why, short_bytes = _plain(error), None
    reason = why.replace(known.name, "it")
    if isinstance(error, DoesNotFit) and error.offer:
        reason, short_bytes = f"too large: {error.offer}", error.short_bytes
    elif (wish.context or 0) > known.native_context_tokens:
        reason = f"{_TRAINED} {known.native_context_tokens:,} tokens; {why.partition('; ')[2]}"
    return NotRecommended(model=known.name, key=known.key, why=why, reason=reason, short_bytes=short_bytes)


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
    ranked = recommend(mine, purpose, is_preview=is_preview, base=wish, part=part, engines=engines, is_for_one=True)
    if not ranked.fitting:
        causes = Counter(other.reason.removeprefix(f"services.{wish.name}: ") for other in ranked.others)
        why = "no model of the catalogue fits this rig; use one with more memory"
        if all(other.short_bytes is None for other in ranked.others):
            why = causes.most_common(1)[0][0]
        if why.startswith(_TRAINED):
            why = f"no model of the catalogue has {wish.context:,} tokens of context; most are {why}"
        raise DoesNotFit(why if why.startswith("services.") else f"services.{wish.name}: {why}")
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
        wish = request.wish.model_copy(update={"model": source})
        named.append(request._replace(wish=wish, variants=files, is_auto=True))
    return named
