"""The JSON answer of `rigwright recommend`."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field

from rigwright.catalogue.engines import engine_names
from rigwright.models.standing import ModelClass
from rigwright.plan import recommend as ranking
from rigwright.plan.recommend import NotRecommended, Purpose
from rigwright.view.answers.answer import Answer, Rate, Signed
from rigwright.view.answers.plan import Speed


class Recommendation(Answer):
    """A model that fits, in its best way."""

    model: str = Field(description="its name")
    key: str = Field(description="its key in the catalogue")
    spec: str = Field(description="what a service names as its model to get it")
    quant: str = Field(description="how its weights are quantised")
    engine: str = Field(description="what would serve it", json_schema_extra={"enum": [*engine_names()]})
    layout: str = Field(description="how it lies on the GPUs")
    gpus: tuple[int | None, ...] = Field(description="their indexes")
    context_tokens: int = Field(description="tokens of context of each slot")
    slots: int = Field(description="requests at once")
    file_bytes: int | None = Field(description="what is downloaded")
    gpu_bytes: int | None = Field(description="what it takes of the GPUs")
    ram_bytes: int | None = Field(description="what it takes of RAM")
    speed: Speed | None = Field(description="how fast; null where that cannot be computed")
    index: Annotated[float, AfterValidator(partial(round, ndigits=4))] | None = Field(
        description="its benchmarks in parts of the best; null where none is published"
    )
    score: Signed = Field(description="what the ranking goes by; it compares only within one answer")
    because: str = Field(description="what it is good at")
    model_class: ModelClass = Field(
        serialization_alias="class", description="its class by published benchmarks, which the ranking goes by first"
    )
    points: Rate = Field(description="the same ranking from 0 to 100, as people read it")
    benchmarks: dict[str, float] = Field(description="the published scores that count for the purpose, in percent")
    disk_bytes: int = Field(description="what it takes of the disk, with what is built")
    lacks: str = Field(description="what it has too little of for the purpose, so that it comes last; empty if nothing")
    not_deployed: str | None = Field(description="why no deploy brings it yet; null where one does")
    reasons: tuple[str, ...] = Field(description="why this quant, engine and place")


class Ranking(Answer):
    """What `rigwright recommend --json` prints for one rig; for an inventory such objects by rig name."""

    model_config = ConfigDict(title="rigwright recommend")

    rig: str = Field(description="the name of the rig, or of the folder of its recording")
    purpose: Purpose = Field(serialization_alias="for", description="the purpose")
    recommendations: tuple[Recommendation, ...] = Field(description="the models that fit, the best first")
    not_recommended: tuple[NotRecommended, ...] = Field(description="the models that do not fit")


def recommend_answer(rig: str, purpose: Purpose, ranked: ranking.Ranked) -> Ranking:
    """The ranking of one rig."""
    fitting = tuple(_recommendation(one) for one in ranked.fitting)
    return Ranking(rig=rig, purpose=purpose, recommendations=fitting, not_recommended=ranked.others)


def _recommendation(one: ranking.Recommendation) -> Recommendation:
    plan = one.plan
    return Recommendation.of(
        plan,
        model=one.model,
        key=one.key,
        spec=spec_of(one),
        layout=str(plan.layout),
        gpus=[gpu.index for gpu in plan.gpus],
        gpu_bytes=plan.memory.gpu_bytes * len(plan.replicas) if plan.memory else None,
        ram_bytes=plan.memory.ram_bytes * len(plan.replicas) if plan.memory else None,
        index=one.index,
        score=one.score,
        because=one.because,
        model_class=one.model_class,
        points=one.points,
        benchmarks=one.benchmarks,
        disk_bytes=one.disk_bytes,
        lacks=one.lacks,
        reasons=[f"{reason.choice}: {reason.because}" for reason in plan.reasons],
    )


def spec_of(one: ranking.Recommendation) -> str:
    """What an inventory names as the model to get just this."""
    return f"{one.key}:{one.plan.quant}"
