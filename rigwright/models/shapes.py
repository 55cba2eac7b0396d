"""The tensors of a model by its dimensions: names and shapes as llama.cpp's loader asks for them.

Source: the load_arch_tensors functions of llama.cpp 0c1e570 (src/models/*.cpp).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from math import prod
from typing import NamedTuple

_Named = tuple[str, tuple[int, ...]]

# What stays F32 in every GGUF file beside vectors: routers, convolutions, and the biases of experts.
_ALWAYS_F32 = ("ffn_gate_inp.weight", "ssm_conv1d.weight", ".bias")


class Row(NamedTuple):
    """A tensor without its type; `shape` names the fastest dimension first, `parameters` is how many weights it has."""

    name: str
    shape: tuple[int, ...]
    parameters: int
    is_always_f32: bool


class Shape(NamedTuple):
    """The dimensions of a model; `full_*` are those of layers that see the whole context where they differ."""

    architecture: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    full_kv_heads: int
    full_head_dim: int
    feed_forward: int
    vocab: int
    is_tied: bool
    experts: int = 0
    expert_feed_forward: int = 0
    shared_feed_forward: int = 0
    leading_dense: int = 0
    key_heads: int = 0
    value_heads: int = 0
    key_dim: int = 0
    value_dim: int = 0
    conv_kernel: int = 0
    window_layers: tuple[int, ...] = ()
    recurrent_layers: tuple[int, ...] = ()
    nextn_layers: int = 0

    @property
    def is_gated(self) -> bool:
        """True when Q carries a gate of its own width."""
        return self.value_heads > 0


@lru_cache(maxsize=64)
def rows(shape: Shape) -> tuple[Row, ...]:
    """Each tensor of a model: all quants of it have the same."""
    return tuple(
        Row(name, size, prod(size), len(size) == 1 or name.endswith(_ALWAYS_F32)) for name, size in _tensors(shape)
    )


def _tensors(shape: Shape) -> Iterator[_Named]:
    yield "token_embd.weight", (shape.hidden, shape.vocab)
    yield "output_norm.weight", (shape.hidden,)
    if not shape.is_tied:
        yield "output.weight", (shape.hidden, shape.vocab)
    main = shape.layers - shape.nextn_layers
    for layer in range(shape.layers):
        for name, size in _layer(shape, layer):
            yield f"blk.{layer}.{name}", size
        if layer >= main:
            for name, size in _nextn(shape):
                yield f"blk.{layer}.nextn.{name}", size


def _layer(shape: Shape, layer: int) -> Iterator[_Named]:
    yield "attn_norm.weight", (shape.hidden,)
    yield "post_attention_norm.weight", (shape.hidden,)
    if layer in shape.recurrent_layers:
        yield from _delta_net(shape)
    else:
        yield from _attention(shape, is_window=layer in shape.window_layers)
    if shape.experts and layer >= shape.leading_dense:
        yield from _experts(shape)
    if shape.feed_forward and (not shape.experts or layer < shape.leading_dense or shape.architecture == "gemma4"):
        yield from _dense(shape)


def _attention(shape: Shape, *, is_window: bool) -> Iterator[_Named]:
    dim = shape.head_dim if is_window else shape.full_head_dim
    kv = dim * (shape.kv_heads if is_window else shape.full_kv_heads)
    query = dim * shape.heads
    yield "attn_q.weight", (shape.hidden, query * (2 if shape.is_gated else 1))
    yield "attn_k.weight", (shape.hidden, kv)
    if shape.architecture != "gemma4" or is_window:  # elsewhere Gemma 4 takes K for V
        yield "attn_v.weight", (shape.hidden, kv)
    yield "attn_output.weight", (query, shape.hidden)
    if shape.architecture.startswith(("qwen3", "gemma")):
        yield from [("attn_q_norm.weight", (dim,)), ("attn_k_norm.weight", (dim,))]
    if shape.architecture in ("gpt-oss", "qwen2", "glm4moe"):
        yield from [("attn_q.bias", (query,)), ("attn_k.bias", (kv,)), ("attn_v.bias", (kv,))]
    if shape.architecture == "gpt-oss":
        yield from [("attn_output.bias", (shape.hidden,)), ("attn_sinks.weight", (shape.heads,))]


def _delta_net(shape: Shape) -> Iterator[_Named]:
    inner, keys = shape.value_heads * shape.value_dim, shape.key_heads * shape.key_dim
    yield "attn_qkv.weight", (shape.hidden, 2 * keys + inner)
    yield "attn_gate.weight", (shape.hidden, inner)
    yield "ssm_conv1d.weight", (shape.conv_kernel, 2 * keys + inner)
    yield from [("ssm_dt.bias", (shape.value_heads,)), ("ssm_a", (shape.value_heads,))]
    yield from [(f"ssm_{one}.weight", (shape.hidden, shape.value_heads)) for one in ("beta", "alpha")]
    yield "ssm_norm.weight", (shape.value_dim,)
    yield "ssm_out.weight", (inner, shape.hidden)


def _dense(shape: Shape) -> Iterator[_Named]:
    yield "ffn_norm.weight", (shape.hidden,)
    yield from _gated(shape.hidden, shape.feed_forward, "")


def _experts(shape: Shape) -> Iterator[_Named]:
    hidden, width, count = shape.hidden, shape.expert_feed_forward, shape.experts
    yield "ffn_gate_inp.weight", (hidden, count)
    for name, size in _gated(hidden, width, "_exps"):
        yield name, (*size, count)
    if shape.shared_feed_forward:
        yield from _gated(hidden, shape.shared_feed_forward, "_shexp")
        if shape.is_gated:
            yield "ffn_gate_inp_shexp.weight", (hidden,)
    if shape.architecture == "gpt-oss":
        yield "ffn_gate_inp.bias", (count,)
        yield from [(f"ffn_{one}_exps.bias", (width, count)) for one in ("gate", "up")]
        yield "ffn_down_exps.bias", (hidden, count)


def _gated(hidden: int, width: int, suffix: str) -> Iterator[_Named]:
    yield f"ffn_gate{suffix}.weight", (hidden, width)
    yield f"ffn_up{suffix}.weight", (hidden, width)
    yield f"ffn_down{suffix}.weight", (width, hidden)


def _nextn(shape: Shape) -> Iterator[_Named]:
    yield "eh_proj.weight", (2 * shape.hidden, shape.hidden)
    yield from [(f"{one}.weight", (shape.hidden,)) for one in ("enorm", "hnorm", "shared_head_norm")]
    if shape.architecture.startswith("glm"):  # with an embedding and a head of its own
        yield "embed_tokens.weight", (shape.hidden, shape.vocab)
        yield "shared_head_head.weight", (shape.hidden, shape.vocab)
