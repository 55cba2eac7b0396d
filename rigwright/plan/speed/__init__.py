"""How fast a model will answer: the time of one token, computed from what it reads and how often kernels start.

    seconds = weights read ÷ (share × bandwidth) + KV cache read ÷ (share × bandwidth) + launches

Weights are the active ones, layer by layer from the tensor table; the shares and the launches are the catalogue's.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Literal, NamedTuple

from rigwright.models.ggml import TYPES_BY_NAME
from rigwright.models.values import Model
from rigwright.plan.memory import Placement
from rigwright.plan.speed.batch import aggregate_speed, prefill_speed
from rigwright.plan.speed.drafts import draft_gain
from rigwright.plan.speed.kinds import Host, Throughput
from rigwright.plan.speed.names import throughput_of
from rigwright.plan.speed.reads import reads_of
from rigwright.plan.speed.stages import Seconds, Work, stages
from rigwright.strict import Strict

__all__ = ["Confidence", "Host", "Speed", "Throughput", "decode_speed", "throughput_of"]

Confidence = Literal["measured", "high", "medium", "low"]
# What vLLM calls its cache types; `auto` is the model's own.
_VLLM_TYPES = {"auto": 2.0, "bfloat16": 2.0, "float16": 2.0, "fp8": 1.0, "fp8_e4m3": 1.0, "fp8_e5m2": 1.0, "int8": 1.0}


class Speed(Strict):
    """Tokens per second of one request, and of all users together; `low` to `high` holds four runs of five.

    `prefill_expected` is how fast a long prompt is read; it and `aggregate`, which counts the time for the prompts of
    the usual mix (2.4 tokens read for each that is made), are rougher than the rest: good to 40 and 35 %. All holds
    with `depth_tokens` in the cache, None where nobody said how many; `full_context` is `expected` with a full one,
    `undrafted` what it would be without drafts, None where there are none.
    """

    low: float
    expected: float
    high: float
    prefill_expected: float | None = None
    aggregate: float | None = None
    depth_tokens: int | None = None
    full_context: float | None = None
    undrafted: float | None = None
    confidence: Confidence
    because: str
    source: str | None = None


class _Range(NamedTuple):
    low: float
    high: float
    confidence: Confidence


_FULL = _Range(0.75, 1.25, "medium")
# The same card with experts in RAM: 51 and 70 tokens/s with 16 and 24 layers there, by what the RAM and the CPU are.
_OFFLOADED = _Range(0.65, 1.35, "low")
_UNKNOWN = _Range(0.5, 2.0, "low")


def decode_speed(
    model: Model,
    *,
    throughputs: Sequence[Throughput],
    placement: Placement | None = None,
    depth_tokens: int = 0,
    cache_types: tuple[str, str] = ("f16", "f16"),
    engine: str = "llamacpp",
    tensor_parallel: int = 1,
    link_gbytes_per_second: float | None = None,
    host: Host | None = None,
    draft_tokens: int = 0,
    users: int = 1,
) -> Speed:
    """The speed of one request after `depth_tokens`, and of `users` at once.

    Without a placement all layers lie on the GPUs; without paces the CPU computes alone. llama.cpp passes a token from
    device to device, so that more of them are not faster; `tensor_parallel` devices share each layer.
    """
    work = Work(
        reads=reads_of(model),
        embedding=model.embedding,
        depth_tokens=depth_tokens,
        window_tokens=min(depth_tokens, model.sliding_window),
        key_bytes=element_bytes(cache_types[0]),
        value_bytes=element_bytes(cache_types[1]),
    )
    parts = stages(
        work,
        tuple(throughputs),
        placement,
        engine=engine,
        tensor_parallel=tensor_parallel,
        link_gbytes_per_second=link_gbytes_per_second,
        host=host,
    )
    expected = 1 / sum(part.total for part in parts)
    spread = _spread(throughputs, parts)
    low, high, gain = expected * spread.low, expected * spread.high, 1.0
    undrafted = expected if draft_tokens else None
    if draft_tokens:
        factor = draft_gain(
            model,
            throughputs,
            parts,
            engine=engine,
            tensor_parallel=tensor_parallel,
            users=users,
            tokens=draft_tokens,
        )
        low, expected, high, gain = low * factor.low, expected * factor.expected, high * factor.high, factor.expected
    prefill, together = prefill_speed(model, parts, host, engine=engine), expected
    if users > 1:
        shared = aggregate_speed(model, parts, engine=engine, users=users, prefill=prefill, gain=gain)
        together = max(expected, shared)
    return Speed(
        low=low,
        expected=expected,
        high=high,
        prefill_expected=prefill,
        aggregate=together,
        depth_tokens=depth_tokens,
        undrafted=undrafted,
        confidence="low" if draft_tokens else spread.confidence,
        because=_because(work, parts, draft_tokens),
        source="rigwright/catalogue/speed.yml",
    )


@cache
def element_bytes(cache_type: str) -> float:
    """The bytes of one element of the KV cache: 2 of f16, 34/32 of q8_0; a type nobody knows counts as f16."""
    if kind := TYPES_BY_NAME.get(cache_type.lower()):
        return kind.block_bytes / kind.block_elements
    return _VLLM_TYPES.get(cache_type.lower(), 2.0)


def _spread(throughputs: Sequence[Throughput], parts: Sequence[Seconds]) -> _Range:
    if not all(throughput.is_known for throughput in throughputs):
        return _UNKNOWN
    if any(part.is_host for part in parts):
        return _OFFLOADED
    return _FULL if len(throughputs) == 1 else _FULL._replace(confidence="low")


def _because(work: Work, parts: Sequence[Seconds], draft_tokens: int) -> str:
    gigabytes = (work.reads.others[-1] + work.reads.experts[-1] + work.reads.head_bytes) / 1e9
    weights = cached = fixed = host = 0.0
    for part in parts:  # once for every candidate of a search: three sums would take as long as the speed itself
        weights, cached, fixed = weights + part.weights, cached + part.cache, fixed + part.fixed
        host += part.total if part.is_host else 0.0
    text = f"{gigabytes:.1f} GB of weights per token take {weights * 1e3:.1f} ms"
    text += f", starting the kernels {fixed * 1e3:.1f} ms"
    if work.depth_tokens:
        text += f", reading {work.depth_tokens:,} cached tokens {cached * 1e3:.1f} ms"
    if host:
        text += f"; {host * 1e3:.1f} ms of it by the CPU"
    return text + (f"; {draft_tokens} drafts change it by what they guess right" if draft_tokens else "")
