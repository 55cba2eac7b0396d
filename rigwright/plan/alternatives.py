"""The alternatives of a plan, and why each lost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import zip_longest
from typing import NamedTuple

from rigwright.plan.choice import Choice
from rigwright.plan.engines import label, planner_of
from rigwright.plan.ranking import MANY_USERS, goal_of
from rigwright.plan.search_space import Candidate, Miss, SearchResult
from rigwright.plan.service import Alternative
from rigwright.plan.spill import in_ram

# Speeds this near are one speed: no estimate is that good.
_NEAR = 0.95
# In percent of perplexity: no two figures that are printed.
_SAME_LOSS = 0.05
# What counts against an engine that batches where one or two users ask.
_SLOW_START = "it starts in minutes"


def alternatives(chosen: Candidate, found: SearchResult, *, count: int) -> tuple[Alternative, ...]:
    """What else was possible, the best of each kind, then what was refused or did not fit."""
    mine, quant = _where(chosen.choice), chosen.choice.variant.quant
    places: dict[object, Candidate] = {mine: chosen}
    quants: dict[object, Candidate] = {quant: chosen}
    # One choice may have many places: the first tells of them all.
    firsts: dict[int, Candidate] = {}
    for one in found.candidates if count else ():
        firsts.setdefault(id(one.choice), one)
    for one in sorted(firsts.values(), key=lambda way: -way.score.total):
        where = _where(one.choice)
        places.setdefault(where, one)
        if where == mine:
            quants.setdefault(one.choice.variant.quant, one)
    mixed = [one for pair in zip_longest(list(places.values())[1:], list(quants.values())[1:]) for one in pair if one]
    lines = tuple(_alternative(one, chosen) for one in mixed[:count])
    return (*lines, *_lost(found, count - len(lines)))


def _where(choice: Choice) -> tuple[str, str, int, int, int, bool, bool]:
    layout = choice.layout
    shape = layout.tensor_parallel, layout.pipeline_parallel, layout.replicas
    return choice.engine, layout.kind, *shape, choice.is_whole, bool(choice.load.draft_tokens)


def _alternative(one: Candidate, chosen: Candidate) -> Alternative:
    choice = one.choice
    return Alternative(
        engine=label(choice.engine),
        layout=_layout(choice, chosen.choice),
        quant=choice.variant.quant,
        context_tokens=choice.load.context_tokens,
        tokens_per_second=round(choice.speed.expected, 1) if choice.speed else None,
        why_not=_why_not(one, chosen),
    )


def _why_not(one: Candidate, chosen: Candidate) -> str:
    """`30 % slower; but 60 % more context`: what is worse, then what is better. The figures stand beside it."""
    if one.score.total > chosen.score.total:
        return "better for this service alone, but another needs that GPU"
    ways = one.choice, chosen.choice
    worse, better = [gap.relative for gap in _gaps(*ways)], _gains(*ways)
    if not worse and _rate(one.choice) < _rate(chosen.choice):
        worse = [_slower(*ways) + ("" if better else ", for nothing that counts more")]
    elif not worse and ways[0].engine == ways[1].engine and one.score.engine < chosen.score.engine:
        worse = ["a known issue counts against it"]
    elif not worse and sum(one.gpu_bytes.values()) > sum(chosen.gpu_bytes.values()):
        worse = ["it takes more of the rig" + ("" if better else ", for nothing that counts")]
    elif not worse:
        worse = ["no better by what this goal counts"]
    return "; but ".join(filter(None, ("; ".join(worse), " and ".join(better))))


def _layout(choice: Choice, chosen: Choice) -> str:
    """`one GPU, 4 of 64 layers in RAM, KV cache f16`: with all that tells it from what was chosen."""
    spilled = in_ram(choice, ()) if choice.is_split else None
    kind = choice.load.cache_type_k
    is_other = choice.engine == chosen.engine and kind != chosen.load.cache_type_k
    drafts = choice.load.draft_tokens if choice.engine == chosen.engine else chosen.load.draft_tokens
    drafting = "" if bool(drafts) == bool(chosen.load.draft_tokens) else f"{drafts} drafts" if drafts else "no drafts"
    cache = f"KV cache {kind}" if is_other else ""
    words = str(choice.layout), f"{spilled} in RAM" if spilled else "", drafting, cache
    return ", ".join(filter(None, words))


class _Gap(NamedTuple):
    """What one way is worse at, for sorting and in words: with both figures, and in parts of the better one."""

    weight: float
    absolute: str
    relative: str


def difference(one: Choice, chosen: Choice) -> str:
    """What `one` is worse at than what was chosen, the weightiest first, in figures."""
    return ", ".join(gap.absolute for gap in _gaps(one, chosen))


def _gaps(one: Choice, chosen: Choice) -> list[_Gap]:
    """What `one` is worse at, the weightiest first."""
    gaps = []
    speeds = [_rate(choice) for choice in (one, chosen)]
    if speeds[0] < speeds[1] * _NEAR:
        weight = speeds[1] / max(speeds[0], 0.01)
        gaps.append(_Gap(weight, _instead(speeds[0], speeds[1], chosen), _slower(one, chosen)))
    mine, theirs = (choice.load.context_tokens for choice in (one, chosen))
    if mine < theirs:
        absolute = f"{mine:,} instead of {theirs:,} tokens of context"
        gaps.append(_Gap(1 + 0.05 * (theirs / max(mine, 1)), absolute, f"{_less(mine, theirs)} less context"))
    losses = [_loss(choice) for choice in (one, chosen)]
    if losses[0] > losses[1] + _SAME_LOSS:
        absolute = f"{losses[0]:.1f} % perplexity lost instead of {losses[1]:.1f} %"
        gaps.append(_Gap(1 + 0.1 * (losses[0] - losses[1]), absolute, _lost_words(*losses)))
    batches = planner_of(chosen.engine).batches
    is_rule = batches == (chosen.wish.users >= MANY_USERS) and batches != planner_of(one.engine).batches
    if chosen.wish.engine == "auto" and is_rule:
        rule = users_rule(one.engine, chosen.engine)
        said = f"{label(one.engine)} is for {MANY_USERS - 1} users at most" if batches else _SLOW_START
        gaps.append(_Gap(1.01, rule if batches else _SLOW_START, said))
    used = [sum(len(group) for group in choice.replicas) for choice in (one, chosen)]
    if not gaps and used[0] > used[1] and mine <= theirs:
        words = f"{used[0]} GPUs for what {used[1]} do"
        gaps.append(_Gap(1.0, words, words))
    return sorted(gaps, key=lambda gap: -gap.weight)


def _gains(one: Choice, chosen: Choice) -> list[str]:
    """What `one` is better at."""
    gains = []
    speeds = [_rate(choice) for choice in (one, chosen)]
    if speeds[0] * _NEAR > speeds[1] > 0:
        gains.append(f"{_more(speeds[0], speeds[1], 'faster', 'as fast')}{_together(chosen)}")
    mine, theirs = (choice.load.context_tokens for choice in (one, chosen))
    if mine > theirs:
        gains.append(_more(mine, theirs, "more context", "the context"))
    losses = [_loss(choice) for choice in (one, chosen)]
    if losses[0] < losses[1] - _SAME_LOSS:
        gains.append(_lost_words(*losses))
    return gains


def _slower(one: Choice, chosen: Choice) -> str:
    return f"{_less(_rate(one), _rate(chosen))} slower{_together(chosen)}"


def _together(chosen: Choice) -> str:
    """Of many users it is what all get together that counts."""
    return " for all users" if goal_of(chosen.wish) == "throughput" else ""


def _less(mine: float, theirs: float) -> str:
    percent = round(100 * (1 - mine / theirs))
    return f"{min(percent, 99)} %" if percent else "a little"


def _more(mine: float, theirs: float, more: str, times: str) -> str:
    """`60 % more context`, `2.5 times the context`."""
    ratio = mine / theirs
    return f"{ratio:.2g} times {times}" if ratio >= 2 else f"{max(1, round(100 * (ratio - 1)))} % {more}"


def _lost_words(mine: float, theirs: float) -> str:
    return f"{mine:.1f} against {theirs:.1f} % perplexity lost"


def users_rule(*engines: str) -> str:
    """Which engine is for how many users, of one that batches and one that does not."""
    many, few = sorted(engines, key=lambda name: not planner_of(name).batches)
    return f"more than two users at a time are served together by {label(many)}, one or two by {label(few)}"


def _rate(choice: Choice) -> float:
    if choice.speed is None:
        return 0.0
    many = goal_of(choice.wish) == "throughput"
    return (choice.speed.aggregate if many else None) or choice.speed.expected


def _instead(mine: float, theirs: float, chosen: Choice) -> str:
    """Both with as many digits as tell them apart; of many users it is what all get together."""
    digits = next((count for count in range(3) if f"{mine:.{count}f}" != f"{theirs:.{count}f}"), 2)
    digits = max(digits, 1 if theirs < 9.95 else 0)
    return f"{mine:,.{digits}f} instead of {theirs:,.{digits}f} tokens/s{_together(chosen)}"


def _loss(choice: Choice) -> float:
    return (choice.variant.loss_percent or 0.0) + choice.cache_loss_percent


def _lost(found: SearchResult, count: int) -> Iterator[Alternative]:
    for what, why in list(found.refused.items())[: max(0, count)]:
        engine, _, rest = what.partition(", ")
        layout, _, quant = rest.rpartition(", ")
        yield Alternative(engine=engine, layout=layout or "-", quant=quant or "-", why_not=why)
    left = count - len(found.refused)
    fitting = {(one.choice.variant.quant, str(one.assignment.layout)) for one in found.candidates}
    for miss in _nearest(miss for miss in found.misses if _key(miss) not in fitting)[: max(0, left)]:
        yield Alternative(
            engine=label(miss.engine),
            layout=str(miss.assignment.layout),
            quant=miss.variant.quant,
            context_tokens=miss.load.context_tokens,
            why_not=miss.short,
        )


def _nearest(misses: Iterable[Miss]) -> list[Miss]:
    """The nearest miss of each file and layout."""
    best: dict[tuple[str, str], Miss] = {}
    for miss in sorted(misses, key=lambda one: one.total_short_bytes):
        best.setdefault(_key(miss), miss)
    return list(best.values())


def _key(miss: Miss) -> tuple[str, str]:
    return miss.variant.quant, str(miss.assignment.layout)
