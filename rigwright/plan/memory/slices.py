"""Slices: how llama.cpp cuts each layer over GPUs with `--split-mode tensor`, which is not quite as it is asked to.

Each cut is rounded down to whole heads or whole blocks of a quant, and which GPU gets the rest changes from layer to
layer. A mixture's experts are narrow: 512 wide in blocks of 256 they are in halves, whatever is asked for.
Source: `llama_meta_device_get_split_state` in llama-model.cpp of b11434.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil
from typing import NamedTuple

from rigwright.models.ggml import TYPES_BY_NAME
from rigwright.models.values import Model
from rigwright.plan.memory.values import Load, MemoryEstimate, MemoryPart

# Wide kernels want so many values at once.
_KERNEL_VALUES = 128
_USUAL_BLOCK_VALUES = 256

_CACHES = ("KV cache", "SWA cache", "recurrent state")

Rows = tuple[tuple[float, ...], ...]


class Pieces(NamedTuple):
    """Into how many pieces a layer's parts can be cut at most: its experts, its other weights, its cache."""

    others: int
    experts: int
    cache: int


def most_gpus(model: Model) -> int:
    """The most GPUs over which a layer can be cut so that each has a part of its cache: no head is cut."""
    return pieces_of(model).cache


@lru_cache(maxsize=1024)
def pieces_of(model: Model) -> Pieces:
    """The pieces of a model's layers."""
    heads = min((count for count in model.kv_heads if count), default=1)
    block = _block_values(model)
    experts = max(1, model.expert_feed_forward // block) if model.is_mixture else 1
    # Of a dense layer the feed-forward is most; of a mixture's the attention, or a delta net, is what is left.
    groups = model.ssm.group_count if model.ssm else heads
    others = groups if model.is_mixture else max(1, model.feed_forward // block)
    return Pieces(max(heads, others), experts, heads)


@lru_cache(maxsize=1024)
def slices(pieces: int, shares: tuple[int, ...]) -> Rows:
    """The part of a layer on each GPU: a row for each turn in which they are served, all as frequent.

    >>> slices(2, (3, 1))
    ((0.5, 0.5), (1.0, 0.0))
    """
    count, total = len(shares), sum(shares)
    rows = []
    for turn in range(count):
        order = [(turn + place) % count for place in range(count)]
        row, reached, cut = [0.0] * count, 0, 0
        for device in order:
            reached += shares[device]
            end = pieces * reached // total
            row[device], cut = (end - cut) / pieces, end
        rows.append(tuple(row))
    return tuple(rows)


@lru_cache(maxsize=1024)
def mean_slices(pieces: int, shares: tuple[int, ...]) -> tuple[float, ...]:
    """The part of all layers together that is on each GPU."""
    rows = slices(pieces, shares)
    return tuple(sum(column) / len(rows) for column in zip(*rows, strict=True))


class Cut(NamedTuple):
    """The part that each GPU has of a model: of its layers, of its experts, of its output, of its caches."""

    others: tuple[float, ...]
    experts: tuple[float, ...]
    output: tuple[float, ...]
    cache: tuple[float, ...]

    def of_weights(self, others: int, experts: int, output: int) -> tuple[int, ...]:
        """The bytes of weights on each GPU."""
        parts = zip(self.others, self.experts, self.output, strict=True)
        return tuple(ceil(others * one + experts * expert + output * last) for one, expert, last in parts)

    def of_cache(self, size: int) -> tuple[int, ...]:
        """The bytes of caches on each GPU."""
        return tuple(ceil(size * part) for part in self.cache)


@lru_cache(maxsize=4096)
def cut(model: Model, shares: tuple[int, ...]) -> Cut:
    """The parts of a model on GPUs that share its layers; an output that is tied to the embedding is on each whole."""
    pieces, total = pieces_of(model), sum(shares)
    output = (1.0,) * len(shares) if model.is_tied else tuple(share / total for share in shares)
    others, experts, cache = (mean_slices(count, shares) for count in pieces)
    return Cut(others, experts, output, cache)


def shared(model: Model, load: Load, alone: MemoryEstimate, shares: tuple[int, ...]) -> MemoryEstimate:
    """The memory of a model over GPUs that share its layers, from what it takes on one.

    Buffers count whole on each: the hidden state is on all of them, and the widest step may be one that is not cut.
    """
    parts, found = cut(model, shares), [part for part in alone.parts if part.device is None]
    for part in alone.parts:
        if part.device is None:
            continue
        sizes = (part.size_bytes,) * len(shares)
        if part.name == "weights":
            experts = sum(model.expert_bytes[: model.layers if load.draft_tokens else model.main_layers])
            others = part.size_bytes - model.output_bytes - experts
            sizes = parts.of_weights(others, experts, model.output_bytes)
        elif part.name in _CACHES:
            sizes = parts.of_cache(part.size_bytes)
        found += [
            MemoryPart(name=part.name, device=device, size_bytes=size, is_exact=False)
            for device, size in enumerate(sizes)
        ]
    return MemoryEstimate(parts=tuple(found))


def _block_values(model: Model) -> int:
    """Values of the smallest piece that can be cut: whole blocks of the quant, and what wide kernels want."""
    # ffn_down decides: the others are cut between rows, it inside of them.
    kinds = {one.type for one in model.tensors if ".ffn_down" in one.name and ".bias" not in one.name}
    blocks = [TYPES_BY_NAME[kind.lower()].block_elements for kind in kinds if kind.lower() in TYPES_BY_NAME]
    return max([*blocks, _KERNEL_VALUES]) if blocks else _USUAL_BLOCK_VALUES
