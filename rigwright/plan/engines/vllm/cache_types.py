"""The types of vLLM's KV cache that a plan tries.

fp8 is half the memory of 16 bit and is read faster at depth: 72.7 tokens/s against 60.4 after 131,072 tokens (Qwen 27B
AWQ on four RTX 3090). int8 with a scale for each head made 28.0 there, though it led at short contexts.
Source: https://github.com/noonghunna/club-3090, BENCHMARKS.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rigwright.models.quants import KvCacheType, kv_cache_types
from rigwright.plan.wish import ServiceWish

_FLAG = "--kv-cache-dtype"
# From there on a type with scales of each head is slower than 16 bit.
LONG_TOKENS = 32768
# vLLM's own types for those of llama.cpp, the first that the GPUs have.
_OWN = {
    "f16": ("auto",),
    "bf16": ("auto",),
    "q8_0": ("fp8", "int8_per_token_head"),
    "q4_0": ("int4_per_token_head",),
}


def tried(wish: ServiceWish, is_refused: Callable[[str], bool]) -> Iterator[KvCacheType]:
    """The types that a plan tries: the inventory's, else 16 bit and the best of 8 bit."""
    known = kv_cache_types()
    if isinstance(named := wish.flags.get(_FLAG), str):
        # What the catalogue lacks takes less than 16 bit.
        yield known[named] if named in known and known[named].engine == "vllm" else known["auto"]
        return
    if wish.cache_type == "auto":
        yield known["auto"]
    names = _OWN.get(wish.cache_type, _OWN["q8_0"])
    yield from (known[name] for name in [name for name in names if not is_refused(name)][:1])


def is_named(wish: ServiceWish) -> bool:
    """True where the inventory says which type it wants."""
    return wish.cache_type != "auto" or _FLAG in wish.flags


def is_short_alone(cache: KvCacheType, context_tokens: int) -> bool:
    """True for a type that does not pay at that context."""
    return cache.scale_bytes > 0 and context_tokens >= LONG_TOKENS
