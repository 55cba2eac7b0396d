"""What vLLM's KV cache holds: tokens and requests of a number of bytes, by the groups into which it sorts layers.

Source: the kv_cache_utils and interface logic of vLLM 0.11 to 0.33, confirmed to the token by published logs
(tests/unit/data/memory_cases*.json) for dense, hybrid and windowed models on 1 or 2 GPUs. That pipeline parallelism
splits layers is documented, but no log here confirms its numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from rigwright.models.values import Model
from rigwright.units import GIB

_BLOCK_TOKENS = 16
# From this version on the log's token count is concurrency × max_model_len; before, hybrid models were undercounted.
_COUNTS_TRULY_FROM = (0, 21)
# Stands for a release that is not known: it counts so, and does not pad.
ANY_RELEASE = "0.32"
# From here on a page that divides no larger one is padded to it. Before, such a model did not start, or, with
# https://github.com/vllm-project/vllm/pull/40391, its blocks were lengthened as far as they fit.
_PADS_FROM = (0, 33)
# Groups are padded to the more frequent kind where it has fewer than so many times the layers of the rarer.
_PADDED_GROUP = 1.5
# What vLLM calls a large GPU.
_LARGE_BYTES = 70 * GIB
# A recurrent state takes two blocks of each group, and one more for each drafted token.
_STATE_BLOCKS = 2
_CONV_STATE_BYTES, _RECURRENT_STATE_BYTES = 2, 4  # bf16, f32


class VllmLoad(NamedTuple):
    """How vLLM is asked to serve; `kv_bytes` is one element of the cache, `kv_scale_bytes` one head's scale."""

    max_model_len: int
    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    kv_bytes: float = 2
    kv_scale_bytes: int = 0
    speculative_tokens: int = 0
    utilization: float = 0.92
    version: str = "0.33.0"
    max_batched_tokens: int = 8192
    max_seqs: int = 256
    has_cuda_graphs: bool = True


class KvCapacity(NamedTuple):
    """What the cache holds: tokens as vLLM prints them, requests of full length at once, tokens of one block."""

    tokens: int
    concurrency: float
    block_tokens: int


def kv_capacity(model: Model, load: VllmLoad, kv_budget_bytes: int) -> KvCapacity:
    """What a cache of that many bytes on each rank holds."""
    if model.recurrent_layers:
        return _hybrid_capacity(model, load, kv_budget_bytes)
    return _pool_capacity(_pool(model, load), load, kv_budget_bytes)


class _Group(NamedTuple):
    """Layers of one kind that share a block table: their block, and the blocks of it that one request takes."""

    layers: tuple[int, ...]
    block_tokens: int
    request_blocks: int


class _Pool(NamedTuple):
    """All groups of a model, and the bytes of one block on the fullest rank."""

    groups: tuple[_Group, ...]
    block_bytes: int


# A search asks for the same model again and again.
@lru_cache(maxsize=4096)
def _pool(model: Model, load: VllmLoad) -> _Pool:
    """The groups into which vLLM sorts attention layers.

    All pages are equal: the kind that takes less for a token gets longer blocks. All groups have as many layers as the
    rarer kind, or as the more frequent one where that is little more.

    Source: vLLM 0.33.0, v1/core/kv_cache_planning.py (`unify_kv_cache_spec_page_size`,
    `_get_kv_cache_groups_uniform_page_size`) and v1/kv_cache_interface.py (`max_admission_blocks_per_request`).
    """
    full, window = _attention_layers(model, load)
    pages = {layer: _BLOCK_TOKENS * _token_bytes(model, load, layer) for layer in (*full, *window)}
    if not (full and window):
        # One block table for all, in which each layer has a page of its own.
        layers = full or window
        widest = max(sum(pages[layer] for layer in stage) for stage in _by_stage(model, load, layers))
        return _Pool((_group(model, load, layers, _BLOCK_TOKENS),), int(widest))
    page, size = max(pages.values()), _group_layers(len(full), len(window))
    groups: list[_Group] = []
    for kind in (full, window):
        block, count = _block_tokens(page, max(pages[layer] for layer in kind), load), -(-len(kind) // size)
        groups += [_group(model, load, kind[one::count], block) for one in range(count)]
    most = max(len(stage) for group in groups for stage in _by_stage(model, load, group.layers))
    return _Pool(tuple(groups), int(page * most))


def _attention_layers(model: Model, load: VllmLoad) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The layers that keep the whole context, and those that keep a window; one that drafts is among the first."""
    window = tuple(layer for layer in model.swa_layers if layer < model.main_layers and model.kv_heads[layer])
    drafting = range(model.main_layers, model.layers)[:1] if load.speculative_tokens else ()
    return (*model.full_layers, *(layer for layer in drafting if model.kv_heads[layer])), window


def _group_layers(full: int, window: int) -> int:
    fewer, more = sorted((full, window))
    return more if more < _PADDED_GROUP * fewer else fewer


def _block_tokens(page: Fraction, own: Fraction, load: VllmLoad) -> int:
    """The tokens of a block that fills `page`; of a page that does not divide it 0.33 pads each block instead."""
    if page % own and _version(load.version) >= _PADS_FROM:
        return _BLOCK_TOKENS
    return _BLOCK_TOKENS * int(page // own)


def can_pad(model: Model, load: VllmLoad) -> bool:
    """True where the release decides what a cache holds: before 0.33, of pages that do not divide each other."""
    if model.recurrent_layers or _version(load.version) >= _PADS_FROM:
        return False
    pages = {_token_bytes(model, load, layer) for kind in _attention_layers(model, load) for layer in kind[:1]}
    return max(pages) % min(pages) != 0


def batched_tokens(vram_bytes: Sequence[int]) -> int:
    """How many tokens a server computes at once by default.

    Source: vLLM 0.33.0, `EngineArgs.get_batch_defaults`.
    """
    return 2048 if min(vram_bytes, default=0) < _LARGE_BYTES else 8192


def _group(model: Model, load: VllmLoad, layers: tuple[int, ...], block: int) -> _Group:
    """Such a group: a request of full length takes all its blocks, or those of a window and of what is in flight."""
    tokens, more = load.max_model_len, 0
    if layers[0] in model.swa_layers:
        # Two batches at once, and one more for each further stage; a window need not begin with a block.
        in_flight = (load.pipeline_parallel + 1) * load.max_batched_tokens
        tokens, more = min(model.sliding_window - 1 + in_flight, tokens), 1
    return _Group(layers, block, -(-tokens // block) + more)


def _by_stage(model: Model, load: VllmLoad, layers: tuple[int, ...]) -> Iterator[list[int]]:
    """Those layers on each pipeline stage; what drafts is on the last."""
    share = stage_layers(model.main_layers, load)
    for stage in range(load.pipeline_parallel):
        is_last = stage == load.pipeline_parallel - 1
        yield [one for one in layers if stage * share <= one and (is_last or one < (stage + 1) * share)]


def _pool_capacity(pool: _Pool, load: VllmLoad, budget: int) -> KvCapacity:
    groups, one = pool.groups, sum(group.request_blocks for group in pool.groups)
    blocks = budget // pool.block_bytes
    tokens = blocks * load.max_model_len // one
    if len(groups) == 1 or _version(load.version) < _COUNTS_TRULY_FROM:
        tokens = blocks // len(groups) * min(group.block_tokens for group in groups)
    return KvCapacity(tokens, blocks / one, max(group.block_tokens for group in groups))


def _hybrid_capacity(model: Model, load: VllmLoad, budget: int) -> KvCapacity:
    """Blocks are as long as a recurrent state is large, and groups of layers share them."""
    page = _token_bytes(model, load, model.full_layers[0])
    block = _up(-(-_state_bytes(model, load) // page), _BLOCK_TOKENS)
    layers = stage_layers(len(model.full_layers), load) + (1 if load.speculative_tokens else 0)
    groups = -(-stage_layers(len(model.recurrent_layers), load) // layers)
    blocks = int(budget // (layers * block * page))
    one = -(-load.max_model_len // block) + groups * (_STATE_BLOCKS + load.speculative_tokens)
    tokens = blocks * load.max_model_len // one
    if _version(load.version) < _COUNTS_TRULY_FROM:
        tokens = blocks // (groups + 1) * block
    return KvCapacity(tokens, blocks / one, block)


def _token_bytes(model: Model, load: VllmLoad, layer: int) -> Fraction:
    """K and V of one token in that layer of one rank; KV heads that do not divide are replicated."""
    heads = max(1, -(-model.kv_heads[layer] // load.tensor_parallel))
    is_window = layer in model.swa_layers
    keys, values = (
        (model.swa_key_length, model.swa_value_length) if is_window else (model.key_length, model.value_length)
    )
    return heads * ((keys + values) * Fraction(load.kv_bytes) + 2 * load.kv_scale_bytes)


def _state_bytes(model: Model, load: VllmLoad) -> int:
    ssm = model.ssm
    if ssm is None:
        return 0
    width = ssm.inner_size + 2 * ssm.group_count * ssm.state_size
    convolution = (ssm.conv_kernel - 1 + load.speculative_tokens) * width // load.tensor_parallel * _CONV_STATE_BYTES
    return ssm.inner_size // load.tensor_parallel * ssm.state_size * _RECURRENT_STATE_BYTES + convolution


def stage_layers(layers: int, load: VllmLoad) -> int:
    """The layers of the fullest pipeline stage."""
    return max(1, -(-layers // load.pipeline_parallel))


def _up(count: int, step: int) -> int:
    return -(-count // step) * step


def _version(text: str) -> tuple[int, int]:
    match = re.match(r"v?(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else (0, 0)
