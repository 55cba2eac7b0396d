"""llama.cpp: which layers lie on which GPU, and whose experts stay in RAM, so that everything fits and little waits."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import NamedTuple

from rigwright.models.values import Model
from rigwright.plan.memory import Load, Placement, fast_bytes


class Room(NamedTuple):
    """What a service may fill: each of its GPUs, in order, and RAM, in bytes."""

    gpu_bytes: tuple[int, ...]
    ram_bytes: int

    def short_bytes(self, model: Model, load: Load, placement: Placement) -> int:
        """By how much the fullest place overflows; 0 when all fits."""
        gpus, ram = fast_bytes(model, load, placement)
        over = [need - variant for need, variant in zip(gpus, self.gpu_bytes, strict=True)] if self.gpu_bytes else []
        return max(0, ram - self.ram_bytes, *over)

    def without(self, first_bytes: int, ram_bytes: int) -> Room:
        """What is left when so much of the first GPU, without one of RAM, and of RAM is taken."""
        if not self.gpu_bytes:
            return Room((), max(0, self.ram_bytes - first_bytes))
        first, *others = self.gpu_bytes
        return Room((max(0, first - first_bytes), *others), max(0, self.ram_bytes - ram_bytes))

    def holds(self, model: Model, load: Load, placement: Placement) -> bool:
        """True when it all fits."""
        return self.short_bytes(model, load, placement) == 0


def place(model: Model, load: Load, room: Room, *, is_whole: bool = False) -> Placement | None:
    """The placement that reads least from RAM: whole, else the fewest experts there, else the most layers on GPUs.

    With `is_whole` nothing may stay in RAM that could be on a GPU.
    """
    if not room.gpu_bytes:
        return Placement(0) if room.holds(model, load, Placement(0)) else None
    layers = model.main_layers
    if found := _spread(model, load, room, layers, 0):
        return found
    if is_whole or sum(room.gpu_bytes) + room.ram_bytes < model.weights_bytes:
        return None
    ram = room.ram_bytes
    if model.is_mixture:
        gpus, needs = fast_bytes(model, load, Placement(layers, layers))
        if len(room.gpu_bytes) == 1:
            found = _fewest_experts(model, room, gpus[0], needs)
        else:
            found = _fewest(layers, lambda moved: _spread(model, load, room, layers, moved), is_roomy=needs <= ram)
        if found:
            return found
    experts = layers if model.is_mixture else 0
    most = max(0, layers - len(room.gpu_bytes))
    needs = fast_bytes(model, load, Placement(layers - most, experts))[1]
    return _fewest(most, lambda back: _spread(model, load, room, layers - back, experts), is_roomy=needs <= ram)


def _fewest_experts(model: Model, room: Room, gpu_bytes: int, ram_bytes: int) -> Placement | None:
    """On one GPU, which takes `gpu_bytes` with all experts in RAM: those of a layer are in one place or the other."""
    sums, layers = [*accumulate(model.expert_bytes, initial=0)], model.main_layers
    free = room.gpu_bytes[0] - gpu_bytes
    moved = max(1, bisect_left(sums, sums[layers] - free, 0, layers))
    fits = free >= 0 and ram_bytes - (sums[layers] - sums[moved]) <= room.ram_bytes
    return Placement(layers, moved) if fits else None


def _fewest(most: int, attempt: Callable[[int], Placement | None], *, is_roomy: bool) -> Placement | None:
    """The result for the smallest number from 1 to `most` that works; what works goes on working.

    `is_roomy`: RAM holds what `most` asks of it, so that only the GPUs can be too small.
    """
    low, high = 1, most
    best = attempt(high) if most else None
    if best is None and is_roomy:
        return None
    if best is None:
        # The last step asks most of RAM, an earlier one may do: look at each.
        return next((found for number in range(1, most) if (found := attempt(number))), None)
    while low < high:
        middle = (low + high) // 2
        if found := attempt(middle):
            best, high = found, middle
        else:
            low = middle + 1
    return best


def _spread(model: Model, load: Load, room: Room, gpu_layers: int, cpu_expert_layers: int) -> Placement | None:
    """The layers over the GPUs so that each keeps the same share of its room free; None when they do not fit."""
    count = len(room.gpu_bytes)
    if gpu_layers <= 0:
        return None
    if count == 1:
        placement = Placement(gpu_layers, cpu_expert_layers)
        return placement if room.holds(model, load, placement) else None
    if gpu_layers < count:
        return None
    split = _shares(gpu_layers, room.gpu_bytes)
    best: tuple[int, Placement] | None = None
    seen: set[tuple[int, ...]] = set()
    # Layers that go back to where they came from would go round for ever.
    while tuple(split) not in seen:
        seen.add(tuple(split))
        placement = Placement(gpu_layers, cpu_expert_layers, tuple(split))
        needs, ram = fast_bytes(model, load, placement)
        # Moving layers from one GPU to another changes neither sum.
        if ram > room.ram_bytes or (best is None and sum(needs) > sum(room.gpu_bytes)):
            return None
        free = [variant - need for need, variant in zip(needs, room.gpu_bytes, strict=True)]
        if best is None or min(free) > best[0]:
            best = min(free), placement
        elif min(free) >= 0:
            break
        fullest = min(range(count), key=free.__getitem__)
        emptiest = max(range(count), key=free.__getitem__)
        if split[fullest] <= 1 or fullest == emptiest:
            break
        split[fullest] -= 1
        split[emptiest] += 1
    return best[1] if best and best[0] >= 0 else None


def _shares(layers: int, sizes: Sequence[int]) -> list[int]:
    """Layers in proportion to sizes, at least one each, by the largest remainder."""
    total = sum(sizes) or 1
    exact = [layers * size / total for size in sizes]
    split = [max(1, int(share)) for share in exact]
    while sum(split) > layers:
        split[max(range(len(split)), key=split.__getitem__)] -= 1
    order = sorted(range(len(split)), key=lambda place: (int(exact[place]) - exact[place], place))
    for place in order[: layers - sum(split)]:
        split[place] += 1
    return split
