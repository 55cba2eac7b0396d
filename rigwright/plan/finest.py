"""The finest file that memory holds which would lie idle, beside all other services of the rig."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rigwright.plan.choice import Choice
from rigwright.plan.ranking import READING_RATE, goal_of
from rigwright.plan.reasons import Reason
from rigwright.plan.search import Budget, fits
from rigwright.plan.search_space import Candidate

# What a finer file must leave of the speed. Who names a model, and no goal, gives up a tenth for what hardly anybody
# notices, and a third where half of the memory would lie idle, as no owner of such cards leaves it; who leaves even the
# model open has asked for no speed, but is not to wait twice as long either.
_LEAST_PART, _LEAST_PART_OF_IDLE, _LEAST_PART_OF_AUTO = 0.9, 0.65, 0.6
_MUCH_IDLE = 0.5
# In percent of perplexity: less is nothing finer.
_FINER = 0.05


def finest(
    chosen: Sequence[Candidate], candidates: Sequence[Sequence[Candidate]], budget: Budget, are_auto: Sequence[bool]
) -> tuple[Candidate, ...]:
    """What was chosen, each with the finest file that fits beside the others; `are_auto`: whose model was left open.

    With latency alone: the other goals weigh quality themselves. Such a file never gives less context, nor answers that
    are slower than one reads, nor joins another service on a GPU; and where a part stays in RAM, no memory of a GPU
    lies idle.
    """
    taken = list(chosen)
    for place, (one, mine) in enumerate(zip(chosen, candidates, strict=True)):
        if goal_of(one.choice.wish) != "latency" or not one.choice.is_whole or not one.choice.speed:
            continue
        least = max(READING_RATE, _least_part(one, is_auto=are_auto[place]) * one.choice.speed.expected)
        others = [other for other in taken if other is not one]
        left, busy = _without(budget, others), {ordinal for other in others for ordinal in other.gpu_bytes}
        # Another GPU is no idle memory of these: whoever names a model may have more to serve.
        gpus = len(left.gpu_bytes) if are_auto[place] else len(one.gpu_bytes)
        finer = [
            other
            for other in mine
            if len(other.gpu_bytes) <= gpus
            and busy.isdisjoint(other.gpu_bytes.keys() - one.gpu_bytes.keys())
            and _is_finer(other, one, least_rate=least)
            and fits(other, left)
        ]
        best = min((_loss(other.choice) for other in finer), default=0.0)
        as_fine = [other for other in finer if _loss(other.choice) < best + _FINER]
        if as_fine:
            taken[place] = _told(max(as_fine, key=lambda other: other.score.total), one)
    return tuple(taken)


def _least_part(one: Candidate, *, is_auto: bool) -> float:
    if is_auto:
        return _LEAST_PART_OF_AUTO
    offered = sum(device.offered_bytes for device in one.assignment.every_device)
    taken = sum(one.gpu_bytes.values())
    if one.choice.placement is None:  # such an engine makes its cache of all that is left
        taken = min(taken, one.choice.variant.file_bytes * len(one.choice.replicas))
    return _LEAST_PART_OF_IDLE if taken < _MUCH_IDLE * offered else _LEAST_PART


def _told(one: Candidate, before: Candidate) -> Candidate:
    """With its reason, and worth what it takes the place of: of memory that idles nothing else is made."""
    rates = [each.choice.speed.expected for each in (one, before) if each.choice.speed]
    because = f"memory holds it that would lie idle, at {rates[0]:.0f} instead of {rates[-1]:.0f} tokens/s"
    reason = Reason(choice=f"finer than {before.choice.variant.quant}", because=because)
    choice = replace(one.choice, reasons=(*one.choice.reasons, reason))
    return one._replace(choice=choice, score=before.score)


def _is_finer(one: Candidate, chosen: Candidate, *, least_rate: float) -> bool:
    choice, before = one.choice, chosen.choice
    is_like = (choice.engine, choice.load.slots, choice.is_whole) == (before.engine, before.load.slots, True)
    has_context = choice.load.context_tokens >= before.load.context_tokens
    is_fast = choice.speed is not None and choice.speed.expected >= least_rate
    return is_like and has_context and is_fast and _loss(choice) < _loss(before) - _FINER


def _loss(choice: Choice) -> float:
    return (choice.variant.loss_percent or 0.0) + choice.cache_loss_percent


def _without(budget: Budget, others: Sequence[Candidate]) -> Budget:
    """What the other services leave."""
    gpus = dict(budget.gpu_bytes)
    for other in others:
        for ordinal, size in other.gpu_bytes.items():
            gpus[ordinal] -= size
    return Budget(gpus, budget.ram_bytes - sum(other.ram_bytes for other in others))
