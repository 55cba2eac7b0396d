"""llama.cpp: the speed of one copy on its GPUs, and of all copies and their users together."""

from __future__ import annotations

from rigwright.models.values import Model
from rigwright.models.variants import Variant
from rigwright.plan.drafting import drafter_tokens
from rigwright.plan.layouts import GpuAssignment
from rigwright.plan.memory import Load, Placement
from rigwright.plan.ranking import USUAL_DEPTH_TOKENS
from rigwright.plan.search_space import SearchSpace
from rigwright.plan.speed import Speed, decode_speed
from rigwright.plan.speed.measured import Setup, measured_speed
from rigwright.plan.wish import ServiceWish


def speed_at(
    wish: ServiceWish,
    variant: Variant,
    engine: str,
    space: SearchSpace,
    assignment: GpuAssignment,
    load: Load,
    placement: Placement,
    *,
    depth_tokens: int = USUAL_DEPTH_TOKENS,
) -> Speed:
    """The speed of `variant` on `assignment` after `depth_tokens`, as others measured it where they did."""

    def formula(model: Model, depth_tokens: int) -> Speed:
        return decode_speed(
            model,
            throughputs=[device.throughput for device in assignment.devices],
            placement=placement,
            depth_tokens=depth_tokens,
            cache_types=(load.cache_type_k, load.cache_type_v),
            host=space.host.part(len(assignment.replicas)),
            draft_tokens=load.draft_tokens or drafter_tokens(wish, variant),
            users=load.slots,
            link_gbytes_per_second=assignment.link_gbytes_per_second,
        )

    depth_tokens = min(load.context_tokens, depth_tokens)
    speed = formula(variant.model, depth_tokens)
    if space.measurements and assignment.devices:
        setup = Setup(
            gpu=assignment.devices[0].name,
            model=variant.model,
            gpu_count=len(assignment.devices),
            engine=engine,
            depth_tokens=depth_tokens,
            cache_types=(load.cache_type_k, load.cache_type_v),
            gpu_layers=placement.gpu_layers,
            cpu_expert_layers=placement.cpu_expert_layers,
            users=load.slots,
        )
        speed = measured_speed(
            space.measurements, setup, lambda other: formula(other.model, other.depth_tokens), estimated=speed
        )
    return _together(wish, len(assignment.replicas), load.slots, speed)


def _together(wish: ServiceWish, copies: int, slots: int, speed: Speed) -> Speed:
    """The speed of one copy, with the users of all."""
    if copies == 1:
        return speed
    # Seven copies for eight users have seats for fourteen.
    filled = min(1.0, wish.users / (slots * copies)) if wish.users >= copies else 1.0
    return speed.model_copy(update={"aggregate": (speed.aggregate or speed.expected) * copies * filled})
