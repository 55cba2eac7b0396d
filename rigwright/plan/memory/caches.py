"""What llama.cpp keeps between tokens: KV cache, window cache, recurrent state. All of it is exact.

Source: llama.cpp 0c1e570 (llama-kv-cache.cpp, llama-kv-cache-iswa.cpp, llama-memory-recurrent.cpp), confirmed by
`llama-server -lv 4` and by the published logs in tests/unit/data/memory_cases.json.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from rigwright.models.ggml import TYPES_BY_NAME
from rigwright.models.values import Model
from rigwright.plan.memory.values import Load

_CELL_PADDING = 256
# Releases up to the middle of 2026 kept KV rows for the nextn layer of this architecture without loading it: 47 rows
# for 46 + 1 layers. Later ones (llama-model.cpp, layer filter) do not; the row is counted, so never too little.
_KV_FOR_NEXTN = ("glm4moe",)
# llama-server keeps up to 32 checkpoints of a slot's state, at least 8192 tokens apart (--ctx-checkpoints).
_MAX_CHECKPOINTS, _CHECKPOINT_STEP_TOKENS = 32, 8192


class Cells(NamedTuple):
    """How many cells each layer's cache has, over all streams, and how many of them one stream sees."""

    full: int
    window: int
    full_seen: int
    window_seen: int


def padded(tokens: int) -> int:
    """llama.cpp rounds a context up to 256 cells."""
    return -(-tokens // _CELL_PADDING) * _CELL_PADDING


def cells(model: Model, load: Load) -> Cells:
    """Separate slots have a cache each; unified ones share one, whose windows they still need one by one."""
    context = padded(load.context_tokens * (load.slots if load.is_unified else 1))
    windows = model.sliding_window * (load.slots if load.is_unified else 1)
    window = context if load.swa_full else padded(min(context, windows + load.ubatch_tokens))
    streams = 1 if load.is_unified else load.slots
    return Cells(context * streams, window * streams, context, window)


def kv_cache_bytes(model: Model, load: Load, layers: Iterable[int] | None = None) -> int:
    """The KV cache of `layers` (all by default) as far as they see the whole context."""
    count = main_kv_layers(model)
    wanted = (layer for layer in (range(count) if layers is None else layers) if layer < count)
    window = set(model.swa_layers)
    heads = sum(model.kv_heads[layer] for layer in wanted if layer not in window)
    return cells(model, load).full * row_bytes(model, load, heads)


def swa_cache_bytes(model: Model, load: Load, layers: Iterable[int] | None = None) -> int:
    """The cache of those of `layers` that see only a window."""
    wanted = set(model.swa_layers) & set(range(model.main_layers) if layers is None else layers)
    heads = sum(model.kv_heads[layer] for layer in wanted)
    return cells(model, load).window * row_bytes(model, load, heads, is_window=True)


def has_nextn_rows(model: Model) -> bool:
    """True when older releases kept KV rows that newer ones do not."""
    return model.nextn_layers > 0 and model.architecture in _KV_FOR_NEXTN


def main_kv_layers(model: Model) -> int:
    """The layers with a row in the main cache: all but nextn."""
    return model.layers if model.architecture in _KV_FOR_NEXTN else model.main_layers


def row_bytes(model: Model, load: Load, heads: int, *, is_window: bool = False) -> int:
    """One token in `heads` KV heads."""
    key = model.swa_key_length if is_window else model.key_length
    value = model.swa_value_length if is_window else model.value_length
    first, second = TYPES_BY_NAME[load.cache_type_k], TYPES_BY_NAME[load.cache_type_v]
    keys = heads * key * first.block_bytes // first.block_elements
    return keys + heads * value * second.block_bytes // second.block_elements


def drafting_cache_bytes(model: Model, load: Load) -> int:
    """The second context's cache: the nextn layers in f16, whatever the types asked for."""
    if not load.draft_tokens:
        return 0
    heads = sum(model.kv_heads[model.main_layers :]) or (
        model.kv_heads[model.full_layers[-1]] if model.full_layers else 0
    )
    return cells(model, load).full * row_bytes(model, load._replace(cache_type_k="f16", cache_type_v="f16"), heads)


def state_bytes(model: Model, load: Load) -> int:
    """The state of one recurrent layer: F32, one per slot and one more per drafted token, whatever the context."""
    ssm = model.ssm
    if ssm is None:
        return 0
    convolution = (ssm.conv_kernel - 1) * (ssm.inner_size + 2 * ssm.group_count * ssm.state_size)
    return 4 * (convolution + ssm.state_size * ssm.inner_size) * load.slots * (1 + load.draft_tokens)


def recurrent_bytes(model: Model, load: Load, layers: Iterable[int] | None = None) -> int:
    """The state of the recurrent ones of `layers` (all by default)."""
    wanted = set(model.recurrent_layers) & set(range(model.layers) if layers is None else layers)
    return state_bytes(model, load) * len(wanted)


def checkpoint_bytes(model: Model, load: Load) -> int:
    """Copies in RAM of what cannot be rewound, window caches and recurrent states, at their upper bound."""
    count = min(_MAX_CHECKPOINTS, load.context_tokens // _CHECKPOINT_STEP_TOKENS + 1)
    window = 0 if load.swa_full or not model.swa_layers else swa_cache_bytes(model, load)
    return count * (recurrent_bytes(model, load._replace(draft_tokens=0)) + window)
