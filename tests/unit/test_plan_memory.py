"""Memory: what llama.cpp itself printed, to the MiB."""

from __future__ import annotations

import json
import timeit
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rigwright.models import Model, Tensor, read_model
from rigwright.models.parameters import model_from_parameters
from rigwright.plan.memory import (
    Load,
    MemoryEstimate,
    Placement,
    checkpoint_bytes,
    compute_bytes,
    estimate_memory,
    fast_bytes,
    kv_cache_bytes,
    loaded_bytes,
    recurrent_bytes,
    swa_cache_bytes,
)
from rigwright.plan.memory.caches import drafting_cache_bytes
from rigwright.plan.memory.compute import BEFORE_MIXED_BATCHES, BEFORE_OUTPUT_LIMIT, PINNED

MIB = 1024**2
Q8 = {"cache_type_k": "q8_0", "cache_type_v": "q8_0"}
MODELS = json.loads((Path(__file__).parent / "data/models.json").read_text())


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
    compute = compute_bytes(model_35b, load, Placement(0), BEFORE_OUTPUT_LIMIT)  # it reserves all logits to this day
    assert (context // MIB, sum(compute) // MIB) == (context_mib, compute_mib)


@pytest.mark.parametrize(
    ("load", "kv_mib", "state_mib", "compute_mib"),
    [
        (Load(65536), 1280, 62.81, 140.02),
        (Load(16384, ubatch_tokens=2048), 320, 62.81, 368.09),
        (Load(65536, **Q8), 680, 62.81, 140.29),
        (Load(16384, has_flash_attention=False), 320, 62.81, 590.02),
    ],
)
def test_35b_takes_what_llama_server_prints(
    model_35b: Model, load: Load, kv_mib: float, state_mib: float, compute_mib: float
) -> None:
    """The buffers that `llama-server -lv 4` of b11434 printed for a hole of the 35B's size, on a CPU."""
    caches = kv_cache_bytes(model_35b, load) / MIB, recurrent_bytes(model_35b, load) / MIB
    assert caches == pytest.approx((kv_mib, state_mib), abs=0.01)
    assert sum(compute_bytes(model_35b, load, Placement(0))) / MIB == pytest.approx(compute_mib, rel=0.06)


@pytest.mark.parametrize(
    ("load", "state_mib", "compute_mib"),
    [(Load(16384 // 4, slots=4, is_unified=True), 251.25, 88.02), (Load(65536), 62.81, 136.02)],
)
def test_release_before_mixed_batches_takes_a_hidden_state_less(
    model_35b: Model, load: Load, state_mib: float, compute_mib: float
) -> None:
    """What 0c1e570 printed for the same."""
    assert recurrent_bytes(model_35b, load) / MIB == pytest.approx(state_mib, abs=0.01)
    computed = [sum(compute_bytes(model_35b, load, Placement(0), build)) for build in (BEFORE_MIXED_BATCHES, PINNED)]
    assert computed[0] / MIB == pytest.approx(compute_mib, rel=0.06)
    assert computed[1] - computed[0] == 4 * 512 * 2048


@pytest.mark.parametrize(("context", "slots", "reported_mib"), [(32768, 1, 38), (32768, 4, 38), (131072, 1, 134)])
def test_compute_grows_with_the_context_of_a_slot(
    tiny_dense: Path, context: int, slots: int, reported_mib: int
) -> None:
    """Where the mask dominates, compute is within a tenth of llama-fit-params' figure, and slots do not matter."""
    model = read_model(tiny_dense)
    computed = sum(compute_bytes(model, Load(context, slots), Placement(0), BEFORE_OUTPUT_LIMIT)) / MIB
    assert computed == pytest.approx(reported_mib, rel=0.1)


def test_weights_are_counted_once(model_35b: Model) -> None:
    """Whatever the placement, GPU and RAM together hold each weight of an untied model exactly once."""
    for placement in (Placement(0), Placement(40), Placement(40, 17), Placement(13, 40), Placement(1)):
        parts = estimate_memory(model_35b, Load(4096), placement).parts
        assert sum(part.size_bytes for part in parts if part.name == "weights") == model_35b.weights_bytes


def test_embedding_stays_in_ram(model_35b: Model) -> None:
    """With all layers on the GPU only the embedding is left: 248320 x 2048 at 4.5 bits."""
    parts = estimate_memory(model_35b, Load(4096), Placement(40)).parts
    left = [part.size_bytes for part in parts if part.name == "weights" and part.device is None]
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
    drafting = Load(256, draft_tokens=3, **Q8)  # the drafting layer stays f16, in a context of its own
    assert (loaded_bytes(model, drafting), kv_cache_bytes(model, drafting)) == (2000, one_layer * 34 // 64)
    assert drafting_cache_bytes(model, drafting) == one_layer
    names = {part.name for part in estimate_memory(model, drafting, Placement(1)).parts}
    assert "drafting" in names and "drafting" not in {
        part.name for part in estimate_memory(model, Load(256), Placement(1)).parts
    }


def test_full_window_cache_ignores_the_window() -> None:
    """--swa-full keeps the whole context in every layer."""
    model = model_of(kv_heads=(8, 8), sliding_window=128, swa_layers=(0,))
    full = kv_cache_bytes(model, Load(8192), [1])
    assert swa_cache_bytes(model, Load(8192, swa_full=True)) == full
    assert swa_cache_bytes(model, Load(8192)) == full * 768 // 8192  # 128 + 512 cells, padded to 256


def test_windows_grow_with_slots_in_a_shared_pool() -> None:
    """Separate slots have a window and a ubatch each; in one pool the ubatch is shared: 128 × 4 + 512 cells."""
    model = model_of(kv_heads=(8, 8), sliding_window=128, swa_layers=(0,))
    row = 8 * 64 * 2 * 2
    assert swa_cache_bytes(model, Load(8192, 4)) == 4 * 768 * row
    assert swa_cache_bytes(model, Load(8192, 4, is_unified=True)) == 1024 * row
    assert kv_cache_bytes(model, Load(8192, 4, is_unified=True)) == kv_cache_bytes(model, Load(8192, 4))


def test_nextn_rows_of_glm_are_counted() -> None:
    """GLM-4.5-Air kept 47 rows for 46 layers: 47 × 8 heads × 128 × K and V × 2 bytes for each cell."""
    model = model_from_parameters("g", MODELS["GLM-4.5-Air"])
    assert kv_cache_bytes(model, Load(4096)) == 4096 * 47 * 8 * 128 * 2 * 2


def test_devices_share_layers_by_the_split(model_35b: Model) -> None:
    """Each device holds its own layers and their caches, a CUDA context and a buffer; the output lies with the last."""
    estimate = estimate_memory(model_35b, Load(131072), Placement(40, 0, (16, 24)))
    caches = [part.size_bytes for part in estimate.parts if part.name == "KV cache"]
    assert caches == [131072 * 2048 * 4, 131072 * 2048 * 6]  # every fourth layer, 2 heads × 512 × 2 bytes
    contexts = [part.device for part in estimate.parts if part.name == "CUDA context"]
    assert (contexts, estimate.gpu_bytes) == ([0, 1], estimate.on(0) + estimate.on(1))
    one = estimate_memory(model_35b, Load(131072), Placement(40))
    same = ("weights", "KV cache", "recurrent state")
    assert [estimate.named(name) for name in same] == [one.named(name) for name in same]


@given(
    name=st.sampled_from(sorted(MODELS)),
    load=st.builds(
        Load,
        st.integers(1, 300_000),
        st.integers(1, 5),
        st.sampled_from(["f16", "q8_0", "q4_0"]),
        st.sampled_from(["f16", "q8_0", "q4_0"]),
        st.sampled_from([128, 512, 2048]),
        st.sampled_from([0, 3]),
        st.booleans(),
        st.booleans(),
        st.booleans(),
    ),
    share=st.lists(st.integers(0, 30), min_size=1, max_size=4),
    experts=st.integers(0, 100),
)
@settings(max_examples=60, deadline=None)
def test_fast_sums_are_the_estimate(name: str, load: Load, share: list[int], experts: int) -> None:
    """The search's sums are those of the parts, on every device and in RAM."""
    model = model_of_name(name)
    split = tuple(accumulate_up_to(model.main_layers, share))
    placement = Placement(sum(split), experts, split if sum(split) else ())
    estimate = estimate_memory(model, load, placement)
    on_gpus = tuple(estimate.on(device) for device in range(len(placement.devices)))
    assert fast_bytes(model, load, placement) == (on_gpus, estimate.on(None))


@cache
def model_of_name(name: str) -> Model:
    return model_from_parameters(name, MODELS[name], quant="Q4_K_M")


def accumulate_up_to(limit: int, share: list[int]) -> Iterator[int]:
    """The counts as long as layers are left."""
    for count in share:
        taken = min(count, limit)
        limit -= taken
        yield taken


def test_fast_sums_are_fast() -> None:
    """The search asks thousands of times: 20 µs each for 48 layers, with room for a busy machine."""
    model, load, placement = model_of_name("Qwen3-30B-A3B"), Load(32768), Placement(48, 0, (24, 24))
    fast_bytes(model, load, placement)
    best = min(timeit.repeat(lambda: fast_bytes(model, load, placement), number=200, repeat=5)) / 200
    assert best < 20e-6


def test_quantised_cache_is_unpacked_on_a_gpu(model_35b: Model) -> None:
    """One layer of a q8_0 cache becomes f16: 262144 × 2 heads × 512 × 2 bytes; a CPU needs nothing of it."""
    gpu, cpu = Placement(40), Placement(0)
    load = Load(262144, **Q8)
    # Beside it lie the masks (256 MiB) and attention's 5 × 16 × 256 + 2 × 2048 floats per token (48 MiB).
    assert compute_bytes(model_35b, load, gpu) == ((512 + 256 + 48) * MIB,)
    assert sum(compute_bytes(model_35b, load, cpu)) == sum(compute_bytes(model_35b, Load(262144), cpu))


def test_checkpoints_are_bounded(model_35b: Model) -> None:
    """At most 32 copies of the state, 8192 tokens apart: 62.8 MiB each for the 35B."""
    state = recurrent_bytes(model_35b, Load(4096))
    assert [checkpoint_bytes(model_35b, Load(tokens)) // state for tokens in (4096, 32768, 10**6)] == [1, 5, 32]


def test_estimate_survives_json(model_35b: Model) -> None:
    """An estimate written as JSON reads back equal, and its total is the sum of its parts."""
    estimate = estimate_memory(model_35b, Load(32768), Placement(40, 3))
    assert MemoryEstimate.model_validate_json(estimate.model_dump_json()) == estimate
    assert estimate.total_bytes == sum(part.size_bytes for part in estimate.parts)
