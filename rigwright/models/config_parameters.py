"""From the names of a Hugging Face config.json to our parameters: what the many configuration classes call one thing.

Source: the configuration classes of transformers 4.57 to 5 (src/transformers/models/*/configuration_*.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

_ARCHITECTURES = {
    "qwen3_5_moe": "qwen35moe", "qwen3_5": "qwen35", "qwen3_next": "qwen3next", "qwen3_moe": "qwen3moe",
    "qwen3_vl_moe": "qwen3vlmoe", "qwen3_vl": "qwen3vl", "qwen3_omni_moe": "qwen3vlmoe", "qwen3": "qwen3",
    "qwen2": "qwen2", "qwen2_vl": "qwen2vl", "qwen2_5_vl": "qwen2vl", "qwen2_moe": "qwen2moe", "llama": "llama",
    "llama4": "llama4", "mistral": "llama", "mistral3": "llama", "ministral3": "mistral3", "mixtral": "llama",
    "gemma": "gemma", "gemma2": "gemma2", "gemma3": "gemma3", "gemma4": "gemma4", "gpt_oss": "gpt-oss",
    "glm4_moe": "glm4moe", "glm4v_moe": "glm4moe", "glm4": "glm4", "phi": "phi2", "phi3": "phi3", "phimoe": "phimoe",
    "cohere": "command-r", "cohere2": "cohere2", "deepseek_v2": "deepseek2", "deepseek_v3": "deepseek2",
    "deepseek_v32": "deepseek32", "kimi_k2": "deepseek2", "glm4_moe_lite": "deepseek2", "glm_moe_dsa": "glm-dsa",
    "olmo": "olmo", "olmo2": "olmo2", "olmo3": "olmo2", "olmoe": "olmoe", "granite": "granite",
    "granitemoe": "granitemoe", "granitemoehybrid": "granitehybrid", "minimax_m2": "minimax-m2",
    "nemotron_h": "nemotron_h_moe", "jamba": "jamba", "falcon": "falcon", "falcon_h1": "falcon-h1",
    "starcoder2": "starcoder2", "stablelm": "stablelm", "exaone": "exaone", "exaone4": "exaone4",
    "ernie4_5": "ernie4_5", "ernie4_5_moe": "ernie4_5-moe", "seed_oss": "seed_oss", "smollm3": "smollm3",
    "apertus": "apertus", "nemotron": "nemotron", "gpt2": "gpt2", "gpt_neox": "gptneox", "internlm2": "internlm2",
    "hunyuan_v1_dense": "hunyuan-dense", "hunyuan_v1_moe": "hunyuan-moe", "dots1": "dots1", "lfm2": "lfm2",
    "lfm2_moe": "lfm2moe", "mamba2": "mamba2", "bamba": "granitehybrid", "bailing_moe": "bailingmoe",
}  # fmt: skip
# Our name of a parameter, and the names it has in configurations; the first that is there counts.
_NAMES = {
    "layers": ("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    "hidden": ("hidden_size", "n_embd", "d_model"),
    "heads": ("num_attention_heads", "n_head", "n_heads"),
    "kv_heads": ("num_key_value_heads", "num_kv_heads", "multi_query_group_num"),
    "head_dim": ("head_dim", "attention_head_dim", "kv_channels"),
    "ff": ("intermediate_size", "n_inner", "ffn_hidden_size"),
    "vocab": ("vocab_size",),
    "native_ctx": ("max_position_embeddings", "n_positions", "max_sequence_length", "max_seq_len"),
    "experts": ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"),
    "experts_used": ("num_experts_per_tok", "top_k_experts", "moe_k", "moe_topk", "num_experts_per_token"),
    "moe_ff": ("moe_intermediate_size",),
    "shared_ff": (
        "shared_expert_intermediate_size", "moe_shared_expert_intermediate_size", "shared_intermediate_size",
    ),
    "leading_dense": ("first_k_dense_replace", "num_dense_layers"),
    "kv_heads_full": ("num_global_key_value_heads",),
    "head_dim_full": ("global_head_dim",),
    "full_attention_interval": ("full_attention_interval",),
    "lin_k_heads": ("linear_num_key_heads", "mamba_n_groups", "n_groups"),
    "lin_v_heads": ("linear_num_value_heads", "mamba_num_heads", "mamba_n_heads"),
    "lin_k_head_dim": ("linear_key_head_dim", "ssm_state_size", "mamba_d_state"),
    "lin_v_head_dim": ("linear_value_head_dim", "mamba_head_dim", "mamba_d_head"),
    "conv_kernel": ("linear_conv_kernel_dim", "mamba_d_conv", "conv_kernel"),
    "nextn": ("num_nextn_predict_layers", "mtp_num_hidden_layers"),
}  # fmt: skip
# What a configuration class assumes where the file is silent: Gemma 3's files leave out what is like the default.
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "gemma3": {"heads": 8, "kv_heads": 4, "head_dim": 256, "vocab": 262208, "native_ctx": 131072},
}
_TIED = ("gemma", "cohere", "gpt2", "falcon")
_EXPERTS_ARE_SPARSE = ("interleave_moe_layer_step", "expert_layer_period", "decoder_sparse_step", "moe_layer_interval")
_NESTED = ("thinker_config", "text_config", "llm_config", "language_config")
_STATES = ("linear_attention", "mamba", "conv", "recurrent", "linear")
_NOTHING = ("mlp", "moe")
_PATTERN = {"M": "mamba", "*": "attention", "-": "mlp", "E": "moe"}  # Nemotron-H's hybrid_override_pattern


class Described(NamedTuple):
    """A configuration in our terms; `layers_without_cache` keep neither KV rows nor a state."""

    parameters: dict[str, Any]
    layers_without_cache: tuple[int, ...]
    assumptions: tuple[str, ...]


def text_part(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part that describes the language model, with what stands beside it: images and sound left out."""
    text = dict(config)
    for name in _NESTED:
        if isinstance(nested := text.get(name), Mapping):
            text |= nested
    return text


def described(text: Mapping[str, Any]) -> Described:
    """The parameters of the model that a configuration describes, and what had to be assumed."""
    kind = str(text.get("model_type", "")).removesuffix("_text")
    found: dict[str, Any] = dict(_DEFAULTS.get(kind, {}))
    found |= {ours: value for ours, theirs in _NAMES.items() if (value := _first(text, theirs)) is not None}
    found["arch"] = _ARCHITECTURES.get(kind, kind or None)
    found["tie_embeddings"] = text.get("tie_word_embeddings", kind.startswith(_TIED))
    _widths(text, kind, found)
    if kind == "falcon" and text.get("multi_query") is True and "kv_heads" not in found:
        found["kv_heads"] = 1
    nextn, layers = found.get("nextn"), found.get("layers")
    if found["arch"] in ("glm4moe", "glm4") and isinstance(nextn, int) and isinstance(layers, int):
        found["layers"] = layers + nextn
    kinds = _layer_kinds(text, layers)[: layers if isinstance(layers, int) else None]
    found |= _attention(text, kind, found, kinds)
    empty = tuple(number for number, one in enumerate(kinds) if one in _NOTHING)
    return Described(found, empty, tuple(_assumptions(text, kind, found, kinds)))


def _first(text: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((text[name] for name in names if text.get(name) is not None), None)


def _widths(text: Mapping[str, Any], kind: str, found: dict[str, Any]) -> None:
    """Where a mixture calls the width of its experts as others call that of a dense layer."""
    if kind == "llama4":
        found["moe_ff"] = found["shared_ff"] = found.get("ff")
        found["ff"] = text.get("intermediate_size_mlp") or found.get("ff")
    if found.get("experts") and found.get("moe_ff") is None:
        found["moe_ff"] = found.pop("ff", None)
    if isinstance(count := text.get("n_shared_experts"), int) and isinstance(found.get("moe_ff"), int):
        found.setdefault("shared_ff", count * found["moe_ff"])


def _layer_kinds(text: Mapping[str, Any], layers: Any) -> list[str]:
    """What each layer is, in the words of the configuration; nothing where it does not say."""
    for name in ("layer_types", "layers_block_type"):
        if isinstance(types := text.get(name), list):
            return [str(one) for one in types]
    if isinstance(pattern := text.get("hybrid_override_pattern"), str):
        return [_PATTERN.get(one, one) for one in pattern]
    if not isinstance(layers, int) or not 0 < layers <= 512:
        return []
    if isinstance(period := text.get("attn_layer_period"), int) and period > 0:
        offset = text.get("attn_layer_offset") or 0
        return ["attention" if layer % period == offset else "mamba" for layer in range(layers)]
    if isinstance(numbers := text.get("attn_layer_indices"), list):
        return ["attention" if layer in numbers else "mamba" for layer in range(layers)]
    return []


def _attention(text: Mapping[str, Any], kind: str, found: Mapping[str, Any], kinds: list[str]) -> dict[str, Any]:
    """Which layers see everything, a window, or keep a state."""
    layers = found.get("layers")
    window = text.get("sliding_window") if text.get("use_sliding_window", True) else None
    if kinds:
        window = window or (text.get("attention_chunk_size") if "chunked_attention" in kinds else None)
        windows = [number for number, one in enumerate(kinds) if one in ("sliding_attention", "chunked_attention")]
        states = [number for number, one in enumerate(kinds) if one in _STATES]
        found_states = {"lin_layers": states, "n_lin": len(states)} if "lin_v_heads" in found else {}
        return {"swa": window or 0, "swa_layers": windows if window else [], **found_states}
    if not isinstance(layers, int):
        return {}
    if "linear_num_value_heads" in text:
        interval = found.get("full_attention_interval", 4)
        full = layers // interval if isinstance(interval, int) and interval > 0 else 0
        return {"n_full": full, "n_lin": layers - full}
    usual = {"gemma2": 2, "gpt_oss": 2, "gemma3": 6, "cohere2": 4}.get(kind)
    period = text.get("sliding_window_pattern", usual) if usual else None
    if not window or not isinstance(period, int) or not 0 < layers <= 512 or period < 1:
        return {}
    return {"swa": window, "swa_layers": [layer for layer in range(layers) if layer % period < period - 1]}


def _assumptions(text: Mapping[str, Any], kind: str, found: Mapping[str, Any], kinds: list[str]) -> list[str]:
    """What a reader should know before they trust the numbers."""
    notes = []
    if kind and kind not in _ARCHITECTURES:
        notes.append(f"the model type {kind:.40} is not known: counted as if each layer saw the whole context")
    if any(one in _STATES for one in kinds) and "lin_v_heads" not in found:
        notes.append("its recurrent layers are counted as if they saw the whole context")
    elif "lin_v_heads" in found and "linear_num_value_heads" not in text:
        notes.append("its Mamba layers are counted as gated delta nets of the same state")
    steps = [text.get(name) for name in _EXPERTS_ARE_SPARSE]
    if found.get("experts") and (any(one in _NOTHING for one in kinds) or any(_is_many(step) for step in steps)):
        notes.append("its experts are counted in each layer, not only in some")
    return notes


def _is_many(step: Any) -> bool:
    return isinstance(step, int) and step > 1
