"""What a quant and a type of KV cache cost, in bits and in quality. Rows: rigwright/catalogue/quants.yml."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Literal, NamedTuple

from rigwright import catalogue

_BASELINE = "Q8_0"


class Quant(NamedTuple):
    """One way to store weights: mean bits per parameter of a file, and the typical loss of perplexity over 8 bit."""

    name: str
    bits: float
    loss_percent: float
    kind: Literal["gguf", "safetensors", "both"]


class KvCacheType(NamedTuple):
    """One way to store the KV cache: bytes per element, bytes of scales per head and token, and what it costs."""

    name: str
    element_bytes: float
    scale_bytes: int
    engine: Literal["llamacpp", "vllm"]
    loss_percent: float


@cache
def quants() -> Mapping[str, Quant]:
    """All quants by name, from coarse to fine."""
    rows = catalogue.load("quants")["quants"]
    return {name: Quant(name, row["bits"], _loss(rows, row), row["kind"]) for name, row in rows.items()}


def find_quant(name: str) -> Quant:
    """A quant by its exact name.

    Raises:
        KeyError: the catalogue has no such quant.
    """
    return quants()[name]


@cache
def kv_cache_types() -> Mapping[str, KvCacheType]:
    """All types of the KV cache by name, those of llama.cpp first."""
    rows = catalogue.load("quants")["kv_cache"]
    return {
        name: KvCacheType(name, row["bytes"], row["scale_bytes"], row["engine"], row["loss_percent"])
        for name, row in rows.items()
    }


def _loss(rows: Mapping[str, Any], row: Mapping[str, Any]) -> float:
    if "loss_percent" in row:
        return float(row["loss_percent"])
    measured = rows[row["perplexity_as"]] if "perplexity_as" in row else row
    rise = float(measured["perplexity"]) / float(rows[_BASELINE]["perplexity"]) - 1
    return max(0.0, round(100 * rise, 2))
