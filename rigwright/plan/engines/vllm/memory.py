"""How much memory a model takes under vLLM: what a token of cache takes is exact, what is left for it an estimate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from rigwright.models.values import Model
from rigwright.plan.engines.vllm.cache import KvCapacity, VllmLoad, kv_capacity, stage_layers
from rigwright.plan.memory.values import MemoryEstimate, MemoryPart
from rigwright.units import MIB

# Beside weights, cache and activations: 0.06 GiB to 0.5 GiB printed as "non-torch" without and with NCCL.
_NON_TORCH_BYTES, _NCCL_BYTES, _NON_TORCH_MARGIN_BYTES = 300 * MIB, 256 * MIB, 300 * MIB
# CUDA graphs: 0.08 to 0.71 GiB printed.
_GRAPH_BYTES, _GRAPH_MARGIN_BYTES = 400 * MIB, 330 * MIB


@dataclass(frozen=True)
class VllmEstimate:
    """The memory of each rank, and the cache that is left; None when nothing is."""

    memory: MemoryEstimate
    capacity: KvCapacity | None


class VllmChoice(NamedTuple):
    """What vLLM alone knows of a choice: how it is asked to serve, and what that comes to once it is evaluated."""

    load: VllmLoad
    estimate: VllmEstimate | None = None


def capacity_of(model: Model, load: VllmLoad, vram_bytes: Sequence[int]) -> KvCapacity | None:
    """The cache that `estimate_vllm` comes to, without its parts: for a search that asks hundreds of times."""
    room = room_for_cache(model, load, vram_bytes)
    capacity = kv_capacity(model, load, room) if room > 0 else None
    return capacity if capacity and capacity.tokens else None


def room_for_cache(model: Model, load: VllmLoad, vram_bytes: Sequence[int]) -> int:
    """What the fullest rank leaves to the cache, whatever its type; below 0 where not even the rest fits."""
    return _room(model, load._replace(max_model_len=1, kv_bytes=2, kv_scale_bytes=0), tuple(vram_bytes))


# Each context and type of cache asks the same.
@lru_cache(maxsize=4096)
def _room(model: Model, load: VllmLoad, vram_bytes: tuple[int, ...]) -> int:
    ranks = {(rank // load.tensor_parallel, vram) for rank, vram in enumerate(vram_bytes)}
    return min(int(vram * load.utilization) - used_bytes(model, load, stage) for stage, vram in ranks)


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


def used_bytes(model: Model, load: VllmLoad, stage: int) -> int:
    """Everything but the cache on a rank of that pipeline stage."""
    return sum(_uses(model, load, stage).values())


def _uses(model: Model, load: VllmLoad, stage: int) -> dict[str, int]:
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
    share = stage_layers(main, load)
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
