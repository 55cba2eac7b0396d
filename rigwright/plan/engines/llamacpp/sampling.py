"""How a model is asked to answer: thinking or not, and the sampling that its makers recommend for that."""

from __future__ import annotations

import json
from collections.abc import Iterator

from rigwright.models.chats import USUAL_SWITCH
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
# By `auto` a template is told enable_thinking: true where llama-server recognises how it thinks, and false elsewhere,
# whatever it does untold: Gemma 4, the small Qwen3.5 and Laguna XS think then. Seen by /apply-template of b10068 with
# their templates; llama.cpp b11434, server-context.cpp.
_UNTOLD = "untold, llama-server has a template think where it recognises how"


def reasoning_of(choice: Choice) -> Iterator[tuple[str, str, str]]:
    """Flag, value and reason of what switches thinking; nothing for a model that never thinks."""
    wish, known = choice.wish, choice.variant.known
    if known and known.thinking == "none":
        return
    state, switch = modes.thinks(wish, known), modes.switch_of(known)
    asked = f"thinking {wish.thinking}" if wish.thinking else f"mode {wish.mode}"
    if state is None:
        if wish.thinking == "per-request":
            yield "--reasoning", "auto", f"each request decides by chat_template_kwargs, {switch.keyword}; {_UNTOLD}"
        elif known and known.thinking == "always":
            yield "--reasoning", "auto", f"{known.name} always thinks"
        elif known:
            because = f"{known.name} thinks unless a request says otherwise; mode in the inventory changes that"
            yield "--reasoning", "auto", because
        return
    value = "on" if state else "off"
    if wish.asked_mode:
        because = f"the inventory asks for {asked}; published advice says --chat-template-kwargs for it"
    else:
        because = f"{choice.variant.name} answers at once by itself, but {_UNTOLD}; set thinking in the inventory"
    yield "--reasoning", value, because
    if switch.keyword != USUAL_SWITCH.keyword:
        words = json.dumps(modes.template_words(wish, known), separators=(",", ":"))
        because = f"thinking {value} in the words of its chat template; a request may say otherwise in the same"
        yield "--chat-template-kwargs", words, because


def sampling_of(choice: Choice) -> Iterator[tuple[str, str, str, str | None]]:
    """Flag, value, reason and source of each sampling parameter that is recommended for the mode."""
    wish, known = choice.wish, choice.variant.known
    sampling = modes.sampling_of(wish, known)
    if not known or not sampling:
        return
    mode = "every mode" if wish.thinking == "per-request" else f"mode {modes.mode_of(wish, known)}"
    because = f"recommended for {known.name}, {mode}; what a request sends wins"
    for flag, name in _FLAGS:
        if name in sampling:
            yield flag, str(sampling[name]), because, known.sampling_source


def mode_notes(choice: Choice) -> tuple[Reason, ...]:
    """Says so where nobody recommends a sampling for what is wished, or requests want different ones."""
    wish, known = choice.wish, choice.variant.known
    if wish.thinking == "per-request":
        because = f"{modes.per_request_sampling(known)}; unsent, the file's own, else llama-server's defaults"
        missing = [flag for flag, name in _FLAGS if name not in modes.sampling_of(wish, known)]
        return (Reason(choice=f"no {', '.join(missing)}", because=because),) if missing else ()
    if not wish.asked_mode or modes.sampling_of(wish, known):
        return ()
    because = f"none is known for {choice.variant.name} in mode {wish.asked_mode}; the file's own, else llama-server's"
    return (Reason(choice="sampling", because=f"{because} defaults"),)
