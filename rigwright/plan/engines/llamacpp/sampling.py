"""How a model is asked to answer: thinking or not, and the sampling that its makers recommend for that."""

from __future__ import annotations

from collections.abc import Iterator

from rigwright.errors import WrongSpec
from rigwright.plan.choice import Choice
from rigwright.plan.engines import modes
from rigwright.plan.reasons import Reason

_FLAGS = (
    ("--temp", "temperature"),
    ("--top-p", "top_p"),
    ("--top-k", "top_k"),
    ("--min-p", "min_p"),
    ("--presence-penalty", "presence_penalty"),
    ("--repeat-penalty", "repeat_penalty"),
)


def reasoning_of(choice: Choice) -> tuple[str, str] | None:
    """The value of --reasoning and why; None for a model that never thinks.

    Raises:
        WrongSpec: a model that cannot think is asked to.
    """
    wish, known = choice.wish, choice.variant.known
    if known and known.thinking == "none":
        if wish.mode and wish.mode.startswith("thinking"):
            raise WrongSpec(f"services.{wish.name}: {known.name} does not think; set mode to instruct, or leave it out")
        return None
    if wish.mode:
        kind = "on" if wish.mode.startswith("thinking") else "off"
        return kind, f"the inventory asks for mode {wish.mode}; published advice says --chat-template-kwargs for it"
    if known:
        does = "thinks" if known.thinking == "default-on" else "answers at once"
        return "auto", f"{known.name} {does} unless a request says otherwise; mode in the inventory changes that"
    return None


def sampling_of(choice: Choice) -> Iterator[tuple[str, str, str, str | None]]:
    """Flag, value, reason and source of each sampling parameter that is recommended for the mode."""
    known = choice.variant.known
    sampling = modes.sampling_of(choice.wish, known)
    if not known or not sampling:
        return
    because = f"recommended for {known.name}, mode {modes.mode_of(choice.wish, known)}; what a request sends wins"
    for flag, name in _FLAGS:
        yield flag, str(getattr(sampling, name)), because, known.sampling_source


def mode_notes(choice: Choice) -> tuple[Reason, ...]:
    """Says so where a mode is wished and nobody recommends a sampling for it."""
    mode = choice.wish.mode
    if not mode or modes.sampling_of(choice.wish, choice.variant.known):
        return ()
    because = f"none is known for {choice.variant.name} in mode {mode}; the file's own, else llama-server's defaults"
    return (Reason(choice="sampling", because=because),)
