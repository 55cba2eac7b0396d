"""The plan of one model over several rigs: one layout of equal parts, and what each rig runs of it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from rigwright.errors import DoesNotFit, Refused, WrongSpec
from rigwright.hardware.links import rank
from rigwright.hardware.values import Hardware
from rigwright.models.variants import Variant, one_of_twins
from rigwright.plan.alternatives import alternatives
from rigwright.plan.choice import Choice
from rigwright.plan.devices import Device
from rigwright.plan.drafting import may_draft
from rigwright.plan.engines.planner import Planner
from rigwright.plan.engines.vllm.candidates import with_assignments
from rigwright.plan.engines.vllm.nodes import check_flags, member_environment, member_flags
from rigwright.plan.explain import assumptions, reasons
from rigwright.plan.layouts import GpuAssignment, Topology, is_wished, tensor_assignments
from rigwright.plan.memory import MemoryEstimate
from rigwright.plan.network import FAST_GBITS, Network
from rigwright.plan.occupants import Occupant
from rigwright.plan.planned import Request, service_plan
from rigwright.plan.reasons import Reason
from rigwright.plan.rig_plan import search_space
from rigwright.plan.search_space import SearchResult, SearchSpace
from rigwright.plan.service import ClusterMember, ClusterPart, Layout, ServicePlan, between_label
from rigwright.plan.wish import ServiceWish
from rigwright.units import format_bytes


class Member(NamedTuple):
    """A rig of a cluster: its name, its address in the private network and the interface that has it, what it has, what
    else is on it."""

    rig: str
    address: str
    interface: str
    hardware: Hardware
    occupants: tuple[Occupant, ...] = ()


class Cluster(NamedTuple):
    """Several rigs that serve one model, the head first; `port` is where the others meet it."""

    name: str
    members: tuple[Member, ...]
    network: Network
    port: int = 29501


def plan_cluster(
    cluster: Cluster, request: Request, engine: Planner, *, alternatives_count: int = 3
) -> tuple[ServicePlan, ...]:
    """What each rig runs of a service that all serve together, in their order.

    Raises:
        Refused: it cannot be served so; DoesNotFit where memory is short.
        WrongSpec: the wish contradicts its model, or the cluster.
    """
    wish, where = request.wish, f"cluster {cluster.name}"
    check_flags(cluster.name, tuple(wish.flags))
    spaces = [
        search_space(one.hardware, [wish], is_preview=False, engines={engine.name: engine}, occupants=one.occupants)
        for one in cluster.members
    ]
    rigs = _numbered([usable for _, usable in spaces])
    variants = [one for one in request.variants if one.format == engine.file_format]
    variants = [one for one in variants if not wish.quants or one.quant in wish.quants]
    variants = one_of_twins(variants, drafts=lambda one: may_draft(wish, one, rigs[0]))
    if not variants:
        raise WrongSpec(f"{where}: services.{wish.name}: {engine.other_format}")
    for variant in variants:
        if problem := engine.contradiction(wish, variant):
            raise WrongSpec(f"{where}: services.{wish.name}: {problem}")
    found = SearchResult()
    space = spaces[0][0]._replace(network=cluster.network, is_shared=False)
    if engine.is_for_cpus:
        _on_cpus(cluster, wish, variants, space, found, engine)
    else:
        with_assignments(wish, variants, space, found, _wanted(cluster, wish, rigs), bias=engine.bias(wish))
    if not found.candidates:
        raise _refused(where, found)
    best = min(found.candidates, key=lambda one: (-round(one.score.total, 6), len(one.assignment.devices)))
    choice = engine.evaluated(best.choice)
    told = (
        _between(cluster, choice, space),
        *_uneven(cluster, rigs, choice),
        *reasons(choice, found),
        *assumptions(choice),
    )
    lines = alternatives(best, found, count=alternatives_count)
    parts = [_part(cluster, place, choice, rigs, request, engine) for place in range(len(rigs))]
    return tuple(one.model_copy(update={"reasons": (*told, *one.reasons), "alternatives": lines}) for one in parts)


def _numbered(rigs: Sequence[tuple[Device, ...]]) -> list[tuple[Device, ...]]:
    """The devices of each rig, with ordinals that no other rig's has."""
    found, base = [], 0
    for usable in rigs:
        found.append(tuple(replace(device, ordinal=base + device.ordinal) for device in usable))
        base += 1 + max((device.ordinal for device in usable), default=0)
    return found


def _wanted(cluster: Cluster, wish: ServiceWish, rigs: Sequence[tuple[Device, ...]]) -> list[GpuAssignment]:
    """The layouts to look at.

    Raises:
        Refused: a rig has no GPU, or there is none that the inventory would have.
    """
    where = f"cluster {cluster.name}"
    for member, usable in zip(cluster.members, rigs, strict=True):
        if not usable:
            raise Refused(f"{where}: {member.rig} has no GPU that may serve; take it out of the cluster")
    wanted = [one for one in _assignments(cluster, rigs) if _is_wanted(one, cluster, wish.layout)]
    if not wanted:
        raise Refused(f"{where}: its rigs have no layout {wish.layout} in common; GPUs: {_counts(cluster, rigs)}")
    return wanted


def _on_cpus(
    cluster: Cluster,
    wish: ServiceWish,
    variants: Sequence[Variant],
    space: SearchSpace,
    found: SearchResult,
    engine: Planner,
) -> None:
    """The candidates of a build for CPUs: each layer on those of all rigs, with the memory of the whole at most."""
    engine.search(wish.model_copy(update={"layout": None}), variants, space, found)
    layout = Layout(kind="tensor", tensor_parallel=len(cluster.members))
    found.candidates = [
        one._replace(choice=replace(one.choice, layout=layout), assignment=one.assignment._replace(layout=layout))
        for one in found.candidates
    ]


def _assignments(cluster: Cluster, rigs: Sequence[tuple[Device, ...]]) -> Iterator[GpuAssignment]:
    """The layouts that all rigs have room for, each on the GPUs of every rig that suit it best, rig by rig."""
    shapes = [_shapes(one.hardware, usable) for one, usable in zip(cluster.members, rigs, strict=True)]
    network, count = cluster.network, len(rigs)
    for shape in shapes[0]:
        if not all(shape in one for one in shapes):
            continue
        mine = [one[shape] for one in shapes]
        tensor, stages = shape
        devices = tuple(device for one in mine for device in one.devices)
        link = min((one.layout.link for one in mine), key=rank) if tensor > 1 else None
        within = min(one.link_gbytes_per_second or 0.0 for one in mine)
        pipeline = Layout(kind="pipeline", tensor_parallel=tensor, pipeline_parallel=stages * count, link=link)
        yield GpuAssignment(pipeline, (devices,), (within,))
        if stages == 1:
            shared = Layout(kind="tensor", tensor_parallel=tensor * count)
            slowest = min(network.gbytes_per_second, within or network.gbytes_per_second)
            yield GpuAssignment(shared, (devices,), (slowest,))


def _shapes(hardware: Hardware, usable: tuple[Device, ...]) -> dict[tuple[int, int], GpuAssignment]:
    """The layouts of one copy on a rig, by its GPUs that share a layer and its stages; the best of each."""
    found: dict[tuple[int, int], GpuAssignment] = {}
    for one in tensor_assignments(Topology.of(hardware, usable)):
        shape = one.layout.tensor_parallel, one.layout.pipeline_parallel
        if one.layout.replicas == 1 and (shape not in found or _worth(one) > _worth(found[shape])):
            found[shape] = one
    return found


def _worth(assignment: GpuAssignment) -> tuple[int, int, int]:
    """The better linked first, then the roomier, then those without a display."""
    devices = assignment.devices
    displays = sum(1 for one in devices if one.gpu.has_display)
    return rank(assignment.layout.link), min(one.offered_bytes for one in devices), -displays


def _is_wanted(assignment: GpuAssignment, cluster: Cluster, layout: str | None) -> bool:
    """Whether the inventory names this layout; where it names none, whether the network can carry it."""
    if layout:
        return is_wished(assignment.layout, layout)
    return assignment.layout.kind == "pipeline" or cluster.network.is_fast


def _counts(cluster: Cluster, rigs: Sequence[tuple[Device, ...]]) -> str:
    return ", ".join(f"{len(usable)} on {one.rig}" for one, usable in zip(cluster.members, rigs, strict=True))


def _refused(where: str, found: SearchResult) -> Refused:
    """Why nothing serves it: what it is short of, or what refused it."""
    if found.misses:
        near = min(found.misses, key=lambda one: one.total_short_bytes)
        needs, offers = format_bytes(near.needs_bytes), format_bytes(near.offers_bytes)
        model = near.variant.known.name if near.variant.known else near.variant.name
        text = f"{model} {near.variant.quant} as {near.assignment.layout} over its rigs needs {needs} of a GPU"
        way = "lower context, name a smaller quant, or add a rig"
        return DoesNotFit(f"{where}: {text}, which offers {offers}; {way}", short_bytes=near.short_bytes)
    kind, why = next(iter(found.refused.items()))
    return Refused(f"{where}: {kind}: {why}")


def _between(cluster: Cluster, choice: Choice, space: SearchSpace) -> Reason:
    """What the network between the rigs costs."""
    network, model = cluster.network, choice.variant.model
    wait = network.seconds_per_token(choice.layout, model)
    times = network.crossings(choice.layout, model)
    often = "once" if times == 1 else f"{times} times"
    share = f", {100 * wait * choice.speed.expected:.1f} % of its time" if choice.speed else ""
    way = "past the kernel" if network.has_rdma else "by TCP"
    because = f"a token crosses it {often} {way}: {wait * 1e3:.1f} ms{share} (assumed, not measured)"
    if choice.layout.kind == "pipeline" and not network.is_fast:
        because += f"; so rigs hold layers of their own, and share each only from {FAST_GBITS:g} Gbit/s on"
    return Reason(choice=between_label(network.rigs, network.gbits_per_second), because=because)


def _uneven(cluster: Cluster, rigs: Sequence[tuple[Device, ...]], choice: Choice) -> Iterator[Reason]:
    """What lies idle or limits the others, because each rig has an equal part."""
    each = len(choice.devices) // len(rigs)
    idle = [
        f"{len(usable) - each} of {one.rig}"
        for one, usable in zip(cluster.members, rigs, strict=True)
        if len(usable) > each
    ]
    if idle:
        because = f"all take an equal part; {' and '.join(idle)} left"
        yield Reason(choice=f"{each} GPU{'s' * (each > 1)} of each rig", because=because)
    sizes = {device.vram_bytes for device in choice.devices}
    if len(sizes) > 1:
        small = min(choice.devices, key=lambda one: one.vram_bytes)
        because = f"the smallest GPU, {small.name}, sets the part that each rig gets"
        yield Reason(choice="unequal GPUs", because=because)


def _part(
    cluster: Cluster,
    place: int,
    choice: Choice,
    rigs: Sequence[tuple[Device, ...]],
    request: Request,
    engine: Planner,
) -> ServicePlan:
    """What one rig runs."""
    each, member = len(choice.devices) // len(rigs), cluster.members[place]
    own = choice.devices[place * each : (place + 1) * each]
    mine = replace(choice, replicas=(own,), memory=_memory(choice.memory, place * each, each))
    plan = service_plan(request, mine, member.hardware, engine, ports=[request.wish.port])
    part = ClusterPart(
        name=cluster.name,
        rank=place,
        members=tuple(
            ClusterMember(rig=one.rig, address=one.address, interface=one.interface) for one in cluster.members
        ),
        port=cluster.port,
        gbits_per_second=cluster.network.gbits_per_second,
        has_rdma=cluster.network.has_rdma,
    )
    found = member_environment(part)
    replica = plan.replicas[0]
    replica = replica.model_copy(update={"environment": (*replica.environment, *(pair for pair, _ in found))})
    changes = {
        "flags": member_flags(plan.flags, part),
        "replicas": (replica,),
        "reasons": (*plan.reasons, *(reason for _, reason in found)),
        "cluster": part,
    }
    return plan.model_copy(update=changes)


def _memory(memory: MemoryEstimate | None, first: int, count: int) -> MemoryEstimate | None:
    """The memory of one rig's GPUs, numbered as that rig has them."""
    if memory is None or not count:
        return memory
    parts = [one for one in memory.parts if one.device is not None and first <= one.device < first + count]
    return MemoryEstimate(parts=tuple(one.model_copy(update={"device": (one.device or 0) - first}) for one in parts))
