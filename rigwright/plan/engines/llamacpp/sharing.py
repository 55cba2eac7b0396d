"""llama.cpp: GPUs that share each layer, `--split-mode tensor`: what can be so, and how much each of them takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rigwright.catalogue import load as catalogue
from rigwright.models.values import Model
from rigwright.plan.devices import Device
from rigwright.plan.engines.llamacpp.placement import Room
from rigwright.plan.memory import Load, Placement
from rigwright.plan.memory.compute import UNQUANTISED
from rigwright.plan.memory.slices import most_gpus
from rigwright.plan.speed.kinds import kind_of

# Those whose GPUs exchange by NCCL, RCCL or llama.cpp's own kernels; by the others nobody has measured it.
BACKENDS = ("cuda", "rocm")
# How far from what makes all equally fast to what leaves all equally much room, in hundredths.
_STEPS = (0, 25, 50, 75, 100)


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
    for shares in _shares(devices, room):
        placement = Placement(model.main_layers, shares=shares)
        if room.holds(model, load, placement):
            return placement
    return None


def _shares(devices: Sequence[Device], room: Room) -> Iterator[tuple[int, ...]]:
    """Numbers of --tensor-split: by how fast the GPUs read, then more and more by the room that they have."""
    if len({one.kind for one in devices}) == 1 and len({*room.gpu_bytes}) == 1:
        yield (1,) * len(devices)
        return
    paces = [kind_of(one.throughput).read * one.throughput.bandwidth_gbytes_per_second for one in devices]
    by_pace, by_room = _percent(paces), _percent(room.gpu_bytes)
    for step in _STEPS:
        yield _percent([(100 - step) * one + step * other for one, other in zip(by_pace, by_room, strict=True)])


def _percent(sizes: Sequence[float]) -> tuple[int, ...]:
    """The sizes in whole parts of a hundred, at least one each."""
    total = sum(sizes) or 1
    parts = [max(1, round(100 * size / total)) for size in sizes]
    parts[parts.index(max(parts))] += 100 - sum(parts)
    return tuple(parts)
