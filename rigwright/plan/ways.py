"""The values of the search: ways to serve with their worth and what they take, near misses, and their ground."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cache
from typing import NamedTuple

from rigwright.catalogue import load as catalogue
from rigwright.models.offers import Offer
from rigwright.plan.choice import Choice
from rigwright.plan.known_bad import Situation
from rigwright.plan.layouts import Site, Topology
from rigwright.plan.memory import Load
from rigwright.plan.ranking import Score
from rigwright.plan.speed import Host
from rigwright.plan.speed.measured import Measurement
from rigwright.plan.wish import ServiceWish
from rigwright.units import format_bytes


class Candidate(NamedTuple):
    """A choice with its worth and what it takes: bytes of each GPU by ordinal, and of RAM.

    `site` is where this one runs; where equal GPUs are reckoned once, `choice` names the first such place.
    """

    choice: Choice
    score: Score
    gpu_bytes: dict[int, int]
    ram_bytes: int
    site: Site

    def settled(self) -> Candidate:
        """The same with its own place in its choice."""
        return self._replace(choice=replace(self.choice, layout=self.site.layout, replicas=self.site.replicas))


def thinned(ways: Iterable[Candidate], *, step: float = 1.0) -> list[Candidate]:
    """Ways on the same GPUs, the best first, without those that a better one beats, by a step, in what they take."""
    rows = [(-round(one.score.total, 6), sum(one.gpu_bytes.values()), place, one) for place, one in enumerate(ways)]
    kept: list[Candidate] = []
    takes: list[tuple[float, float]] = []
    for _, gpus, _, one in sorted(rows):
        if not any(less <= gpus and ram <= one.ram_bytes for less, ram in takes):
            kept.append(one)
            takes.append((gpus * step, one.ram_bytes * step))
    return kept


class Miss(NamedTuple):
    """A way that does not fit, and by how many bytes; with `is_each` all numbers are those of one GPU, the fullest."""

    engine: str
    offer: Offer
    site: Site
    load: Load
    needs_bytes: int
    offers_bytes: int
    short_bytes: int
    is_each: bool = False

    @property
    def short(self) -> str:
        """`3.2 GiB short on each GPU`."""
        each = " on each GPU" if self.is_each and len(self.site.devices) > 1 else ""
        return f"{format_bytes(self.short_bytes)} short{each}"

    @property
    def total_short_bytes(self) -> int:
        """What is missing on all GPUs together: to compare misses."""
        return self.short_bytes * (len(self.site.devices) if self.is_each else 1)


@dataclass
class Possibilities:
    """What a search found: ways that work, near misses, and why whole ways were refused."""

    candidates: list[Candidate] = field(default_factory=list)
    misses: list[Miss] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


class Ground(NamedTuple):
    """What candidates stand on: the devices that a wish may use, the rig's RAM and CPU, and what was measured."""

    topology: Topology
    ram_bytes: int
    host: Host
    driver_version: str | None = None
    measurements: tuple[Measurement, ...] = ()
    versions: tuple[tuple[str, str], ...] = ()
    is_shared: bool = False

    def version(self, engine: str) -> str:
        """The pinned release of an engine."""
        return dict(self.versions).get(engine, "0")


@cache
def cache_loss_percent(cache_type: str) -> float:
    """What a type of KV cache costs in quality, in percent of perplexity."""
    row = catalogue("quants")["kv_cache"].get(cache_type, {})
    return float(row.get("loss_percent", 0.0))


def situation(
    wish: ServiceWish,
    offer: Offer,
    ground: Ground,
    site: Site,
    *,
    engine: str,
    load: Load,
    pipeline_parallel: int = 1,
    cache_types: tuple[str, ...] = (),
) -> Situation:
    """A way to serve in the words of the catalogue of known troubles."""
    every = [device for group in site.replicas for device in group]
    return Situation(
        engine=engine,
        version=ground.version(engine),
        architecture=offer.model.architecture,
        format=offer.format,
        quant=offer.quant,
        tensor_parallel=site.layout.tensor_parallel,
        pipeline_parallel=pipeline_parallel,
        replicas=site.layout.replicas,
        draft_tokens=wish.draft,
        cache_types=cache_types,
        is_fully_linked=site.is_fully_linked,
        gpu_count=len(every),
        compute_capabilities=tuple(sorted({device.pace.compute_capability or "" for device in every} - {""})),
        vendors=tuple(sorted({device.gpu.vendor or "NVIDIA" for device in every})),
        driver_version=ground.driver_version,
        slots=load.slots,
        is_mixture=offer.model.is_mixture,
        revision=offer.sha256 or offer.revision,
    )
