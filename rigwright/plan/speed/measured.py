"""Measured speeds, which beat computed ones: as they are for the same setup, by their ratio for a like one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import NamedTuple

from rigwright.models.values import Model
from rigwright.plan.speed import Speed
from rigwright.strict import Strict

# A file of the same quant differs by its metadata alone, and a depth costs as much as one nearby.
_SAME_SIZE = 0.01
_NEAR_TOKENS, _NEAR_SHARE = 1024, 0.125
_LEAST_SPREAD = 0.03
# What is left of the formula's error once a measurement of the same card and model has scaled it.
_SCALED_SPREAD = 0.15
_QUANT = re.compile(
    r"[-_. ](ud[-_])?(i?q\d\w*|tq\d\w*|mxfp4\w*|nvfp4|bf16|f16|f32|fp8|fp16|awq|gptq\w*|int[48])\b"
    r"|-\d{5}-of-\d{5}|\.gguf$",
    re.IGNORECASE,
)
_MAKERS = frozenset(("nvidia", "geforce", "amd", "tesla", "instinct", "graphics", "gpu"))


class Measurement(Strict):
    """One result: decode speed of a request, `users` at a time; with several `total_per_second` of all.

    `gpu_layers` is llama.cpp's --n-gpu-layers, None when all of them. `source` is the file that it was read from.
    """

    gpu: str
    gpu_count: int = 1
    model: str
    size_bytes: int | None = None
    engine: str = "llamacpp"
    depth_tokens: int = 0
    cache_types: tuple[str, str] = ("f16", "f16")
    gpu_layers: int | None = None
    cpu_expert_layers: int = 0
    users: int = 1
    tokens_per_second: float
    deviation: float = 0.0
    total_per_second: float | None = None
    build: str | None = None
    source: str


class Setup(NamedTuple):
    """What a speed is asked for. `gpu_layers` counts as in a Placement; None means all of them."""

    gpu: str
    model: Model
    gpu_count: int = 1
    engine: str = "llamacpp"
    depth_tokens: int = 0
    cache_types: tuple[str, str] = ("f16", "f16")
    gpu_layers: int | None = None
    cpu_expert_layers: int = 0
    users: int = 1


def measured_speed(
    measurements: Iterable[Measurement],
    setup: Setup,
    estimate: Callable[[Setup], Speed],
    *,
    estimated: Speed | None = None,
) -> Speed:
    """The speed of a setup: measured, else computed and scaled by the nearest measurement, else as computed.

    `reckon` is the formula; `reckoned` saves a call where its answer for `setup` is at hand.
    """
    rows = [row for row in measurements if _is_same_machine(row, setup)]
    speed = estimated or estimate(setup)
    if total := next((row.total_per_second for row in rows if _is_same(row, setup, users=setup.users)), None):
        speed = speed.model_copy(update={"aggregate": total})
    if exact := [row for row in rows if _is_same(row, setup, users=1)]:
        return _as_measured(speed, min(exact, key=lambda row: abs(row.depth_tokens - setup.depth_tokens)))
    near = min((row for row in rows if row.users == 1), key=lambda row: _distance(row, setup), default=None)
    return _scaled(speed, near, setup=setup, estimate=estimate) if near else speed


def find(measurements: Iterable[Measurement], setup: Setup) -> Measurement | None:
    """The measurement of this card, model, quant, placement and depth, if there is one."""
    rows = [row for row in measurements if _is_same_machine(row, setup) and _is_same(row, setup, users=setup.users)]
    return min(rows, key=lambda row: abs(row.depth_tokens - setup.depth_tokens), default=None)


def family(name: str) -> str:
    """The model that a file's name tells, without its quant: `qwen3535ba3b` of `Qwen3.5-35B-A3B-UD-Q4_K_XL.gguf`."""
    base = _QUANT.sub("", name.replace("\\", "/").rsplit("/", 1)[-1])
    return re.sub(r"[^a-z0-9]", "", base.lower())


def _is_same_machine(row: Measurement, setup: Setup) -> bool:
    names = family(row.model), family(setup.model.name)
    is_model = bool(names[0]) and bool(names[1]) and (names[0].endswith(names[1]) or names[1].endswith(names[0]))
    is_gpu = _card(row.gpu) == _card(setup.gpu) and row.gpu_count == setup.gpu_count
    return is_model and is_gpu and row.engine == setup.engine and _is_same_placement(row, setup)


def _is_same_placement(row: Measurement, setup: Setup) -> bool:
    count, asked = setup.model.main_layers, setup.gpu_layers
    # llama.cpp's -ngl counts the output and the nextn layers first.
    given = count if row.gpu_layers is None else row.gpu_layers - 1 - setup.model.nextn_layers
    experts = [min(value, count) for value in (row.cpu_expert_layers, setup.cpu_expert_layers)]
    return max(0, min(given, count)) == (count if asked is None else asked) and experts[0] == experts[1]


def _is_same(row: Measurement, setup: Setup, *, users: int) -> bool:
    near = max(_NEAR_TOKENS, _NEAR_SHARE * setup.depth_tokens)
    is_near = abs(row.depth_tokens - setup.depth_tokens) <= near
    is_cache = row.cache_types == setup.cache_types or setup.depth_tokens <= _NEAR_TOKENS
    return row.users == users and is_near and is_cache and _is_same_size(row, setup.model)


def _is_same_size(row: Measurement, model: Model) -> bool:
    sizes = (model.weights_bytes, model.file_bytes)
    return row.size_bytes is not None and any(abs(row.size_bytes - size) <= _SAME_SIZE * size for size in sizes)


def _distance(row: Measurement, setup: Setup) -> tuple[float, int]:
    size = row.size_bytes or setup.model.weights_bytes
    return abs(size / setup.model.weights_bytes - 1), abs(row.depth_tokens - setup.depth_tokens)


def _as_measured(speed: Speed, row: Measurement) -> Speed:
    spread = max(_LEAST_SPREAD * row.tokens_per_second, 2 * row.deviation)
    return speed.model_copy(
        update={
            "low": max(0.0, row.tokens_per_second - spread),
            "expected": row.tokens_per_second,
            "high": row.tokens_per_second + spread,
            "depth_tokens": row.depth_tokens,
            "confidence": "measured",
            "because": f"measured on {row.gpu} after {row.depth_tokens:,} tokens",
            "source": row.source,
        }
    )


def _scaled(speed: Speed, row: Measurement, *, setup: Setup, estimate: Callable[[Setup], Speed]) -> Speed:
    """The formula's error with this card and model is much the same with another quant or depth."""
    model = setup.model if row.size_bytes is None else _resized(setup.model, row.size_bytes)
    there = setup._replace(model=model, depth_tokens=row.depth_tokens, cache_types=row.cache_types)
    factor = row.tokens_per_second / estimate(there).expected
    expected = speed.expected * factor
    return speed.model_copy(
        update={
            "low": expected * (1 - _SCALED_SPREAD),
            "expected": expected,
            "high": expected * (1 + _SCALED_SPREAD),
            "confidence": "high",
            "because": f"{speed.because}; {factor:.2f} of that is what a measurement of this card and model reached",
            "source": row.source,
        }
    )


def _resized(model: Model, size_bytes: int) -> Model:
    """The model at another number of bits per weight."""
    factor = size_bytes / model.weights_bytes
    tensors = tuple(row._replace(size_bytes=int(row.size_bytes * factor)) for row in model.tensors)
    return replace(model, tensors=tensors, file_bytes=size_bytes)


def _card(name: str) -> frozenset[str]:
    return frozenset(re.findall(r"[a-z0-9+]+", name.lower())) - _MAKERS
