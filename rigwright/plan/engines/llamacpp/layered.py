"""LayeredPlanner: what engines share that run llama.cpp's server: files, placements, memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rigwright.errors import WrongSpec
from rigwright.models.ggml import TYPES_BY_NAME
from rigwright.models.variants import Variant
from rigwright.plan.choice import Choice
from rigwright.plan.devices import Device
from rigwright.plan.drafting import drafter_error, drafting_of
from rigwright.plan.engines.llamacpp.candidates import with_layers
from rigwright.plan.engines.llamacpp.overrides import Overrides
from rigwright.plan.engines.llamacpp.own_placement import own_placement
from rigwright.plan.engines.llamacpp.speed import speed_at
from rigwright.plan.engines.llamacpp.stretching import context_error
from rigwright.plan.engines.llamacpp.unestimated import is_unestimated, unestimated_candidate
from rigwright.plan.engines.modes import thinking_error
from rigwright.plan.engines.planner import Planner
from rigwright.plan.known_issues import Configuration
from rigwright.plan.limits import draft_error
from rigwright.plan.memory import estimate_memory
from rigwright.plan.search_space import Candidate, SearchResult, SearchSpace
from rigwright.plan.vision import vision_of
from rigwright.plan.wish import ServiceWish


class LayeredPlanner(Planner):
    """An engine that serves GGUF files with llama.cpp's server: whole layers on each GPU, the rest in RAM.

    can_stretch: its flags can have a model answer at more tokens than it was trained for.
    """

    can_stretch = False

    @property
    def most_sharing(self) -> int:
        """The most GPUs that can share each layer; 0 where none can."""
        return 0

    def search(self, wish: ServiceWish, variants: Sequence[Variant], space: SearchSpace, found: SearchResult) -> None:
        """The candidates that serve GGUF files, without files that are larger than another that loses no more."""
        with_layers(
            wish,
            _undominated(variants),
            space,
            found,
            engine=self.name,
            label=self.label,
            can_spill=self.can_spill,
            can_replicate=self.can_replicate,
            most_sharing=self.most_sharing,
        )

    def open_slots(self, wish: ServiceWish) -> int:
        """One for each user, up to eight, where the inventory names none."""
        return 0 if wish.slots or "--parallel" in wish.flags else Overrides.of(wish).slots

    def unestimated(
        self, wish: ServiceWish, variants: Sequence[Variant], allowed: Sequence[Device]
    ) -> Candidate | None:
        """The roomiest GPU, where the header cannot be read or the inventory's own flags place the model."""
        overrides = Overrides.of(wish)
        if not is_unestimated(variants, overrides, allowed):
            return None
        if wish.rope and wish.context:
            error = "rope: yarn wants the header of the model, which could not be read from here; take it out"
            if variants[0].has_model:
                error = context_error(wish, variants[0].model, wish.context, can_stretch=self.can_stretch) or ""
            if error:
                raise WrongSpec(f"services.{wish.name}: {error}")
        return unestimated_candidate(wish, variants, allowed, overrides, engine=self.name)

    def contradiction(self, wish: ServiceWish, variant: Variant) -> str | None:
        """A context beyond the trained one, cache types that do not divide the heads, drafts without layers."""
        if not self.can_replicate and (wish.replicas or 1) > 1:
            return f"{self.label} runs once for each service; drop replicas, or serve with llama.cpp"
        if error := thinking_error(wish, variant.known):
            return error
        overrides, model = Overrides.of(wish), variant.model
        context = overrides.context or wish.context or wish.min_context
        if context and (error := context_error(wish, model, context, can_stretch=self.can_stretch)):
            return error
        load = overrides.load()
        for length, kind in ((model.key_length, load.cache_type_k), (model.value_length, load.cache_type_v)):
            if max(model.kv_heads) and length % TYPES_BY_NAME[kind].block_elements:
                return (
                    f"cache type {kind} needs heads in blocks of {TYPES_BY_NAME[kind].block_elements}, {model.name} "
                    f"has {length}; set cache_type to f16"
                )
        return drafter_error(variant) or draft_error(wish, variant)

    def configuration(self, choice: Choice, space: SearchSpace) -> Configuration:
        """With the types of its cache."""
        found = super().configuration(choice, space)
        return found._replace(cache_types=(choice.load.cache_type_k, choice.load.cache_type_v))

    def evaluated(self, choice: Choice) -> Choice:
        """The choice with its memory by part; of a placement of the inventory's own where that is a known one."""
        placement = choice.placement
        if placement is None and choice.variant.has_model:
            placement = own_placement(choice.wish, choice.variant.model, choice.devices)
        if placement is None:
            return choice
        memory = estimate_memory(choice.variant.model, choice.load, placement)
        if (vision := vision_of(choice.wish, choice.variant)).total_bytes:
            place = 0 if choice.devices and placement.devices else None
            memory = memory.with_part("projector", place, vision.file_bytes, is_exact=vision.is_exact)
            memory = memory.with_part("image buffers", place, vision.compute_bytes)
        on_gpu = bool(choice.devices and placement.devices)
        if (drafting := drafting_of(choice.variant, choice.load, on_gpu=on_gpu)).total_bytes:
            place = 0 if on_gpu else None
            memory = memory.with_part("draft model", place, drafting.weights_bytes, is_exact=True)
            memory = memory.with_part("drafting", place, drafting.context_bytes)
            if drafting.beside_bytes:
                memory = memory.with_part("draft model", None, drafting.beside_bytes)
        return replace(choice, memory=memory)

    def full_speed(self, candidate: Candidate, space: SearchSpace) -> float | None:
        """By the formula, or scaled by what was measured, at that depth."""
        choice = candidate.choice
        if choice.placement is None or choice.speed is None:
            return None
        full = speed_at(
            choice.wish,
            choice.variant,
            self.name,
            space,
            candidate.assignment,
            choice.load,
            choice.placement,
            depth_tokens=choice.load.context_tokens,
        )
        return full.expected


def _undominated(files: Sequence[Variant]) -> list[Variant]:
    """Without files that are larger than another that loses no more."""
    kept: list[Variant] = []
    for one in sorted(files, key=lambda variant: (variant.file_bytes, variant.loss_percent or 0.0)):
        best = min((other.loss_percent for other in kept if other.loss_percent is not None), default=None)
        if one.loss_percent is None or best is None or one.loss_percent < best:
            kept.append(one)
    return kept
