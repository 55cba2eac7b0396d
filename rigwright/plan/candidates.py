"""All ways to serve one wish on one rig: each file on each layout, with the most context that fits there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rigwright.models.offers import Offer
from rigwright.plan.alternatives import ENGINES
from rigwright.plan.candidates_llamacpp import with_layers
from rigwright.plan.candidates_vllm import with_tensors
from rigwright.plan.choice import Choice
from rigwright.plan.memory import estimate_memory
from rigwright.plan.ways import Candidate, Ground, Possibilities
from rigwright.plan.wish import ServiceWish

_WRONG_FORMAT = {
    "gguf": "vLLM serves safetensors; GGUF needs a plugin that is not kept up, so name a repository or use llamacpp",
    "safetensors": "llama.cpp and Ollama serve GGUF files; name one, or use vllm",
}


def possibilities(wish: ServiceWish, offers: Sequence[Offer], ground: Ground) -> Possibilities:
    """All ways to serve `wish` with one of `offers`."""
    found = Possibilities()
    engines = (wish.engine,) if wish.engine != "auto" else ("llamacpp", "vllm")
    for offer in offers:
        is_gguf = offer.format == "gguf"
        for engine in engines:
            if is_gguf and engine in ("llamacpp", "ollama"):
                with_layers(wish, offer, ground, engine, found)
            elif engine == "vllm" and not is_gguf:
                with_tensors(wish, offer, ground, found)
            elif wish.engine != "auto":
                found.refused.setdefault(f"{ENGINES[engine]}, -, {offer.quant}", _WRONG_FORMAT[offer.format])
    return found


def reckoned(candidate: Candidate) -> Choice:
    """The choice with its memory by part: what the search itself does not need."""
    choice = candidate.choice
    if choice.memory is not None or choice.placement is None:
        return choice
    return replace(choice, memory=estimate_memory(choice.offer.model, choice.load, choice.placement))
