"""vLLM's memory: weights shared among ranks, the rest of the budget for the cache."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rigwright.errors import WrongSpec
from rigwright.models.parameters import model_from_parameters
from rigwright.plan.engines.vllm.cache import VllmLoad, kv_capacity
from rigwright.plan.engines.vllm.memory import estimate_vllm, rank_weights_bytes
from rigwright.plan.size import size

GIB = 1024**3
MODELS = json.loads((Path(__file__).parent / "data/models.json").read_text())
LLAMA = model_from_parameters("l", MODELS["Llama-3.1-8B"], quant="BF16")
HYBRID = model_from_parameters("q", MODELS["Qwen3.5-35B-A3B"], quant="BF16")


def test_heads_that_do_not_divide_are_replicated() -> None:
    """With 2 KV heads, 4 GPUs hold one each: no more tokens than 2 GPUs. With 8 heads 4 GPUs hold twice as many."""
    few, many = (kv_capacity(HYBRID, VllmLoad(2_621_440, ranks), 16 * GIB).tokens for ranks in (2, 4))
    assert few == pytest.approx(many, rel=0.01)
    two, four = (kv_capacity(LLAMA, VllmLoad(8192, ranks), 8 * GIB).tokens for ranks in (2, 4))
    # 32 layers × K and V × 8 heads × 128 × 2 bytes, shared by two: 65,536 bytes a token.
    assert (two, four) == (8 * GIB // 65536, 2 * (8 * GIB // 65536))


def test_pipeline_splits_layers() -> None:
    """Each of two stages keeps half of the layers' cache; the first has the embedding, the last the output."""
    one, two = VllmLoad(8192), VllmLoad(8192, pipeline_parallel=2)
    assert kv_capacity(LLAMA, two, 4 * GIB).tokens == 2 * kv_capacity(LLAMA, one, 4 * GIB).tokens
    shares = [rank_weights_bytes(LLAMA, two, stage) for stage in (0, 1)]
    assert sum(shares) == rank_weights_bytes(LLAMA, one)
    assert shares[0] == pytest.approx(shares[1], rel=0.001)


def test_cache_takes_what_is_left() -> None:
    """All parts of a rank come to utilization × its memory, as nvidia-smi then shows."""
    estimate = estimate_vllm(LLAMA, VllmLoad(32768), [24 * GIB])
    assert estimate.memory.on(0) == pytest.approx(0.92 * 24 * GIB, abs=1)
    # 8.03 B weights of two bytes are 14.96 GiB, so that 3 to 6 GiB are left at 128 KiB for each token.
    assert estimate.capacity and 3 * GIB < estimate.capacity.tokens * 131072 < 6 * GIB


def test_nothing_left_is_no_capacity() -> None:
    """A model larger than the card has no cache at all."""
    assert estimate_vllm(HYBRID, VllmLoad(32768), [24 * GIB]).capacity is None


def test_size_of_vllm_without_a_budget_has_no_tokens() -> None:
    """Neither a budget nor a card given: weights are known, tokens are not."""
    found = size(LLAMA, engine="vllm")
    assert (found["kv_tokens"], found["exact"]["kv_tokens"]) == (None, False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cache_type_k": "q9"}, "cache type q9: is not known; choose one of f32, f16"),
        ({"cache_type_v": "q8_0", "flash_attn": False}, "cache type q8_0 for V: needs flash attention"),
    ],
)
def test_size_refuses_what_llama_cpp_refuses(change: dict[str, Any], message: str) -> None:
    """A wrong argument is one clear line."""
    with pytest.raises(WrongSpec) as error:
        size(LLAMA, **change)
    assert error.value.message.startswith(message)


def test_size_adds_up() -> None:
    """The devices' parts are the total; the host has the rest."""
    found = size(HYBRID, gpus=3, context_tokens=65536, slots=2, n_cpu_moe=7, draft_depth=2)
    assert sum(gpu["total_bytes"] for gpu in found["per_gpu"]) == found["total_bytes"]
    assert all(sum(gpu["parts"].values()) == gpu["total_bytes"] for gpu in found["per_gpu"])
    assert set(found["exact"]) < set(found)
    kept = found["weights_bytes"] - sum(gpu["parts"]["weights"] for gpu in found["per_gpu"])
    assert kept > 7 * 256 * 3 * 2048 * 512 * 2  # the experts of seven layers at 16 bit


def test_size_counts_as_the_pinned_release_does() -> None:
    """Without logits for a whole ubatch, 512 × 248,320 × 4 bytes, which the margin of an unknown release covers."""
    mine, every = (size(HYBRID, context_tokens=16384, is_pinned_release=pinned) for pinned in (True, False))
    assert mine["compute_bytes"] == every["compute_bytes"]
    assert mine["compute_margin_bytes"] == 128 * 2**20
    assert every["compute_bytes"][0] + every["compute_margin_bytes"] > 485 * 2**20


GEMMA = model_from_parameters("g", MODELS["Gemma-4-31B"], quant="BF16")
OSS = model_from_parameters("o", MODELS["gpt-oss-20b"], quant="MXFP4")


def test_windows_take_what_lies_in_them() -> None:
    """Of gpt-oss-20b a request takes blocks for all tokens in 12 layers, and in 12 for 128 tokens and two batches."""
    capacity = kv_capacity(OSS, VllmLoad(131072, max_batched_tokens=2048), 10 * GIB)
    # 12 layers × 16 tokens × K and V × 8 heads × 64 × 2 bytes for a block of both.
    blocks = 10 * GIB // (12 * 16 * 2 * 8 * 64 * 2)
    assert capacity.concurrency == pytest.approx(blocks / (131072 // 16 + -(-(127 + 2 * 2048) // 16) + 1))
    assert capacity.tokens == int(capacity.concurrency * 131072)


def test_kinds_of_layers_share_pages() -> None:
    """On two GPUs 16 tokens of a window layer of Gemma 4 take as much as 32 of a full one, and five groups are six."""
    load = VllmLoad(262144, 2, max_batched_tokens=2048)
    capacity = kv_capacity(GEMMA, load, 12 * GIB)
    blocks = 12 * GIB // (10 * 16 * 8 * 2 * 256 * 2)
    assert capacity.block_tokens == 32
    assert capacity.concurrency == pytest.approx(blocks / (262144 // 32 + 5 * (-(-(1023 + 2 * 2048) // 16) + 1)))


@pytest.mark.parametrize(("version", "tokens"), [("0.32.0", 467_026), ("0.33.0", 254_347)])
def test_pages_that_do_not_divide_are_padded(version: str, tokens: int) -> None:
    """Scales of each head make 2,064 and 4,160 bytes of a token: 0.33 pads the smaller page, where blocks grew before.

    466,892 were printed for 10.82 GiB, which is rounded (club-3090, BENCHMARKS.md).
    """
    load = VllmLoad(262144, 2, kv_bytes=1, kv_scale_bytes=4, max_batched_tokens=2048, version=version)
    assert kv_capacity(GEMMA, load, int(10.82 * GIB)).tokens == tokens


def test_a_pipeline_splits_groups_of_windows() -> None:
    """Two stages hold half of each group, and three batches are in flight instead of two."""
    one, two = (VllmLoad(131072, 1, stages, max_batched_tokens=2048) for stages in (1, 2))
    whole, split = (kv_capacity(OSS, load, 4 * GIB).concurrency for load in (one, two))
    assert split == pytest.approx(2 * whole * (8192 + 265) / (8192 + 393), rel=0.001)


def test_layers_of_unlike_heads_take_what_each_takes() -> None:
    """Where one layer of 32 has 2 KV heads instead of 8, a token takes 31 × 8 + 2 heads, not 32 × 8."""
    heads = (*LLAMA.kv_heads[:-1], 2)
    thin = replace(LLAMA, kv_heads=heads)
    assert kv_capacity(thin, VllmLoad(8192), 8 * GIB).tokens == 8 * GIB // (250 * 2 * 128 * 2 * 16) * 16
