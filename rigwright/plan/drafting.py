"""Drafting: what a model in a file of its own takes besides, where it drafts ahead for another."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from rigwright.models.known import Drafter
from rigwright.models.values import Model
from rigwright.models.variants import Variant
from rigwright.plan.devices import Device
from rigwright.plan.memory import CUDA_CONTEXT_BYTES, Load, Placement, estimate_memory
from rigwright.plan.memory.values import Growth
from rigwright.plan.speed.kinds import kind_of
from rigwright.plan.wish import ServiceWish
from rigwright.units import GIB

# llama.cpp refuses a draft whose vocabulary differs by more: its own least difference of sizes.
# Source: SPEC_VOCAB_MAX_SIZE_DIFFERENCE in common/speculative.cpp of b11434.
_VOCABULARY_TOKENS = 128
# llama-server's own --spec-draft-n-max.
USUAL_TOKENS = 3


# From so many requests at once on a batch leaves no time over in which drafts could be checked.
_MOST_SLOTS = 3
_SMALL_GPU_BYTES = 25 * GIB
# How a plan begins to say that others have a model which drafts ahead.
DRAFTER = "A DRAFTER FOR"


def automatic_drafts(model: Model, devices: Sequence[Device], *, slots: int) -> int:
    """How many tokens a model's own nextn layers draft ahead where that is likely to be faster; 0 where it is not.

    Metal gains nothing by it; nor is a mixture sure to, where what is checked together reads more experts:
    6 % slower to 38 % faster was published.
    Source: the sweeps of sudoingX/qwen38-mtp over 40 cards, August 2026.
    """
    if not model.nextn_layers or model.is_mixture or not could_gain(devices, slots=slots):
        return 0
    if len(devices) > 1:
        return 3
    if kind_of(devices[0].throughput).name == "blackwell":
        return 4
    return 2 if devices[0].vram_bytes <= _SMALL_GPU_BYTES else 3


def could_gain(devices: Sequence[Device], *, slots: int) -> bool:
    """Whether drafts gain anything on these GPUs, with so many requests at once."""
    return bool(devices) and slots <= _MOST_SLOTS and all(one.throughput.backend != "metal" for one in devices)


def may_draft(wish: ServiceWish, variant: Variant, devices: Sequence[Device]) -> bool:
    """Whether a file's own nextn layers are asked to draft, or, where nobody says, could: all of it fits on GPUs."""
    if wish.draft_model or wish.draft != "auto":
        return bool(wish.own_drafts)
    room = sum(one.offered_bytes for one in devices)
    return variant.file_bytes < room and bool(automatic_drafts(variant.model, devices, slots=wish.slots or wish.users))


class Drafting(NamedTuple):
    """Bytes of its weights and of its second context, on the first GPU or in RAM; and of RAM beside a GPU."""

    weights_bytes: int = 0
    context_bytes: int = 0
    beside_bytes: int = 0

    @property
    def total_bytes(self) -> int:
        """Where it lies."""
        return self.weights_bytes + self.context_bytes


NOTHING = Drafting()


def drafting_of(variant: Variant, load: Load, *, on_gpu: bool) -> Drafting:
    """Of the file that drafts for a model; nothing where none does.

    It reads all that its model reads: it has the same slots and context, in f16, whatever that one's cache has.
    """
    return _drafting(variant.drafter.model, load, on_gpu) if variant.drafter else NOTHING


def is_assistant(drafter: Drafter | None) -> bool:
    """Whether it is the other half of its model: it reads that one's cache, and has none of its own.

    Source: gemma4-assistant in llama.cpp, ggml-org/llama.cpp pull request 23398.
    """
    return drafter is not None and drafter.model.architecture.endswith("-assistant")


def drafter_tokens(wish: ServiceWish, variant: Variant) -> int:
    """How many tokens such a half drafts ahead; 0 of other drafters, whose gain nobody can tell."""
    if not is_assistant(variant.drafter):
        return 0
    return USUAL_TOKENS if wish.draft == "auto" else wish.draft


@lru_cache(maxsize=4096)
def _drafting(model: Model, load: Load, on_gpu: bool) -> Drafting:
    own = load._replace(cache_type_k="f16", cache_type_v="f16", draft_tokens=0, growth=Growth())
    memory = estimate_memory(model, own, Placement(model.main_layers if on_gpu else 0))
    place = 0 if on_gpu else None
    if model.architecture.endswith("-assistant"):
        memory = memory.without_part("KV cache").without_part("SWA cache")
    weights = sum(part.size_bytes for part in memory.parts if part.name == "weights" and part.device == place)
    # CUDA itself takes its part once for each process.
    rest = memory.on(place) - weights - (CUDA_CONTEXT_BYTES if on_gpu else 0)
    return Drafting(weights, rest, memory.ram_bytes if on_gpu else 0)


def with_drafting(gpus: tuple[int, ...], ram_bytes: int, found: Drafting) -> tuple[tuple[int, ...], int]:
    """The bytes of each GPU and of RAM, its own with those of the first GPU, without one with RAM's."""
    if not gpus:
        return gpus, ram_bytes + found.total_bytes
    return (gpus[0] + found.total_bytes, *gpus[1:]), ram_bytes + found.beside_bytes


def drafter_bytes(variant: Variant) -> int:
    """The size of its file."""
    return variant.drafter.file_bytes if variant.drafter else 0


def drafter_error(variant: Variant) -> str | None:
    """Why it cannot draft for a model: it has other words."""
    drafter = variant.drafter
    if not drafter or not (variant.header or variant.known):
        return None
    mine, theirs = variant.model.vocab, drafter.model.vocab
    if abs(mine - theirs) <= _VOCABULARY_TOKENS:
        return None
    return (
        f"draft_model {drafter.model.name} has a vocabulary of {theirs} tokens, {variant.model.name} one of {mine}: it "
        f"cannot draft for it; name a smaller model of the same family"
    )
