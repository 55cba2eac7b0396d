"""How much memory a model takes under llama.cpp: weights, KV cache and state are exact, the rest is an estimate.

Source: llama.cpp 0c1e570, confirmed by `llama-server -lv 4`, `llama-fit-params --fit-print on` and by published logs.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate, pairwise

from rigwright.models.values import Model
from rigwright.plan.memory_caches import (
    cells,
    checkpoint_bytes,
    drafting_cache_bytes,
    kv_cache_bytes,
    main_kv_layers,
    padded,
    recurrent_bytes,
    row_bytes,
    state_bytes,
    swa_cache_bytes,
)
from rigwright.plan.memory_caches import KV_FOR_NEXTN
from rigwright.plan.memory_compute import compute_bytes, logits_stage_bytes, margin_bytes, PINNED
from rigwright.plan.memory_values import Load, MemoryEstimate, MemoryPart, Placement
from rigwright.units import MIB

__all__ = [
    "CUDA_CONTEXT_BYTES",
    "Load",
    "MemoryEstimate",
    "MemoryPart",
    "Placement",
    "checkpoint_bytes",
    "compute_bytes",
    "estimate_memory",
    "fast_bytes",
    "kv_cache_bytes",
    "loaded_bytes",
    "padded",
    "recurrent_bytes",
    "swa_cache_bytes",
]

# A process on a GPU before its first buffer: 248 to 330 MiB seen on Ampere to Blackwell, 104 on a second GPU.
CUDA_CONTEXT_BYTES = 300 * MIB
