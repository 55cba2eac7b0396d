"""The compute buffer: what llama-server printed, on a CPU and on cards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rigwright.models.parameters import model_from_parameters
from rigwright.plan.memory import Load, Placement, compute_bytes
from rigwright.plan.memory.compute import BEFORE_MIXED_BATCHES, BEFORE_OUTPUT_LIMIT

MIB = 1024**2
Q8 = {"cache_type_k": "q8_0", "cache_type_v": "q8_0"}
MODELS = json.loads((Path(__file__).parent / "data/models.json").read_text())
DELTA_NET = {
    "arch": "qwen35moe", "hidden": 2048, "heads": 16, "kv_heads": 2, "head_dim": 256, "n_lin": 3, "n_full": 1,
    "lin_k_heads": 16, "lin_v_heads": 32, "experts": 32, "experts_used": 8, "moe_ff": 512, "shared_ff": 512,
}  # fmt: skip


@pytest.mark.parametrize(
    ("shape", "compute_mib"),
    [
        ({"hidden": 4096, "ff": 14336}, 120.01),
        ({"hidden": 2048, "ff": 8192, "heads": 16, "kv_heads": 4}, 68.01),
        ({"hidden": 4096, "ff": 4096}, 44.01),
        (DELTA_NET, 76.02),
        (DELTA_NET | {"experts_used": 2}, 64.21),
        (DELTA_NET | {"experts_used": 16}, 132.02),
        (DELTA_NET | {"experts_used": 16, "moe_ff": 1024}, 116.14),
        (DELTA_NET | {"experts_used": 2, "lin_v_heads": 64}, 88.3),
        (DELTA_NET | {"experts_used": 2, "lin_v_heads": 64, "hidden": 4096}, 100.3),
        (DELTA_NET | {"experts_used": 2, "lin_v_heads": 16, "heads": 64}, 144.02),
    ],
)
def test_compute_follows_the_shape(shape: dict[str, Any], compute_mib: float) -> None:
    """What `llama-server -lv 4 -c 4096` of 0c1e570 printed for four layers of these shapes, on a CPU."""
    plain = {"layers": 4, "heads": 32, "kv_heads": 8, "vocab": 265, "arch": "llama"}
    model = model_from_parameters("m", plain | shape)
    computed = sum(compute_bytes(model, Load(4096), Placement(0), BEFORE_MIXED_BATCHES)) / MIB
    assert compute_mib * 0.99 < computed < compute_mib * 1.37


@pytest.mark.parametrize(
    ("name", "compute_mib"),
    [("Qwen3.6-27B", 1360), ("Qwen3.5-9B", 1336), ("Qwen3.5-4B", 1330), ("Qwen3.5-2B", 796), ("Gemma-4-31B", 2392)],
)
def test_compute_on_cuda_is_what_was_measured(name: str, compute_mib: int) -> None:
    """A q8_0 cache of 262,144 tokens on one GPU, as Unsloth Studio records it; attention's rule is read off these."""
    model = model_from_parameters(name, MODELS[name])
    computed = compute_bytes(model, Load(262144, **Q8), Placement(model.main_layers))
    assert sum(computed) / MIB == pytest.approx(compute_mib, rel=0.02 if "Gemma" in name else 0.001)


# "CUDA0 compute buffer size" of llama-server b10909 on an RTX 6000 Ada: model, ubatch, slots, cells, cache, MiB.
# Source: unslothai/unsloth, studio/backend/tests/test_compute_buffer.py. Only the two rows of the mixture in f16 were
# in view when the rules were made.
MEASURED = [
    ("Llama-3.2-1B", 256, 4, 32768, "f16", 46.01),
    ("Llama-3.2-1B", 2048, 4, 32768, "f16", 368.04),
    ("Llama-3.2-1B", 512, 1, 32768, "f16", 92.01),
    ("Llama-3.2-1B", 512, 8, 32768, "f16", 92.01),
    ("Llama-3.2-1B", 512, 4, 131072, "f16", 188.01),
    ("Llama-3.2-1B", 512, 4, 131072, "q8_0", 400.04),
    ("Llama-3.2-1B", 2048, 4, 131072, "q8_0", 832.07),
    ("Qwen3-8B", 512, 4, 32768, "f16", 128.01),
    ("Qwen3-8B", 2048, 4, 131072, "f16", 896.04),
    ("Qwen3-8B", 512, 4, 131072, "q8_0", 672.09),
    ("Qwen3.5-4B", 512, 1, 32768, "f16", 96.02),
    ("Qwen3.5-4B", 512, 8, 32768, "f16", 115.52),
    ("Qwen3.5-4B", 2048, 4, 131072, "f16", 768.06),
    ("Qwen3.5-4B", 2048, 4, 131072, "q8_0", 1224.34),
    ("Qwen3.6-35B-A3B", 256, 4, 32768, "f16", 66.02),
    ("Qwen3.6-35B-A3B", 2048, 1, 32768, "f16", 528.2),
    ("Qwen3.6-35B-A3B", 512, 4, 131072, "q8_0", 436.31),
    ("Gemma-4-12B", 512, 1, 32768, "f16", 154.52),
    ("Gemma-4-12B", 1120, 4, 32768, "f16", 346.21),
    ("Gemma-4-12B", 2048, 8, 32768, "f16", 652.07),
    ("Gemma-4-12B", 2048, 4, 131072, "f16", 1020.07),
    ("Gemma-4-12B", 512, 4, 131072, "q8_0", 436.8),
]
SMALL = {
    "Llama-3.2-1B": {
        "arch": "llama", "layers": 16, "hidden": 2048, "heads": 32, "kv_heads": 8, "head_dim": 64, "ff": 8192,
        "vocab": 128256, "tie_embeddings": True,
    },
    "Qwen3-8B": {
        "arch": "qwen3", "layers": 36, "hidden": 4096, "heads": 32, "kv_heads": 8, "head_dim": 128, "ff": 12288,
        "vocab": 151936,
    },
}  # fmt: skip


@pytest.mark.parametrize("row", MEASURED, ids=lambda row: "-".join(map(str, row[:5])))
def test_compute_holds_on_cuda(row: tuple[str, int, int, int, str, float]) -> None:
    """Shapes, slots, ubatches and cache types that the rules were not made from: within an eighth, median 2 %."""
    name, ubatch, slots, context, kind, mib = row
    model = model_from_parameters(name, (MODELS | SMALL)[name])
    load = Load(context // slots, slots, kind, kind, ubatch, is_unified=slots > 1)
    assert sum(compute_bytes(model, load, Placement(model.main_layers))) / MIB == pytest.approx(mib, rel=0.125)


@pytest.mark.parametrize(
    ("name", "mib"), [("Qwen3.6-27B", 495.0), ("Mistral-Small-24B", 266.0), ("Qwen3.6-35B-A3B", 493.0)]
)
def test_logits_of_a_whole_ubatch(name: str, mib: float) -> None:
    """What releases before June 2026 printed for short contexts: a mixture keeps the hidden state twice."""
    model = model_from_parameters(name, MODELS[name])
    (computed,) = compute_bytes(model, Load(4096), Placement(model.main_layers), BEFORE_OUTPUT_LIMIT)
    assert computed / MIB == mib


@pytest.mark.parametrize(("context", "ubatch", "mib"), [(32768, 512, 256.04), (131072, 2048, 2560.16)])
def test_two_gpus_keep_four_copies(context: int, ubatch: int, mib: float) -> None:
    """Qwen3-8B over two GPUs: each holds four masks and four hidden states (same source)."""
    model = model_from_parameters("q", SMALL["Qwen3-8B"])
    buffers = compute_bytes(model, Load(context, ubatch_tokens=ubatch), Placement(36, 0, (18, 18)))
    assert [one / MIB for one in buffers] == pytest.approx([mib, mib], rel=0.04)
