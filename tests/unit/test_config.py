"""Hugging Face configurations: the same model as its GGUF header describes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rigwright.errors import UnreadableModel
from rigwright.models import Model
from rigwright.models.config import fetch_config, model_from_config, read_config
from rigwright.models.parameters import model_from_parameters
from rigwright.models.variants import find_model
from rigwright.plan.engines.vllm.cache import VllmLoad, kv_capacity

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


CONFIGS = Path(__file__).parent / "data" / "configs"


def real(name: str, **more: Any) -> Model:
    return model_from_config(name, {**json.loads((CONFIGS / f"{name}.json").read_text()), **more})


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("qwen3.5-27b", "qwen3.5-27b"),
        ("gpt-oss-20b", "gpt-oss-20b"),
        ("gemma-4-31b", "gemma-4-31b"),
        ("glm-4.5-air", "glm-4.5-air"),
        ("mistral-small-24b", "mistral-small-3.2-24b"),
    ],
)
def test_real_configuration_gives_the_dimensions_of_the_catalogue(name: str, key: str) -> None:
    """What a repository says of a model is what the catalogue, from other sources, says of it."""
    known = find_model(key)
    assert known
    ours, theirs = real(name), model_from_parameters(name, known.parameters)
    for field in (
        "architecture", "layers", "nextn_layers", "embedding", "feed_forward", "heads", "kv_heads", "key_length",
        "swa_key_length", "sliding_window", "swa_layers", "recurrent_layers", "ssm", "experts", "experts_used",
        "expert_feed_forward", "shared_feed_forward", "vocab", "context_train", "parameters", "assumptions",
    ):  # fmt: skip
        assert getattr(ours, field) == getattr(theirs, field), field


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("deepseek-v3", 671),
        ("gemma-3-12b", 11.77),  # without 0.42 B that see
        ("command-r", 35),
        ("phi-4-mini", 3.84),
        ("olmoe", 6.92),
    ],
)
def test_real_configuration_gives_the_published_size(name: str, billions: float) -> None:
    """So many weights as the model card says: tied embeddings and widths of experts are understood."""
    assert real(name).parameters / 1e9 == pytest.approx(billions, rel=0.005)


def test_latent_attention_keeps_one_vector() -> None:
    """DeepSeek-V3 keeps 512 + 64 elements per token and layer on each rank: 70,272 bytes in 16 bits."""
    model = real("deepseek-v3")
    assert (set(model.kv_heads), model.key_length, model.value_length) == ({1}, 576, 0)
    for ranks in (1, 8):
        load = VllmLoad(max_model_len=4096, tensor_parallel=ranks)
        assert kv_capacity(model, load, 61 * 576 * 2 * 16 * 100).tokens == 1600
    assert "latent" in model.assumptions[0]
    assert real("deepseek-v3", index_head_dim=128).key_length == 704  # DeepSeek-V3.2's indexer


def test_silent_keys_are_those_of_the_class() -> None:
    """Gemma 3 leaves out what is like its class's default: 256 wide heads, 262,208 tokens, a context of 131,072."""
    model = real("gemma-3-12b")
    assert (model.key_length, set(model.kv_heads), model.vocab, model.context_train) == (256, {8}, 262208, 131072)
    assert [layer for layer in range(48) if layer not in model.swa_layers] == list(range(5, 48, 6))


def test_layers_of_three_kinds_are_told_apart() -> None:
    """Nemotron-H: 23 layers with a state of 64 x 64 x 128, 6 with a KV cache, 23 with neither; and it is said."""
    model = real("nemotron-3.5-lightning")
    assert model.ssm == (4, 64 * 64, 128, 8)
    assert (len(model.recurrent_layers), len(model.full_layers), len(model.assumptions)) == (23, 6, 2)
    pattern = real("nemotron-3.5-lightning", layers_block_type=None, hybrid_override_pattern="M*E" + "-" * 49)
    assert (pattern.recurrent_layers, pattern.full_layers) == ((0,), (1,))


def test_unknown_model_type_is_said() -> None:
    """A model that nobody here knows is counted as plain attention, and the reader is told."""
    (note,) = model_from_config("m", {**LLAMA, "model_type": "llama9"}).assumptions
    assert note == "the model type llama9 is not known: counted as if each layer saw the whole context"


def test_mamba_without_dimensions_is_counted_in_full() -> None:
    """Layers whose state is not described count as attention: too much, never too little."""
    model = model_from_config("j", {**LLAMA, "model_type": "jamba", "attn_layer_period": 8, "attn_layer_offset": 4})
    assert (len(model.full_layers), model.recurrent_layers, len(model.assumptions)) == (32, (), 1)


@pytest.mark.patience
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_configuration_survives_any_value(data: st.DataObject) -> None:
    """Whatever a key holds, there is a model or one line."""
    config = json.loads((CONFIGS / f"{data.draw(st.sampled_from(sorted(ODD_NAMES)))}.json").read_text())
    inner = config.get("text_config", config)
    for name in data.draw(
        st.lists(st.sampled_from([*inner, "layer_types", "kv_lora_rank", "text_config"]), max_size=3)
    ):
        inner[name] = data.draw(st.sampled_from(ODD_VALUES))
    try:
        model_from_config("it", config)
    except UnreadableModel as error:
        assert error.message.isprintable()


ODD_NAMES = {path.stem for path in CONFIGS.glob("*.json")}
ODD_VALUES = [None, 0, -1, 1, 2**63, 1e308, float("nan"), "x\n\x1b[31m", [], [1], {}, True, ["mamba"] * 600, "M*" * 300]
