"""The best combination: one candidate for each service of a rig so that all fit beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rigwright.plan.search_space import Candidate, pareto_front

# Two services on one GPU wait for each other: each counts as if it ran at seven tenths of its speed.
_SHARED_GPU = 0.35
# Of the candidates on one set of GPUs, for rigs with several services: the best, then those that take a tenth
# less each; all that take less at all where that finds nothing.
_KEPT, _STEP = 12, 0.9
_KEPT_ALL = 40
# A bound on the search. Eight GPUs and three services need some thousand steps; what is found by then is good.
_MOST_STEPS = 20_000


class Budget(NamedTuple):
    """What is there to take: bytes of each GPU by ordinal, and of RAM."""

    gpu_bytes: Mapping[int, int]
    ram_bytes: int


def choose(candidates: Sequence[Sequence[Candidate]], budget: Budget) -> tuple[Candidate, ...] | None:
    """One candidate for each service, with the highest sum of scores that fits; None where none does.

    Equal sums go to fewer GPUs, then to the earlier candidate, so that the same input gives the same plan.
    """
    if len(candidates) == 1:
        fitting = [one for one in candidates[0] if fits(one, budget)]
        return (min(fitting, key=_order),) if fitting else None
    first = _Search([_worthwhile(each, kept=_KEPT, step=_STEP) for each in candidates], budget).best()
    return first or _Search([_worthwhile(each, kept=_KEPT_ALL, step=1.0) for each in candidates], budget).best()


def fits(candidate: Candidate, budget: Budget) -> bool:
    """Whether it finds room in what is there."""
    return candidate.ram_bytes <= budget.ram_bytes and all(
        size <= budget.gpu_bytes.get(ordinal, 0) for ordinal, size in candidate.gpu_bytes.items()
    )


def _order(candidate: Candidate) -> tuple[float, int, int, int, int]:
    """Better ones first; of equal ones that on fewer GPUs, without a display, which takes less, on the smaller GPU."""
    devices = [device for group in candidate.assignment.replicas for device in group]
    return (
        -round(candidate.score.total, 6),
        len(devices),
        sum(1 for device in devices if device.gpu.has_display),
        sum(candidate.gpu_bytes.values()),
        sum(device.vram_bytes for device in devices),
    )


def _worthwhile(candidates: Sequence[Candidate], *, kept: int, step: float) -> list[Candidate]:
    """For each set of GPUs the candidates that no other beats in worth and, by a step, in what they take."""
    by_place: dict[frozenset[int], list[Candidate]] = {}
    for one in candidates:
        by_place.setdefault(frozenset(one.gpu_bytes), []).append(one)
    return sorted((one for mine in by_place.values() for one in pareto_front(mine, step=step)[:kept]), key=_order)


class _Search:
    """Depth first through the services, in their order; a branch that cannot beat the best is left."""

    def __init__(self, candidates: Sequence[Sequence[Candidate]], budget: Budget) -> None:
        self.candidates = candidates
        self.left = dict(budget.gpu_bytes)
        self.ram_bytes = budget.ram_bytes
        self.users = dict.fromkeys(budget.gpu_bytes, 0)
        tops = [each[0].score.total if each else float("-inf") for each in candidates]
        self.hopes = [sum(tops[place:]) for place in range(len(tops) + 1)]
        self.found: tuple[float, int, tuple[Candidate, ...]] | None = None
        self.steps = 0

    def best(self) -> tuple[Candidate, ...] | None:
        """Runs the search."""
        self._go(0, 0.0, ())
        return self.found[2] if self.found else None

    def _go(self, place: int, worth: float, taken: tuple[Candidate, ...]) -> None:
        if place == len(self.candidates):
            gpus = len({ordinal for one in taken for ordinal in one.gpu_bytes})
            if self.found is None or (round(worth, 6), -gpus) > (round(self.found[0], 6), -self.found[1]):
                self.found = worth, gpus, taken
            return
        for one in self.candidates[place]:
            self.steps += 1
            hope = worth + one.score.total + self.hopes[place + 1]
            if (self.steps > _MOST_STEPS and self.found) or (self.found and hope < self.found[0] - 1e-6):
                return
            if not self._has_room(one):
                continue
            shared = sum(1 for ordinal in one.gpu_bytes if self.users[ordinal])
            self._take(one, 1)
            self._go(place + 1, worth + one.score.total - _SHARED_GPU * 2 * bool(shared), (*taken, one))
            self._take(one, -1)

    def _has_room(self, one: Candidate) -> bool:
        return one.ram_bytes <= self.ram_bytes and all(
            size <= self.left.get(ordinal, 0) for ordinal, size in one.gpu_bytes.items()
        )

    def _take(self, one: Candidate, sign: int) -> None:
        self.ram_bytes -= sign * one.ram_bytes
        for ordinal, size in one.gpu_bytes.items():
            self.left[ordinal] -= sign * size
            self.users[ordinal] += sign
