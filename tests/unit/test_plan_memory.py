"""Memory: what llama.cpp itself printed, to the MiB."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rigwright.models import Model, Ssm, Tensor, read_model
from rigwright.plan.memory import (
    Load,
    MemoryEstimate,
    Placement,
    checkpoint_bytes,
    compute_bytes,
    estimate_memory,
    kv_cache_bytes,
    loaded_bytes,
    recurrent_bytes,
)

MIB = 1024**2
CASES = json.loads((Path(__file__).parent / "data/memory_cases.json").read_text())
Q8 = {"cache_type_k": "q8_0", "cache_type_v": "q8_0"}


def model_of(*, kv_heads: tuple[int, ...], tensors: tuple[Tensor, ...] = (), **fields: Any) -> Model:
    """A model of which only what the test names matters."""
    layers = len(kv_heads)
    # fmt: off
    known = {
        "name": "m", "architecture": "llama", "file_bytes": 0, "context_train": 262144, "layers": layers,
        "nextn_layers": 0, "embedding": 64, "feed_forward": 128, "heads": (8,) * layers, "key_length": 64,
        "value_length": 64, "swa_key_length": 64, "swa_value_length": 64, "sliding_window": 0, "swa_layers": (),
        "recurrent_layers": (), "ssm": None, "experts": 0, "experts_used": 0, "expert_feed_forward": 0, "vocab": 100,
        "has_chat_template": True, "split_count": 1,
    }
    # fmt: on
    return Model(kv_heads=kv_heads, tensors=tensors, **(known | fields))


def model_of_case(case: dict[str, Any]) -> Model:
    full, window, recurrent = (case["layers"][kind] for kind in ("full", "window", "recurrent"))
    heads, dims = case["kv_heads"], case["head_dim"]
    return model_of(
        kv_heads=(heads["full"],) * full + (heads["window"],) * window + (0,) * recurrent,
        key_length=dims["full"],
        value_length=dims["full"],
        swa_key_length=dims["window"],
        swa_value_length=dims["window"],
        sliding_window=case["window"],
        swa_layers=tuple(range(full, full + window)),
        recurrent_layers=tuple(range(full + window, full + window + recurrent)),
        ssm=Ssm(*case["ssm"]) if case["ssm"] else None,
    )


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_cache_is_what_the_log_says(case: dict[str, Any]) -> None:
    """KV cache of full and of window layers and recurrent state agree with the published log within its rounding."""
    model = model_of_case(case)
    slots, kind = case["slots"], case["cache_type"]
    load = Load(case["total_context"] // slots, slots, kind, kind, case["ubatch"], case["draft"])
    full = [layer for layer in range(model.layers) if layer not in model.swa_layers]
    computed = {
        "full": kv_cache_bytes(model, load, full) / MIB,
        "window": kv_cache_bytes(model, load, model.swa_layers) / MIB,
        "state": recurrent_bytes(model, load) / MIB,
    }
    for part, observed in case["observed_mib"].items():
        assert computed[part] == pytest.approx(observed, abs=0.01)


@pytest.mark.parametrize(
    ("load", "context_mib", "compute_mib"),
    [
        (Load(262144), 5182, 497),
        (Load(262144, **Q8), 2782, 497),
        (Load(131072, **Q8), 1422, 497),
        (Load(122880), 2462, 497),
        (Load(4096), 142, 497),
        (Load(65536, slots=4), 5371, 497),
        (Load(262144, ubatch_tokens=2048), 5182, 1988),
    ],
)
def test_35b_takes_what_llama_fit_params_reports(
    model_35b: Model, load: Load, context_mib: int, compute_mib: int
) -> None:
    """Context and compute of Qwen3.5-35B-A3B on a CPU are those of `llama-fit-params --fit-print on`, in whole MiB."""
    context = kv_cache_bytes(model_35b, load) + recurrent_bytes(model_35b, load)
    assert (context // MIB, compute_bytes(model_35b, load, Placement(0)) // MIB) == (context_mib, compute_mib)


@pytest.mark.parametrize(("context", "slots", "reported_mib"), [(32768, 1, 38), (32768, 4, 38), (131072, 1, 134)])
def test_compute_grows_with_the_context_of_a_slot(
    tiny_dense: Path, context: int, slots: int, reported_mib: int
) -> None:
    """Where the mask dominates, compute is within a tenth of llama-fit-params' figure, and slots do not matter."""
    computed = compute_bytes(read_model(tiny_dense), Load(context, slots), Placement(0)) / MIB
    assert computed == pytest.approx(reported_mib, rel=0.1)


def test_weights_are_counted_once(model_35b: Model) -> None:
    """Whatever the placement, GPU and RAM together hold each weight of an untied model exactly once."""
    for placement in (Placement(0), Placement(40), Placement(40, 17), Placement(13, 40), Placement(1)):
        parts = estimate_memory(model_35b, Load(4096), placement).parts
        assert sum(part.size_bytes for part in parts if part.name == "weights") == model_35b.weights_bytes


def test_embedding_stays_in_ram(model_35b: Model) -> None:
    """With all layers on the GPU only the embedding is left: 248320 x 2048 at 4.5 bits."""
    parts = estimate_memory(model_35b, Load(4096), Placement(40)).parts
    left = [part.size_bytes for part in parts if part.name == "weights" and part.place == "ram"]
    assert left == [248320 * 2048 * 144 // 256]


def test_cpu_experts_leave_the_gpu(model_35b: Model) -> None:
    """Each of the first N layers gives up its experts: 256 x 512 x 2048 at 4.5 (gate, up) and 5.5 bits (down)."""
    sizes = [estimate_memory(model_35b, Load(4096), Placement(40, count)).gpu_bytes for count in (1, 11)]
    layer_bytes = 256 * 512 * 2048 * (144 + 144 + 176) // 256
    assert sizes[0] - sizes[1] == 10 * layer_bytes


def test_tied_embedding_is_copied_to_the_gpu() -> None:
    """A model without an output tensor keeps its embedding in RAM and once more on the GPU."""
    model = model_of(kv_heads=(8,), tensors=(Tensor("token_embd.weight", (64, 100), "F32", 25600),))
    parts = estimate_memory(model, Load(256), Placement(1)).parts
    assert [part.size_bytes for part in parts if part.name == "weights"] == [25600, 25600]


def test_nextn_layers_cost_only_when_drafting() -> None:
    """A multi-token prediction layer is not loaded and has no cache, unless it drafts."""
    tensors = tuple(Tensor(f"blk.{layer}.ffn_up.weight", (1,), "F32", 1000) for layer in (0, 1))
    model = model_of(kv_heads=(8, 8), nextn_layers=1, tensors=tensors)
    one_layer = 256 * 8 * 64 * 2 * 2
    assert (loaded_bytes(model, Load(256)), kv_cache_bytes(model, Load(256))) == (1000, one_layer)
    drafting = Load(256, draft_tokens=3)
    assert (loaded_bytes(model, drafting), kv_cache_bytes(model, drafting)) == (2000, 2 * one_layer)
    quantised = Load(256, draft_tokens=3, **Q8)  # the drafting layer stays f16
    assert kv_cache_bytes(model, quantised) == one_layer * 34 // 64 + one_layer


def test_full_window_cache_ignores_the_window() -> None:
    """--swa-full keeps the whole context in every layer."""
    model = model_of(kv_heads=(8, 8), sliding_window=128, swa_layers=(0,))
    assert kv_cache_bytes(model, Load(8192, swa_full=True)) == 2 * kv_cache_bytes(model, Load(8192), [1])


def test_quantised_cache_is_unpacked_on_a_gpu(model_35b: Model) -> None:
    """One layer of a q8_0 cache becomes f16: 262144 x 2 heads x 512 x 2 bytes; a CPU needs nothing of it."""
    gpu = Placement(40)
    layer = compute_bytes(model_35b, Load(262144, **Q8), gpu) - compute_bytes(
        model_35b, Load(262144, **Q8), Placement(0)
    )
    act_and_mask_mib = 48 + 256
    assert layer == (512 + act_and_mask_mib - 497) * MIB


def test_checkpoints_are_bounded(model_35b: Model) -> None:
    """At most 32 copies of the state, 8192 tokens apart: 62.8 MiB each for the 35B."""
    state = recurrent_bytes(model_35b, Load(4096))
    assert [checkpoint_bytes(model_35b, Load(tokens)) // state for tokens in (4096, 32768, 10**6)] == [1, 5, 32]


def test_estimate_survives_json(model_35b: Model) -> None:
    """An estimate written as JSON reads back equal, and its total is the sum of its parts."""
    estimate = estimate_memory(model_35b, Load(32768), Placement(40, 3))
    assert MemoryEstimate.model_validate_json(estimate.model_dump_json()) == estimate
    assert estimate.total_bytes == sum(part.size_bytes for part in estimate.parts)
