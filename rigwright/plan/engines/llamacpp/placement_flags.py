"""Where the weights lie, in the flags of llama-server: devices, layers, experts in RAM, and the split among GPUs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from rigwright.plan.choice import Choice
from rigwright.plan.devices import Device
from rigwright.plan.memory import MemoryEstimate, Placement
from rigwright.units import format_bytes

Told = tuple[str, str | int | None, str, str | None]

_NAMES = {"cuda": "CUDA", "rocm": "ROCm", "metal": "MTL", "vulkan": "Vulkan"}
_SHARED_SOURCE = "docs/multi-gpu.md of llama.cpp b11434"
_SPLIT_SOURCE = "llama_model_base::load_tensors, llama-model.cpp of llama.cpp 0c1e570"


def placement_flags(choice: Choice) -> Iterator[Told]:
    """Flag, value, reason and source."""
    devices = choice.devices
    if not devices:
        yield "--device", "none", "this service runs on the CPU; unset, llama-server would take any GPU", None
        yield "--fit", "off", "there is nothing to fit on a GPU", None
        return
    seen = "the GPU that the service sees" if len(devices) == 1 else f"the {len(devices)} GPUs that the service sees"
    because = f"{seen}: llama-server stops if one is missing; unset, it would crawl on the CPU and call itself healthy"
    yield "--device", ",".join(device_names(devices)), because, None
    if choice.is_fitted:
        yield "--fit", "on", "llama-server places the layers itself, as the plan does not", None
        return
    yield from _layers(choice)
    if len(devices) > 1:
        yield from _split(choice)
    yield "--fit", "off", "the layers are placed here; llama-server's own --fit gives up beside a placement", None


def device_names(devices: Sequence[Device]) -> list[str]:
    """How llama.cpp names devices: by backend, counted among those that the process sees."""
    counts: Counter[str] = Counter()
    names = []
    for device in devices:
        kind = _NAMES.get(device.throughput.backend, "CUDA")
        names.append(f"{kind}{counts[kind]}")
        counts[kind] += 1
    return names


def split_numbers(placement: Placement, nextn_layers: int) -> tuple[int, ...]:
    """The numbers of --tensor-split that give exactly `placement.split`.

    llama.cpp puts the layer k of n that are on GPUs on the first device whose cumulative share exceeds k/n. Layers are
    counted with the nextn layers and the output at their end, which so lie on the last device. Whole numbers of layers
    divide to the very same floats on both sides.
    """
    *first, last = placement.split
    return *first, last + nextn_layers + 1


def _layers(choice: Choice) -> Iterator[Told]:
    placement, memory, model = choice.placement, choice.memory, choice.variant.model
    if placement is None or memory is None:
        yield "--n-gpu-layers", "all", "what stays in RAM is up to the inventory's own flags", None
        return
    needs, ram = format_bytes(memory.gpu_bytes), format_bytes(_ram_weights(memory))
    variants = format_bytes(sum(device.offered_bytes for device in choice.devices))
    if placement.gpu_layers < model.main_layers:
        extra = model.nextn_layers + 1 if placement.gpu_layers else 0
        counted = "the output" + (f" and {model.nextn_layers} nextn" if model.nextn_layers else "")
        because = (
            f"{placement.gpu_layers} of {model.main_layers} layers fit, and {counted}, counted as layers too: "
            f"{needs} of {variants}; {ram} of weights stay in RAM"
        )
        yield "--n-gpu-layers", placement.gpu_layers + extra, because, None
    else:
        kind = "no layer stays behind, only experts" if placement.cpu_expert_layers else "no layer stays behind"
        because = f"{kind}: {needs} of the {variants} on offer; the -ngl 99 or 999 of published advice"
        yield "--n-gpu-layers", "all", because, None
    if placement.cpu_expert_layers:
        because = (
            f"the experts of the first {placement.cpu_expert_layers} of {model.main_layers} layers stay in RAM, the "
            f"fewest that make it fit (-ot exps=CPU would move all): {ram} there, {needs} on the GPU with all attention"
        )
        yield "--n-cpu-moe", placement.cpu_expert_layers, because, None


def _ram_weights(memory: MemoryEstimate) -> int:
    return sum(part.size_bytes for part in memory.parts if part.name == "weights" and part.device is None)


def _split(choice: Choice) -> Iterator[Told]:
    placement, model, memory = choice.placement, choice.variant.model, choice.memory
    if placement and placement.shares:
        yield from _shared(choice, placement)
        return
    because = "whole layers on each GPU: so little crosses between them that slow slots do not matter"
    yield "--split-mode", "layer", because, None
    if placement is None or memory is None or not placement.split:
        return
    layers = ", ".join(str(count) for count in placement.split)
    sizes = ", ".join(format_bytes(memory.on(place)) for place in range(len(placement.split)))
    counted = "the output" + (f" and {model.nextn_layers} nextn" if model.nextn_layers else "")
    because = f"layers for each GPU: {layers}; the last number counts {counted} too; {sizes}"
    yield "--tensor-split", ",".join(map(str, split_numbers(placement, model.nextn_layers))), because, _SPLIT_SOURCE


def _shared(choice: Choice, placement: Placement) -> Iterator[Told]:
    memory, shares = choice.memory, placement.shares
    because = (
        "each layer on all GPUs, which read it at the same time, so that a token takes part of the time; llama.cpp "
        "calls this experimental: layout: layers is the older way"
    )
    yield "--split-mode", "tensor", because, _SHARED_SOURCE
    sizes = ", ".join(format_bytes(memory.on(place)) for place in range(len(shares))) if memory else ""
    parts = "an equal part of each layer" if len({*shares}) == 1 else "in hundredths of each layer, by what each reads"
    yield "--tensor-split", ",".join(map(str, shares)), f"{parts}: {sizes}", None
