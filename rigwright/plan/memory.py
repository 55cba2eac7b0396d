"""How much memory a model takes under llama.cpp: weights, KV cache and state are exact, the rest is an estimate.

Source: llama.cpp 0c1e570 (llama-kv-cache*.cpp, llama-memory-recurrent.cpp), confirmed by `llama-fit-params --fit-print
on` and by the logs in tests/unit/data/. Only the compute buffer depends on the backend, so it carries a margin.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from rigwright.models.ggml import TYPES_BY_NAME
from rigwright.models.values import Model
from rigwright.plan.wish import Strict
from rigwright.units import MIB

# A process on a GPU before its first buffer: 248 to 330 MiB seen on Ampere to Blackwell.
CUDA_CONTEXT_BYTES = 300 * MIB
# The compute formula misses up to a quarter of some layouts; small buffers miss by more, but by few MiB.
_COMPUTE_MARGIN_BYTES = 128 * MIB
_CELL_PADDING = 256
# A second context computes the drafts of nextn layers: 115 to 613 MiB seen.
_DRAFT_COMPUTE_BYTES = 613 * MIB
# glm4moe keeps KV rows for the nextn layer that it does not load: 47 rows seen for 46 + 1 layers.
_KV_FOR_NEXTN = ("glm4moe",)
# llama-server keeps up to 32 checkpoints of a slot's state, at least 8192 tokens apart (--ctx-checkpoints).
_MAX_CHECKPOINTS, _CHECKPOINT_STEP_TOKENS = 32, 8192


class Load(NamedTuple):
    """What is asked of the model: `context_tokens` for each of `slots`, and `draft_tokens` by its nextn layers."""

    context_tokens: int
    slots: int = 1
    cache_type_k: str = "f16"
    cache_type_v: str = "f16"
    ubatch_tokens: int = 512
    draft_tokens: int = 0
    swa_full: bool = False


class Placement(NamedTuple):
    """Which layers lie on the GPU: the last `gpu_layers`, but not the experts of the first `cpu_expert_layers`."""

    gpu_layers: int
    cpu_expert_layers: int = 0


class MemoryPart(Strict):
    """One use of memory, on the GPU or in RAM."""

    name: str
    place: Literal["gpu", "ram"]
    size_bytes: int


class MemoryEstimate(Strict):
    """All uses of memory by one service."""

    parts: tuple[MemoryPart, ...]

    @property
    def gpu_bytes(self) -> int:
        """What the GPU must hold."""
        return sum(part.size_bytes for part in self.parts if part.place == "gpu")

    @property
    def ram_bytes(self) -> int:
        """What RAM must hold."""
        return sum(part.size_bytes for part in self.parts if part.place == "ram")

    @property
    def total_bytes(self) -> int:
        """Both together."""
        return self.gpu_bytes + self.ram_bytes

    def with_part(self, name: str, place: Literal["gpu", "ram"], size_bytes: int) -> MemoryEstimate:
        """The same with one use more."""
        return MemoryEstimate(parts=(*self.parts, MemoryPart(name=name, place=place, size_bytes=size_bytes)))

    def without_part(self, name: str) -> MemoryEstimate:
        """The same without the uses of that name."""
        return MemoryEstimate(parts=tuple(part for part in self.parts if part.name != name))


def estimate_memory(model: Model, load: Load, placement: Placement) -> MemoryEstimate:
    """The memory of one service; with no layer on the GPU everything is RAM."""
    first = model.main_layers - placement.gpu_layers
    on_gpu = range(first if placement.gpu_layers else model.layers, model.layers)
    in_ram = range(on_gpu.start)
    gpu_weights = _gpu_weights_bytes(model, load, placement, on_gpu)
    parts = {
        ("weights", "gpu"): gpu_weights,
        ("KV cache", "gpu"): kv_cache_bytes(model, load, on_gpu),
        ("recurrent state", "gpu"): recurrent_bytes(model, load, on_gpu),
        ("weights", "ram"): loaded_bytes(model, load) - gpu_weights + _tied_copy_bytes(model, placement),
        ("KV cache", "ram"): kv_cache_bytes(model, load, in_ram),
        ("recurrent state", "ram"): recurrent_bytes(model, load, in_ram),
        ("context checkpoints", "ram"): checkpoint_bytes(model, load),
    }
    place: Literal["gpu", "ram"] = "gpu" if on_gpu else "ram"
    compute = compute_bytes(model, load, placement)
    parts["compute buffers", place] = compute
    parts["margin for compute", place] = max(compute // 4, _COMPUTE_MARGIN_BYTES)
    parts["drafting", place] = _DRAFT_COMPUTE_BYTES if load.draft_tokens else 0
    parts["CUDA context", "gpu"] = CUDA_CONTEXT_BYTES if on_gpu else 0
    return MemoryEstimate(
        parts=tuple(
            MemoryPart(name=name, place="gpu" if where == "gpu" else "ram", size_bytes=size)
            for (name, where), size in parts.items()
            if size
        )
    )


def loaded_bytes(model: Model, load: Load) -> int:
    """The weights that are loaded: all but the nextn layers, which only drafting needs."""
    if load.draft_tokens:
        return model.weights_bytes
    nextn = range(model.main_layers, model.layers)
    return model.weights_bytes - sum(model.layer_bytes[layer] + model.expert_bytes[layer] for layer in nextn)


def kv_cache_bytes(model: Model, load: Load, layers: Iterable[int] | None = None) -> int:
    """The KV cache of `layers` (all by default): the full context, or only the window in sliding-window layers."""
    context = padded(load.context_tokens)
    window = padded(min(context, model.sliding_window + load.ubatch_tokens))
    total = 0
    for layer in range(model.layers) if layers is None else layers:
        types = load.cache_type_k, load.cache_type_v
        if layer >= model.main_layers and model.architecture not in _KV_FOR_NEXTN:
            if not load.draft_tokens:
                continue
            types = "f16", "f16"  # drafts ignore the types asked for
        is_window = layer in model.swa_layers
        cells = window if is_window and not load.swa_full else context
        total += cells * load.slots * model.kv_heads[layer] * _head_bytes(model, types, is_window=is_window)
    return total


def recurrent_bytes(model: Model, load: Load, layers: Iterable[int] | None = None) -> int:
    """The state of recurrent layers: F32, one per slot and one more per drafted token, whatever the context."""
    ssm = model.ssm
    if ssm is None:
        return 0
    wanted = model.recurrent_layers if layers is None else set(model.recurrent_layers) & set(layers)
    convolution = (ssm.conv_kernel - 1) * (ssm.inner_size + 2 * ssm.group_count * ssm.state_size)
    state = ssm.state_size * ssm.inner_size
    return 4 * (convolution + state) * len(wanted) * load.slots * (1 + load.draft_tokens)


def checkpoint_bytes(model: Model, load: Load) -> int:
    """Copies in RAM of what cannot be rewound, window caches and recurrent states, at their upper bound."""
    count = min(_MAX_CHECKPOINTS, load.context_tokens // _CHECKPOINT_STEP_TOKENS + 1)
    window = 0 if load.swa_full else kv_cache_bytes(model, load, model.swa_layers)
    return count * (recurrent_bytes(model, load._replace(draft_tokens=0)) + window)


def compute_bytes(model: Model, load: Load, placement: Placement) -> int:
    """The buffer for intermediate results: the larger of the output's and a layer's, with flash attention.

    A GPU unpacks a quantised KV cache of one layer to f16, and stages experts that live in RAM.
    """
    ubatch, hidden = load.ubatch_tokens, model.embedding
    output = ubatch * model.vocab * 4 + 3 * hidden * ubatch * 4
    context = padded(load.context_tokens)
    attention = 3 * max(model.heads) * model.key_length + 2 * hidden
    experts = model.experts_used * (2 * model.expert_feed_forward + hidden)
    layer = context * ubatch * 2 + 4 * ubatch * max(2 * model.feed_forward + hidden, attention, experts)
    if placement.gpu_layers:
        if (load.cache_type_k, load.cache_type_v) != ("f16", "f16"):
            layer += context * load.slots * max(model.kv_heads) * (model.key_length + model.value_length) * 2
        if placement.cpu_expert_layers or placement.gpu_layers < model.main_layers:
            layer += model.largest_expert_bytes
    return max(output, layer)


def _gpu_weights_bytes(model: Model, load: Load, placement: Placement, on_gpu: range) -> int:
    if not on_gpu:
        return 0
    loaded = [layer for layer in on_gpu if layer < model.main_layers or load.draft_tokens]
    experts = sum(model.expert_bytes[layer] for layer in loaded if layer >= placement.cpu_expert_layers)
    return model.output_bytes + sum(model.layer_bytes[layer] for layer in loaded) + experts


def _tied_copy_bytes(model: Model, placement: Placement) -> int:
    """With a tied embedding the GPU holds a copy, so that RAM keeps its own."""
    if not placement.gpu_layers or not model.is_tied:
        return 0
    return sum(tensor.size_bytes for tensor in model.tensors if tensor.name == "token_embd.weight")


def _head_bytes(model: Model, types: tuple[str, str], *, is_window: bool) -> int:
    """The bytes of one token in one KV head."""
    key = model.swa_key_length if is_window else model.key_length
    value = model.swa_value_length if is_window else model.value_length
    return _row_bytes(key, types[0]) + _row_bytes(value, types[1])


def _row_bytes(elements: int, type_name: str) -> int:
    kind = TYPES_BY_NAME[type_name]
    return elements * kind.block_bytes // kind.block_elements


def padded(tokens: int) -> int:
    """llama.cpp rounds a context up to 256 cells."""
    return -(-tokens // _CELL_PADDING) * _CELL_PADDING
