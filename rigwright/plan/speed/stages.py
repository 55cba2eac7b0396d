"""The time of one token, device by device: each works on its layers, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rigwright.plan.memory import Placement
from rigwright.plan.memory.slices import Rows, slices
from rigwright.plan.speed.kinds import (
    EngineSpeed,
    Host,
    Kind,
    Throughput,
    all_reduce,
    engine_speed,
    experts_share,
    kind_of,
    launches,
    settings,
)
from rigwright.plan.speed.reads import Reads

# From there on weights are not quantised.
_PLAIN_BITS = 12
_CPU = Throughput(60.0, None, None, "cpu")


class Work(NamedTuple):
    """What a token asks for. `embedding` is the width of what devices hand to each other."""

    reads: Reads
    embedding: int
    depth_tokens: int
    window_tokens: int
    key_bytes: float
    value_bytes: float


class Seconds(NamedTuple):
    """What one device, or one group of tensor parallel devices, takes for a token: first to last layer of it.

    `experts` is the part of `weights` that is routed experts; `gflops` what the device computes with long prompts;
    `wire` what handing over a further token of a prompt or a batch takes, `waits` what a batch waits for it besides.
    """

    weights: float
    cache: float
    fixed: float
    experts: float
    share: float
    gflops: float
    is_host: bool = False
    copied_bytes: float = 0.0
    wire: float = 0.0
    waits: float = 0.0

    @property
    def total(self) -> float:
        """All of it."""
        return self.weights + self.cache + self.fixed


def stages(
    work: Work,
    throughputs: tuple[Throughput, ...],
    placement: Placement | None,
    *,
    engine: str,
    tensor_parallel: int,
    link_gbytes_per_second: float | None,
    host: Host | None,
) -> list[Seconds]:
    """The parts of a token's time. What stays in RAM comes first: layers of the CPU, then experts."""
    count = len(work.reads.others) - 1
    if placement and placement.shares:
        return [_shared_part(work, throughputs, placement.shares, link_gbytes_per_second)]
    groups = _groups(throughputs, tensor_parallel)
    bounds = _bounds(placement, len(groups), count)
    start = bounds[0] if groups else count
    kept = min(max(placement.cpu_expert_layers, start), count) if placement and groups else start
    parts = _host_parts(work, start, kept, host, is_alone=not groups or start == count)
    if start == count:
        return parts
    last, own = len(groups) - 1, engine_speed(engine)
    for place, group in enumerate(groups):
        first, end = bounds[place], bounds[place + 1]
        fixed = _launches(work, kind_of(group[0]), first, end, is_last=place == last)
        fixed = _fixed(fixed, group, end - first, own, link_gbytes_per_second, len(groups))
        fixed += own.window_seconds * (work.reads.windows[end] - work.reads.windows[first])
        part = _device_part(work, group, first, end, kept, fixed, own, is_last=place == last)
        if group[1] > 1:
            one = all_reduce(link_gbytes_per_second, group[1])
            count, size = 2 * (end - first), 2 * work.embedding
            part = part._replace(wire=count * size * one.seconds_per_byte, waits=count * one.batch_seconds)
        parts.append(part)
    return parts


def _groups(throughputs: tuple[Throughput, ...], tensor_parallel: int) -> list[tuple[Throughput, int]]:
    """Devices that share layers wait for the slowest of them."""
    if len(throughputs) == 1 and tensor_parallel <= 1:
        return [(throughputs[0], 1)]
    size = max(1, min(tensor_parallel, len(throughputs)))
    teams = [throughputs[place : place + size] for place in range(0, len(throughputs), size)]
    return [(min(team, key=lambda throughput: throughput.bandwidth_gbytes_per_second), len(team)) for team in teams]


def _bounds(placement: Placement | None, groups: int, count: int) -> list[int]:
    """Where each device's layers start, and the end of the last: `[0, 20, 40]`."""
    if placement is None:
        return [count * place // max(1, groups) for place in range(groups + 1)]
    start = min(count, max(0, count - placement.gpu_layers))
    if groups == 1:
        return [start, count]
    if len(placement.split) != groups:
        return [start + (count - start) * place // max(1, groups) for place in range(groups + 1)]
    bounds = [start]
    for layers in placement.split:
        bounds.append(min(count, bounds[-1] + layers))
    return [*bounds[:-1], count]


def _device_part(
    work: Work,
    group: tuple[Throughput, int],
    first: int,
    end: int,
    kept: int,
    fixed: float,
    engine: EngineSpeed,
    *,
    is_last: bool,
) -> Seconds:
    """What a device reads of its layers, and of the experts from `kept` on."""
    throughput, size = group
    reads, kind, seen = work.reads, kind_of(throughput), max(first, min(kept, end))
    bandwidth = throughput.bandwidth_gbytes_per_second * 1e9 * size
    share = kind.read * engine.read_share(reads.bits)
    read = share * bandwidth if engine.read else kind.bytes_per_second(bandwidth / size, reads.bits) * size
    experts = (reads.experts[end] - reads.experts[seen]) * reads.packing / read
    if experts:
        experts /= experts_share(throughput.backend, is_plain=reads.bits >= _PLAIN_BITS)
    others = (reads.others[end] - reads.others[first]) * reads.packing + (reads.state[end] - reads.state[first])
    others += reads.head_bytes if is_last else 0
    return Seconds(
        weights=others / read + experts,
        cache=_cache_bytes(work, first, end) / (kind.cache * bandwidth),
        fixed=fixed,
        experts=experts,
        share=(end - first) / (len(reads.others) - 1),
        gflops=(kind.prefill_vllm if engine.read else kind.prefill) * throughput.bandwidth_gbytes_per_second * size,
    )


def _shared_part(
    work: Work, throughputs: tuple[Throughput, ...], shares: tuple[int, ...], link_gbytes_per_second: float | None
) -> Seconds:
    """llama.cpp's GPUs that share each layer: all wait for the one that has most to read, and tell each other."""
    reads, count, pieces = work.reads, len(work.reads.others) - 1, work.reads.pieces
    kinds = [kind_of(one) for one in throughputs]
    bytes_per_second = [one.bandwidth_gbytes_per_second * 1e9 for one in throughputs]
    read = [kind.bytes_per_second(one, reads.bits) for kind, one in zip(kinds, bytes_per_second, strict=True)]
    head = (1.0,) * len(shares) if reads.is_head_copied else tuple(share / sum(shares) for share in shares)
    experts = reads.experts[count] * reads.packing * _slowest(slices(pieces.experts, shares), read)
    experts /= experts_share(throughputs[0].backend, is_plain=reads.bits >= _PLAIN_BITS)
    others = (reads.others[count] * reads.packing + reads.state[count]) * _slowest(slices(pieces.others, shares), read)
    cached = [kind.cache * speed for kind, speed in zip(kinds, bytes_per_second, strict=True)]
    slowest = max(kinds, key=lambda kind: kind.overhead)
    exchange = settings()["tensor_split"]["exchange_microseconds"] * 1e-6
    return Seconds(
        weights=others + experts + reads.head_bytes * _slowest((head,), read),
        cache=_cache_bytes(work, 0, count) * _slowest(slices(pieces.cache, shares), cached),
        fixed=_launches(work, slowest, 0, count, is_last=True) + 2 * count * exchange * slowest.overhead,
        experts=experts,
        share=1.0,
        gflops=len(shares) * min(_gflops(kind, one) for kind, one in zip(kinds, throughputs, strict=True)),
        wire=2 * count * 2 * work.embedding * all_reduce(link_gbytes_per_second, len(shares)).seconds_per_byte,
    )


def _slowest(rows: Rows, bytes_per_second: Sequence[float]) -> float:
    """Seconds per byte of a layer until the slowest GPU has read its part, over all turns."""
    return sum(max(part / speed for part, speed in zip(row, bytes_per_second, strict=True)) for row in rows) / len(rows)


def _fixed(
    fixed: float,
    group: tuple[Throughput, int],
    layers: int,
    engine: EngineSpeed,
    link_gbytes_per_second: float | None,
    groups: int,
) -> float:
    """Launches as they are with this engine, and what devices wait for each other."""
    if engine.overhead:
        fixed *= engine.overhead
    if groups > 1:
        split = settings()["layer_split"]
        fixed *= 1.0 if engine.overhead else split["overhead"]
        fixed += (split["hop_microseconds"] * 1e-6 + engine.pipeline_seconds) * (groups - 1) / groups
    if group[1] > 1:
        fixed += 2 * layers * all_reduce(link_gbytes_per_second, group[1]).seconds
    return float(fixed)


def _host_parts(work: Work, start: int, kept: int, host: Host | None, *, is_alone: bool) -> list[Seconds]:
    """Layers before `start` are the CPU's, and the experts of those before `kept`."""
    if not start and kept <= start:
        return []
    reads, row = work.reads, settings()["offload"]
    # A CPU unpacks what is packed: nobody has seen a quantised cache make one faster.
    plain = work._replace(key_bytes=max(2.0, work.key_bytes), value_bytes=max(2.0, work.value_bytes))
    known = host.ram_gbytes_per_second if host else None
    throughput = _CPU._replace(bandwidth_gbytes_per_second=known or row["ram_gbytes_per_second"])
    kind, bandwidth = kind_of(throughput), throughput.bandwidth_gbytes_per_second * 1e9
    experts = reads.experts[kept] * reads.packing / (kind.read * bandwidth)
    others = reads.others[start] * reads.packing + reads.state[start] + (reads.head_bytes if is_alone else 0)
    fixed = _launches(work, kind, 0, start) + (kept - start) * row["sync_microseconds"] * 1e-6
    return [
        Seconds(
            weights=others / (kind.read * bandwidth) + experts,
            cache=_cache_bytes(plain, 0, start) / (kind.cache * bandwidth),
            fixed=fixed,
            experts=experts,
            share=start / (len(reads.others) - 1),
            gflops=_gflops(kind, throughput),
            is_host=True,
            copied_bytes=0.0 if is_alone else reads.all_experts[kept] + reads.others[start],
        )
    ]


def _cache_bytes(work: Work, first: int, end: int) -> float:
    """What attention reads of the KV cache: all of it, or its window."""
    if not work.depth_tokens:
        return 0.0
    reads = work.reads
    full = (reads.key[end] - reads.key[first]) * work.key_bytes
    full += (reads.value[end] - reads.value[first]) * work.value_bytes
    window = (reads.window_key[end] - reads.window_key[first]) * work.key_bytes
    window += (reads.window_value[end] - reads.window_value[first]) * work.value_bytes
    return full * work.depth_tokens + window * work.window_tokens


def _launches(work: Work, kind: Kind, first: int, end: int, *, is_last: bool = False) -> float:
    """Those of one device alone; the last one also finds the token."""
    reads = work.reads
    others = reads.seconds[end] - reads.seconds[first] + (launches().token if is_last else 0.0)
    return others * kind.overhead + (reads.recurrent_seconds[end] - reads.recurrent_seconds[first]) * kind.recurrent


def _gflops(kind: Kind, throughput: Throughput) -> float:
    return kind.prefill * throughput.bandwidth_gbytes_per_second
