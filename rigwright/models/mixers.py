"""What mixes the tokens of a layer: the tensors of attention, and of the states that stand in its place.

Source: the load_arch_tensors functions of llama.cpp b11434 (src/models/*.cpp).
"""

from __future__ import annotations

from collections.abc import Iterator

from rigwright.models.dimensions import Latent, Shape

Named = tuple[str, tuple[int, ...]]


def mixer(shape: Shape, layer: int) -> Iterator[Named]:
    """The tensors of one layer."""
    if layer in shape.recurrent_layers:
        yield from _STATES[shape.recurrence](shape)
    elif shape.latent:
        yield from _latent(shape, shape.latent)
    else:
        yield from _attention(shape, is_window=layer in shape.window_layers)


def _attention(shape: Shape, *, is_window: bool) -> Iterator[Named]:
    dim = shape.head_dim if is_window else shape.full_head_dim
    kv = dim * (shape.kv_heads if is_window else shape.full_kv_heads)
    heads = (is_window and shape.window_heads) or shape.heads
    query = dim * heads
    yield "attn_q.weight", (shape.hidden, query * (2 if shape.is_gated else 1))
    yield "attn_k.weight", (shape.hidden, kv)
    # Gemma 4 takes K for V elsewhere, but for its small ones.
    if shape.architecture != "gemma4" or is_window or shape.layer_embedding:
        yield "attn_v.weight", (shape.hidden, kv)
    yield "attn_output.weight", (query, shape.hidden)
    if shape.gate:
        yield "attn_gate.weight", (shape.hidden, heads if shape.gate == "head" else query)
    if shape.architecture.startswith(("qwen3", "qwen4", "gemma", "laguna", "lfm2")):
        yield from [("attn_q_norm.weight", (dim,)), ("attn_k_norm.weight", (dim,))]
    if shape.architecture in ("gpt-oss", "qwen2", "glm4moe", "seed_oss"):
        yield from [("attn_q.bias", (query,)), ("attn_k.bias", (kv,)), ("attn_v.bias", (kv,))]
    if shape.architecture == "gpt-oss":
        yield from [("attn_output.bias", (shape.hidden,)), ("attn_sinks.weight", (shape.heads,))]


def _latent(shape: Shape, latent: Latent) -> Iterator[Named]:
    if latent.query_rank:
        yield "attn_q_a.weight", (shape.hidden, latent.query_rank)
        yield "attn_q_a_norm.weight", (latent.query_rank,)
    yield "attn_q_b.weight", (latent.query_rank or shape.hidden, shape.heads * latent.key)
    yield "attn_kv_a_mqa.weight", (shape.hidden, latent.rank + latent.rope)
    yield "attn_kv_a_norm.weight", (latent.rank,)
    if latent.output_rank:
        joined = latent.output_rank * latent.output_groups
        yield "attn_output_a.weight", (shape.heads * latent.value // latent.output_groups, joined)
        yield "attn_output_b.weight", (joined, shape.hidden)
        return
    yield "attn_k_b.weight", (latent.key - latent.rope, latent.rank, shape.heads)
    yield "attn_v_b.weight", (latent.rank, latent.value, shape.heads)
    yield "attn_output.weight", (shape.heads * latent.value, shape.hidden)


def _delta_net(shape: Shape) -> Iterator[Named]:
    inner, keys = shape.value_heads * shape.value_dim, shape.key_heads * shape.key_dim
    yield "attn_qkv.weight", (shape.hidden, 2 * keys + inner)
    yield "attn_gate.weight", (shape.hidden, inner)
    yield "ssm_conv1d.weight", (shape.conv_kernel, 2 * keys + inner)
    yield from [("ssm_dt.bias", (shape.value_heads,)), ("ssm_a", (shape.value_heads,))]
    yield from [(f"ssm_{one}.weight", (shape.hidden, shape.value_heads)) for one in ("beta", "alpha")]
    yield "ssm_norm.weight", (shape.value_dim,)
    yield "ssm_out.weight", (inner, shape.hidden)


def _kimi_delta(shape: Shape) -> Iterator[Named]:
    """Q, K and V convolved each; the gates of forgetting and of the output are squeezed to one head."""
    inner = shape.value_heads * shape.value_dim
    yield from [(f"attn_{one}.weight", (shape.hidden, inner)) for one in ("q", "k", "v")]
    yield from [(f"ssm_conv1d_{one}.weight", (shape.conv_kernel, inner)) for one in ("q", "k", "v")]
    for gate in ("f", "g"):
        yield f"ssm_{gate}_a.weight", (shape.hidden, shape.value_dim)
        yield f"ssm_{gate}_b.weight", (shape.value_dim, inner)
    yield "ssm_beta.weight", (shape.hidden, shape.value_heads)
    yield from [("ssm_dt.bias", (inner,)), ("ssm_a", (shape.value_heads,)), ("ssm_norm.weight", (shape.value_dim,))]
    yield "attn_output.weight", (inner, shape.hidden)


def _mamba(shape: Shape) -> Iterator[Named]:
    inner, states = shape.value_heads * shape.value_dim, 2 * shape.key_heads * shape.key_dim
    yield "ssm_in.weight", (shape.hidden, 2 * inner + states + shape.value_heads)
    yield "ssm_conv1d.weight", (shape.conv_kernel, inner + states)
    yield from [(name, (shape.value_heads,)) for name in ("ssm_dt.bias", "ssm_a", "ssm_d")]
    yield "ssm_norm.weight", (inner,)
    yield "ssm_out.weight", (inner, shape.hidden)


def _convolution(shape: Shape) -> Iterator[Named]:
    yield "shortconv.in_proj.weight", (shape.hidden, 3 * shape.hidden)
    yield "shortconv.conv.weight", (shape.conv_kernel, shape.hidden)
    yield "shortconv.out_proj.weight", (shape.hidden, shape.hidden)


_STATES = {"delta": _delta_net, "kda": _kimi_delta, "mamba": _mamba, "convolution": _convolution}
