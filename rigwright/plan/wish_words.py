"""The words of a wish: which there are, and what those of other programs mean."""

from __future__ import annotations

import re
from typing import Any, Literal, get_args

from pydantic import BeforeValidator

from rigwright.catalogue.engines import engine_names
from rigwright.given import word
from rigwright.models.names import either, foreign_quant, near_quants, quant_called
from rigwright.models.quants import quants
from rigwright.units import whole_number

CacheType = Literal["f16", "bf16", "q8_0", "q4_0"]
Goal = Literal["latency", "throughput", "context", "quality"]
Mode = Literal["thinking", "thinking-coding", "instruct", "instruct-reasoning"]
Thinking = Literal["on", "off", "per-request"]

# How one copy may be spread; numbers of GPUs too: tp2, pp4, tp2pp2.
LAYOUTS = ("single", "layers", "tensor")

# Tokens that are drafted ahead at most.
MOST_DRAFTS = 8

# What others call it, or what is meant by words that are none here.
_OTHER_CACHE_TYPES = {
    "q8": "write q8_0",
    "q4": "write q4_0",
    "fp16": "write f16",
    "f32": "use f16",
    "fp8": "that is vLLM's; use auto",
}
_OTHER_GOALS = {
    "speed": "latency is for one user, throughput for many",
    **dict.fromkeys(
        ("fast", "fastest", "quick", "performance", "interactive", "lowlatency"),
        "latency is for one user, throughput for many",
    ),
    **dict.fromkeys(("batch", "parallel", "concurrency", "users"), "throughput is for many users"),
    **dict.fromkeys(("longcontext", "long", "maxcontext"), "context is for the longest that fits"),
    **dict.fromkeys(("best", "accuracy", "smart"), "quality is for the best that fits"),
}
_THINKING_OFF = "instruct switches thinking off"
_OTHER_MODES = dict.fromkeys(
    ("off", "none", "false", "no", "nothinking", "nothink", "nonthinking", "noreasoning"), _THINKING_OFF
) | {
    "true": "thinking, or thinking-coding for code",
    "on": "thinking, or thinking-coding for code",
    "reasoning": "thinking is the mode that reasons",
    "chat": _THINKING_OFF,
    "coding": "thinking-coding is the mode for code",
}

_PER_REQUEST = "per-request leaves it to each request"
_THINKING = word(
    get_args(Thinking),
    dict.fromkeys(("auto", "default", "both", "hybrid", "request", "client", "optional"), _PER_REQUEST)
    | dict.fromkeys(("none", "no", "disabled", "never", "instruct", "0"), "write off")
    | dict.fromkeys(("yes", "enabled", "always", "thinking", "1"), "write on")
    | dict.fromkeys(("low", "medium", "high", "minimal", "max"), "that is an effort, which a request names; write on"),
)


def _thinking(value: Any) -> Any:
    """`on` of true and `off` of false too: YAML reads on, off, yes and no so."""
    return ("on" if value else "off") if isinstance(value, bool) else _THINKING.func(value)  # type: ignore[call-arg]  # word() makes one of one argument


THINKING = BeforeValidator(_thinking)
GOAL = word(get_args(Goal), _OTHER_GOALS)
MODE = word(get_args(Mode), _OTHER_MODES)
CACHE_TYPE = word(("auto", *get_args(CacheType)), _OTHER_CACHE_TYPES)


def service_name(value: Any) -> Any:
    """What may be part of the name of a unit."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError(f"{value} is a number; put it in quotes, or write a name like chat")
    if not isinstance(value, str) or re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?", value.strip()):
        return value
    near = re.sub(r"[^a-z0-9]+", "-", value.lower()).strip("-")[:40].strip("-")
    raise ValueError(
        f"{value[:80]!r} cannot be part of a unit's name: small letters, digits and dashes, 40 at most; "
        f"write {near or 'chat'}"
    )


def engine(value: Any) -> Any:
    """The name of an engine that `llama.cpp`, `vLLM` or `llama-server` means."""
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no engine; use {', '.join(('auto', *engine_names()))}")
    plain = re.sub(r"[\s._-]+", "", value.lower()).removesuffix("server")
    known = {re.sub(r"[\s._-]+", "", name): name for name in (*engine_names(), "auto")} | {"llama": "llamacpp"}
    return known.get(plain, value)


def gpus(value: Any) -> Any:
    """`0`, `0,1`, `[0, 1]`, `auto`, `none`; nothing that YAML made of a word."""
    if isinstance(value, bool):
        said = "true" if value else "false"
        raise ValueError(f"{said} names no GPU (YAML reads yes, no, on and off so); write auto, none for the CPU, or 0")
    if isinstance(value, str):
        plain = value.strip().lower()
        if plain in ("auto", "none", "cpu"):
            return "none" if plain == "cpu" else plain
        if re.fullmatch(r"\[?\d+(?:[\s,]+\d+)*\]?", plain):
            found = tuple(int(one) for one in re.findall(r"\d+", plain))
            return found[0] if len(found) == 1 else found
        raise ValueError(f"{value!r} names no GPU; write auto, none for the CPU, or indexes of nvidia-smi: [0, 1]")
    if isinstance(value, list | tuple) and any(
        isinstance(one, bool) or not str(one).strip().isdecimal() for one in value
    ):
        raise ValueError(f"{value!r} names no GPUs; write indexes of nvidia-smi: [0, 1]")
    if isinstance(value, int | float | list | tuple) and (isinstance(value, list | tuple) or value >= 0):
        return value
    raise ValueError(f"{value!r} names no GPU; write auto, none for the CPU, or indexes of nvidia-smi: [0, 1]")


_SPREAD = re.compile(r"(?:tp(?P<tensor>\d{1,2}))?(?:pp(?P<stages>\d{1,2}))?")
_OTHER_LAYOUTS = {
    "row": "llama.cpp has given up its split by rows; use tensor",
    "none": "use single, or gpu: none for the CPU",
    "cpu": "write gpu: none",
    "pipeline": "write how many stages: pp2",
}


def layout(value: Any) -> Any:
    """`tensor`, `layers`, `single`, `tp2`, `pp4` or `tp2pp2`, of `TP=2`, `layer` and `tp2 x pp2` too."""
    plain = re.sub(r"[\s=×x*+_-]+", "", str(value).lower())
    plain = {"layer": "layers", "one": "single", "onegpu": "single", "tensorparallel": "tensor"}.get(plain, plain)
    if plain in LAYOUTS or (plain and _SPREAD.fullmatch(plain)):
        return plain
    if "replica" in plain:
        raise ValueError("replicas is a key of its own, beside layout: replicas: 4")
    why = _OTHER_LAYOUTS.get(plain, "use single, layers, tensor, or numbers as in tp2, pp4 and tp2pp2")
    raise ValueError(f"{str(value)[:40]!r} is no layout; {why}")


def drafts(value: Any) -> Any:
    """`auto`, or how many tokens; `none` and `off` are 0."""
    plain = "auto" if value is None else str(value).strip().lower()
    if plain in ("none", "off", "no", "false"):  # YAML makes false of `off`
        return 0
    if value is True:
        raise ValueError(f"true is no number of tokens; write auto, or how many are drafted ahead, 1 to {MOST_DRAFTS}")
    count = whole_number(plain.removesuffix(".0"))
    if plain == "auto" or (count is not None and 0 <= count <= MOST_DRAFTS):
        return plain if count is None else count
    raise ValueError(
        f"{str(value)[:40]!r} is no number of tokens; write auto, or how many are drafted ahead, 1 to {MOST_DRAFTS}"
    )


def known_quant(text: str) -> str:
    """The quant that a text is the name of.

    Raises:
        ValueError: there is none of that name.
    """
    quant = quant_called(text)
    if quant in quants():
        return quant
    near = near_quants(quant, [name for name in quants() if not name.startswith("QAT-")])[:8]
    foreign = foreign_quant(quant)
    raise ValueError(
        f"{quant!r} is no quant{f': {foreign}' if foreign else ''}; "
        + (f"did you mean {either(near)}?" if near else "write it like Q4_K_M")
    )


LAYOUT, DRAFTS = BeforeValidator(layout), BeforeValidator(drafts)
SERVICE_NAME, ENGINE, GPUS = BeforeValidator(service_name), BeforeValidator(engine), BeforeValidator(gpus)
