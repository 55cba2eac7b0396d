"""What services ask of a build for CUDA beyond what every build has: kernels for a pair of KV types, and NCCL."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rigwright.plan.engines.llamacpp.capabilities import USUAL_KV_PAIRS, Pair
from rigwright.plan.engines.llamacpp.overrides import Overrides, is_tensor_split
from rigwright.plan.wish import ServiceWish

NCCL = "GGML_CUDA_NCCL"
# Types that have attention kernels at all. Source: ggml/src/ggml-cuda/template-instances of b11434, fattn-vec-*.
_TYPES = ("f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0")


def asked_options(wishes: Iterable[ServiceWish]) -> dict[str, str]:
    """Options of cmake by name, for services on GPUs; empty where the usual code does."""
    wishes = list(wishes)
    pairs = sorted({pair for wish in wishes for pair in unusual_pairs(wish)})
    found = {NCCL: "ON"} if any(map(is_tensor_split, wishes)) else {}
    if pairs:
        found["GGML_CUDA_FA_QUANTS"] = ";".join("-".join(pair) for pair in [*sorted(USUAL_KV_PAIRS), *pairs])
    return found


def unusual_pairs(wish: ServiceWish) -> Iterator[Pair]:
    """The pair of KV types that a service asks for, where builds have kernels for it only when told."""
    found = Overrides.of(wish)
    pair = found.cache_type_k or "f16", found.cache_type_v or "f16"
    if found.has_cache_types and {*pair} <= {*_TYPES} and pair not in USUAL_KV_PAIRS:
        yield pair
