"""llama.cpp, and Ollama, which runs llama.cpp's server: each file on each GPU, over several, with experts in RAM."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

from rigwright.models.ggml import TYPES_BY_NAME
from rigwright.models.values import Model
from rigwright.models.variants import Variant
from rigwright.plan.drafting import automatic_drafts
from rigwright.plan.engines.llamacpp.assignments import assignments_of, classes_of, too_few
from rigwright.plan.engines.llamacpp.attempts import Attempts
from rigwright.plan.engines.llamacpp.overrides import Overrides
from rigwright.plan.known_issues import known_issues
from rigwright.plan.layouts import CPU, GpuAssignment
from rigwright.plan.memory import Load, grown
from rigwright.plan.ranking import goal_of
from rigwright.plan.search_space import (
    Candidate,
    SearchResult,
    SearchSpace,
    configuration,
    pareto_front,
)
from rigwright.plan.wish import ServiceWish


def with_layers(
    wish: ServiceWish,
    variants: Sequence[Variant],
    space: SearchSpace,
    found: SearchResult,
    *,
    engine: str,
    label: str,
    can_spill: bool,
    can_replicate: bool,
    most_sharing: int,
) -> None:
    """The candidates that serve GGUF files: whole, in part, in copies, with each type of KV cache."""
    every = assignments_of(wish, space, can_replicate=can_replicate, most_sharing=most_sharing)
    classes = classes_of(every)
    assignments = [alike[0] for alike in classes]
    if not every:
        why = too_few(wish, space, label=label, most_sharing=most_sharing)
        found.refused.setdefault(f"{label}, {wish.layout or wish.replicas}, -", why)
    for copies, variant in product(sorted({assignment.layout.replicas for assignment in assignments}), variants):
        overrides = Overrides.of(wish, copies=copies)
        mine = [assignment for assignment in assignments if assignment.layout.replicas == copies]
        for load in grown(_loads(wish, variant.model, overrides), variant.model, space.version(engine), space.said):
            types = load.cache_type_k, load.cache_type_v
            now = configuration(wish, variant, space, CPU, engine=engine, load=load, cache_types=types)
            if issue := next((one for one in known_issues(now) if one.effect == "refuse"), None):
                found.refused.setdefault(f"{label}, -, {variant.quant}", str(issue))
                continue
            attempts = Attempts(wish, variant, space, engine, load, overrides, found, can_spill)
            is_asked = copies == (wish.replicas or 1)
            is_held = attempts.on([assignment for assignment in mine if assignment.devices], may_split=is_asked)
            for assignment in mine:
                if not assignment.devices:
                    attempts.whole_on(assignment)
            if is_asked and not is_held:
                found.misses += attempts.misses
            for tokens, drafting in _drafted(wish, variant, load, mine).items():
                own = load._replace(draft_tokens=tokens)
                Attempts(wish, variant, space, engine, own, overrides, found, can_spill).on(drafting, may_split=False)
    for first, *others in classes:
        if others:
            best = pareto_front(one for one in found.candidates if one.assignment is first)
            found.candidates += [_moved(one, assignment) for assignment in others for one in best]
    # Of equal candidates the one on the GPUs that come first is taken.
    places = {id(assignment): place for place, assignment in enumerate(every)}
    found.candidates.sort(key=lambda one: places.get(id(one.assignment), len(places)))


def _drafted(
    wish: ServiceWish, variant: Variant, load: Load, assignments: Sequence[GpuAssignment]
) -> dict[int, list[GpuAssignment]]:
    """Where the model's own layers are likely to draft ahead with profit, by how many tokens, if nobody says that."""
    drafting: dict[int, list[GpuAssignment]] = {}
    if wish.draft == "auto" and not (load.draft_tokens or variant.drafter or "--spec-type" in wish.flags):
        for one in assignments:
            if tokens := automatic_drafts(variant.model, one.devices, slots=load.slots):
                drafting.setdefault(tokens, []).append(one)
    return drafting


def _moved(one: Candidate, assignment: GpuAssignment) -> Candidate:
    """The same on equal GPUs in another place."""
    sizes = dict(zip((device.ordinal for device in assignment.every_device), one.gpu_bytes.values(), strict=True))
    return Candidate(one.choice, one.score, sizes, one.ram_bytes, assignment)


def _loads(wish: ServiceWish, model: Model, overrides: Overrides) -> Iterator[Load]:
    """What may be asked of the model, by type of KV cache; the context is still open."""
    load = overrides.load()
    if wish.cache_type != "auto" or overrides.has_cache_types:
        yield load
        return
    types = ("f16", "q8_0", "q4_0") if goal_of(wish) == "context" else ("f16", "q8_0")
    for kind in types:
        lengths = (model.key_length, model.value_length)
        if not any(length % TYPES_BY_NAME[kind].block_elements for length in lengths):
            yield load._replace(cache_type_k=kind, cache_type_v=kind)
