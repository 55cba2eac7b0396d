"""YaRN: how a model answers at more tokens than it was trained for, where its makers say that it can."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from rigwright.catalogue import load
from rigwright.models.values import Model
from rigwright.plan.wish import ServiceWish


class Yarn(NamedTuple):
    """By how much the positions are stretched, and from how many tokens on."""

    factor: float
    original_tokens: int


def can_stretch(model: Model) -> bool:
    """True where the makers of such models document YaRN."""
    return model.architecture in load("yarn")["architectures"]


def yarn_of(wish: ServiceWish, model: Model) -> Yarn | None:
    """What a wish comes to: the least factor, as short prompts pay for each; None where it asks for none."""
    if wish.rope is None or not wish.context:
        return None
    original = original_tokens(model)
    return Yarn(math.ceil(100 * wish.context / original) / 100, original)


def original_tokens(model: Model) -> int:
    """The tokens that a factor multiplies."""
    return int(load("yarn")["original"].get(model.context_train, model.context_train))


def most_tokens(model: Model) -> int:
    """The longest context to which such a model can be stretched; what it was trained for where its makers say none."""
    row = load("yarn")["architectures"].get(model.architecture)
    return max(model.context_train, original_tokens(model) * int(row["most_factor"])) if row else model.context_train


def yarn_error(wish: ServiceWish, model: Model) -> str | None:
    """Why a model is not stretched as a wish has it."""
    yarn = yarn_of(wish, model)
    if yarn is None or wish.context is None:
        return None
    if wish.context <= model.context_train:
        return f"rope: yarn is not needed: {model.name} was trained for {model.context_train} tokens; take it out"
    if not can_stretch(model):
        return (
            f"the makers of {model.name} say of no YaRN factor that it works; take rope out, and lower context to "
            f"{model.context_train}"
        )
    if wish.context > most_tokens(model):
        return f"YaRN takes {model.name} to {most_tokens(model)} tokens at most; lower context"
    return None


def vllm_overrides(wish: ServiceWish, model: Model) -> dict[str, Any] | None:
    """The value of vLLM's --hf-overrides; None where nobody recorded the model's own rope parameters."""
    yarn, row = yarn_of(wish, model), _vllm_row(model)
    if yarn is None or row is None:
        return None
    stretched = {"rope_type": "yarn", "factor": yarn.factor, "original_max_position_embeddings": yarn.original_tokens}
    found = {"rope_parameters": {**row["parameters"], **stretched}}
    return {row["under"]: found} if "under" in row else found


def _vllm_row(model: Model) -> Mapping[str, Any] | None:
    rows: list[Mapping[str, Any]] = load("yarn")["vllm"]
    mine = (row for row in rows if model.architecture in row["architectures"])
    return next((row for row in mine if row["trained"] == model.context_train), None)
