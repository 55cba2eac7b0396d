"""The constants of the speed formula by kind of card. Rows: rigwright/catalogue/speed.yml."""

from __future__ import annotations

import math
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
    prefill_vllm: float
    unpack: float

    def bytes_per_second(self, bandwidth: float, bits: float) -> float:
        """What llama.cpp reads of weights of so many bits, of a memory's `bandwidth` in bytes per second."""
        return min(self.read * bandwidth, self.unpack * 1e9 * bits / 8)


class Launches(NamedTuple):
    """The fixed cost of one token in seconds: per layer, on top per mixture and per feed-forward beside it, per
    recurrent layer, per token."""

    layer: float
    mixture: float
    beside: float
    recurrent: float
    token: float


class EngineSpeed(NamedTuple):
    """The constants of one engine. `overhead` is None where it follows the layout; `read` goes by bits, most first."""

    overhead: float | None
    batch_share: float
    step_tokens: int
    window_seconds: float
    pipeline_seconds: float
    read: tuple[tuple[float, float], ...]

    def read_share(self, bits: float) -> float:
        """The part of a kind's `read` that weights of so many bits reach."""
        return next((share for least, share in self.read if bits >= least), 1.0)


class AllReduce(NamedTuple):
    """One all-reduce: of a few kilobytes in seconds, how much longer a batch's waits, and what each byte costs."""

    seconds: float
    batch_seconds: float
    seconds_per_byte: float


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
def engine_speed(name: str) -> EngineSpeed:
    """What differs by engine; llama.cpp's for one that speed.yml does not know."""
    rows = settings()["engines"]
    row = rows.get(name, rows["llamacpp"])
    return EngineSpeed(
        overhead=row.get("overhead"),
        batch_share=row["batch_share"],
        step_tokens=row["step_tokens"],
        window_seconds=row.get("window_microseconds", 0) * 1e-6,
        pipeline_seconds=row.get("pipeline_microseconds", 0) * 1e-6,
        read=tuple((one["from_bits"], one["share"]) for one in row.get("read", ())),
    )


@cache
def all_reduce(link_gbytes_per_second: float | None, devices: int) -> AllReduce:
    """One all-reduce among `devices`; a link that nothing is known of counts as peer to peer over PCIe."""
    if devices < 2:
        return AllReduce(0.0, 0.0, 0.0)
    link = 10.0 if link_gbytes_per_second is None else link_gbytes_per_second
    row = next(row for row in settings()["all_reduce"] if link >= row["from_gbytes_per_second"])
    crowd = devices / 2 if row["is_shared"] else 1.0
    sent = 2 * (devices - 1) / devices
    seconds = row["microseconds"] * 1e-6 * (math.log2(devices) if row["is_shared"] else 1.0)
    return AllReduce(seconds, seconds * (row["batch_factor"] - 1), sent * crowd / (row["share"] * link * 1e9))


@cache
def experts_share(backend: Backend, *, is_plain: bool) -> float:
    """The part of a whole matrix's reading that scattered experts reach; `is_plain` where they are not quantised."""
    row = settings()["experts"]
    return float(row["vulkan_16_bit" if is_plain and backend == "vulkan" else "read"])


@cache
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
    row = rows["kinds"][name]
    row = {"unpack": math.inf, "prefill_vllm": row["prefill"], **row}
    return Kind(name, *(row[field] for field in Kind._fields[1:]))
