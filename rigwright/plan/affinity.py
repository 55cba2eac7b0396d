"""CPU affinity: the CPUs of the NUMA node on which the GPUs of a copy hang, where a service gains by them. Pure.

Derived from the plan and the machine at each reading, so that a lock needs to hold nothing of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from rigwright.hardware.cpus import cpu_list
from rigwright.hardware.values import Hardware, NumaNode
from rigwright.plan.devices import spans
from rigwright.plan.engines import planner_of
from rigwright.plan.reasons import Reason
from rigwright.plan.service import GpuRef, ServicePlan
from rigwright.units import whole_number

# "1-10% overall performance improvements, but some workloads may obtain much greater benefits or none at all", and
# AffinityMode.NODE: "If in doubt, use this option". What is bound late keeps the pages that it touched before, 22 % of
# a worker's memory in TensorRT-LLM PR 18117, so that the unit binds it and no flag of the engine.
_SOURCE = "docs.pytorch.org/docs/main/elastic/numa.html; TensorRT-LLM PR 18117"
_ALL = "all CPUs"


class _Place(NamedTuple):
    """Where a copy runs: on the CPUs of a node, or why on all of them."""

    cpus: str
    words: str


def with_affinity(plan: ServicePlan, hardware: Hardware) -> ServicePlan:
    """The plan with the CPUs of each copy and why; as it is where the rig has one node, or the service no GPU."""
    nodes = {node.node: node for node in hardware.numa if node.cpus}
    if len(nodes) < 2 or not plan.uses_gpu:
        return plan
    if because := _why_all(plan):
        return _with_reason(plan, Reason(choice=_ALL, because=because))
    places = [_place(plan, replica.gpus, hardware, nodes) for replica in plan.replicas]
    replicas = tuple(
        replica.model_copy(update={"cpus": place.cpus}) for replica, place in zip(plan.replicas, places, strict=True)
    )
    return _with_reason(plan.model_copy(update={"replicas": replicas}), _reason(places))


def _reason(places: list[_Place]) -> Reason:
    """One line for all copies."""
    bound = list(dict.fromkeys(place for place in places if place.cpus))
    others = "; ".join(dict.fromkeys(place.words for place in places if not place.cpus))
    if not bound:
        return Reason(choice=_ALL, because=others)
    because = f"{' and '.join(place.words for place in bound)}: what feeds a GPU crosses no socket"
    rest = f"; other copies on all, {others}" if others else ""
    return Reason(choice=f"CPUs {' and '.join(one.cpus for one in bound)}", because=because + rest, source=_SOURCE)


def _with_reason(plan: ServicePlan, reason: Reason) -> ServicePlan:
    # Where a lock holds, the plan of today is taken once more.
    return plan if reason in plan.reasons else plan.model_copy(update={"reasons": (*plan.reasons, reason)})


def _why_all(plan: ServicePlan) -> str | None:
    """Why the whole service keeps all CPUs; None where it depends on its GPUs."""
    own = next((flag.name for flag in plan.flags if flag.name in planner_of(plan.engine).placing_flags), None)
    if own:
        return f"the inventory places its threads itself, by {own}"
    if plan.in_ram:
        return f"{plan.in_ram} stay in RAM, and are read with the memory of all NUMA nodes"
    return None


def _place(plan: ServicePlan, gpus: tuple[GpuRef, ...], hardware: Hardware, nodes: dict[int, NumaNode]) -> _Place:
    near = list(_nodes_of(gpus, hardware))
    names = spans([str(gpu.index) for gpu in gpus])
    is_one, label = len(gpus) == 1, f"GPU{'s' * (len(gpus) > 1)} {names}"
    if None in near:
        return _Place("", f"nobody tells the NUMA node of {label}")
    found = sorted({one for one in near if one is not None})
    if len(found) > 1:
        return _Place("", f"{label} hang on NUMA nodes {spans([str(one) for one in found])}")
    if found[0] not in nodes:
        return _Place("", f"NUMA node {found[0]}, on which {label} hang{'s' * is_one}, has no CPU")
    cpus = nodes[found[0]].cpus
    values = {flag.name: flag.value or "" for flag in plan.flags}
    threads, cores = whole_number(values.get(planner_of(plan.engine).threads_flag, "")) or 0, _cores(cpus, hardware)
    if threads > cores:
        return _Place("", f"{threads} threads are more than the {cores} cores of NUMA node {found[0]}, that of {label}")
    return _Place(cpu_list(cpus), f"NUMA node {found[0]}, on which {label} hang{'s' * is_one}")


def _nodes_of(gpus: tuple[GpuRef, ...], hardware: Hardware) -> Iterator[int | None]:
    """The node of each GPU; None where it was not told."""
    by_name = {(gpu.index, gpu.uuid): gpu.numa_node for gpu in hardware.gpus}
    for gpu in gpus:
        yield by_name.get((gpu.index, gpu.uuid))


def _cores(cpus: tuple[int, ...], hardware: Hardware) -> int:
    """The cores of a node: hyper-threads add nothing."""
    cores, logical = hardware.cpu.physical_cores, hardware.cpu.logical_cores
    return len(cpus) * cores // logical if cores and logical and logical >= cores else len(cpus)
