"""How much memory a model takes under llama.cpp: weights, KV cache and state are exact, the rest is an estimate.

Source: llama.cpp 0c1e570, confirmed by `llama-server -lv 4`, `llama-fit-params --fit-print on` and by published logs.
"""

from __future__ import annotations

from itertools import accumulate, pairwise

from rigwright.models.values import Model
from rigwright.plan.memory.caches import (
    checkpoint_bytes,
    drafting_cache_bytes,
    has_nextn_rows,
    kv_cache_bytes,
    padded,
    recurrent_bytes,
    swa_cache_bytes,
)
from rigwright.plan.memory.compute import (
    CUDA_CONTEXT_BYTES,
    compute_bytes,
    drafting_compute_bytes,
    grown_bytes,
    host_bytes,
    margin_bytes,
    place_of,
)
from rigwright.plan.memory.fast import fast_bytes
from rigwright.plan.memory.said import Said, grown
from rigwright.plan.memory.slices import shared
from rigwright.plan.memory.values import Load, MemoryEstimate, MemoryPart, Placement

__all__ = [
    "CUDA_CONTEXT_BYTES",
    "Load",
    "MemoryEstimate",
    "MemoryPart",
    "Placement",
    "Said",
    "checkpoint_bytes",
    "compute_bytes",
    "estimate_memory",
    "fast_bytes",
    "grown",
    "kv_cache_bytes",
    "loaded_bytes",
    "padded",
    "recurrent_bytes",
    "swa_cache_bytes",
]


def device_layers(model: Model, placement: Placement) -> tuple[range, ...]:
    """The layers of each device, the last ones of the model; nextn layers lie with the last."""
    starts = [*accumulate(placement.devices, initial=model.main_layers - placement.gpu_layers)]
    ranges = [range(first, end) for first, end in pairwise(starts)]
    return (*ranges[:-1], range(ranges[-1].start, model.layers)) if ranges else ()


def estimate_memory(model: Model, load: Load, placement: Placement) -> MemoryEstimate:
    """The memory of one service; with no layer on a GPU everything is RAM."""
    if placement.shares:
        return shared(model, load, estimate_memory(model, load, placement._replace(shares=())), placement.shares)
    devices = device_layers(model, placement)
    on_gpu = [_weights_bytes(model, load, placement, layers) for layers in devices]
    if on_gpu:
        on_gpu[-1] += model.output_bytes
    tied = _tied_copy_bytes(model) if on_gpu else 0
    in_ram = loaded_bytes(model, load) - sum(on_gpu) + tied
    is_exact = not model.is_estimated
    found = [part for device, size in enumerate(on_gpu) for part in _part("weights", device, size, is_exact)]
    found += _part("weights", None, in_ram, is_exact or (model.is_sum_exact and not on_gpu))
    first_on_gpu = devices[0].start if devices else model.layers
    for device, layers in [*enumerate(devices), (None, range(first_on_gpu))]:
        found += _part("KV cache", device, kv_cache_bytes(model, load, layers), not has_nextn_rows(model))
        found += _part("SWA cache", device, swa_cache_bytes(model, load, layers), is_exact=True)
        found += _part("recurrent state", device, recurrent_bytes(model, load, layers), is_exact=True)
    found += _part("context checkpoints", None, checkpoint_bytes(model, load), is_exact=False)
    return MemoryEstimate(parts=(*found, *_passing_parts(model, load, placement)))


def _passing_parts(model: Model, load: Load, placement: Placement) -> list[MemoryPart]:
    """Compute buffers with their margin, the drafting context, and what CUDA itself takes."""
    found: list[MemoryPart] = []
    buffers = compute_bytes(model, load, placement)
    for ordinal, stage in enumerate(buffers):
        device = ordinal if placement.gpu_layers else None
        size, margin = grown_bytes(stage, load.growth, place_of(model, placement))
        found += _part("compute buffers", device, size, is_exact=False)
        found += _part("margin for compute", device, margin, is_exact=False)
    last = len(buffers) - 1 if placement.gpu_layers else None
    found += _part("drafting", last, drafting_bytes(model, load), is_exact=False)
    for device in range(len(placement.devices)):
        found += _part("CUDA context", device, CUDA_CONTEXT_BYTES, is_exact=False)
    if placement.gpu_layers:
        found += _part("compute buffers", None, host_bytes(model, load), is_exact=False)
    return found


def _part(name: str, device: int | None, size: int, is_exact: bool) -> list[MemoryPart]:
    return [MemoryPart(name=name, device=device, size_bytes=size, is_exact=is_exact)] if size else []


def drafting_bytes(model: Model, load: Load) -> int:
    """The second context that runs nextn layers: its cache, its buffer and the margin of that."""
    if not load.draft_tokens:
        return 0
    compute = drafting_compute_bytes(model, load)
    return drafting_cache_bytes(model, load) + compute + margin_bytes(compute)


def loaded_bytes(model: Model, load: Load) -> int:
    """The weights that are loaded: all but the nextn layers, which only drafting needs."""
    if load.draft_tokens:
        return model.weights_bytes
    nextn = range(model.main_layers, model.layers)
    return model.weights_bytes - sum(model.layer_bytes[layer] + model.expert_bytes[layer] for layer in nextn)


def _weights_bytes(model: Model, load: Load, placement: Placement, layers: range) -> int:
    loaded = [layer for layer in layers if layer < model.main_layers or load.draft_tokens]
    experts = sum(model.expert_bytes[layer] for layer in loaded if layer >= placement.cpu_expert_layers)
    return sum(model.layer_bytes[layer] for layer in loaded) + experts


def _tied_copy_bytes(model: Model) -> int:
    """With a tied embedding the GPU holds a copy, so that RAM keeps its own."""
    return model.input_bytes if model.is_tied else 0
