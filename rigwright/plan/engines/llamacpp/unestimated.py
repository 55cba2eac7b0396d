"""The candidate of a model that cannot be estimated: the header could not be read, or own flags place the model."""

from __future__ import annotations

from collections.abc import Sequence

from rigwright.errors import WrongSpec
from rigwright.models.variants import Variant
from rigwright.plan.choice import Choice
from rigwright.plan.devices import Device
from rigwright.plan.engines.llamacpp.overrides import Overrides
from rigwright.plan.engines.llamacpp.own_placement import own_groups, own_layout, own_placement
from rigwright.plan.engines.llamacpp.sharing import sharing_obstacle
from rigwright.plan.layouts import GpuAssignment, is_wished
from rigwright.plan.ranking import Score
from rigwright.plan.reasons import Reason
from rigwright.plan.search_space import Candidate
from rigwright.plan.service import Layout
from rigwright.plan.wish import ServiceWish

_CONTEXT_TOKENS = 8192
# A quarter of the GPU for what is no weights, where nothing is computed.
_WEIGHTS_SHARE = 0.75


def is_unestimated(variants: Sequence[Variant], overrides: Overrides, allowed: Sequence[Device]) -> bool:
    """True where memory cannot be estimated."""
    return bool(variants) and (not variants[0].has_model or bool(allowed and overrides.is_free))


def unestimated_candidate(
    wish: ServiceWish, variants: Sequence[Variant], allowed: Sequence[Device], overrides: Overrides, *, engine: str
) -> Candidate:
    """GPUs as a whole for each copy, with llama-server's own --fit where nothing else places the model.

    Raises:
        Refused: there are fewer GPUs than copies.
        WrongSpec: flags name GPUs that the service has not.
    """
    copies = wish.replicas or 1
    groups = own_groups(wish, allowed, copies=copies)
    layout = own_layout(wish, len(groups[0]), copies=copies)
    if not is_wished(layout, wish.layout):
        raise WrongSpec(f"services.{wish.name}: {_other_layout(wish, variants[0], layout)}")
    variant = _finest(variants, min(sum(one.offered_bytes for one in group) for group in groups))
    why = (
        "the inventory's own flags place the model"
        if variant.has_model
        else "the header of the model could not be read from here"
    )
    is_computed = variant.has_model and own_placement(wish, variant.model, groups[0])
    load = (
        Overrides.of(wish, copies=copies)
        .load()
        ._replace(context_tokens=overrides.context or wish.context or wish.min_context or _CONTEXT_TOKENS)
    )
    reasons = [] if is_computed else [Reason(choice="memory not checked", because=why)]
    is_shared = variant.has_model and layout.kind == "tensor"
    if is_shared and (obstacle := sharing_obstacle(variant.model, load, groups[0])):
        reasons.append(Reason(choice="llama.cpp may refuse its flags", because=obstacle))
    choice = Choice(
        wish=wish,
        variant=variant,
        engine=engine,
        layout=layout,
        replicas=groups,
        load=load,
        placement=None,
        memory=None,
        speed=None,
        is_fitted=not variant.has_model or overrides.is_fitted,
        reasons=tuple(reasons),
    )
    sizes = {device.ordinal: device.offered_bytes for group in groups for device in group}
    return Candidate(choice, Score(0, 0, 0, 0), sizes, 0, GpuAssignment(choice.layout, choice.replicas))


def _other_layout(wish: ServiceWish, variant: Variant, layout: Layout) -> str:
    if variant.has_model:
        return f"layout is {wish.layout}, and own flags lay the model out as {layout.kind}; take one of them out"
    return (
        f"the header of the model could not be read from here, so that no layout {wish.layout} is planned; download "
        "the file, and name its path, or take layout out"
    )


def _finest(variants: Sequence[Variant], gpu_bytes: int) -> Variant:
    """The finest file that a GPU is sure to hold, else the smallest."""
    files = sorted((one for one in variants if one.format == "gguf"), key=lambda one: one.file_bytes) or list(variants)
    return max((one for one in files if one.file_bytes <= _WEIGHTS_SHARE * gpu_bytes), key=_size, default=files[0])


def _size(variant: Variant) -> int:
    return variant.file_bytes
