"""Values of the search: candidates with their scores and what they take, near misses, and the search space."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cache
from math import inf
from typing import NamedTuple

from rigwright.catalogue import load as catalogue
from rigwright.models.variants import Variant
from rigwright.plan.choice import Choice
from rigwright.plan.known_issues import Configuration
from rigwright.plan.layouts import GpuAssignment, Topology
from rigwright.plan.memory import Load, Said
from rigwright.plan.network import Network
from rigwright.plan.ranking import Score
from rigwright.plan.speed import Host
from rigwright.plan.speed.measured import Measurement
from rigwright.plan.wish import ServiceWish
from rigwright.units import format_bytes


class Candidate(NamedTuple):
    """A choice with its worth and what it takes: bytes of each GPU by ordinal, and of RAM.

    `site` is where this one runs; where equal GPUs are searched once, `choice` names the first such place.
    """

    choice: Choice
    score: Score
    gpu_bytes: dict[int, int]
    ram_bytes: int
    assignment: GpuAssignment

    def placed(self) -> Candidate:
        """The same with its own place in its choice."""
        return self._replace(
            choice=replace(self.choice, layout=self.assignment.layout, replicas=self.assignment.replicas)
        )


def pareto_front(candidates: Iterable[Candidate], *, step: float = 1.0) -> list[Candidate]:
    """Candidates on the same GPUs, best first, without those that a better one beats, by a step, in bytes."""
    rows = [
        (-round(one.score.total, 6), sum(one.gpu_bytes.values()), place, one) for place, one in enumerate(candidates)
    ]
    kept: list[Candidate] = []
    # What the better ones take, as stairs: the more of the GPUs, the less RAM.
    stairs: list[tuple[float, float]] = []
    for _, gpus, _, one in sorted(rows):
        place = bisect_right(stairs, (gpus, inf))
        if place and stairs[place - 1][1] <= one.ram_bytes:
            continue
        kept.append(one)
        takes = gpus * step, one.ram_bytes * step
        place = bisect_left(stairs, takes)
        if not place or stairs[place - 1][1] > takes[1]:
            end = place
            while end < len(stairs) and stairs[end][1] >= takes[1]:
                end += 1
            stairs[place:end] = [takes]
    return kept


class Miss(NamedTuple):
    """A candidate that does not fit, and by how many bytes; with `is_each` all are those of one GPU, the fullest."""

    engine: str
    variant: Variant
    assignment: GpuAssignment
    load: Load
    needs_bytes: int
    offers_bytes: int
    short_bytes: int
    is_each: bool = False

    @property
    def short(self) -> str:
        """`3.2 GiB short on each GPU`."""
        each = " on each GPU" if self.is_each and len(self.assignment.devices) > 1 else ""
        return f"{format_bytes(self.short_bytes)} short{each}"

    @property
    def total_short_bytes(self) -> int:
        """What is missing on all GPUs together: to compare misses."""
        return self.short_bytes * (len(self.assignment.devices) if self.is_each else 1)


@dataclass
class SearchResult:
    """The result of a search: candidates, near misses, and why whole kinds of candidates were refused."""

    candidates: list[Candidate] = field(default_factory=list)
    misses: list[Miss] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


class SearchSpace(NamedTuple):
    """The search space of a wish: the devices that it may use, the rig's RAM and CPU, and what was measured.

    `said` is what the dry runs of its service said of compute buffers; `network` joins several rigs.
    """

    topology: Topology
    ram_bytes: int
    host: Host
    driver_version: str | None = None
    measurements: tuple[Measurement, ...] = ()
    versions: tuple[tuple[str, str], ...] = ()
    is_shared: bool = False
    said: tuple[Said, ...] = ()
    network: Network | None = None

    def version(self, engine: str) -> str:
        """The pinned release of an engine."""
        return dict(self.versions).get(engine, "0")


@cache
def cache_loss_percent(cache_type: str) -> float:
    """What a type of KV cache costs in quality, in percent of perplexity."""
    row = catalogue("quants")["kv_cache"].get(cache_type, {})
    return float(row.get("loss_percent", 0.0))


def configuration(
    wish: ServiceWish,
    variant: Variant,
    space: SearchSpace,
    assignment: GpuAssignment,
    *,
    engine: str,
    load: Load,
    pipeline_parallel: int = 1,
    cache_types: tuple[str, ...] = (),
) -> Configuration:
    """A candidate in the terms of the catalogue of known issues."""
    every = [device for group in assignment.replicas for device in group]
    return Configuration(
        engine=engine,
        version=space.version(engine),
        architecture=variant.model.architecture,
        format=variant.format,
        quant=variant.quant,
        tensor_parallel=assignment.layout.tensor_parallel,
        pipeline_parallel=pipeline_parallel,
        replicas=assignment.layout.replicas,
        draft_tokens=load.draft_tokens or wish.own_drafts,
        cache_types=cache_types,
        is_fully_linked=assignment.is_fully_linked,
        gpu_count=len(every),
        compute_capabilities=tuple(sorted({device.throughput.compute_capability or "" for device in every} - {""})),
        vendors=tuple(sorted({device.gpu.vendor or "NVIDIA" for device in every})),
        driver_version=space.driver_version,
        slots=load.slots,
        is_mixture=variant.model.is_mixture,
        revision=variant.sha256 or variant.revision,
    )
