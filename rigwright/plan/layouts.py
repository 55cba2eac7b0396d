"""All ways to lay a model over the GPUs of a rig: one, layers over several, tensor parallel, pipelines, replicas."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

from rigwright.hardware.links import NVLINK_RANK, link_gbytes_per_second, rank
from rigwright.hardware.values import Hardware, Link
from rigwright.plan.devices import Device
from rigwright.plan.service import Layout

Group = tuple[Device, ...]


class Site(NamedTuple):
    """One layout on concrete GPUs; `replicas` holds the devices of each copy in the engine's order."""

    layout: Layout
    replicas: tuple[Group, ...]
    link_gbytes_per_second: float | None = None
    is_fully_linked: bool = False

    @property
    def devices(self) -> Group:
        """The devices of the first copy."""
        return self.replicas[0]


CPU = Site(Layout(kind="cpu"), ((),))


@dataclass(frozen=True)
class Topology:
    """How the devices reach each other: the groups of two and four that belong together, and an order of all.

    `place` is the order in which groups are adjacent, by ordinal: what is tensor parallel takes neighbours.
    """

    devices: Group
    pairs: tuple[Group, ...]
    quads: tuple[Group, ...]
    links: dict[tuple[int, int], Link]
    hardware: Hardware

    @classmethod
    def of(cls, hardware: Hardware, devices: Group) -> Topology:
        """Groups are looked for only where there is something to group."""
        if len(devices) < 2:
            return cls(devices, (), (), {}, hardware)
        from rigwright.hardware.topology import group  # networkx costs 0.1 s

        by_index = {device.gpu.index: device for device in devices if device.gpu.index is not None}
        grouping = group(hardware)
        place = {index: position for position, index in enumerate(grouping.order)}
        ordered = tuple(sorted(devices, key=lambda one: place.get(one.gpu.index or 0, len(place) + one.ordinal)))
        known = [
            [group for group in groups if set(group) <= by_index.keys()] for groups in (grouping.pairs, grouping.quads)
        ]
        pairs, quads = (tuple(tuple(by_index[index] for index in group) for group in groups) for groups in known)
        links = {(link.first, link.second): link for link in hardware.links}
        return cls(ordered, pairs or _like(ordered, 2), quads or _like(ordered, 4), links, hardware)

    def worst(self, group: Group) -> tuple[str | None, float | None]:
        """The class of the slowest link inside a group, and what it carries in GB/s one way."""
        found = [self.link(one, other) for one, other in combinations(group, 2)]
        if not found:
            return None, None
        slowest = min(found, key=lambda link: (rank(link.kind), link_gbytes_per_second(self.hardware, link) or 0.0))
        return slowest.kind, link_gbytes_per_second(self.hardware, slowest)

    def is_linked(self, group: Group) -> bool:
        """True when NVLinks (or XGMI) join each with each."""
        return all(rank(self.link(one, other).kind) > NVLINK_RANK for one, other in combinations(group, 2))

    def link(self, one: Device, other: Device) -> Link:
        """The link between two devices, without a class where none was recorded."""
        indexes = sorted(device.gpu.index if device.gpu.index is not None else -1 for device in (one, other))
        pair = (indexes[0], indexes[1])
        return self.links.get(pair) or Link(*pair)


def _like(devices: Group, size: int) -> tuple[Group, ...]:
    """Neighbours of one kind, where no link was recorded: any group would do, and the plan says that it is a guess."""
    groups = []
    for kind in dict.fromkeys(device.kind for device in devices):
        same = [device for device in devices if device.kind == kind]
        groups += [tuple(same[start : start + size]) for start in range(0, len(same) - size + 1, size)]
    return tuple(groups)


def sites_of_layers(topology: Topology) -> Iterator[Site]:
    """llama.cpp: each GPU alone, then layers over two and more, those that belong together first."""
    devices = topology.devices
    for device in devices:
        yield Site(Layout(kind="single"), ((device,),))
    seen: set[frozenset[int]] = set()
    roomiest = sorted(devices, key=lambda one: (-one.offered_bytes, devices.index(one)))
    rising = [tuple(sorted(roomiest[:size], key=devices.index)) for size in range(2, len(devices) + 1)]
    for group in (*topology.pairs, *topology.quads, *rising):
        members = frozenset(device.ordinal for device in group)
        if len({device.pace.backend for device in group}) == 1 and members not in seen:
            seen.add(members)
            kind, speed = topology.worst(group)
            yield Site(Layout(kind="layers", pipeline_parallel=len(group), link=kind), (group,), speed)


def sites_of_tensors(topology: Topology) -> Iterator[Site]:
    """vLLM: tensor parallel on one, two, four, eight GPUs of a kind, pipelines of pairs, and replicas of each."""
    for kind in dict.fromkeys(device.kind for device in topology.devices):
        same = tuple(device for device in topology.devices if device.kind == kind)
        pairs = _of_kind(topology.pairs, same)
        quads = _of_kind(topology.quads, same)
        singles = tuple((device,) for device in same)
        yield from _replicated(topology, "single", singles, 1)
        yield from _replicated(topology, "tensor", pairs, 2)
        yield from _replicated(topology, "tensor", quads, 4)
        if len(same) >= 8:
            yield _site(topology, "tensor", (same[:8],), 8)
        if len(pairs) >= 2:
            yield _site(topology, "pipeline", (_joined(pairs[:2]),), 2, stages=2)
            if len(pairs) >= 4:
                yield _site(topology, "pipeline", (_joined(pairs[:4]),), 2, stages=4)
        if len(quads) >= 2:
            yield _site(topology, "pipeline", (_joined(quads[:2]),), 4, stages=2)
        if len(same) > 1:
            yield _site(topology, "pipeline", (same,), 1, stages=len(same))


def _replicated(topology: Topology, kind: str, groups: Sequence[Group], tensor: int) -> Iterator[Site]:
    for group in groups:
        yield _site(topology, kind, (group,), tensor)
    for count in range(2, len(groups) + 1):
        yield _site(topology, kind, tuple(groups[:count]), tensor)


def _site(topology: Topology, kind: str, replicas: tuple[Group, ...], tensor: int, *, stages: int = 1) -> Site:
    cells = [group[start : start + tensor] for group in replicas for start in range(0, len(group), tensor)]
    worst = [topology.worst(cell) for cell in cells]
    link, speed = min(worst, key=lambda found: (rank(found[0]), found[1] or 0.0))
    layout = Layout.model_construct(
        kind=kind, tensor_parallel=tensor, pipeline_parallel=stages, replicas=len(replicas), link=link
    )
    return Site(layout, replicas, speed, all(topology.is_linked(cell) for cell in cells))


def _of_kind(groups: Iterable[Group], same: Group) -> tuple[Group, ...]:
    return tuple(group for group in groups if all(device in same for device in group))


def _joined(groups: Iterable[Group]) -> Group:
    return tuple(device for group in groups for device in group)
