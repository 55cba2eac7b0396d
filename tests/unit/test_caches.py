"""What layers keep: for each architecture of llama.cpp what llama-fit-params prints.

tests/unit/data/caches.json has the keys of the models that llama.cpp's own tests/test-llama-archs.cpp writes, and the
MiB of the KV caches and states that `llama-fit-params -c 8192 -np 2` (0c1e570) prints for them.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rigwright.models import Model
from rigwright.models.reading import model_from_stream
from rigwright.plan.memory.caches import kv_cache_bytes, recurrent_bytes, swa_cache_bytes
from rigwright.plan.memory.values import Load
from rigwright.units import MIB

Encode = Callable[..., bytes]
PRINTED = [
    (kind, row)
    for row in json.loads((Path(__file__).parent / "data" / "caches.json").read_text())
    for kind in row["architectures"]
]
# An indexer that not each layer has, and layers that are compressed, are counted too large, and said so.
GENEROUS = ("hy_v4", "minimax-m3", "deepseek4")


def read(encode: Encode, kind: str, keys: dict[str, Any]) -> Model:
    own = {f"{kind}.{key}": value for key, value in {"context_length": 8192, **keys}.items()}
    data = encode({"general.architecture": kind, **own}, [("blk.0.attn_norm.weight", (32,), "F32")])
    return model_from_stream(io.BytesIO(data).read, where=kind, size_bytes=None)


@pytest.mark.parametrize(("kind", "row"), PRINTED, ids=[kind for kind, _ in PRINTED])
def test_caches_are_those_that_llamacpp_makes(gguf_header: Encode, kind: str, row: dict[str, Any]) -> None:
    """KV cache, window cache and state are exact; the few that are not are larger, and say so."""
    model = read(gguf_header, kind, row["keys"])
    load = Load(context_tokens=4096, slots=2)
    cache = (kv_cache_bytes(model, load) + swa_cache_bytes(model, load)) / MIB
    state = recurrent_bytes(model, load) / MIB
    if kind in GENEROUS:
        assert cache > sum(row["kv"]) and model.assumptions
    elif kind == "qwen4exp":
        assert cache == pytest.approx(sum(row["kv"])) and state > sum(row["rs"]) - 0.006 and model.assumptions
    else:
        assert cache == pytest.approx(sum(row["kv"]), abs=0.011)
        assert state == pytest.approx(sum(row["rs"]), abs=0.006)


def test_latent_attention_keeps_no_values(gguf_header: Encode) -> None:
    """DeepSeek-V3 at 65,536 tokens: 61 layers of 512 + 64 elements, 4392 MiB; old files do not compress."""
    keys = {"block_count": 61, "embedding_length": 7168, "attention.head_count": 128, "attention.kv_lora_rank": 512}
    latent = {"attention.head_count_kv": 1, "attention.key_length": 576, "attention.value_length": 512}
    widths = {"attention.key_length_mla": 192, "attention.value_length_mla": 128}
    load = Load(context_tokens=65536)
    assert kv_cache_bytes(read(gguf_header, "deepseek2", {**keys, **latent, **widths}), load) == 4392 * MIB
    old = {"attention.key_length": 192, "attention.value_length": 128}
    expected = 61 * 65536 * 128 * (192 + 128) * 2  # each head its own keys and values
    assert kv_cache_bytes(read(gguf_header, "deepseek2", {**keys, **old}), load) == expected


DENSE = {"embedding_length": 64, "attention.head_count": 2, "attention.sliding_window": 512}


@pytest.mark.parametrize(
    ("kind", "layers", "window", "windowed"),
    [
        ("cohere2moe", 5, 512, (1, 2, 3)),  # the first sees everything
        ("llama4", 5, 8192, (0, 1, 2, 4)),  # chunks of 8192, whatever the header says
        ("smallthinker", 5, 4096, (1, 2, 3)),
        ("exaone4", 64, 512, tuple(layer for layer in range(64) if layer % 4 < 3)),
        ("exaone4", 30, 0, ()),  # only the 32B has windows
        ("phi3", 5, 0, ()),  # switched off in llama.cpp
        ("llama", 5, 0, ()),  # Mistral 7B's window is not honoured
    ],
)
def test_windows_follow_the_rules_of_the_architecture(
    gguf_header: Encode, kind: str, layers: int, window: int, windowed: tuple[int, ...]
) -> None:
    """Which layers have a window is decided by the architecture where the header does not say it."""
    model = read(gguf_header, kind, {**DENSE, "block_count": layers})
    assert (model.sliding_window, model.swa_layers) == (window, windowed)


def test_forgotten_pattern_counts_each_layer_in_full(gguf_header: Encode) -> None:
    """Gemma 4 must list its layers; without the list too much is counted, and said."""
    model = read(gguf_header, "gemma4", {**DENSE, "block_count": 4})
    assert (model.swa_layers, len(model.full_layers), len(model.assumptions)) == ((), 4, 1)


def test_only_gemma_borrows_caches(gguf_header: Encode) -> None:
    """The last layers of a model with shared KV keep no cache of their own; no other architecture reads the key."""
    pattern = {"attention.sliding_window_pattern": [True, False]}
    keys = {**DENSE, **pattern, "block_count": 2, "attention.shared_kv_layers": 1}
    assert read(gguf_header, "gemma4", keys).kv_heads == (2, 0)
    assert read(gguf_header, "llama", keys).kv_heads == (2, 2)


def test_feed_forward_layers_keep_nothing(gguf_header: Encode) -> None:
    """Nemotron-H has layers of three kinds: state, attention, and neither."""
    kinds = {"attention.head_count_kv": [0, 2, 0], "feed_forward_length": [0, 0, 128]}
    state = {"ssm.conv_kernel": 4, "ssm.inner_size": 128, "ssm.state_size": 16, "ssm.group_count": 1}
    model = read(gguf_header, "nemotron_h", {**DENSE, "block_count": 3, **kinds, **state})
    assert (model.recurrent_layers, model.kv_heads) == ((0,), (0, 2, 0))


def test_unknown_architecture_is_said(gguf_header: Encode) -> None:
    """What llama.cpp did not know yet is counted as if each layer saw everything."""
    model = read(gguf_header, "llama9", {**DENSE, "block_count": 2})
    assert (model.kv_heads, model.swa_layers) == ((2, 2), ())
    assert model.assumptions == (
        "the architecture llama9 is not known: counted as if each layer saw the whole context",
    )
