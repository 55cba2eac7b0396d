"""All ways to serve one wish on one rig: each file on each layout, with the most context that fits there."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import replace
from math import log2

from rigwright.models.offers import Offer
from rigwright.plan.candidates.llamacpp import with_layers
from rigwright.plan.candidates.vllm import with_tensors
from rigwright.plan.choice import Choice
from rigwright.plan.engines.llamacpp.capabilities import pinned_capabilities
from rigwright.plan.engines.llamacpp.overrides import Overrides
from rigwright.plan.engines.vllm.overrides import known_flags
from rigwright.plan.memory import estimate_memory
from rigwright.plan.memory.vllm import estimate_vllm
from rigwright.plan.reasons import Reason
from rigwright.plan.service import ENGINES
from rigwright.plan.ways import Candidate, Ground, Possibilities
from rigwright.plan.wish import Engine, ServiceWish

# "Avoid going below Q2": what loses more shows in every answer.
_MOST_LOSS_PERCENT = 10.0
# Half the slots are worth a quarter of the speed.
_HALF_THE_SLOTS = 0.3
_WRONG_FORMAT = {
    "gguf": "vLLM serves safetensors; GGUF needs a plugin that is not kept up, so name a repository or use llamacpp",
    "safetensors": "llama.cpp and Ollama serve GGUF files; name one, or use vllm",
}


def possibilities(wish: ServiceWish, offers: Sequence[Offer], ground: Ground) -> Possibilities:
    """All ways to serve `wish` with one of `offers`; what loses too much only where nothing else works."""
    found = _any_quant(wish, offers, ground)
    slots = Overrides.of(wish).slots
    # Slots that nobody asked for: rather requests that wait for each other than no service.
    if found.candidates or wish.slots or "--parallel" in wish.flags or slots < 2:
        return found
    for fewer in dict.fromkeys((slots // 2, 1)):
        less = _any_quant(wish.model_copy(update={"slots": fewer}), offers, ground)
        told = Reason(choice=f"{fewer} slots", because=f"{slots} do not fit; more requests at once wait their turn")
        found.candidates += [_fewer(one, told, halvings=log2(slots / fewer)) for one in less.candidates]
    return found


def _fewer(candidate: Candidate, reason: Reason, *, halvings: float) -> Candidate:
    """A way that serves fewer requests at once than there are users, which costs for each halving."""
    choice, score = candidate.choice, candidate.score
    return candidate._replace(
        choice=replace(choice, reasons=(*choice.reasons, reason)),
        score=score._replace(engine=score.engine - _HALF_THE_SLOTS * halvings),
    )


def _any_quant(wish: ServiceWish, offers: Sequence[Offer], ground: Ground) -> Possibilities:
    found = _search(wish, [one for one in offers if not _is_poor(one)], ground)
    poor = [one for one in offers if _is_poor(one)]
    return _search(wish, offers, ground) if poor and not found.candidates else found


def _is_poor(offer: Offer) -> bool:
    return (offer.loss_percent or 0.0) > _MOST_LOSS_PERCENT


def _search(wish: ServiceWish, offers: Sequence[Offer], ground: Ground) -> Possibilities:
    found = Possibilities()
    files = _undominated([one for one in offers if one.format == "gguf"])
    repositories = [one for one in offers if one.format != "gguf"]
    engines = _engines(wish, ground)
    for engine in engines:
        mine, wrong = (repositories, files) if engine == "vllm" else (files, repositories)
        if mine and engine == "vllm":
            with_tensors(wish, mine, ground, found)
        elif mine:
            with_layers(wish, mine, ground, engine, found)
        elif wish.engine != "auto":
            found.refused |= {f"{ENGINES[engine]}, -, {one.quant}": _WRONG_FORMAT[one.format] for one in wrong}
    return found


def _engines(wish: ServiceWish, ground: Ground) -> tuple[Engine, ...]:
    """The engines to look at: the user's own flags tell which one is meant."""
    if wish.engine != "auto":
        return (wish.engine,)
    if not wish.flags:
        return ("llamacpp", "vllm")
    flags = known_flags(ground.version("vllm"))
    spoken: dict[Engine, Container[str]] = {
        "llamacpp": pinned_capabilities().options,
        "vllm": flags.names if flags else (),
    }
    fitting = tuple(engine for engine, names in spoken.items() if all(flag in names for flag in wish.flags))
    return fitting or ("llamacpp",)


def _undominated(files: Sequence[Offer]) -> list[Offer]:
    """Without files that are larger than another that loses no more."""
    kept: list[Offer] = []
    for one in sorted(files, key=lambda offer: (offer.file_bytes, offer.loss_percent or 0.0)):
        best = min((other.loss_percent for other in kept if other.loss_percent is not None), default=None)
        if one.loss_percent is None or best is None or one.loss_percent < best:
            kept.append(one)
    return kept


def reckoned(candidate: Candidate) -> Choice:
    """The choice with its memory by part: what the search itself does not need."""
    choice = candidate.choice
    if choice.vllm_load is not None:
        estimate = estimate_vllm(choice.offer.model, choice.vllm_load, [one.vram_bytes for one in choice.devices])
        return replace(choice, memory=estimate.memory, vllm=estimate)
    if choice.placement is None:
        return choice
    return replace(choice, memory=estimate_memory(choice.offer.model, choice.load, choice.placement))
