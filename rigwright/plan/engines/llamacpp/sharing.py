"""llama.cpp: GPUs that share each layer, `--split-mode tensor`: what can be so, and how much each of them takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rigwright.catalogue import load as catalogue
from rigwright.models.values import Model
from rigwright.plan.devices import Device
from rigwright.plan.engines.llamacpp.placement import Room
from rigwright.plan.memory import Load, Placement, fast_bytes
from rigwright.plan.memory.compute import UNQUANTISED
from rigwright.plan.memory.slices import most_gpus
from rigwright.plan.speed.kinds import kind_of

# Those whose GPUs exchange by NCCL, RCCL or llama.cpp's own kernels; by the others nobody has measured it.
BACKENDS = ("cuda", "rocm")


def sharing_obstacle(model: Model, load: Load, devices: Sequence[Device]) -> str | None:
    """Why these GPUs cannot share the layers of a model; None where they can.

    Source: `llm_arch_supports_sm_tensor` and the checks of llama_init_from_model in llama.cpp b11434.
    """
    if model.architecture in catalogue("engines")["llamacpp"]["tensor_split"]["unable"]:
        return f"llama.cpp does not cut layers of {model.architecture}"
    if len(devices) > most_gpus(model):
        return f"{model.name} has {most_gpus(model)} KV heads, and a GPU needs one at least"
    if not {load.cache_type_k, load.cache_type_v} <= {*UNQUANTISED, "f32"}:
        return f"llama.cpp cuts no KV cache in {load.cache_type_k}"
    if not load.has_flash_attention:
        return "it needs flash attention"
    backend = next((one.throughput.backend for one in devices if one.throughput.backend not in BACKENDS), None)
    return f"nobody has tried it with {backend}" if backend else None


def share(model: Model, load: Load, room: Room, devices: Sequence[Device]) -> Placement | None:
    """All layers over all of these GPUs, so that all are equally fast as far as they have the room; None without it."""
    for shares in _shares(model, load, room, devices):
        placement = Placement(model.main_layers, shares=shares)
        if room.holds(model, load, placement):
            return placement
    return None


def _shares(model: Model, load: Load, room: Room, devices: Sequence[Device]) -> Iterator[tuple[int, ...]]:
    """Numbers of --tensor-split: by how fast the GPUs read, as far as each has the room; else by the room alone."""
    count = len(devices)
    if len({one.kind for one in devices}) == 1 and len({*room.gpu_bytes}) == 1:
        yield (1,) * count
        return
    paces = [kind_of(one.throughput).read * one.throughput.bandwidth_gbytes_per_second for one in devices]
    alone, even = (
        fast_bytes(model, load, Placement(model.main_layers, shares=shares))[0][0] for shares in ((), (1,) * count)
    )
    # What is cut; the rest is on each of them whole.
    divided = max(1, (alone - even) * count // (count - 1))
    most = [max(0, size - (alone - divided)) / divided for size in room.gpu_bytes]
    yield _percent(_filled(paces, most))
    yield _percent(most)


def _filled(paces: Sequence[float], most: Sequence[float]) -> list[float]:
    """Parts by pace, where none is above its most: what one cannot take goes to the others."""
    parts, open_places = [0.0] * len(paces), [*range(len(paces))]
    left = 1.0
    while open_places and left > 0:
        total = sum(paces[place] for place in open_places)
        full = [place for place in open_places if left * paces[place] / total > most[place]]
        for place in full or open_places:
            parts[place] = most[place] if full else left * paces[place] / total
        left -= sum(parts[place] for place in full) if full else left
        open_places = [place for place in open_places if place not in full] if full else []
    return parts


def _percent(sizes: Sequence[float]) -> tuple[int, ...]:
    """The sizes in whole parts of a hundred, at least one each; what rounding leaves goes to the largest."""
    total = sum(sizes) or 1
    parts = [max(1, int(100 * size / total)) for size in sizes]
    parts[parts.index(max(parts))] += 100 - sum(parts)
    return tuple(parts)
