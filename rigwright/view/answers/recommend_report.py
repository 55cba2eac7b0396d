"""The JSON contract of `rigwright recommend`; docs/recommend.schema.json says what each field is."""

from __future__ import annotations

from typing import Any

from rigwright.plan.recommend import Ranked, Recommendation
from rigwright.view.answers.report import speed_of

Json = dict[str, Any]


def report(rig: str, purpose: str, ranked: Ranked) -> Json:
    """The ranking of one rig, ready for `json.dumps`."""
    return {
        "rig": rig,
        "for": purpose,
        "recommendations": [_recommendation(one) for one in ranked.fitting],
        "not_recommended": [{"model": one.model, "key": one.key, "why": one.why} for one in ranked.others],
    }


def _recommendation(one: Recommendation) -> Json:
    plan = one.plan
    return {
        "model": one.model,
        "key": one.key,
        "spec": spec_of(one),
        "quant": plan.quant,
        "engine": plan.engine,
        "layout": str(plan.layout),
        "gpus": [gpu.index for gpu in plan.gpus],
        "context_tokens": plan.context_tokens,
        "slots": plan.slots,
        "file_bytes": plan.file_bytes,
        "gpu_bytes": plan.memory.gpu_bytes * len(plan.replicas) if plan.memory else None,
        "ram_bytes": plan.memory.ram_bytes * len(plan.replicas) if plan.memory else None,
        "speed": speed_of(plan.speed),
        "index": None if one.index is None else round(one.index, 4),
        "score": one.score,
        "because": one.because,
        "reasons": [f"{reason.choice}: {reason.because}" for reason in plan.reasons],
    }


def spec_of(one: Recommendation) -> str:
    """What an inventory names as the model to get just this."""
    return f"{one.key}:{one.plan.quant}"
