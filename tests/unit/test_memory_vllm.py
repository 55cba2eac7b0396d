"""vLLM's memory: weights shared among ranks, the rest of the budget for the cache."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rigwright.errors import WrongSpec
from rigwright.models.parameters import model_from_parameters
from rigwright.plan.engines.vllm.memory import VllmLoad, estimate_vllm, kv_capacity, rank_weights_bytes
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


def test_pinned_release_needs_less_than_any() -> None:
    """Without logits for a whole ubatch: 512 × 248,320 × 4 bytes less are reserved, and the margin is narrow."""
    mine, every = (size(HYBRID, context_tokens=16384, is_pinned_release=pinned) for pinned in (True, False))
    assert every["compute_bytes"][0] > 485 * 2**20 > 128 * 2**20 > mine["compute_bytes"][0]
    assert mine["compute_margin_bytes"] == 128 * 2**20 < every["compute_margin_bytes"]
