"""The dimensions of a model, as its tensors need them."""

from __future__ import annotations

from typing import Literal, NamedTuple

# What keeps a state in place of attention: gated delta nets, Kimi's delta attention, Mamba 2, short convolutions.
Recurrence = Literal["delta", "kda", "mamba", "convolution"]


class Latent(NamedTuple):
    """Multi-head latent attention: what Q and the cache are squeezed to, and the lengths of a head.

    With an `output_rank` the cached vector is key and value of all heads, which leave in `output_groups`.
    """

    query_rank: int
    rank: int
    rope: int
    key: int
    value: int
    output_rank: int = 0
    output_groups: int = 1


class Shape(NamedTuple):
    """The dimensions of a model; `full_*` are those of layers that see the whole context where they differ.

    `window_heads`: the heads of a layer with a window where they differ. `key_*` and `value_*` are those of a state:
    of Mamba the groups with the size of the state, and the heads. `sole`: of each layer the one thing that it is,
    `M`, `E` or `*`, where layers do not mix and feed forward both. `latent_experts`: what experts read, where that is
    narrower than the model. `layer_embedding`: what each layer takes from a table of its own for each token.
    `table_rows` of `table_width`: a table of n-grams. `gate`: how attention multiplies its output, by a number for each
    `head` or for each element of the heads.
    """

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
    recurrence: Recurrence = "delta"
    latent: Latent | None = None
    window_heads: int = 0
    sole: str = ""
    latent_experts: int = 0
    layer_embedding: int = 0
    wide_layers: tuple[int, ...] = ()
    table_rows: int = 0
    table_width: int = 0
    gate: str = ""

    @property
    def is_gated(self) -> bool:
        """True when Q carries a gate of its own width, and so do the shared experts."""
        return self.value_heads > 0 and self.recurrence == "delta"
