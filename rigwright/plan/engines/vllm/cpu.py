"""vLLM built for CPUs: one copy, whole in RAM, with a KV cache of a size that it is told."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rigwright.models.values import Model
from rigwright.models.variants import Variant
from rigwright.plan.choice import Choice
from rigwright.plan.contexts import contexts
from rigwright.plan.engines.vllm.cache import VllmLoad, kv_capacity
from rigwright.plan.layouts import CPU, is_wished
from rigwright.plan.memory import Load
from rigwright.plan.memory.values import MemoryEstimate, MemoryPart
from rigwright.plan.ranking import longest_context, score
from rigwright.plan.search_space import Candidate, Miss, SearchResult, SearchSpace
from rigwright.plan.wish import ServiceWish
from rigwright.units import GIB

# Four processes with PyTorch: 2.5 GB were seen of a model of a megabyte with a cache of 1 GiB that was hardly used.
_PROCESSES_BYTES = 2 * GIB
# A cache large enough that blocks, which are whole, do not count.
_PROBE_BYTES = 1 << 50


def on_cpu(wish: ServiceWish, variants: Sequence[Variant], space: SearchSpace, found: SearchResult) -> None:
    """The candidates of a build for CPUs: each variant with the longest context that RAM holds."""
    if (wish.layout and not is_wished(CPU.layout, wish.layout)) or (wish.replicas or 1) > 1:
        found.refused["vLLM"] = "a build for CPUs serves one copy from the CPU; take layout and replicas out"
        return
    slots = wish.slots or max(1, wish.users)
    for variant in variants:
        for tokens in _contexts(wish, variant.model, is_shared=space.is_shared):
            load = Load(context_tokens=tokens, slots=slots, cache_type_k="auto", cache_type_v="auto")
            memory = memory_of(variant, load)
            if memory.ram_bytes <= space.ram_bytes:
                choice = Choice(wish, variant, "vllm", CPU.layout, CPU.replicas, load, None, memory, None)
                found.candidates.append(Candidate(choice, score(choice), {}, memory.ram_bytes, CPU))
                break
        else:
            short = memory.ram_bytes - space.ram_bytes
            found.misses.append(Miss("vllm", variant, CPU, load, memory.ram_bytes, space.ram_bytes, short))


def memory_of(variant: Variant, load: Load) -> MemoryEstimate:
    """Weights, the cache that it is told to take, and its processes."""
    parts = {
        "weights": variant.file_bytes,
        "KV cache": cache_gib(variant.model, load) * GIB,
        "processes": _PROCESSES_BYTES,
    }
    return MemoryEstimate(
        parts=tuple(MemoryPart(name=name, device=None, size_bytes=size) for name, size in parts.items())
    )


def cache_gib(model: Model, load: Load) -> int:
    """The cache in GiB, which is how vLLM is told: one full context for each request at once, rounded up."""
    asked = VllmLoad(max_model_len=load.context_tokens, max_seqs=load.slots)
    one = _PROBE_BYTES / kv_capacity(model, asked, _PROBE_BYTES).concurrency
    return max(1, math.ceil(one * load.slots / GIB))


def _contexts(wish: ServiceWish, model: Model, *, is_shared: bool) -> tuple[int, ...]:
    longest = longest_context(wish, is_shared=is_shared)
    return (wish.context,) if wish.context else tuple(contexts(model, longest=longest, least=wish.min_context or 0))
