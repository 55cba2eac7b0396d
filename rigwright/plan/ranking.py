"""The score of a candidate: one number, of terms that a plan can name.

The unit is a natural logarithm of speed: 0.1 is worth as much as a tenth more tokens per second. A score depends on
what is served alone, never on how much the rig has left: more VRAM only adds candidates, and makes no plan worse.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from rigwright.plan.choice import Choice
from rigwright.plan.service import ServicePlan
from rigwright.plan.speed import Speed
from rigwright.plan.wish import ServiceWish
from rigwright.plan.wish_words import Goal

# Below that a context is too short for tools and files, and for what a model thinks before it answers: each halving
# counts as much as a halved speed and more, for an answer that is cut off was computed in vain.
ENOUGH_TOKENS = 16384
# More than that is worth nothing beside speed: it is read slowly and rarely used.
USUAL_TOKENS = 131072
# What most models were trained for: taken where it costs nothing. More is a wish.
TRAINED_TOKENS = 262144
# Nobody reads faster; what thinks, or writes files, is still read over.
READING_RATE = 40.0
# A prompt and an answer of ordinary length lie in the cache while tokens are made.
USUAL_DEPTH_TOKENS = 4096
# From three users on they are served together. Source: the published decision rule, "more than 2 concurrent users".
MANY_USERS = 3


class Weights(NamedTuple):
    """What a goal makes of speed (per ln), context (per doubling) and loss (per percent of perplexity).

    Past `enough_tokens_per_second` more speed counts `beyond` as much. The square of the loss counts too: one percent
    is hard to notice, four show in every long answer.
    """

    speed: float
    context: float
    loss: float
    loss_squared: float
    enough_tokens_per_second: float = math.inf
    most_context: int = USUAL_TOKENS
    beyond: float = 1 / 3


# With quality, speed counts up to what a person reads; with context, all that the model was trained for.
WEIGHTS: dict[Goal, Weights] = {
    "latency": Weights(1.0, 0.05, 0.10, 0.05),
    "throughput": Weights(1.0, 0.05, 0.10, 0.05),
    "quality": Weights(1.0, 0.05, 1.0, 0.0, enough_tokens_per_second=30),
    "context": Weights(1.0, 2.0, 0.10, 0.05, enough_tokens_per_second=60, most_context=2**21),
}
# A CPU has a system to run, and what is computed of its RAM is the roughest of all: with a GPU at hand it must be four
# times as fast, as only the tiniest models are said to be.
_CPU_IS_BUSY = math.log(4)
# Per halving below `ENOUGH_TOKENS`.
_TOO_SHORT = 1.0
# What others found to work at a price: rather a candidate that is a fifth slower.
_TROUBLE = 0.2
# `low` of an ordinary estimate, in parts of `expected`.
_USUAL_LOW = 0.75
# Between models a doubling of context counts as much as a tenth of the speed, and what nobody reads hardly at all.
_CONTEXT_OF_MODELS, _BEYOND_OF_MODELS = 0.1, 0.05
# What nobody has measured is worth less than what is known.
_UNKNOWN_LOSS_PERCENT = 1.0


class Score(NamedTuple):
    """The worth of a choice, by term."""

    speed: float
    context: float
    quality: float
    engine: float

    @property
    def total(self) -> float:
        """All terms together."""
        return self.speed + self.context + self.quality + self.engine


def goal_of(wish: ServiceWish) -> Goal:
    """What counts most: as wished, else latency for one or two users and throughput for more."""
    return wish.goal or ("throughput" if wish.users >= MANY_USERS else "latency")


def depth_of(wish: ServiceWish, context_tokens: int) -> int:
    """How many tokens lie in the cache where a plan's speed is judged: all, where a long context is the goal."""
    return context_tokens if goal_of(wish) == "context" else min(context_tokens, USUAL_DEPTH_TOKENS)


def score(choice: Choice, *, bias: float = 0.0, issues: int = 0) -> Score:
    """What `choice` is worth to its own wish.

    Args:
        choice: With its speed, still without its memory.
        bias: What the engine's speed figures do not show; it counts where the inventory leaves the engine open.
        issues: How many are known of it that cost something.
    """
    weights = WEIGHTS[goal_of(choice.wish)]
    loss = choice.variant.loss_percent if choice.variant.loss_percent is not None else _UNKNOWN_LOSS_PERCENT
    place = 0.0 if choice.devices else -_CPU_IS_BUSY
    return Score(
        speed=_speed_term(choice.speed, choice.wish, weights),
        context=_context_term(choice.load.context_tokens, weights),
        quality=_quality_term(max(0.0, loss) + choice.cache_loss_percent, weights),
        engine=(bias if choice.wish.engine == "auto" else 0.0) + place - _TROUBLE * issues,
    )


def longest_context(wish: ServiceWish, *, is_shared: bool) -> int:
    """The most context that a plan takes of itself; where users or services share the memory, none is free."""
    if goal_of(wish) == "context":
        return 2**21
    return USUAL_TOKENS if is_shared or goal_of(wish) == "throughput" else TRAINED_TOKENS


def score_for_readers(score: Score, choice: Choice) -> Score:
    """The score where nobody named a model: who leaves that open wants the best that is fast enough."""
    return score._replace(speed=_speed_term(choice.speed, choice.wish, _for_readers(choice.wish)))


def _for_readers(wish: ServiceWish) -> Weights:
    weights = WEIGHTS[goal_of(wish)]
    enough = math.inf if goal_of(wish) == "throughput" else READING_RATE
    return weights._replace(enough_tokens_per_second=min(weights.enough_tokens_per_second, enough))


def score_of_plan(plan: ServicePlan, wish: ServiceWish) -> float:
    """What a finished plan is worth, without the term for its engine: to compare models.

    A better model comes before one that is faster than anybody reads, but not with a short context.
    """
    weights = _for_readers(wish)
    weights = weights._replace(beyond=_BEYOND_OF_MODELS, context=max(weights.context, _CONTEXT_OF_MODELS))
    terms = _speed_term(plan.speed, wish, weights), _context_term(plan.context_tokens, weights)
    return sum(terms) + _quality_term(plan.loss_percent or 0.0, weights)


def _speed_term(speed: Speed | None, wish: ServiceWish, weights: Weights) -> float:
    """What is uncertain counts by its lower end: an ordinary estimate is good to a quarter."""
    if speed is None:
        return weights.speed * math.log(0.1)
    rate = min(speed.expected, speed.low / _USUAL_LOW)
    if goal_of(wish) == "throughput" and speed.aggregate:
        rate *= speed.aggregate / speed.expected
    enough = weights.enough_tokens_per_second
    beyond = math.log(max(1.0, rate / enough)) * weights.beyond
    return weights.speed * (math.log(max(0.01, min(rate, enough))) + beyond)


def _quality_term(loss_percent: float, weights: Weights) -> float:
    return -weights.loss * loss_percent - weights.loss_squared * loss_percent**2


def _context_term(tokens: int, weights: Weights) -> float:
    if tokens <= 0:
        return 0.0
    short = min(0.0, math.log2(tokens / ENOUGH_TOKENS)) * _TOO_SHORT
    long = max(0.0, math.log2(min(tokens, weights.most_context) / ENOUGH_TOKENS)) * weights.context
    return short + long
