"""The candidates of one wish on one rig: each variant on each layout, with the most context that fits there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import log2

from rigwright.models.variants import Variant
from rigwright.plan.engines.planner import Planner
from rigwright.plan.reasons import Reason
from rigwright.plan.search_space import Candidate, SearchResult, SearchSpace
from rigwright.plan.wish import ServiceWish

Engines = Mapping[str, Planner]

# "Avoid going below Q2": what loses more shows in every answer.
_MOST_LOSS_PERCENT = 10.0
# Half the slots are worth a quarter of the speed.
_HALF_THE_SLOTS = 0.3


def find_candidates(
    wish: ServiceWish, variants: Sequence[Variant], space: SearchSpace, engines: Engines
) -> SearchResult:
    """The candidates that serve `wish` with one of `variants`; what loses too much only where nothing else works."""
    found = _any_quant(wish, variants, space, engines)
    slots = max(engine.open_slots(wish) for engine in considered(wish, engines))
    # Slots that nobody asked for: rather requests that wait for each other than no service.
    if found.candidates or slots < 2:
        return found
    for fewer in dict.fromkeys((slots // 2, 1)):
        less = _any_quant(wish.model_copy(update={"slots": fewer}), variants, space, engines)
        lines = Reason(choice=f"{fewer} slots", because=f"{slots} do not fit; more requests at once wait their turn")
        found.candidates += [_fewer(one, lines, halvings=log2(slots / fewer)) for one in less.candidates]
    return found


def considered(wish: ServiceWish, engines: Engines) -> list[Planner]:
    """The engines to look at: the one that is named, else those whose flags the inventory uses."""
    if wish.engine != "auto":
        return [engines[wish.engine]]
    automatic = [engine for engine in engines.values() if engine.is_automatic]
    fitting = [engine for engine in automatic if all(flag in engine.flags for flag in wish.flags)]
    return fitting or automatic[:1]


def _fewer(candidate: Candidate, reason: Reason, *, halvings: float) -> Candidate:
    """A candidate that serves fewer requests at once than there are users, which costs for each halving."""
    choice, score = candidate.choice, candidate.score
    return candidate._replace(
        choice=replace(choice, reasons=(*choice.reasons, reason)),
        score=score._replace(engine=score.engine - _HALF_THE_SLOTS * halvings),
    )


def _any_quant(wish: ServiceWish, variants: Sequence[Variant], space: SearchSpace, engines: Engines) -> SearchResult:
    found = _search(wish, [one for one in variants if not _is_poor(one)], space, engines)
    poor = [one for one in variants if _is_poor(one)]
    return _search(wish, variants, space, engines) if poor and not found.candidates else found


def _is_poor(variant: Variant) -> bool:
    return (variant.loss_percent or 0.0) > _MOST_LOSS_PERCENT


def _search(wish: ServiceWish, variants: Sequence[Variant], space: SearchSpace, engines: Engines) -> SearchResult:
    found = SearchResult()
    for engine in considered(wish, engines):
        mine = [one for one in variants if one.format == engine.file_format]
        if mine:
            engine.search(wish, mine, space, found)
        elif wish.engine != "auto":
            found.refused |= {f"{engine.label}, -, {one.quant}": engine.other_format for one in variants}
    return found
