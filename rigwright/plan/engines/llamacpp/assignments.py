"""llama.cpp: the GPUs on which a service may be put, alone, in layers and in copies, those that are alike together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from rigwright.plan.layouts import CPU, GpuAssignment, layer_assignments, replicated_assignments
from rigwright.plan.ranking import goal_of
from rigwright.plan.search_space import SearchSpace
from rigwright.plan.service import Layout
from rigwright.plan.wish import ServiceWish


def assignments_of(wish: ServiceWish, space: SearchSpace, *, can_replicate: bool) -> list[GpuAssignment]:
    """Where the wish may be served: copies where it asks for them, or where many users are served and nobody says."""
    topology, on_gpus = space.topology, wish.gpu != "none"
    asked = wish.replicas or 1
    on_cpu = [CPU] if wish.gpu in ("auto", "none") and asked == 1 else []
    if asked > 1 and not (on_gpus and topology.devices):
        on_cpu = (
            [GpuAssignment(Layout(kind="cpu", replicas=asked), ((),) * asked)] if wish.gpu in ("auto", "none") else []
        )
    found = list(layer_assignments(topology)) if on_gpus and asked == 1 else []
    may_copy = asked > 1 or (can_replicate and wish.replicas is None and goal_of(wish) == "throughput")
    if on_gpus and may_copy:
        wanted = [asked] if asked > 1 else _worthwhile(wish.users)
        found += [assignment for assignment in replicated_assignments(topology) if assignment.layout.replicas in wanted]
    return found + on_cpu


def _worthwhile(users: int) -> list[int]:
    """Numbers of copies that no smaller one equals: five for eight users have two for one of them, as four have."""
    return [copies for copies in range(2, users + 1) if -(-users // -(-users // copies)) == copies]


def too_few(wish: ServiceWish, space: SearchSpace) -> str:
    """Why there is no room for as many copies as are asked for."""
    kinds = Counter(device.kind for device in space.topology.devices)
    return (
        f"{wish.replicas} copies need as many equal GPUs, and at most {max(kinds.values(), default=0)} that this "
        f"service may use are of one kind; lower replicas"
    )


def classes_of(assignments: Iterable[GpuAssignment]) -> list[list[GpuAssignment]]:
    """Sites that differ in nothing but which of equal GPUs they name: what holds of the first holds of all."""
    classes: dict[object, list[GpuAssignment]] = {}
    for assignment in assignments:
        cards = tuple(tuple((one.offered_bytes, one.throughput) for one in group) for group in assignment.replicas)
        classes.setdefault((assignment.layout.kind, assignment.links_gbytes_per_second, cards), []).append(assignment)
    return list(classes.values())
