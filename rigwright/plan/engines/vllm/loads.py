"""How a plan asks vLLM to serve: by how much of each GPU, and with the longest context that fits."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from rigwright.models.values import Model
from rigwright.plan.engines.vllm.cache import VllmLoad, batched_tokens, kv_capacity
from rigwright.plan.engines.vllm.memory import capacity_of, used_bytes
from rigwright.plan.layouts import GpuAssignment
from rigwright.plan.wish import ServiceWish

# vLLM's own default, and what owners of cards of 24 GB run for days; what is left holds what others allocate.
_UTILIZATIONS = (0.92, 0.95)
# Layers with a window keep room for all that is computed at once: where memory is short, that is halved.
_FEWER_TOKENS = 1024

# A cache large enough that blocks, which are whole, do not count.
_PROBE_BYTES = 1 << 50


def loads_of(
    wish: ServiceWish, model: Model, assignment: GpuAssignment, sizes: Sequence[int], *, version: str
) -> tuple[VllmLoad, ...]:
    """With vLLM's usual part of each GPU, then what leaves more to the cache, for where nothing fits that.

    None takes more than the tightest GPU has to offer.
    """
    offered = min(device.offered_bytes / device.vram_bytes for device in assignment.devices)
    usual, most = (int(min(part, offered) * 100) / 100 for part in _UTILIZATIONS)
    load = VllmLoad(
        max_model_len=1,
        tensor_parallel=assignment.layout.tensor_parallel,
        pipeline_parallel=assignment.layout.pipeline_parallel,
        speculative_tokens=wish.own_drafts,
        utilization=usual,
        max_batched_tokens=batched_tokens(sizes),
        max_seqs=_slots(wish, assignment),
        version=version,
    )
    more = load._replace(utilization=most)
    return (load, more, more._replace(max_batched_tokens=_FEWER_TOKENS)) if model.swa_layers else (load, more)


def _slots(wish: ServiceWish, assignment: GpuAssignment) -> int:
    """The requests that each copy serves at once."""
    return max(1, -(-wish.users // assignment.layout.replicas))


# Copies of a layout and its like on equal GPUs ask the same.
@lru_cache(maxsize=4096)
def longest(
    model: Model, loads: tuple[VllmLoad, ...], steps: tuple[int, ...], sizes: tuple[int, ...]
) -> VllmLoad | None:
    """The longest context that fits, with the first of `loads` that any fits with; the last one takes the least."""

    def fits(load: VllmLoad) -> bool:
        capacity = capacity_of(model, load, sizes)
        # vLLM holds one block back.
        return capacity is not None and capacity.concurrency > 1

    shortest = [load._replace(max_model_len=steps[-1]) for load in loads]
    if not fits(shortest[-1]):
        return None
    best = next(filter(fits, shortest))
    low, high = 0, len(steps) - 2
    while low <= high:
        middle = (low + high) // 2
        load = best._replace(max_model_len=steps[middle])
        if fits(load):
            best, high = load, middle - 1
        else:
            low = middle + 1
    return best


def least(model: Model, load: VllmLoad, sizes: Sequence[int]) -> tuple[int, int]:
    """What the fullest GPU needs for one request of that context, and what vLLM may take of it."""
    one = -int(-_PROBE_BYTES // kv_capacity(model, load, _PROBE_BYTES).concurrency)
    needs = [one + used_bytes(model, load, rank // load.tensor_parallel) for rank in range(len(sizes))]
    fullest = max(range(len(sizes)), key=lambda rank: needs[rank] - sizes[rank] * load.utilization)
    offers = int(sizes[fullest] * load.utilization)
    return max(needs[fullest], offers + 1), offers
