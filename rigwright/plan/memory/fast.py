"""The sums of `estimate_memory` from prefix arrays, for a search that asks thousands of times."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

from rigwright.models.values import Model
from rigwright.plan.memory.caches import (
    cells,
    checkpoint_bytes,
    drafting_cache_bytes,
    main_kv_layers,
    row_bytes,
    state_bytes,
)
from rigwright.plan.memory.compute import (
    CUDA_CONTEXT_BYTES,
    BufferPlace,
    drafting_compute_bytes,
    grown_bytes,
    host_bytes,
    margin_bytes,
    place_of,
    stage_bytes,
)
from rigwright.plan.memory.slices import cut
from rigwright.plan.memory.values import Load, Placement


class _Sums(NamedTuple):
    """Entry n is the sum over the first n layers."""

    layers: tuple[int, ...]
    experts: tuple[int, ...]
    full_heads: tuple[int, ...]
    window_heads: tuple[int, ...]
    recurrent: tuple[int, ...]


class _Figures(NamedTuple):
    """What depends on the placement's kind alone; the stages are a device's compute buffer with its margin."""

    sums: _Sums
    kept_layers: int
    loaded_bytes: int
    tied_bytes: int
    fixed_ram_bytes: int
    drafting_bytes: int
    host_bytes: int
    full_row: int
    window_row: int
    state: int
    layer_stage: int
    last_stage: int


def fast_bytes(model: Model, load: Load, placement: Placement) -> tuple[tuple[int, ...], int]:
    """The bytes of each device, and of RAM: what `estimate_memory` comes to, without its parts."""
    known = _figures(model, load, place_of(model, placement))
    sums, kept = known.sums, known.kept_layers
    if placement.shares:
        (alone,), ram = fast_bytes(model, load, placement._replace(shares=()))
        return _shared(model, known, placement.shares, alone), ram
    devices = placement.split or ((placement.gpu_layers,) if placement.gpu_layers else ())
    start = model.main_layers - placement.gpu_layers if devices else model.layers
    last, on_gpu, weights_on_gpu, first = len(devices) - 1, [], 0, start
    for ordinal, count in enumerate(devices):
        end = model.layers if ordinal == last else first + count
        weights = _weights(sums, first, min(end, kept), placement.cpu_expert_layers)
        rest = known.layer_stage
        if ordinal == last:
            weights += model.output_bytes
            rest = known.last_stage + known.drafting_bytes
        weights_on_gpu += weights
        on_gpu.append(weights + _caches(known, first, end) + rest + CUDA_CONTEXT_BYTES)
        first = end
    ram = known.loaded_bytes - weights_on_gpu + _caches(known, 0, start) + known.fixed_ram_bytes
    if devices:
        return tuple(on_gpu), ram + known.tied_bytes + known.host_bytes
    return (), ram + known.last_stage + known.drafting_bytes


def _shared(model: Model, known: _Figures, shares: tuple[int, ...], alone_bytes: int) -> tuple[int, ...]:
    """What each of several GPUs takes that share all layers, of what one would take alone."""
    sums, parts, kept = known.sums, cut(model, shares), known.kept_layers
    sizes = parts.of_weights(sums.layers[kept], sums.experts[kept], model.output_bytes)
    caches = _cache_parts(known, 0, model.layers)
    rest = alone_bytes - sums.layers[kept] - sums.experts[kept] - model.output_bytes - sum(caches)
    each = zip(sizes, *(parts.of_cache(size) for size in caches), strict=True)
    return tuple(rest + sum(own) for own in each)


def _weights(sums: _Sums, first: int, end: int, in_ram: int) -> int:
    experts = sums.experts[end] - sums.experts[max(first, in_ram)] if end > in_ram else 0
    return sums.layers[end] - sums.layers[first] + experts


def _caches(known: _Figures, first: int, end: int) -> int:
    return sum(_cache_parts(known, first, end))


def _cache_parts(known: _Figures, first: int, end: int) -> tuple[int, int, int]:
    """The KV cache, that of windows, and recurrent state."""
    sums = known.sums
    full = (sums.full_heads[end] - sums.full_heads[first]) * known.full_row
    window = (sums.window_heads[end] - sums.window_heads[first]) * known.window_row
    return full, window, (sums.recurrent[end] - sums.recurrent[first]) * known.state


@lru_cache(maxsize=1024)
def _sums(model: Model) -> _Sums:
    window, recurrent, main = set(model.swa_layers), set(model.recurrent_layers), model.main_layers
    rows = main_kv_layers(model)
    every = range(model.layers)
    return _Sums(
        _prefix(model.layer_bytes),
        _prefix(model.expert_bytes),
        _prefix(model.kv_heads[one] if one < rows and one not in window else 0 for one in every),
        _prefix(model.kv_heads[one] if one < main and one in window else 0 for one in every),
        _prefix(int(one in recurrent) for one in every),
    )


def _prefix(values: Iterable[int]) -> tuple[int, ...]:
    return tuple(accumulate(values, initial=0))


@lru_cache(maxsize=16384)
def _figures(model: Model, load: Load, place: BufferPlace) -> _Figures:
    sums = _sums(model)
    kept = model.layers if load.draft_tokens else model.main_layers
    skipped = sum(prefix[model.layers] - prefix[kept] for prefix in (sums.layers, sums.experts))
    drafting = drafting_compute_bytes(model, load)
    full, window, _, _ = cells(model, load)
    layer_stage, last_stage = stage_bytes(model, load, place)
    return _Figures(
        sums=sums,
        kept_layers=kept,
        loaded_bytes=model.weights_bytes - skipped,
        tied_bytes=model.input_bytes if model.is_tied else 0,
        fixed_ram_bytes=checkpoint_bytes(model, load),
        drafting_bytes=drafting_cache_bytes(model, load) + drafting + margin_bytes(drafting) if drafting else 0,
        host_bytes=host_bytes(model, load),
        full_row=full * row_bytes(model, load, 1),
        window_row=window * row_bytes(model, load, 1, is_window=True),
        state=state_bytes(model, load),
        layer_stage=sum(grown_bytes(layer_stage, load.growth, place)),
        last_stage=sum(grown_bytes(last_stage, load.growth, place)),
    )
