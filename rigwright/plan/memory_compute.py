"""llama.cpp's compute buffer: how much one device needs for intermediate results.

Not exact: it depends on backend and release. The rules follow the graph of the pinned release 0c1e570
(`llama_context::sched_reserve`, src/models/*.cpp, `ggml_cuda_flash_attn_ext_get_alloc_size`) and what
`llama-server -lv 4` printed for it; the layer terms are checked against logs of CUDA builds.

What releases differ in: since June 2026 (ggml-org/llama.cpp#23861) llama-server reserves logits for one token per
slot and draft; before, and in llama-bench, llama-perplexity and llama-fit-params to this day, for a whole ubatch.
Before, too, the mask was F32 with an F16 copy, and a quantised cache was unpacked in a pool outside the buffer.
"""

from __future__ import annotations

from typing import NamedTuple

from rigwright.models.values import Model
from rigwright.plan.memory_caches import cells
from rigwright.plan.memory_values import Load, Placement
from rigwright.units import MIB

_LEAST_MARGIN_BYTES = 128 * MIB
# Input tensors are kept this often when layers span devices: GGML_SCHED_MAX_COPIES.
_PIPELINE_COPIES = 4
_UNQUANTISED = ("f16", "bf16")


class Build(NamedTuple):
    """What a release of llama.cpp reserves."""

    has_all_logits: bool = False
    mask_bytes: int = 2
    has_scratch_inside: bool = True


PINNED = Build()
BEFORE_OUTPUT_LIMIT = Build(has_all_logits=True)
BEFORE_F16_MASK = Build(has_all_logits=True, mask_bytes=6, has_scratch_inside=False)


def margin_bytes(compute: int) -> int:
    """What the formula may be off: a quarter, or 128 MiB for small buffers."""
    return max(compute // 4, _LEAST_MARGIN_BYTES)


def compute_bytes(model: Model, load: Load, placement: Placement, build: Build = PINNED) -> tuple[int, ...]:
    """The buffer of each device; of RAM alone when no layer is on a GPU."""
    layer = layer_stage_bytes(model, load, placement, build)
    logits = logits_stage_bytes(model, load, build, has_gpu=bool(placement.devices))
    count = max(1, len(placement.devices))
    return (layer,) * (count - 1) + (max(layer, logits),)


def logits_stage_bytes(model: Model, load: Load, build: Build, *, has_gpu: bool) -> int:
    """The last device's need for the output: logits, and two (a CPU: three) copies of the hidden state."""
    ubatch = load.ubatch_tokens
    outputs = ubatch if build.has_all_logits else min(ubatch, load.slots * (1 + load.draft_tokens))
    return 4 * (outputs * model.vocab + (2 if has_gpu else 3) * ubatch * model.embedding)


def layer_stage_bytes(model: Model, load: Load, placement: Placement, build: Build) -> int:
    """The largest need of one layer, beside the masks that lie there all the time."""
    full, _, seen, window_seen = cells(model, load)
    if not model.swa_layers:
        window_seen = 0
    has_gpu = bool(placement.devices)
    copies = _PIPELINE_COPIES if is_pipelined(model, placement) else 1
    mask = build.mask_bytes if load.has_flash_attention else 4
    masks = (seen + window_seen) * load.ubatch_tokens * mask * copies
    attention = 4 * load.ubatch_tokens * _attention_floats(model)
    if not load.has_flash_attention:
        attention += seen * load.ubatch_tokens * max(model.heads) * 4
    elif has_gpu and build.has_scratch_inside:
        attention += unpacked_bytes(model, load, full)
    staged = model.largest_expert_bytes if has_gpu and _has_host_experts(model, placement) else 0
    rest = max(_mixture_floats(model), _dense_floats(model), _delta_floats(model))
    experts = staged + 4 * load.ubatch_tokens * _mixture_floats(model)
    return masks + max(attention, experts, 4 * load.ubatch_tokens * rest)


def unpacked_bytes(model: Model, load: Load, full_cells: int) -> int:
    """A quantised cache of one layer as f16, which flash attention on a GPU reads."""
    keys = 0 if load.cache_type_k in _UNQUANTISED else model.key_length
    values = 0 if load.cache_type_v in _UNQUANTISED else model.value_length
    heads = max((model.kv_heads[layer] for layer in model.full_layers), default=0)
    return full_cells * heads * (keys + values) * 2


def is_pipelined(model: Model, placement: Placement) -> bool:
    """Several devices hold all layers and nothing is overridden, so that they may work on several ubatches at once."""
    is_whole = placement.gpu_layers >= model.main_layers
    return len(placement.devices) > 1 and is_whole and not placement.cpu_expert_layers


def _has_host_experts(model: Model, placement: Placement) -> bool:
    return model.is_mixture and bool(placement.cpu_expert_layers or placement.gpu_layers < model.main_layers)


def _attention_floats(model: Model) -> int:
    """Per token: Q, its rotated copy or the output, and the hidden state twice; a gate adds its copy and twice Q."""
    query = max(model.heads) * max(model.key_length, model.swa_key_length)
    return (5 if model.has_attention_gate else 2) * query + 2 * model.embedding


def _dense_floats(model: Model) -> int:
    return 2 * model.feed_forward + model.embedding if model.feed_forward else 0


def _mixture_floats(model: Model) -> int:
    if not model.is_mixture:
        return 0
    one = 2 * model.expert_feed_forward + model.embedding
    return model.experts_used * one + 2 * model.embedding + 2 * model.shared_feed_forward


def _delta_floats(model: Model) -> int:
    """A gated delta net: its input three times around the convolution, output and gate, the hidden state twice."""
    if model.ssm is None:
        return 0
    width = model.ssm.inner_size + 2 * model.ssm.group_count * model.ssm.state_size
    return 3 * width + 2 * model.ssm.inner_size + 2 * model.embedding
