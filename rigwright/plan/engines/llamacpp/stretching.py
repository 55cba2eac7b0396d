"""Contexts beyond what a model was trained for: what llama-server gives a slot, and the flags that stretch it.

llama-server caps each slot at the length in the model's header, whatever --ctx-size says. YaRN with a factor of its own
moves that cap, linear scaling and another base do not. Source: `n_ctx_slot` in tools/server/server-context.cpp and
`llama_init_from_model` in src/llama-context.cpp of llama.cpp 0c1e570.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from rigwright.errors import WrongSpec
from rigwright.models.values import Model
from rigwright.plan.wish import ServiceWish
from rigwright.plan.yarn import can_stretch as is_documented
from rigwright.plan.yarn import most_tokens, yarn_error, yarn_of
from rigwright.units import whole_number

# llama-server counts tokens in 32 bits.
_MOST_TOKENS = (1 << 31) - 1


def context_error(wish: ServiceWish, model: Model, context: int, *, can_stretch: bool) -> str | None:
    """Why a slot cannot have that many tokens, and how it could; None where it can.

    Raises:
        WrongSpec: a flag that stretches has no number for its value.
    """
    if wish.rope and not can_stretch:
        return "rope: yarn is brought to llama.cpp and vLLM alone; take it out, or set engine to llamacpp"
    if error := yarn_error(wish, model):
        return error
    longest = longest_context(wish, model)
    if context <= longest:
        return None
    limit = f"{longest} tokens that {model.name} was trained for"
    if longest != model.context_train:
        limit = f"{longest} tokens to which the flags stretch {model.name}"
    is_usual = can_stretch and is_documented(model) and context <= most_tokens(model)
    way = ", or stretch it with rope: yarn, which short prompts pay for in quality" if is_usual else ""
    return f"context {context} is more than the {limit}; lower context{way}"


def longest_context(wish: ServiceWish, model: Model) -> int:
    """The tokens at which llama-server caps a slot of this model with the flags of the wish."""
    if yarn := yarn_of(wish, model):
        return int(yarn.factor * yarn.original_tokens)
    trained = _header_value(wish.flags.get("--override-kv"), "context_length") or model.context_train
    factor = _number(wish, "--rope-scale") or 1 / (_number(wish, "--rope-freq-scale") or 1)
    if wish.flags.get("--rope-scaling") != "yarn" or factor == 1:
        return trained
    return int(min((_number(wish, "--yarn-orig-ctx") or trained) * factor, _MOST_TOKENS))


def _number(wish: ServiceWish, name: str) -> float | None:
    value = wish.flags.get(name)
    try:
        number = None if value is None else float(value)
    except ValueError:
        number = math.nan
    if number is not None and not 0 <= number < math.inf:
        raise WrongSpec(f"services.{wish.name}.flags: {name} is {value!r}; give a number like 4")
    return number or None


def _header_value(overrides: object, name: str) -> int | None:
    """A whole number that --override-kv puts into the header: `qwen3.context_length=int:131072,…`."""
    pairs: Mapping[str, str] = dict(
        (key.rpartition(".")[2], value)
        for key, _, value in (part.partition("=int:") for part in str(overrides or "").split(","))
    )
    return whole_number(pairs.get(name, ""))
