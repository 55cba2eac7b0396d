"""How a model shall answer: the mode of a wish as sampling parameters and as a switch for thinking."""

from __future__ import annotations

from rigwright.errors import WrongSpec
from rigwright.models.variants import KnownModel, Sampling
from rigwright.plan.wish import ServiceWish
from rigwright.plan.wish_words import Mode


def mode_of(wish: ServiceWish, known: KnownModel | None) -> Mode:
    """The mode that a wish names, or the one that the model was made for."""
    return wish.mode or ("thinking" if known and known.thinking == "default-on" else "instruct")


def sampling_of(wish: ServiceWish, known: KnownModel | None) -> Sampling | None:
    """What the makers recommend for the mode; for plain thinking or instruct where they name none for its variant."""
    if known is None:
        return None
    mode = mode_of(wish, known)
    return known.sampling.get(mode) or known.sampling.get(mode.split("-")[0])


def thinking_of(wish: ServiceWish, known: KnownModel | None) -> bool | None:
    """Whether thinking must be switched on or off; None where the model does so anyway.

    Raises:
        WrongSpec: a model that cannot think is asked to.
    """
    if wish.mode is None or known is None:
        return None
    wanted = wish.mode.startswith("thinking")
    if known.thinking == "none":
        if wanted:
            raise WrongSpec(f"services.{wish.name}: {known.name} does not think; set mode to instruct, or leave it out")
        return None
    return None if wanted == (known.thinking == "default-on") else wanted
