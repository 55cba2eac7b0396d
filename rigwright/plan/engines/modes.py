"""How a model shall answer: thinking and mode of a wish as words for chat templates and as sampling parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from rigwright.models.chats import USUAL_SWITCH, Switch
from rigwright.models.variants import KnownModel, Sampling
from rigwright.plan.wish import ServiceWish
from rigwright.plan.wish_words import Mode


class Difference(NamedTuple):
    """A sampling parameter that thinking and answering at once want otherwise: `("temperature", 1.0, 0.7)`."""

    parameter: str
    thinking: float
    instruct: float


def mode_of(wish: ServiceWish, known: KnownModel | None) -> Mode:
    """The mode that a wish names, or the one that the model was made for."""
    return wish.asked_mode or ("thinking" if known and known.thinks else "instruct")


def thinking_error(wish: ServiceWish, known: KnownModel | None) -> str | None:
    """Why a model cannot think, or not think, as the wish asks; None where it can, and where it is not known."""
    if known is None or (wish.thinking is None and wish.mode is None) or known.can_switch:
        return None
    key, value = ("thinking", wish.thinking) if wish.thinking else ("mode", wish.mode)
    if known.thinking == "none":
        return None if wish.thinks is False else f"{key} is {value}, but {known.name} does not think; take {key} out"
    if wish.thinks:
        return None
    shorter = f" ({known.chat.effort} in a request says how long)" if known.chat.effort else ""
    return f"{key} is {value}, but {known.name} always thinks{shorter}; take {key} out"


def thinks(wish: ServiceWish, known: KnownModel | None) -> bool | None:
    """Whether the server is told to think or not to; None where that is left to the requests, or as it always is.

    One that thinks only when asked is told not to, where the wish says nothing: engines and templates differ in what
    they do untold.
    """
    if known and not known.can_switch:
        return None
    if wish.thinking == "per-request" or wish.thinks is not None:
        return wish.thinks
    return False if known and not known.thinks else None


def switch_of(known: KnownModel | None) -> Switch:
    """The word that switches a model; of one that is not known the usual one."""
    return (known.chat.switch if known else None) or USUAL_SWITCH


def template_words(wish: ServiceWish, known: KnownModel | None) -> dict[str, str | int | bool]:
    """What the chat template must be told: `{"enable_thinking": False}`; nothing where the server leaves it alone."""
    state, switch = thinks(wish, known), switch_of(known)
    return {} if state is None else {switch.keyword: switch.on if state else switch.off}


def sampling_of(wish: ServiceWish, known: KnownModel | None) -> Mapping[str, float]:
    """What the makers recommend for the mode; for plain thinking or instruct where they name none for its variant.

    What holds for all requests, when each of them decides whether to think, are the parameters that both ways share.
    """
    if known is None:
        return {}
    if wish.thinking == "per-request":
        both = _both_ways(known)
        differing = {one.parameter for one in differences(known)}
        return {name: value for name, value in both[0]._asdict().items() if name not in differing} if both else {}
    mode = mode_of(wish, known)
    found = known.sampling.get(mode) or known.sampling.get(mode.split("-")[0])
    return found._asdict() if found else {}


def differences(known: KnownModel) -> tuple[Difference, ...]:
    """The parameters that thinking and answering at once want otherwise; none where only one way is known."""
    both = _both_ways(known)
    if not both:
        return ()
    rows = zip(Sampling._fields, *both, strict=True)
    return tuple(Difference(*row) for row in rows if row[1] != row[2])


def per_request_sampling(known: KnownModel | None) -> str:
    """Why a server whose requests decide has no sampling of one mode, or not all of it, in words."""
    found = differences(known) if known else ()
    if found:
        told = ", ".join(f"{one.parameter} {one.thinking:g} to think and {one.instruct:g} not to" for one in found)
        return f"each request decides whether to think, and wants {told}: it should send them along"
    if known and _both_ways(known):
        return "the same whether a request thinks or not"
    return "each request decides whether to think, and what is recommended is not known for both ways"


def _both_ways(known: KnownModel) -> tuple[Sampling, Sampling] | None:
    thinking, instruct = known.sampling.get("thinking"), known.sampling.get("instruct")
    return (thinking, instruct) if thinking and instruct else None
