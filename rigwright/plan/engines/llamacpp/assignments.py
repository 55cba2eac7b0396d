"""llama.cpp: the GPUs on which a service may be put, alone, in layers and in copies, those that are alike together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from rigwright.plan.engines.llamacpp.overrides import is_tensor_split
from rigwright.plan.layouts import (
    CPU,
    GpuAssignment,
    is_wished,
    layer_assignments,
    replicated_assignments,
    shared_assignments,
)
from rigwright.plan.ranking import goal_of
from rigwright.plan.search_space import SearchSpace
from rigwright.plan.service import Layout
from rigwright.plan.wish import ServiceWish


def assignments_of(
    wish: ServiceWish, space: SearchSpace, *, can_replicate: bool, most_sharing: int
) -> list[GpuAssignment]:
    """Where the wish may be served: copies where it asks for them, or where many users are served and nobody says."""
    topology, on_gpus = space.topology, wish.gpu != "none"
    asked = wish.replicas or 1
    on_cpu = [CPU] if wish.gpu in ("auto", "none") and asked == 1 and not wish.layout else []
    if asked > 1 and not wish.layout and not (on_gpus and topology.devices):
        on_cpu = (
            [GpuAssignment(Layout(kind="cpu", replicas=asked), ((),) * asked)] if wish.gpu in ("auto", "none") else []
        )
    found = list(layer_assignments(topology)) if on_gpus and asked == 1 else []
    # What GPUs that share layers tell each other grows with each user; nobody has measured it for many.
    if on_gpus and asked == 1 and (wish.layout or goal_of(wish) != "throughput"):
        found += [one for one in shared_assignments(topology) if len(one.devices) <= most_sharing]
    may_copy = asked > 1 or (can_replicate and wish.replicas is None and goal_of(wish) == "throughput")
    if on_gpus and may_copy:
        wanted = [asked] if asked > 1 else _worthwhile(wish.users)
        found += [assignment for assignment in replicated_assignments(topology) if assignment.layout.replicas in wanted]
    return [one for one in found if is_wished(one.layout, wish.layout)] + on_cpu


def _worthwhile(users: int) -> list[int]:
    """Numbers of copies that no smaller one equals: five for eight users have two for one of them, as four have."""
    return [copies for copies in range(2, users + 1) if -(-users // -(-users // copies)) == copies]


def too_few(wish: ServiceWish, space: SearchSpace, *, label: str, most_sharing: int) -> str:
    """Why there is no room for as many copies as are asked for, or no such layout."""
    if wish.layout:
        return _no_layout(wish, space, label, most_sharing)
    kinds = Counter(device.kind for device in space.topology.devices)
    return (
        f"{wish.replicas} copies need as many equal GPUs, and at most {max(kinds.values(), default=0)} that this "
        f"service may use are of one kind; lower replicas"
    )


def _no_layout(wish: ServiceWish, space: SearchSpace, label: str, most_sharing: int) -> str:
    devices = space.topology.devices if wish.gpu != "none" else ()
    copies = f" × {wish.replicas}" if (wish.replicas or 1) > 1 else ""
    if not devices:
        return f"layout {wish.layout} is one of GPUs, and this service may use none; take layout out"
    if is_tensor_split(wish) and not most_sharing:
        return f"{label} has GPUs share no layer here; set layout to layers or single"
    if is_tensor_split(wish) and copies:
        return f"copies of {label} share no layers; take replicas out, or set layout to layers or single"
    if is_tensor_split(wish) and most_sharing < len(devices):
        return f"{label} has at most {most_sharing} GPUs share a layer here; set layout to tp{most_sharing}, or layers"
    kinds = "" if len({one.throughput.backend for one in devices}) == 1 else " of different makers"
    count = f"the {len(devices)} GPUs{kinds}" if len(devices) > 1 else "the one GPU"
    return (
        f"{label} has no layout {wish.layout}{copies} for {count} that this service may use; take layout out, or "
        "set it to single"
    )


def classes_of(assignments: Iterable[GpuAssignment]) -> list[list[GpuAssignment]]:
    """Sites that differ in nothing but which of equal GPUs they name: what holds of the first holds of all."""
    classes: dict[object, list[GpuAssignment]] = {}
    for assignment in assignments:
        cards = tuple(tuple((one.offered_bytes, one.throughput) for one in group) for group in assignment.replicas)
        classes.setdefault((assignment.layout.kind, assignment.links_gbytes_per_second, cards), []).append(assignment)
    return list(classes.values())
