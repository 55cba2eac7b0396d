"""All ways to serve one wish on one rig: each file on each layout, with the most context that fits there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import log2

from rigwright.models.offers import Offer
from rigwright.plan.engines.planner import Planner
from rigwright.plan.reasons import Reason
from rigwright.plan.ways import Candidate, Ground, Possibilities
from rigwright.plan.wish import ServiceWish

Engines = Mapping[str, Planner]

# "Avoid going below Q2": what loses more shows in every answer.
_MOST_LOSS_PERCENT = 10.0
# Half the slots are worth a quarter of the speed.
_HALF_THE_SLOTS = 0.3


def possibilities(wish: ServiceWish, offers: Sequence[Offer], ground: Ground, engines: Engines) -> Possibilities:
    """All ways to serve `wish` with one of `offers`; what loses too much only where nothing else works."""
    found = _any_quant(wish, offers, ground, engines)
    slots = max(engine.open_slots(wish) for engine in considered(wish, engines))
    # Slots that nobody asked for: rather requests that wait for each other than no service.
    if found.candidates or slots < 2:
        return found
    for fewer in dict.fromkeys((slots // 2, 1)):
        less = _any_quant(wish.model_copy(update={"slots": fewer}), offers, ground, engines)
        told = Reason(choice=f"{fewer} slots", because=f"{slots} do not fit; more requests at once wait their turn")
        found.candidates += [_fewer(one, told, halvings=log2(slots / fewer)) for one in less.candidates]
    return found


def considered(wish: ServiceWish, engines: Engines) -> list[Planner]:
    """The engines to look at: the one that is named, else those whose flags the inventory uses."""
    if wish.engine != "auto":
        return [engines[wish.engine]]
    automatic = [engine for engine in engines.values() if engine.is_automatic]
    fitting = [engine for engine in automatic if all(flag in engine.flags for flag in wish.flags)]
    return fitting or automatic[:1]


def _fewer(candidate: Candidate, reason: Reason, *, halvings: float) -> Candidate:
    """A way that serves fewer requests at once than there are users, which costs for each halving."""
    choice, score = candidate.choice, candidate.score
    return candidate._replace(
        choice=replace(choice, reasons=(*choice.reasons, reason)),
        score=score._replace(engine=score.engine - _HALF_THE_SLOTS * halvings),
    )


def _any_quant(wish: ServiceWish, offers: Sequence[Offer], ground: Ground, engines: Engines) -> Possibilities:
    found = _search(wish, [one for one in offers if not _is_poor(one)], ground, engines)
    poor = [one for one in offers if _is_poor(one)]
    return _search(wish, offers, ground, engines) if poor and not found.candidates else found


def _is_poor(offer: Offer) -> bool:
    return (offer.loss_percent or 0.0) > _MOST_LOSS_PERCENT


def _search(wish: ServiceWish, offers: Sequence[Offer], ground: Ground, engines: Engines) -> Possibilities:
    found = Possibilities()
    for engine in considered(wish, engines):
        mine = [one for one in offers if one.format == engine.file_format]
        if mine:
            engine.search(wish, mine, ground, found)
        elif wish.engine != "auto":
            found.refused |= {f"{engine.label}, -, {one.quant}": engine.other_format for one in offers}
    return found
