"""Hugging Face configurations: the same model as its GGUF header describes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rigwright.errors import UnreadableModel
from rigwright.models import Model
from rigwright.models.config import fetch_config, model_from_config, read_config

# What the checkpoint of Qwen3.5-35B-A3B says (transformers, configuration_qwen3_5_moe.py).
TEXT = {
    "model_type": "qwen3_5_moe_text", "num_hidden_layers": 40, "hidden_size": 2048, "num_attention_heads": 16,
    "num_key_value_heads": 2, "head_dim": 256, "vocab_size": 248320, "max_position_embeddings": 262144,
    "num_experts": 256, "num_experts_per_tok": 8, "moe_intermediate_size": 512,
    "shared_expert_intermediate_size": 512, "linear_num_key_heads": 16, "linear_num_value_heads": 32,
    "linear_key_head_dim": 128, "linear_value_head_dim": 128, "linear_conv_kernel_dim": 4,
    "full_attention_interval": 4,
}  # fmt: skip
LLAMA = {
    "model_type": "llama", "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32,
    "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256, "max_position_embeddings": 131072,
    "torch_dtype": "bfloat16",
}  # fmt: skip


def test_config_describes_the_model_of_the_header(model_35b: Model) -> None:
    """Layers, heads, experts and state are those that the GGUF header has."""
    model = model_from_config("q", {"model_type": "qwen3_5_moe", "text_config": TEXT})
    for field in ("architecture", "layers", "kv_heads", "key_length", "ssm", "experts", "experts_used", "vocab"):
        assert getattr(model, field) == getattr(model_35b, field)
    assert (model.recurrent_layers, model.context_train) == (model_35b.recurrent_layers, 262144)


def test_layer_types_win() -> None:
    """Where the configuration lists its layers, the list counts."""
    kinds = ["linear_attention", "full_attention"] * 20
    assert model_from_config("q", {**TEXT, "layer_types": kinds}).recurrent_layers == tuple(range(0, 40, 2))
    gemma = {"model_type": "gemma3_text", "sliding_window": 1024, "layer_types": ["sliding_attention"] * 31 + ["x"]}
    assert model_from_config("g", {**LLAMA, **gemma}).swa_layers == tuple(range(31))


def test_gpt_oss_is_all_experts() -> None:
    """Its intermediate_size is that of an expert; each even layer has a window."""
    given = {"model_type": "gpt_oss", "num_local_experts": 32, "num_experts_per_tok": 4, "sliding_window": 128}
    shape = {"num_hidden_layers": 24, "hidden_size": 2880, "num_attention_heads": 64, "head_dim": 64}
    config = {**LLAMA, **given, **shape, "intermediate_size": 2880, "vocab_size": 201088}
    model = model_from_config("g", {**config, "quantization_config": {"quant_method": "mxfp4"}})
    assert round(model.parameters / 1e9, 2) == 20.91
    assert (model.expert_feed_forward, model.swa_layers[:2], model.assumptions) == (2880, (0, 2), ())
    assert model.weights_bytes / 1e9 == pytest.approx(13.8, rel=0.02)  # 19.1 B in experts of 4.25 bits, 1.8 B of 16


@pytest.mark.parametrize(
    ("quantization", "gigabytes"),
    [
        (None, 16.06),  # 8.03 B weights of two bytes
        ({"quant_method": "fp8"}, 9.08),  # 6.98 B in layers of one byte, 1.05 B beside them of two
        ({"quant_method": "awq", "bits": 4, "group_size": 128}, 5.73),  # 6.98 B of 4 + 20 / 128 bits
        ({"quant_method": "gptq", "bits": 4, "group_size": 128}, 5.74),
        (
            {"quant_method": "compressed-tensors", "format": "pack-quantized",
             "config_groups": {"group_0": {"weights": {"num_bits": 4, "group_size": 128}}}},
            5.7,
        ),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, 6.03),
    ],
)  # fmt: skip
def test_quantisation_decides_the_size(quantization: dict[str, Any] | None, gigabytes: float) -> None:
    """Linear layers take the quantised width, embedding and head the dtype's: Llama 3.1 8B."""
    model = model_from_config("l", LLAMA | ({"quantization_config": quantization} if quantization else {}))
    assert model.weights_bytes / 1e9 == pytest.approx(gigabytes, rel=0.01)
    assert not model.is_sum_exact


def test_index_says_the_size(tmp_path: Path) -> None:
    """The total of the safetensors index is exact, and goes before the files' sizes."""
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {"total_size": 16_060_522_496}}))
    model = read_config(tmp_path)
    assert (model.weights_bytes, model.is_sum_exact, model.name) == (16_060_522_496, True, tmp_path.name)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "org/m: has no config.json; name a folder or repository"),
        (b"<html>", "org/m: its config.json is no JSON; download it again"),
        (b"[]", "org/m: its config.json holds no object; download it again"),
        (b"{}", "m: has no layers"),
    ],
)
def test_wrong_configurations_are_named(data: bytes | None, message: str) -> None:
    """What is no configuration is one clear line."""
    with pytest.raises(UnreadableModel) as error:
        fetch_config("org/m", lambda name: data if name == "config.json" else None)
    assert error.value.message.startswith(message) and "\n" not in error.value.message
