"""Where a model goes: all on one GPU, with experts or layers in RAM, or on the CPU; and the context that fits there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from rigwright.hardware.values import Gpu, Hardware
from rigwright.models.values import Model
from rigwright.plan.memory import Load, MemoryEstimate, Placement, estimate_memory
from rigwright.units import GIB, MIB

# What to try when the inventory names no context. More than 131,072 tokens is a wish, not a default: it is read
# slowly and rarely used. 4,096 is the least that llama.cpp's own --fit accepts.
_CONTEXTS_TOKENS = (131072, 98304, 65536, 49152, 32768, 24576, 16384, 12288, 8192, 6144, 4096)
# Rather a whole model on the GPU with this much context than a longer one with layers in RAM, and no less.
_ENOUGH_TOKENS = 16384
_OFFLOAD_TOKENS = 32768


class Taken(NamedTuple):
    """What the other services on the rig have: bytes of RAM, and of each GPU by UUID; later ones will need RAM too."""

    ram_bytes: int = 0
    gpu_bytes: Mapping[str, int] = {}
    later_ram_bytes: int = 0

    def plus(self, uuid: str | None, memory: MemoryEstimate) -> Taken:
        """The same after one service more."""
        gpus = dict(self.gpu_bytes)
        if uuid:
            gpus[uuid] = gpus.get(uuid, 0) + memory.gpu_bytes
        return self._replace(ram_bytes=self.ram_bytes + memory.ram_bytes, gpu_bytes=gpus)


class Site(NamedTuple):
    """What a service may fill: RAM, and one GPU or none; `placement` is what the inventory itself says."""

    ram_bytes: int
    gpu: Gpu | None = None
    gpu_bytes: int = 0
    placement: Placement | None = None

    def holds(self, memory: MemoryEstimate) -> bool:
        """True when it all fits."""
        return memory.gpu_bytes <= self.gpu_bytes and memory.ram_bytes <= self.ram_bytes


class Fit(NamedTuple):
    """A placement that fits, and its memory."""

    site: Site
    load: Load
    placement: Placement
    memory: MemoryEstimate


def offered_vram_bytes(gpu: Gpu, taken: Taken) -> int:
    """What a GPU has for services: all but 512 MiB or 2 %, which the driver and a display keep."""
    total = gpu.vram_bytes or 0
    return max(0, total - max(512 * MIB, total // 50) - taken.gpu_bytes.get(gpu.uuid or "", 0))


def offered_ram_bytes(hardware: Hardware, taken: Taken) -> int:
    """What RAM has for services: all but 1 GiB and 5 % for the system, never less than three quarters."""
    total = hardware.ram_bytes
    return max(0, total - min(GIB + total // 20, total // 4) - taken.ram_bytes)


def site_of(hardware: Hardware, gpu: Gpu | None, taken: Taken) -> Site:
    """What a service may fill on `gpu` (None for the CPU) and beside it."""
    ram = offered_ram_bytes(hardware, taken)
    return Site(ram, gpu, offered_vram_bytes(gpu, taken)) if gpu else Site(ram)


def placements(model: Model, site: Site) -> Iterator[Placement]:
    """All ways to place the model, the fastest first: whole, then experts in RAM, then whole layers."""
    if site.placement or not site.gpu:
        yield site.placement or Placement(0)
        return
    layers = model.main_layers
    yield Placement(layers)
    experts = 0
    if model.is_mixture:
        yield from (Placement(layers, moved + 1) for moved in range(layers) if model.expert_bytes[moved])
        experts = layers
    yield from (Placement(kept, experts) for kept in range(layers - 1, 0, -1))


def fit(model: Model, load: Load, site: Site, *, is_whole: bool = False) -> Fit | None:
    """The fastest placement that fits; `is_whole` allows nothing in RAM that could be on the GPU."""
    for placement in placements(model, site):
        memory = estimate_memory(model, load, placement)
        if site.holds(memory):
            return Fit(site, load, placement, memory)
        if is_whole:
            break
    return None


def fit_any(model: Model, load: Load, site: Site, *, context: int | None, is_whole: bool = False) -> Fit | None:
    """The fastest placement with `context` tokens, or without one the most context that is worth its price."""
    attempts = [(context, is_whole)] if context else _attempts(model, site, is_whole=is_whole)
    for tokens, must_be_whole in attempts:
        if found := fit(model, load._replace(context_tokens=tokens), site, is_whole=must_be_whole):
            return found
    return None


def _attempts(model: Model, site: Site, *, is_whole: bool) -> list[tuple[int, bool]]:
    """Contexts to try, each with whether the model must then be whole on its device."""
    steps = contexts(model)
    if not site.gpu:
        return [(tokens, True) for tokens in steps]
    whole = [(tokens, True) for tokens in steps if tokens >= min(_ENOUGH_TOKENS, steps[0])]
    return whole + [(tokens, False) for tokens in steps if tokens <= _OFFLOAD_TOKENS and not is_whole]


def choose_gpu(hardware: Hardware, taken: Taken, model: Model, load: Load, *, context: int | None) -> Fit | None:
    """The first GPU that holds the model whole, else the roomiest with a part in RAM, else the CPU."""
    sites = [site_of(hardware, gpu, taken) for gpu in hardware.usable_gpus]
    for site in sites:
        if found := fit_any(model, load, site, context=context, is_whole=True):
            return found
    roomiest = sorted(sites, key=lambda site: site.gpu_bytes, reverse=True)[:1]
    for site in [*roomiest, site_of(hardware, None, taken)]:
        if found := fit_any(model, load, site, context=context):
            return found
    return None


def contexts(model: Model) -> list[int]:
    """The contexts to try, the longest first: none beyond what the model was trained for."""
    trained = model.context_train
    return sorted(
        {min(trained, _CONTEXTS_TOKENS[0]), *(step for step in _CONTEXTS_TOKENS if step < trained)},
        reverse=True,
    )
