"""vLLM in plans of whole rigs: which contexts fit, with which KV cache."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from rigwright.hardware.values import Hardware
from rigwright.models.repositories import as_repository, least_bytes
from rigwright.models.variants import find_offer, model_of, variants
from rigwright.plan.rig_plan import Request, plan_rig
from rigwright.plan.service import ServicePlan
from rigwright.plan.source import ModelSource
from rigwright.plan.wish import ServiceWish

GIB = 1024**3


def cards(machine: Any, name: str, count: int, vram_gib: int) -> Hardware:
    """Cards with all the memory that nvidia-smi names."""
    found = machine(gpus=[name] * count, links="NV4")
    return replace(found, gpus=tuple(replace(gpu, vram_bytes=vram_gib * GIB) for gpu in found.gpus))


def served(hardware: Hardware, model: str, **wish: Any) -> ServicePlan:
    asked = ServiceWish(name="chat", model=ModelSource(name=model), **({"engine": "vllm"} | wish))
    return plan_rig(hardware, [Request(asked, variants(model_of(model, where="test")))]).services[0]


def flag(plan: ServicePlan, name: str) -> str | None:
    return next((one.value for one in plan.flags if one.name == name), None)


@pytest.mark.parametrize("context", [131072, 229376, 262144])
@pytest.mark.parametrize("count", [2, 4])
def test_windows_fit_where_owners_run_them(machine: Any, count: int, context: int) -> None:
    """Owners run Gemma 4 31B at 224K in bf16 and at 262K in int8 on two RTX 3090 (club-3090, the Gemma column)."""
    plan = served(cards(machine, "RTX 3090", count, 24), "gemma-4-31b", context=context)
    assert (plan.context_tokens, plan.layout.tensor_parallel) == (context, count)


def test_more_of_a_gpu_is_taken_only_where_it_must_be(machine: Any) -> None:
    """0.92 is vLLM's default; 0.95, and 1,024 tokens at once, are for the context that fits no other way."""
    rig = cards(machine, "RTX 3090", 2, 24)
    few, many = (served(rig, "gemma-4-31b", context=context) for context in (65536, 262144))
    assert [flag(one, "--gpu-memory-utilization") for one in (few, many)] == ["0.92", "0.95"]
    [why] = [one.reason.because for one in many.flags if one.name == "--gpu-memory-utilization"]
    assert "more than its default" in why


@pytest.mark.parametrize(
    ("name", "model", "wish", "kind"),
    [
        ("RTX 3090", "qwen3.6-27b", {"cache_type": "q8_0"}, "fp8"),
        ("RTX 5090", "gemma-4-12b", {"cache_type": "q8_0"}, "fp8"),
        # Its heads of two sizes are Triton's before Ada, which has no fp8 there; and Turing has none at all.
        ("RTX 3090", "gemma-4-12b", {"cache_type": "q8_0"}, "int8_per_token_head"),
        ("RTX 3090", "gpt-oss-20b", {"cache_type": "q8_0"}, "int8_per_token_head"),
        ("Quadro RTX 8000", "qwen3-8b", {"cache_type": "q8_0", "context": 32768}, "int8_per_token_head"),
        ("RTX 3090", "qwen3.6-27b", {"cache_type": "f16"}, "auto"),
        ("RTX 3090", "qwen3.6-27b", {"cache_type": "q4_0"}, "int4_per_token_head"),
        ("RTX 3090", "qwen3.6-27b", {"flags": {"--kv-cache-dtype": "int8_per_token_head"}}, "int8_per_token_head"),
    ],
)
def test_cache_type_is_one_that_the_gpu_has(
    machine: Any, name: str, model: str, wish: dict[str, Any], kind: str
) -> None:
    """fp8 is vLLM's 8 bit, from Ampere on where FlashInfer serves the model; what is named holds at any context."""
    plan = served(cards(machine, name, 2, 24), model, **({"context": 65536} | wish))
    assert flag(plan, "--kv-cache-dtype") == kind


def test_automatic_cache_is_8_bit_where_that_buys_context(machine: Any) -> None:
    """One RTX 3090 holds more of Qwen3.6-27B's context in fp8; two hold enough in 16 bit, at no loss."""
    asked: list[dict[str, Any]] = [{}, {"cache_type": "f16"}]
    most, plain = (served(cards(machine, "RTX 3090", 1, 24), "qwen3.6-27b", goal="context", **one) for one in asked)
    assert flag(most, "--kv-cache-dtype") == "fp8" and most.context_tokens > plain.context_tokens
    two = served(cards(machine, "RTX 3090", 2, 24), "qwen3.6-27b", context=65536)
    assert flag(two, "--kv-cache-dtype") == "auto"


def test_int8_by_head_is_for_short_contexts(machine: Any) -> None:
    """Unasked it is never taken for a long context that 16 bit holds too; where it is, the plan says what it costs."""
    rig = cards(machine, "RTX 3090", 2, 24)
    assert flag(served(rig, "gemma-4-31b", goal="context"), "--kv-cache-dtype") == "auto"
    plan = served(rig, "gemma-4-31b", context=131072, cache_type="q8_0")
    [why] = [one.reason.because for one in plan.flags if one.name == "--kv-cache-dtype"]
    assert "slower than 16 bit at long contexts" in why


@pytest.mark.parametrize("offer", ["gemma-4-31b:INT4", "qwen3.6-27b:AWQ", "qwen3.6-27b:NVFP4", "qwen3.6-27b:FP8"])
def test_repositories_keep_the_embedding_at_16_bit(offer: str) -> None:
    """262,144 × 5,376 × 2 bytes of Gemma 4 31B are read for each token; all tensors together are the file."""
    found = find_offer(offer, format="safetensors")
    assert found and found.known
    model, edge = found.model, found.known.parameters["vocab"] * found.known.parameters["hidden"] * 2
    assert edge == model.input_bytes and edge <= model.output_bytes < edge * 1.001
    assert model.weights_bytes == found.weights_bytes
    assert sum(tensor.size_bytes for tensor in model.tensors if tensor.layer is None) < model.weights_bytes / 2


def test_mxfp4_leaves_all_but_experts() -> None:
    """Attention of gpt-oss-20b has 16 bit, its experts about 4.25; a GGUF file is as its header says."""
    found = find_offer("gpt-oss-20b:MXFP4", format="safetensors")
    assert found
    experts = [one for one in found.model.tensors if one.is_expert and len(one.shape) == 3]
    bits = 8 * sum(one.size_bytes for one in experts) / sum(math.prod(one.shape) for one in experts)
    assert 4.2 < bits < 4.4
    attention = next(one for one in found.model.tensors if one.name == "blk.0.attn_q.weight")
    assert attention.size_bytes == 2 * math.prod(attention.shape)
    header = replace(found.model, is_estimated=False)
    assert as_repository(header) is header


def test_a_rough_size_is_none_that_cannot_be() -> None:
    """18.0 GB are published for Gemma 4 31B in 4 bit, whose embedding alone has 2.8 at 16 bit: 18.3 at least."""
    known = model_of("gemma-4-31b", where="test")
    found = find_offer("gemma-4-31b:INT4")
    assert found
    assert found.file_bytes >= least_bytes(known.parameters, "INT4", known.total_parameters) > 18.2e9
