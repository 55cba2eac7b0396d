"""How much memory a model takes under vLLM: what a token of cache takes is exact, what is left for it an estimate.

Source: the kv_cache_utils and interface logic of vLLM 0.11 to 0.33, confirmed to the token by published logs
(tests/unit/data/memory_cases.json) for dense and hybrid models on 1 or 2 GPUs. That pipeline parallelism splits layers
is documented, but no log here confirms its numbers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from rigwright.models.values import Model
from rigwright.plan.memory.values import MemoryEstimate, MemoryPart
from rigwright.units import MIB

_BLOCK_TOKENS = 16
# From this version on the log's token count is concurrency × max_model_len; before, hybrid models were undercounted.
_COUNTS_TRULY_FROM = (0, 21)
# A recurrent state takes two blocks of each group, and one more for each drafted token.
_STATE_BLOCKS = 2
_CONV_STATE_BYTES, _RECURRENT_STATE_BYTES = 2, 4  # bf16, f32
# Beside weights, cache and activations: 0.06 GiB to 0.5 GiB printed as "non-torch" without and with NCCL.
_NON_TORCH_BYTES, _NCCL_BYTES, _NON_TORCH_MARGIN_BYTES = 300 * MIB, 256 * MIB, 300 * MIB
# CUDA graphs: 0.08 to 0.71 GiB printed.
_GRAPH_BYTES, _GRAPH_MARGIN_BYTES = 400 * MIB, 330 * MIB


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


@dataclass(frozen=True)
class VllmEstimate:
    """The memory of each rank, and the cache that is left; None when nothing is."""

    memory: MemoryEstimate
    capacity: KvCapacity | None


class VllmChoice(NamedTuple):
    """What vLLM alone knows of a choice: how it is asked to serve, and what that comes to once it is evaluated."""

    load: VllmLoad
    estimate: VllmEstimate | None = None


def kv_capacity(model: Model, load: VllmLoad, kv_budget_bytes: int) -> KvCapacity:
    """What a cache of that many bytes on each rank holds."""
    if model.recurrent_layers:
        return _hybrid_capacity(model, load, kv_budget_bytes)
    rows = _stage(sum(1 for heads in model.kv_heads[: model.main_layers] if heads), load)
    blocks = int(kv_budget_bytes // (_token_bytes(model, load) * rows * _BLOCK_TOKENS))
    tokens = blocks * _BLOCK_TOKENS
    return KvCapacity(tokens, tokens / load.max_model_len, _BLOCK_TOKENS)


def _hybrid_capacity(model: Model, load: VllmLoad, budget: int) -> KvCapacity:
    """Blocks are as long as a recurrent state is large, and groups of layers share them."""
    page = _token_bytes(model, load)
    block = _up(-(-_state_bytes(model, load) // page), _BLOCK_TOKENS)
    layers = _stage(len(model.full_layers), load) + (1 if load.speculative_tokens else 0)
    groups = -(-_stage(len(model.recurrent_layers), load) // layers)
    blocks = int(budget // (layers * block * page))
    one = -(-load.max_model_len // block) + groups * (_STATE_BLOCKS + load.speculative_tokens)
    tokens = blocks * load.max_model_len // one
    if _version(load.version) < _COUNTS_TRULY_FROM:
        tokens = blocks // (groups + 1) * block
    return KvCapacity(tokens, blocks / one, block)


def _token_bytes(model: Model, load: VllmLoad) -> Fraction:
    """K and V of one token in one layer of one rank; KV heads that do not divide are replicated."""
    heads = max(1, -(-max(model.kv_heads) // load.tensor_parallel))
    per_head = (model.key_length + model.value_length) * Fraction(load.kv_bytes) + 2 * load.kv_scale_bytes
    return heads * per_head


def _state_bytes(model: Model, load: VllmLoad) -> int:
    ssm = model.ssm
    if ssm is None:
        return 0
    width = ssm.inner_size + 2 * ssm.group_count * ssm.state_size
    convolution = (ssm.conv_kernel - 1 + load.speculative_tokens) * width // load.tensor_parallel * _CONV_STATE_BYTES
    return ssm.inner_size // load.tensor_parallel * ssm.state_size * _RECURRENT_STATE_BYTES + convolution


def _stage(layers: int, load: VllmLoad) -> int:
    """The layers of the fullest pipeline stage."""
    return max(1, -(-layers // load.pipeline_parallel))


def _up(count: int, step: int) -> int:
    return -(-count // step) * step


def _version(text: str) -> tuple[int, int]:
    match = re.match(r"v?(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def capacity_of(model: Model, load: VllmLoad, vram_bytes: Sequence[int]) -> KvCapacity | None:
    """The cache that `estimate_vllm` comes to, without its parts: for a search that asks hundreds of times."""
    ranks = {(rank // load.tensor_parallel, vram) for rank, vram in enumerate(vram_bytes)}
    room = min(int(vram * load.utilization) - sum(_uses(model, load, stage).values()) for stage, vram in ranks)
    capacity = kv_capacity(model, load, room) if room > 0 else None
    return capacity if capacity and capacity.tokens else None


def estimate_vllm(model: Model, load: VllmLoad, vram_bytes: Sequence[int]) -> VllmEstimate:
    """The memory of each rank: `vram_bytes` has one entry per rank, stage by stage."""
    parts: list[MemoryPart] = []
    left: list[int] = []
    for rank, vram in enumerate(vram_bytes):
        uses = _uses(model, load, rank // load.tensor_parallel)
        is_exact = load.tensor_parallel * load.pipeline_parallel == 1
        parts += [
            MemoryPart(name=name, device=rank, size_bytes=size, is_exact=is_exact and name == "weights")
            for name, size in uses.items()
            if size
        ]
        left.append(int(vram * load.utilization) - sum(uses.values()))
    room = min(left, default=0)
    capacity = kv_capacity(model, load, room) if room > 0 else None
    if capacity is None or not capacity.tokens:
        return VllmEstimate(MemoryEstimate(parts=tuple(parts)), None)
    pools = [MemoryPart(name="KV cache", device=rank, size_bytes=room) for rank in range(len(left))]
    return VllmEstimate(MemoryEstimate(parts=(*parts, *pools)), capacity)


def _uses(model: Model, load: VllmLoad, stage: int) -> dict[str, int]:
    """Everything but the cache on a rank of that pipeline stage."""
    graphs = load.has_cuda_graphs
    activation = _activation_bytes(model, load)
    margin = activation // 4 + _NON_TORCH_MARGIN_BYTES + (_GRAPH_MARGIN_BYTES if graphs else 0)
    return {
        "weights": rank_weights_bytes(model, load, stage),
        "activations": activation,
        "CUDA graphs": _GRAPH_BYTES if graphs else 0,
        "CUDA context": _NON_TORCH_BYTES,
        "NCCL": _NCCL_BYTES if load.tensor_parallel * load.pipeline_parallel > 1 else 0,
        "margin for compute": margin,
    }


def rank_weights_bytes(model: Model, load: VllmLoad, stage: int = 0) -> int:
    """The weights of one rank: layers by stage, the embedding on the first, the output on the last."""
    main = model.main_layers
    share = _stage(main, load)
    layers = range(min(main, stage * share), min(main, (stage + 1) * share))
    total = sum(model.layer_bytes[one] + model.expert_bytes[one] for one in layers)
    is_first, is_last = stage == 0, stage == load.pipeline_parallel - 1
    if is_first:
        total += model.input_bytes
    if is_last:
        needs_copy = model.is_tied and is_first
        total += model.output_bytes - (model.input_bytes if needs_copy else 0)
        if load.speculative_tokens:
            nextn = range(main, model.layers)
            total += sum(model.layer_bytes[one] + model.expert_bytes[one] for one in nextn)
    return -(-total // load.tensor_parallel)


def _activation_bytes(model: Model, load: VllmLoad) -> int:
    """The peak of the profiling run, in bf16: one layer over all batched tokens, or the logits of all requests."""
    width = max(model.feed_forward, model.experts_used * model.expert_feed_forward)
    layer = load.max_batched_tokens * 2 * (4 * model.embedding + 3 * width // load.tensor_parallel)
    return max(layer, 2 * 4 * load.max_seqs * model.vocab)
