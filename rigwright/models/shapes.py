"""The tensors of a model by its dimensions: names and shapes as llama.cpp's loader asks for them.

Source: the load_arch_tensors functions of llama.cpp 0c1e570 (src/models/*.cpp).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from math import prod
from typing import NamedTuple

from rigwright.models.dimensions import Shape
from rigwright.models.mixers import Named, mixer

# What stays F32 in every GGUF file beside vectors: routers, convolutions, and the biases of experts.
_ALWAYS_F32 = ("ffn_gate_inp.weight", ".bias")
_CONVOLUTIONS = ("ssm_conv1d", "shortconv.conv")


class Row(NamedTuple):
    """A tensor without its type; `shape` names the fastest dimension first, `parameters` is how many weights it has."""

    name: str
    shape: tuple[int, ...]
    parameters: int
    is_always_f32: bool


@lru_cache(maxsize=64)
def rows(shape: Shape) -> tuple[Row, ...]:
    """Each tensor of a model: all quants of it have the same."""
    return tuple(
        Row(
            name,
            size,
            prod(size),
            len(size) == 1 or name.endswith(_ALWAYS_F32) or any(one in name for one in _CONVOLUTIONS),
        )
        for name, size in _tensors(shape)
    )


def _tensors(shape: Shape) -> Iterator[Named]:
    yield "token_embd.weight", (shape.hidden, shape.vocab)
    yield "output_norm.weight", (shape.hidden,)
    if not shape.is_tied:
        yield "output.weight", (shape.hidden, shape.vocab)
    yield from _tables(shape)
    main = shape.layers - shape.nextn_layers
    for layer in range(shape.layers):
        for name, size in _layer(shape, layer):
            yield f"blk.{layer}.{name}", size
        if layer >= main:
            for name, size in _nextn(shape):
                yield f"blk.{layer}.nextn.{name}", size


def _layer(shape: Shape, layer: int) -> Iterator[Named]:
    kind = shape.sole[layer] if shape.sole else ""
    yield "attn_norm.weight", (shape.hidden,)
    if kind != "E":
        yield from mixer(shape, layer)
    if kind in ("M", "*"):
        return
    yield "post_attention_norm.weight", (shape.hidden,)
    if shape.layer_embedding:
        yield from [("inp_gate.weight", (shape.hidden, shape.layer_embedding)), ("post_norm.weight", (shape.hidden,))]
        yield "proj.weight", (shape.layer_embedding, shape.hidden)
    if shape.experts and layer >= shape.leading_dense:
        yield from _experts(shape)
    if shape.feed_forward and (not shape.experts or layer < shape.leading_dense or shape.architecture == "gemma4"):
        yield "ffn_norm.weight", (shape.hidden,)
        yield from _gated(shape.hidden, shape.feed_forward * (2 if layer in shape.wide_layers else 1), "")


def _tables(shape: Shape) -> Iterator[Named]:
    """What is looked up for each token beside its embedding: by the layers, or by the words before it."""
    if shape.layer_embedding:
        width = shape.layer_embedding * shape.layers
        yield "per_layer_token_embd.weight", (width, shape.vocab)
        yield "per_layer_model_proj.weight", (shape.hidden, width)
    if shape.table_rows:
        yield "per_layer_token_embd.weight", (shape.table_width, shape.table_rows)


def _experts(shape: Shape) -> Iterator[Named]:
    hidden, width, count = shape.hidden, shape.expert_feed_forward, shape.experts
    read = shape.latent_experts or hidden
    yield "ffn_gate_inp.weight", (hidden, count)
    if shape.latent_experts:
        yield from [("ffn_latent_down.weight", (hidden, read)), ("ffn_latent_up.weight", (read, hidden))]
    is_plain = bool(shape.sole)
    for name, size in _gated(read, width, "_exps", is_plain=is_plain):
        yield name, (*size, count)
    if shape.shared_feed_forward:
        yield from _gated(hidden, shape.shared_feed_forward, "_shexp", is_plain=is_plain)
        if shape.is_gated:
            yield "ffn_gate_inp_shexp.weight", (hidden,)
    if shape.architecture == "gpt-oss":
        yield "ffn_gate_inp.bias", (count,)
        yield from [(f"ffn_{one}_exps.bias", (width, count)) for one in ("gate", "up")]
        yield "ffn_down_exps.bias", (hidden, count)


def _gated(hidden: int, width: int, suffix: str, *, is_plain: bool = False) -> Iterator[Named]:
    """Up, down and a gate between them, which a layer that squares what is above zero does without."""
    if not is_plain:
        yield f"ffn_gate{suffix}.weight", (hidden, width)
    yield f"ffn_up{suffix}.weight", (hidden, width)
    yield f"ffn_down{suffix}.weight", (width, hidden)


def _nextn(shape: Shape) -> Iterator[Named]:
    yield "eh_proj.weight", (2 * shape.hidden, shape.hidden)
    yield from [(f"{one}.weight", (shape.hidden,)) for one in ("enorm", "hnorm", "shared_head_norm")]
    if shape.architecture.startswith("glm"):  # with an embedding and a head of its own
        yield "embed_tokens.weight", (shape.hidden, shape.vocab)
        yield "shared_head_head.weight", (shape.hidden, shape.vocab)
