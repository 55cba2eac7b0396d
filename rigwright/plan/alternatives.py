"""The alternatives of a plan, and why each lost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import zip_longest

from rigwright.plan.choice import Choice
from rigwright.plan.engines import label, planner_of
from rigwright.plan.ranking import MANY_USERS, goal_of
from rigwright.plan.search_space import Candidate, Miss, SearchResult
from rigwright.plan.service import Alternative


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


def _where(choice: Choice) -> tuple[str, str, int, int, int, bool]:
    layout = choice.layout
    shape = layout.tensor_parallel, layout.pipeline_parallel, layout.replicas
    return choice.engine, layout.kind, *shape, choice.is_whole


def _alternative(one: Candidate, chosen: Candidate) -> Alternative:
    choice = one.choice
    return Alternative(
        engine=label(choice.engine),
        layout=_layout(choice),
        quant=choice.variant.quant,
        context_tokens=choice.load.context_tokens,
        tokens_per_second=round(choice.speed.expected, 1) if choice.speed else None,
        why_not=difference(choice, chosen.choice) or _why_not(one, chosen),
    )


def _why_not(one: Candidate, chosen: Candidate) -> str:
    if one.score.total > chosen.score.total:
        return "better for this service alone, but another needs that GPU"
    rates = [_rate(way.choice) for way in (one, chosen)]
    if rates[0] < rates[1]:
        return f"{_instead(rates[0], rates[1], chosen.choice)}, for nothing that counts more"
    if sum(one.gpu_bytes.values()) > sum(chosen.gpu_bytes.values()):
        return "no better, and it takes more of the rig"
    return "no better by what this goal counts"


def _layout(choice: Choice) -> str:
    moved = choice.placement.cpu_expert_layers if choice.placement and choice.devices else 0
    return f"{choice.layout}, experts of {moved} layers in RAM" if moved else str(choice.layout)


def difference(one: Choice, chosen: Choice) -> str:
    """What `one` is worse at than what was chosen, the weightiest first."""
    lines = []
    speeds = [_rate(choice) for choice in (one, chosen)]
    if speeds[0] < speeds[1] * 0.95:
        lines.append((speeds[1] / max(speeds[0], 0.01), _instead(speeds[0], speeds[1], chosen)))
    mine, theirs = (choice.load.context_tokens for choice in (one, chosen))
    if mine < theirs:
        lines.append((1 + 0.05 * (theirs / max(mine, 1)), f"{mine:,} instead of {theirs:,} tokens of context"))
    losses = [_loss(choice) for choice in (one, chosen)]
    if losses[0] > losses[1] + 0.05:
        lines.append(
            (1 + 0.1 * (losses[0] - losses[1]), f"{losses[0]:.1f} % perplexity lost instead of {losses[1]:.1f} %")
        )
    batches = planner_of(chosen.engine).batches
    is_rule = batches == (chosen.wish.users >= MANY_USERS) and batches != planner_of(one.engine).batches
    if chosen.wish.engine == "auto" and is_rule:
        lines.append((1.01, users_rule(one.engine, chosen.engine)))
    used = [sum(len(group) for group in choice.replicas) for choice in (one, chosen)]
    if not lines and used[0] > used[1] and mine <= theirs:
        lines.append((1.0, f"{used[0]} GPUs for what {used[1]} do"))
    return ", ".join(text for _, text in sorted(lines, key=lambda row: -row[0]))


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
    together = " for all users" if goal_of(chosen.wish) == "throughput" else ""
    return f"{mine:,.{digits}f} instead of {theirs:,.{digits}f} tokens/s{together}"


def _loss(choice: Choice) -> float:
    return (choice.variant.loss_percent or 0.0) + choice.cache_loss_percent


def _lost(found: SearchResult, count: int) -> Iterator[Alternative]:
    for what, why in list(found.refused.items())[: max(0, count)]:
        engine, _, rest = what.partition(", ")
        layout, _, quant = rest.rpartition(", ")
        yield Alternative(engine=engine, layout=layout or "-", quant=quant or "-", why_not=why)
    left = count - len(found.refused)
    for miss in _nearest(found.misses)[: max(0, left)]:
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
        best.setdefault((miss.variant.quant, str(miss.assignment.layout)), miss)
    return list(best.values())
