"""A language model as a frozen value: what its header says, as far as serving it is concerned."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal, NamedTuple

_LAYER = re.compile(r"blk\.(\d+)\.")
# llama.cpp's LLM_FFN_EXPS_REGEX: what --n-cpu-moe keeps in RAM.
_EXPERTS = re.compile(r"\.ffn_(up|down|gate|gate_up)_(ch|)exps")
# Gated delta nets; their full-attention layers gate the output, so that Q is twice as wide.
DELTA_NET = ("qwen3next", "qwen35", "qwen35moe")

Pooling = Literal["mean", "cls", "last", "rank"]


class Tensor(NamedTuple):
    """One tensor; `shape` names the fastest dimension first, `type` is ggml's name such as `Q4_K`."""

    name: str
    shape: tuple[int, ...]
    type: str
    size_bytes: int

    @property
    def layer(self) -> int | None:
        """The layer that the tensor belongs to; None for embeddings, output and their like."""
        return _place(self.name)[0]

    @property
    def is_expert(self) -> bool:
        """True for the routed experts of a mixture, not for the shared one."""
        return _place(self.name)[1]


# The files of one model have the same names, thousands of them.
@lru_cache(maxsize=65536)
def _place(name: str) -> tuple[int | None, bool]:
    match = _LAYER.match(name)
    return (int(match[1]) if match else None), bool(_EXPERTS.search(name))


class LayerSums(NamedTuple):
    """Bytes and weights of each layer, its routed experts apart."""

    bytes: tuple[int, ...]
    parameters: tuple[int, ...]
    expert_bytes: tuple[int, ...]
    expert_parameters: tuple[int, ...]


class Ssm(NamedTuple):
    """The dimensions of a recurrent layer's state."""

    conv_kernel: int
    inner_size: int
    state_size: int
    group_count: int


@dataclass(frozen=True)
class Model:
    """One GGUF file, or what a configuration says about one.

    `layers` counts the nextn (multi-token prediction) layers at the end too. What differs by layer is a tuple with one
    entry per layer; 0 KV heads mean that the layer keeps no KV cache. `file_bytes` is what the header declares. With
    `is_estimated` the tensor table is computed from parameters: what each tensor takes is a guess, and their sum too
    unless `is_sum_exact`.
    `assumptions` says what was guessed beside that. `pooling`: how it makes one vector of a text, or by `rank` a score
    of two; such a model is for that, and answers in no words.
    """

    name: str
    architecture: str
    file_bytes: int
    context_train: int
    layers: int
    nextn_layers: int
    embedding: int
    feed_forward: int
    heads: tuple[int, ...]
    kv_heads: tuple[int, ...]
    key_length: int
    value_length: int
    swa_key_length: int
    swa_value_length: int
    sliding_window: int
    swa_layers: tuple[int, ...]
    recurrent_layers: tuple[int, ...]
    ssm: Ssm | None
    experts: int
    experts_used: int
    expert_feed_forward: int
    vocab: int
    has_chat_template: bool
    split_count: int
    tensors: tuple[Tensor, ...]
    is_estimated: bool = False
    is_sum_exact: bool = True
    shared_feed_forward: int = 0
    pooling: Pooling | None = None
    assumptions: tuple[str, ...] = ()

    def __hash__(self) -> int:
        # The generated one would hash thousands of tensors each time a result is looked up.
        return hash((self.name, self.file_bytes, self.layers, len(self.tensors)))

    @cached_property
    def is_mixture(self) -> bool:
        """True when the model routes tokens to experts, which may then stay in RAM."""
        return self.experts > 0

    @cached_property
    def main_layers(self) -> int:
        """The layers that every token passes: all but nextn."""
        return self.layers - self.nextn_layers

    @property
    def is_tied(self) -> bool:
        """True when the embedding serves as output too: the output's device then holds a copy of its own."""
        return not any(tensor.name == "output.weight" for tensor in self.tensors)

    @property
    def has_attention_gate(self) -> bool:
        """True when attention multiplies its output by a gate as wide as Q."""
        return self.architecture in DELTA_NET

    @cached_property
    def full_layers(self) -> tuple[int, ...]:
        """The main layers that keep a KV cache of the whole context."""
        window = set(self.swa_layers)
        return tuple(layer for layer in range(self.main_layers) if self.kv_heads[layer] and layer not in window)

    @cached_property
    def parameters(self) -> int:
        """How many weights the tensors hold."""
        return sum(math.prod(tensor.shape) for tensor in self.tensors)

    @cached_property
    def weights_bytes(self) -> int:
        """The bytes of all tensors."""
        return sum(tensor.size_bytes for tensor in self.tensors)

    @cached_property
    def layer_bytes(self) -> tuple[int, ...]:
        """The bytes of each layer without its experts."""
        return self.layer_sums.bytes

    @cached_property
    def expert_bytes(self) -> tuple[int, ...]:
        """The bytes of each layer's experts."""
        return self.layer_sums.expert_bytes

    @cached_property
    def layer_sums(self) -> LayerSums:
        """The tensors of all layers, in one pass over the table."""
        others, experts = ([[0] * self.layers, [0] * self.layers] for _ in range(2))
        for tensor in self.tensors:
            layer, is_expert = _place(tensor.name)
            if layer is not None and layer < self.layers:
                sizes, weights = experts if is_expert else others
                sizes[layer] += tensor.size_bytes
                weights[layer] += math.prod(tensor.shape)
        return LayerSums(*(tuple(sums) for sums in (*others, *experts)))

    @cached_property
    def input_bytes(self) -> int:
        """The embeddings, which llama.cpp always keeps in RAM."""
        return sum(tensor.size_bytes for tensor in self.tensors if tensor.name.endswith("token_embd.weight"))

    @cached_property
    def output_bytes(self) -> int:
        """All that belongs to no layer and is no embedding; with tied weights the copy of the embedding too."""
        rest = self.weights_bytes - sum(self.layer_bytes) - sum(self.expert_bytes) - self.input_bytes
        tied = sum(tensor.size_bytes for tensor in self.tensors if tensor.name == "token_embd.weight")
        return rest + (tied if self.is_tied else 0)

    @cached_property
    def largest_expert_bytes(self) -> int:
        """The largest expert tensor: what a GPU stages when it computes with experts that live in RAM."""
        return max((tensor.size_bytes for tensor in self.tensors if tensor.is_expert), default=0)
