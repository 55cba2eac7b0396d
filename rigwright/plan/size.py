"""What one model takes in memory under an engine, as a table of plain numbers: the answer of `rigwright size`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

from rigwright.errors import WrongSpec
from rigwright.models.ggml import TYPES_BY_NAME
from rigwright.models.values import Model
from rigwright.plan.engines.vllm.cache import ANY_RELEASE, VllmLoad, batched_tokens, can_pad, kv_capacity
from rigwright.plan.engines.vllm.memory import estimate_vllm
from rigwright.plan.memory import estimate_memory, loaded_bytes, padded
from rigwright.plan.memory.caches import drafting_cache_bytes, has_nextn_rows
from rigwright.plan.memory.compute import (
    CUDA_CONTEXT_BYTES,
    CUDA_CONTEXT_MARGIN_BYTES,
    IK_LLAMACPP,
    PINNED,
    Build,
    Range,
    any_release,
    drafting_compute_bytes,
    one_release,
)
from rigwright.plan.memory.values import Load, MemoryEstimate, Placement

CACHE_TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")
# What estimate_memory says of it is replaced: here the release may be unknown, and the margin stands beside.
_REPLACED = ("compute buffers", "margin for compute", "drafting", "context checkpoints")


def size(
    model: Model,
    *,
    engine: Literal["llamacpp", "ik_llamacpp", "vllm"] = "llamacpp",
    context_tokens: int | None = None,
    cache_type_k: str = "f16",
    cache_type_v: str = "f16",
    ubatch: int = 512,
    slots: int | None = None,
    unified_kv: bool | None = None,
    flash_attn: bool = True,
    gpus: int = 1,
    n_cpu_moe: int = 0,
    draft_depth: int = 0,
    swa_full: bool = False,
    gpu: bool = True,
    is_pinned_release: bool = False,
    build: Build | None = None,
    tp: int = 1,
    kv_bytes: float = 2,
    kv_scale_bytes: int = 0,
    kv_budget_bytes: int | None = None,
    max_model_len: int | None = None,
    engine_version: str | None = None,
    vram_bytes: Sequence[int] = (),
) -> dict[str, Any]:
    """Sizes in bytes, with `exact` saying of each whether it is computed or estimated.

    Args:
        model: What is sized.
        engine: What serves it.
        context_tokens: Cells of all slots together, as llama-server's --ctx-size; by default the trained context.
        slots: Requests at once; by default one. (llama-server itself takes four when it is not told.)
        unified_kv: Whether slots share one pool; by default only when `slots` is not given, as llama-server does.
        gpus: Devices that share the layers evenly. Without `gpu` all is RAM.
        n_cpu_moe: The first layers whose experts stay in RAM.
        draft_depth: Tokens drafted ahead (--spec-draft-n-max).
        is_pinned_release: True for the release that Rigwright installs; otherwise the margin covers older ones too.
        build: What another known release of llama.cpp reserves.
        kv_bytes: vLLM: bytes of a cache element, and `kv_scale_bytes` of a head's scale.
        kv_budget_bytes: vLLM: what is left for the cache on each GPU; otherwise computed from `vram_bytes`.
        engine_version: vLLM: by default any since 0.21.

    Raises:
        WrongSpec: an argument cannot be.
    """
    _check(engine, (cache_type_k, cache_type_v), flash_attn=flash_attn)
    if engine == "vllm":
        length = max_model_len or context_tokens or model.context_train
        wish = VllmLoad(
            length,
            tp,
            kv_bytes=kv_bytes,
            kv_scale_bytes=kv_scale_bytes,
            speculative_tokens=draft_depth,
            version=engine_version or ANY_RELEASE,
            max_batched_tokens=batched_tokens(vram_bytes),
        )
        return _vllm(model, wish, kv_budget_bytes, vram_bytes)
    count = slots or 1
    is_unified = slots is None if unified_kv is None else unified_kv
    cells = padded(context_tokens or model.context_train)
    load = Load(
        max(1, cells // count),
        count,
        cache_type_k,
        cache_type_v,
        ubatch,
        draft_depth,
        swa_full or engine == "ik_llamacpp",
        is_unified,
        flash_attn,
    )
    placement = even_placement(model, gpus if gpu else 0, n_cpu_moe)
    if engine == "ik_llamacpp":
        compute = one_release(model, load, placement, IK_LLAMACPP)
    elif build or is_pinned_release:
        compute = one_release(model, load, placement, build or PINNED)
    else:
        compute = any_release(model, load, placement)
    return _llamacpp(model, load, placement, compute)


def _check(engine: str, types: tuple[str, str], *, flash_attn: bool) -> None:
    for name in types:
        if name not in CACHE_TYPES or name not in TYPES_BY_NAME:
            raise WrongSpec(f"cache type {name}: is not known; choose one of {', '.join(CACHE_TYPES)}")
    if engine == "llamacpp" and not flash_attn and types[1] not in ("f32", "f16", "bf16"):
        raise WrongSpec(f"cache type {types[1]} for V: needs flash attention; leave it on, or choose f16")


def even_placement(model: Model, gpus: int, n_cpu_moe: int) -> Placement:
    """All layers, evenly: llama.cpp counts the output as one layer more, on the last device."""
    if not gpus:
        return Placement(0)
    layers, experts = model.main_layers, min(n_cpu_moe, model.layers)
    if gpus == 1:
        return Placement(layers, experts)
    ends = [min(layers, -(-(layers + 1) * one // gpus)) for one in range(gpus + 1)]
    return Placement(layers, experts, tuple(end - start for start, end in pairwise(ends)))


def _llamacpp(model: Model, load: Load, placement: Placement, compute: Range) -> dict[str, Any]:
    memory = estimate_memory(model, load, placement)
    for name in _REPLACED:
        memory = memory.without_part(name)
    devices = range(len(placement.devices))
    for ordinal, one in enumerate(compute.expected):
        memory = memory.with_part("compute buffers", ordinal if devices else None, one)
    drafting = drafting_cache_bytes(model, load) + drafting_compute_bytes(model, load)
    if drafting:
        memory = memory.with_part("drafting", devices[-1] if devices else None, drafting)
    sizes = {
        "weights_bytes": loaded_bytes(model, load),
        "kv_bytes": memory.named("KV cache"),
        "kv_swa_bytes": memory.named("SWA cache"),
        "recurrent_bytes": memory.named("recurrent state"),
        "compute_bytes": list(compute.expected),
        "compute_margin_bytes": compute.margin,
        "drafting_bytes": drafting,
        "overhead_bytes": CUDA_CONTEXT_BYTES * len(devices),
        "total_bytes": memory.gpu_bytes if devices else memory.ram_bytes,
        "total_margin_bytes": compute.margin * max(1, len(devices)) + CUDA_CONTEXT_MARGIN_BYTES * len(devices),
        "host_bytes": memory.ram_bytes,
    }
    is_moved = bool(model.nextn_layers) and not load.draft_tokens
    exact = {
        "weights_bytes": not model.is_estimated or (model.is_sum_exact and not is_moved),
        "kv_bytes": not has_nextn_rows(model),
        "kv_swa_bytes": True,
        "recurrent_bytes": True,
    }
    return sizes | {"per_gpu": _per_gpu(memory, len(devices))} | _judged(model, sizes, exact)


def _vllm(model: Model, load: VllmLoad, budget: int | None, vram: Sequence[int]) -> dict[str, Any]:
    estimate = estimate_vllm(model, load, vram or (0,) * load.tensor_parallel)
    memory = estimate.memory
    capacity = kv_capacity(model, load, budget) if budget else estimate.capacity
    if budget:
        memory = memory.without_part("KV cache")
        for rank in range(load.tensor_parallel):
            memory = memory.with_part("KV cache", rank, budget)
    margin = memory.named("margin for compute")
    memory = memory.without_part("margin for compute")
    sizes = {
        "weights_bytes": memory.named("weights"),
        "kv_bytes": memory.named("KV cache"),
        "kv_swa_bytes": 0,
        "recurrent_bytes": 0,
        "compute_bytes": [_compute_on(memory, rank) for rank in range(load.tensor_parallel)],
        "compute_margin_bytes": margin // load.tensor_parallel,
        "drafting_bytes": 0,
        "overhead_bytes": memory.named("CUDA context") + memory.named("NCCL"),
        "total_bytes": memory.gpu_bytes,
        "total_margin_bytes": margin,
        "host_bytes": 0,
        "kv_tokens": capacity.tokens if capacity else None,
        "max_concurrency": round(capacity.concurrency, 6) if capacity else None,
        "block_tokens": capacity.block_tokens if capacity else None,
    }
    known, is_padded = bool(budget), can_pad(model, load)
    exact = {
        "weights_bytes": (not model.is_estimated or model.is_sum_exact) and load.tensor_parallel == 1,
        "kv_bytes": known,
        "kv_tokens": known and not is_padded,
        "max_concurrency": known and not is_padded,
        "block_tokens": not is_padded,
    }
    judged = _judged(model, sizes, exact)
    if is_padded:
        judged["assumptions"] += ["the pages of both kinds of layers are as long; vLLM 0.33 pads the shorter one"]
    return sizes | {"per_gpu": _per_gpu(memory, load.tensor_parallel)} | judged


def _compute_on(memory: MemoryEstimate, rank: int) -> int:
    names = ("activations", "CUDA graphs")
    return sum(part.size_bytes for part in memory.parts if part.device == rank and part.name in names)


def _per_gpu(memory: MemoryEstimate, count: int) -> list[dict[str, Any]]:
    """The uses on each device under their names, and their sum."""
    found = []
    for device in range(count):
        parts = {part.name: part.size_bytes for part in memory.parts if part.device == device}
        found.append({"parts": parts, "total_bytes": sum(parts.values())})
    return found


def _judged(model: Model, sizes: dict[str, Any], exact: dict[str, bool]) -> dict[str, Any]:
    assumptions = list(model.assumptions)
    if model.is_estimated:
        assumptions.append("the tensor table is computed from the model's dimensions")
    return {"exact": {key: exact.get(key, False) for key in sizes}, "assumptions": assumptions}
