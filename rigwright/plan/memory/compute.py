"""llama.cpp's compute buffer: how much one device needs for intermediate results.

Not exact: it depends on backend and release. The rules follow the graph of llama.cpp 0c1e570
(`llama_context::sched_reserve`, src/models/*.cpp, `ggml_cuda_flash_attn_ext_get_alloc_size`) and what
`llama-server -lv 4` printed for it; the layer terms are checked against logs of CUDA builds.

What releases differ in: since June 2026 (ggml-org/llama.cpp#23861) llama-server reserves logits for one token per
slot and draft; before, and in llama-bench, llama-perplexity and llama-fit-params to this day, for a whole ubatch.
Before, too, the mask was F32 with an F16 copy, and a quantised cache was unpacked in a pool outside the buffer.
Between 0c1e570 and the pinned b11434 came batches of tokens and images mixed: one more hidden state of a ubatch, where
tokens are embedded.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from rigwright.models.values import Model
from rigwright.plan.memory.caches import cells
from rigwright.plan.memory.values import Growth, Load, Placement
from rigwright.units import MIB

# A process on a GPU before its first buffer: 248 to 330 MiB seen on Ampere to Blackwell, 104 on a second GPU.
CUDA_CONTEXT_BYTES = 300 * MIB
# Up to 749 MiB were unaccounted for on Blackwell workstation cards.
CUDA_CONTEXT_MARGIN_BYTES = 450 * MIB
_LEAST_MARGIN_BYTES = 128 * MIB
# Inputs of a device, the hidden state too, are kept this often when layers span devices: GGML_SCHED_MAX_COPIES.
_PIPELINE_COPIES = 4
UNQUANTISED = ("f16", "bf16")


class Build(NamedTuple):
    """What a release of llama.cpp reserves."""

    has_all_logits: bool = False
    mask_bytes: int = 2
    has_scratch_inside: bool = True
    has_staging: bool = True
    has_fused_delta: bool = True
    has_mixed_batches: bool = False


PINNED = Build(has_mixed_batches=True)
BEFORE_MIXED_BATCHES = Build()
BEFORE_OUTPUT_LIMIT = Build(has_all_logits=True)
BEFORE_F16_MASK = Build(has_all_logits=True, mask_bytes=6, has_scratch_inside=False)
# In between: such a mask, with the cache unpacked inside. A Gemma 4 26B printed 1887.86 MiB: 772 + 1024 + 91.
BEFORE_F16_MASK_INSIDE = BEFORE_F16_MASK._replace(has_scratch_inside=True)
BEFORE_FUSED_DELTA = BEFORE_F16_MASK._replace(has_fused_delta=False)
IK_LLAMACPP = Build(has_all_logits=True, has_scratch_inside=False, has_staging=False)
# The first releases with gated delta nets built them of single operations: 308 MiB for an inner size of 4096 and a
# ubatch of 512 (two logs of Qwen3-Coder-Next), or 38.5 floats per token and channel. Only this architecture is as old.
_UNFUSED_FLOATS, _UNFUSED = 38.5, "qwen3next"


def margin_bytes(compute: int) -> int:
    """What the formula may be off: a quarter, or 128 MiB for small buffers."""
    return max(compute // 4, _LEAST_MARGIN_BYTES)


class Range(NamedTuple):
    """The buffer of each device when the release is not known, and how far the truth may lie from it."""

    expected: tuple[int, ...]
    margin: int


def any_release(model: Model, load: Load, placement: Placement) -> Range:
    """For a log of an unknown release: what a plan counts, with a margin over what older ones reserve."""
    oldest = BEFORE_FUSED_DELTA if model.architecture == _UNFUSED else BEFORE_F16_MASK
    builds = (BEFORE_OUTPUT_LIMIT, BEFORE_F16_MASK_INSIDE, oldest)
    others = [compute_bytes(model, load, placement, build) for build in builds]
    return _spread(compute_bytes(model, load, placement), others)


def one_release(model: Model, load: Load, placement: Placement, build: Build) -> Range:
    """For a known release."""
    expected = compute_bytes(model, load, placement, build)
    return Range(expected, margin_bytes(max(expected)))


def _spread(expected: tuple[int, ...], others: list[tuple[int, ...]]) -> Range:
    """The margin reaches all others and a half, or 32 MiB, beyond: the log's release may be none of them."""
    margin = margin_bytes(max(expected))
    for other in others:
        for ours, theirs in zip(expected, other, strict=True):
            margin = max(margin, abs(ours - theirs) + max(theirs // 2, 32 * MIB))
    return Range(expected, margin)


class BufferPlace(NamedTuple):
    """What the buffer needs to know of a placement."""

    has_gpu: bool
    is_pipelined: bool
    has_host_experts: bool


def place_of(model: Model, placement: Placement) -> BufferPlace:
    """Pipelined: several devices hold all layers and nothing is overridden, so that ubatches may overlap."""
    is_whole = placement.gpu_layers >= model.main_layers
    devices = len(placement.split) or (1 if placement.gpu_layers else 0)
    return BufferPlace(
        devices > 0,
        devices > 1 and is_whole and not placement.cpu_expert_layers,
        devices > 0 and model.is_mixture and (placement.cpu_expert_layers > 0 or not is_whole),
    )


def grown_bytes(stage_bytes: int, growth: Growth, place: BufferPlace) -> tuple[int, int]:
    """A buffer and its margin: as llama.cpp's own dry run says, without one, where that is more than both."""
    margin = margin_bytes(stage_bytes)
    thousandths = growth.pipelined if place.is_pipelined else growth.spilled if place.has_host_experts else growth.whole
    said = -(-stage_bytes * thousandths // 1000) if place.has_gpu else 0
    return (said, 0) if said > stage_bytes + margin else (stage_bytes, margin)


def compute_bytes(model: Model, load: Load, placement: Placement, build: Build = PINNED) -> tuple[int, ...]:
    """The buffer of each device; of RAM alone when no layer is on a GPU."""
    layer, last = stage_bytes(model, load, place_of(model, placement), build)
    return (layer,) * (len(placement.devices) - 1) + (last,)


@lru_cache(maxsize=4096)
def stage_bytes(model: Model, load: Load, place: BufferPlace, build: Build = PINNED) -> tuple[int, int]:
    """The need of a device with layers only, and of the last one, which computes the output too."""
    layer = _layer_stage_bytes(model, load, place, build)
    return layer, max(layer, _logits_stage_bytes(model, load, build, has_gpu=place.has_gpu))


def host_bytes(model: Model, load: Load) -> int:
    """What RAM holds beside GPUs: the masks before they are sent, and the embedded tokens three times."""
    _, _, seen, window_seen = cells(model, load)
    masks = seen + (window_seen if model.swa_layers else 0)
    return load.ubatch_tokens * (masks * (2 if load.has_flash_attention else 4) + 3 * 4 * model.embedding)


def drafting_compute_bytes(model: Model, load: Load) -> int:
    """The second context's buffer, which runs nextn layers: attention, experts and logits, but no delta net."""
    if not load.draft_tokens:
        return 0
    plain = load._replace(cache_type_k="f16", cache_type_v="f16", draft_tokens=0)
    # A hidden state less than in the main graph: 520.06 MiB printed for Qwen3.8-27B at a ubatch of 2048, 657 with that.
    dense = _dense_floats(model) - (model.embedding if model.feed_forward else 0)
    floats = max(_attention_floats(model), _mixture_floats(model, has_gpu=True), dense)
    outputs = min(load.slots, load.ubatch_tokens) * model.vocab
    mask = cells(model, plain).full_seen * (2 if load.has_flash_attention else 4)
    return load.ubatch_tokens * (mask + 4 * floats) + 4 * outputs


def _logits_stage_bytes(model: Model, load: Load, build: Build, *, has_gpu: bool) -> int:
    """Logits, and copies of the hidden state: on a GPU two after a mixture, else one; on a CPU three."""
    ubatch = load.ubatch_tokens
    hidden = (2 if model.is_mixture else 1) if has_gpu else 3
    outputs = ubatch if build.has_all_logits else min(ubatch, load.slots * (1 + load.draft_tokens))
    return 4 * (outputs * model.vocab + hidden * ubatch * model.embedding)


def _layer_stage_bytes(model: Model, load: Load, place: BufferPlace, build: Build) -> int:
    """The largest need of one layer, beside the masks that lie there all the time."""
    full, _, seen, window_seen = cells(model, load)
    mask = build.mask_bytes if load.has_flash_attention else 4
    masks = (seen + (window_seen if model.swa_layers else 0)) * mask * (_PIPELINE_COPIES if place.is_pipelined else 1)
    ubatch, scratch = load.ubatch_tokens, 0
    attention = 4 * _attention_floats(model)
    if not load.has_flash_attention:
        attention += seen * max(model.heads) * 4
    elif place.has_gpu and build.has_scratch_inside:
        scratch = unpacked_bytes(model, load, full)
    mixture = 4 * _mixture_floats(model, has_gpu=place.has_gpu)
    staged = model.largest_expert_bytes if place.has_host_experts and build.has_staging else 0
    rest = 4 * max(_dense_floats(model), _delta_floats(model, is_fused=build.has_fused_delta))
    hidden = 4 * model.embedding * _PIPELINE_COPIES if place.is_pipelined else 0
    hidden += 4 * model.embedding if build.has_mixed_batches and not place.has_gpu else 0
    return ubatch * (masks + hidden) + max(ubatch * attention + scratch, ubatch * mixture + staged, ubatch * rest)


def unpacked_bytes(model: Model, load: Load, full_cells: int) -> int:
    """A quantised cache of one layer as f16, which flash attention on a GPU reads."""
    keys = 0 if load.cache_type_k in UNQUANTISED else model.key_length
    values = 0 if load.cache_type_v in UNQUANTISED else model.value_length
    heads = max((model.kv_heads[layer] for layer in model.full_layers), default=0)
    return full_cells * heads * (keys + values) * 2


# What one token takes at the widest point of each kind of layer, in floats. Each was read off runs of the pinned
# llama-server (`-lv 4`, holes for weights) over a dozen shapes, and is what ggml's allocator makes of the graph.


def _attention_floats(model: Model) -> int:
    """Q, its rotated copy and the output, and the hidden state twice; a gate makes Q twice as wide."""
    query = max(model.heads) * max(model.key_length, model.swa_key_length)
    return (5 if model.has_attention_gate else 3) * query + 2 * model.embedding


def _dense_floats(model: Model) -> int:
    """Gate, up and their product, and the hidden state four times."""
    return 3 * model.feed_forward + 4 * model.embedding if model.feed_forward else 0


def _mixture_floats(model: Model, *, has_gpu: bool) -> int:
    """The same for each expert that is used; its result needs a place of its own unless gate and up leave one.

    CUDA keeps the weighted result beside the plain one: 132 MiB printed for Qwen3.6-35B-A3B, 104 without that.
    """
    if not model.is_mixture:
        return 0
    width, hidden = model.expert_feed_forward, model.embedding
    if has_gpu:
        return model.experts_used * (3 * width + 2 * hidden) + 3 * hidden
    result = hidden if hidden > 2 * width else 0
    return model.experts_used * (3 * width + result) + 4 * hidden


def _delta_floats(model: Model, *, is_fused: bool = True) -> int:
    """A gated delta net: its input three times around the convolution, and the hidden state three times."""
    if model.ssm is None:
        return 0
    if not is_fused:
        return int(_UNFUSED_FLOATS * model.ssm.inner_size)
    width = model.ssm.inner_size + 2 * model.ssm.group_count * model.ssm.state_size
    return 3 * (width + model.embedding)
