"""The constants of the speed formula by kind of card. Rows: rigwright/catalogue/speed.yml."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal, NamedTuple

from rigwright.catalogue import load

Backend = Literal["cuda", "rocm", "vulkan", "metal", "cpu"]


class Throughput(NamedTuple):
    """How fast a device can be: its memory's bandwidth, and what decides how much of it an engine reaches.

    `kind` is a row of the catalogue of speeds, for cards that their backend does not tell apart (`cdna`, `strix`).
    `is_known` is False where the bandwidth is a guess.
    """

    bandwidth_gbytes_per_second: float
    vendor: str | None
    compute_capability: str | None
    backend: Backend
    is_known: bool = True
    kind: str | None = None


class Host(NamedTuple):
    """What the rig around the GPUs brings; None is not known."""

    ram_gbytes_per_second: float | None
    cores: int | None
    pcie_gbytes_per_second: float | None

    def part(self, copies: int) -> Host:
        """What each of several copies has of it that work at the same time."""
        if copies == 1:
            return self
        ram: float = self.ram_gbytes_per_second or settings()["offload"]["ram_gbytes_per_second"]
        cores = max(1, self.cores // copies) if self.cores else None
        return self._replace(ram_gbytes_per_second=ram / copies, cores=cores)


class Kind(NamedTuple):
    """The constants of one kind of card, as the catalogue explains them."""

    name: str
    read: float
    cache: float
    overhead: float
    recurrent: float
    prefill: float


class Launches(NamedTuple):
    """The fixed cost of one token in seconds: per layer, on top per mixture, per recurrent layer, per token."""

    layer: float
    mixture: float
    recurrent: float
    token: float


def kind_of(throughput: Throughput) -> Kind:
    """The kind of a device: named by the pace, else by its compute capability, else by its backend."""
    return _kind(
        throughput.kind, throughput.compute_capability if throughput.backend == "cuda" else None, throughput.backend
    )


@cache
def launches() -> Launches:
    """What a token's layers cost at overhead 1."""
    row = settings()["launch_microseconds"]
    return Launches(*(row[name] * 1e-6 for name in Launches._fields))


@cache
def all_reduce_seconds(link_gbytes_per_second: float | None) -> float:
    """One small all-reduce; a link that nothing is known of counts as peer to peer over PCIe."""
    link = 10.0 if link_gbytes_per_second is None else link_gbytes_per_second
    rows = settings()["all_reduce_microseconds"]
    return float(next(row["microseconds"] for row in rows if link >= row["from_gbytes_per_second"])) * 1e-6


def settings() -> dict[str, Any]:
    """The catalogue of speeds."""
    return load("speed")


@cache
def _kind(name: str | None, capability: str | None, backend: str) -> Kind:
    rows = settings()
    by_number = rows["capabilities"]
    if name is None and capability:
        name = by_number.get(capability) or by_number.get(capability.split(".")[0])
    name = name or rows["backends"][backend]
    return Kind(name, *(rows["kinds"][name][field] for field in Kind._fields[1:]))
