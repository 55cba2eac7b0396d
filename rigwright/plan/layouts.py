"""The layouts of a model over the GPUs of a rig: one, layers over several, tensor parallel, pipelines, replicas."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import NamedTuple

from rigwright.hardware.links import NVLINK_RANK, link_gbytes_per_second, rank
from rigwright.hardware.values import Hardware, Link
from rigwright.plan.devices import Device
from rigwright.plan.service import Layout, LayoutKind
from rigwright.plan.speed.kinds import kind_of

Group = tuple[Device, ...]
# GB/s one way where a recording has the class of a link but not its lanes: four lanes of PCIe 4.0 through a host, eight
# behind one switch; two of GA102's four NVLinks.
_ASSUMED = {"PIX": 15.0, "PXB": 15.0, "PHB": 8.0, "NODE": 8.0, "SYS": 8.0}
_ASSUMED_NVLINK = 28.0


class GpuAssignment(NamedTuple):
    """One layout on concrete GPUs; `replicas` holds the devices of each copy in the engine's order.

    `links_gbytes_per_second` is what the slowest link inside each copy carries, one way.
    """

    layout: Layout
    replicas: tuple[Group, ...]
    links_gbytes_per_second: tuple[float, ...] = ()

    @property
    def link_gbytes_per_second(self) -> float | None:
        """What the slowest link inside the first copy carries, one way."""
        return self.links_gbytes_per_second[0] if self.links_gbytes_per_second else None

    @property
    def devices(self) -> Group:
        """The devices of the first copy."""
        return self.replicas[0]

    @property
    def is_fully_linked(self) -> bool:
        """True when NVLinks (or XGMI) join each with each inside every group: the slowest link is one."""
        return len(self.devices) < 2 or rank(self.layout.link) > NVLINK_RANK

    @property
    def every_device(self) -> Group:
        """The devices of all copies."""
        return _joined(self.replicas)


CPU = GpuAssignment(Layout(kind="cpu"), ((),))


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
    rates: dict[tuple[int, int], tuple[str | None, float]] = field(default_factory=dict)

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

    def worst(self, group: Group) -> tuple[str | None, float]:
        """The class of the slowest link inside a group, and what it carries in GB/s one way; 0 for a single GPU."""
        rated = [self._rated(one, other) for one, other in combinations(group, 2)]
        return min(rated, key=lambda found: (rank(found[0]), found[1])) if rated else (None, 0.0)

    def _rated(self, one: Device, other: Device) -> tuple[str | None, float]:
        pair = (one.ordinal, other.ordinal)
        if pair not in self.rates:
            link = self.link(one, other)
            speed = link_gbytes_per_second(self.hardware, link)
            assumed = (
                _ASSUMED_NVLINK if rank(link.kind) > NVLINK_RANK else _ASSUMED.get(link.kind or "", _ASSUMED["SYS"])
            )
            self.rates[pair] = link.kind, speed or assumed
        return self.rates[pair]

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


def is_wished(layout: Layout, wished: str | None) -> bool:
    """Whether a layout is the one that an inventory names: `tensor`, `layers`, `single`, `tp2pp2`."""
    if wished is None:
        return True
    spread = layout.tensor_parallel, layout.pipeline_parallel
    if wished == "single":
        return layout.kind == "single"
    if wished == "tensor":
        return spread[0] > 1 and spread[1] == 1
    if wished == "layers":
        return spread[0] == 1 and spread[1] > 1
    numbers = {kind: int(count) for kind, count in re.findall(r"(tp|pp)(\d+)", wished)}
    return layout.kind != "cpu" and spread == (numbers.get("tp", 1), numbers.get("pp", 1))


def layer_assignments(topology: Topology) -> Iterator[GpuAssignment]:
    """llama.cpp: each GPU alone, then layers over two and more, those that belong together first."""
    devices = topology.devices
    for device in devices:
        yield GpuAssignment(Layout(kind="single"), ((device,),))
    seen: set[frozenset[int]] = set()
    roomiest = sorted(devices, key=lambda one: (-one.offered_bytes, -_pace(one), devices.index(one)))
    # Unequal cards the roomiest first, whatever their numbers: the plan does not depend on how they are numbered.
    rising = [tuple(roomiest[:size]) for size in range(2, len(devices) + 1)]
    for group in (*topology.pairs, *topology.quads, *rising):
        members = frozenset(device.ordinal for device in group)
        if len({device.throughput.backend for device in group}) == 1 and members not in seen:
            seen.add(members)
            kind, speed = topology.worst(group)
            # The last holds the output too: which it is must not depend on how unequal cards are numbered.
            ordered = tuple(sorted(group, key=lambda one: (-one.kind[1], _pace(one), one.name)))
            yield GpuAssignment(Layout(kind="layers", pipeline_parallel=len(group), link=kind), (ordered,), (speed,))


def _pace(device: Device) -> float:
    """What it reads in a second."""
    return kind_of(device.throughput).read * device.throughput.bandwidth_gbytes_per_second


def shared_assignments(topology: Topology) -> Iterator[GpuAssignment]:
    """llama.cpp: the GPUs that share each layer, those that belong together first, also unequal ones."""
    for assignment in layer_assignments(topology):
        if (size := len(assignment.devices)) > 1:
            layout = Layout(kind="tensor", tensor_parallel=size, link=assignment.layout.link)
            yield assignment._replace(layout=layout)


def replicated_assignments(topology: Topology) -> Iterator[GpuAssignment]:
    """llama.cpp: two and more copies on equal GPUs, each on one, on a pair, on four; those that are neighbours."""
    for kind in dict.fromkeys(device.kind for device in topology.devices):
        same = tuple(device for device in topology.devices if device.kind == kind)
        singles = tuple((device,) for device in same)
        for groups in (singles, _of_kind(topology.pairs, same), _of_kind(topology.quads, same)):
            for count in range(2, len(groups) + 1):
                for start in range(len(groups) - count + 1):
                    yield _layered(topology, groups[start : start + count])


def _layered(topology: Topology, replicas: tuple[Group, ...]) -> GpuAssignment:
    worst, size = [topology.worst(group) for group in replicas], len(replicas[0])
    layout = Layout(
        kind="single" if size == 1 else "layers",
        pipeline_parallel=size,
        replicas=len(replicas),
        link=min(worst, key=_by_rank)[0],
    )
    return GpuAssignment(layout, replicas, tuple(speed for _, speed in worst) if size > 1 else ())


def tensor_assignments(topology: Topology) -> Iterator[GpuAssignment]:
    """vLLM: tensor parallel on one, two, four, eight GPUs of a kind, pipelines of pairs, and replicas of each."""
    for kind in dict.fromkeys(device.kind for device in topology.devices):
        same = tuple(device for device in topology.devices if device.kind == kind)
        pairs = _of_kind(topology.pairs, same)
        quads = _of_kind(topology.quads, same)
        singles = tuple((device,) for device in same)
        yield from _replicated(topology, "single", singles, 1)
        yield from _replicated(topology, "tensor", pairs, 2)
        yield from _replicated(topology, "tensor", quads, 4)
        octets = tuple(same[start : start + 8] for start in range(0, len(same) - 7, 8))
        yield from _replicated(topology, "tensor", octets, 8)
        if len(pairs) >= 2:
            yield _assignment(topology, "pipeline", (_joined(pairs[:2]),), 2, stages=2)
            if len(pairs) >= 4:
                yield _assignment(topology, "pipeline", (_joined(pairs[:4]),), 2, stages=4)
        if len(quads) >= 2:
            yield _assignment(topology, "pipeline", (_joined(quads[:2]),), 4, stages=2)
        if len(same) > 1:
            yield _assignment(topology, "pipeline", (same,), 1, stages=len(same))


def _replicated(topology: Topology, kind: LayoutKind, groups: Sequence[Group], tensor: int) -> Iterator[GpuAssignment]:
    for group in groups:
        yield _assignment(topology, kind, (group,), tensor)
    for count in range(2, len(groups) + 1):
        yield _assignment(topology, kind, tuple(groups[:count]), tensor)


def _assignment(
    topology: Topology, kind: LayoutKind, replicas: tuple[Group, ...], tensor: int, *, stages: int = 1
) -> GpuAssignment:
    worst = [
        min((topology.worst(group[start : start + tensor]) for start in range(0, len(group), tensor)), key=_by_rank)
        for group in replicas
    ]
    layout = Layout.model_construct(
        kind=kind,
        tensor_parallel=tensor,
        pipeline_parallel=stages,
        replicas=len(replicas),
        link=min(worst, key=_by_rank)[0],
    )
    return GpuAssignment(layout, replicas, tuple(speed for _, speed in worst))


def _by_rank(found: tuple[str | None, float]) -> tuple[int, float]:
    return rank(found[0]), found[1]


def _of_kind(groups: Iterable[Group], same: Group) -> tuple[Group, ...]:
    return tuple(group for group in groups if all(device in same for device in group))


def _joined(groups: Iterable[Group]) -> Group:
    return tuple(device for group in groups for device in group)
