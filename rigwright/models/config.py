"""From a Hugging Face config.json to a `Model`: what vLLM serves, safetensors files.

Source: the configuration classes of transformers 4.57 to 5 (src/transformers/models/*/configuration_*.py) and the
quantization_config that checkpoints carry.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rigwright.errors import UnreadableModel
from rigwright.models.parameters import model_from_parameters
from rigwright.models.values import Model

_ARCHITECTURES = {
    "qwen3_5_moe": "qwen35moe", "qwen3_5": "qwen35", "qwen3_next": "qwen3next", "qwen3_moe": "qwen3moe",
    "qwen3": "qwen3", "qwen2": "qwen2", "qwen2_moe": "qwen2moe", "llama": "llama", "mistral": "llama",
    "mistral3": "llama", "mixtral": "llama", "gemma2": "gemma2", "gemma3": "gemma3", "gemma4": "gemma4",
    "gpt_oss": "gpt-oss", "glm4_moe": "glm4moe", "glm4": "glm4",
}  # fmt: skip
# Our name of a parameter, and the names it has in configurations; the first that is there counts.
_NAMES = {
    "layers": ("num_hidden_layers",),
    "hidden": ("hidden_size",),
    "heads": ("num_attention_heads",),
    "kv_heads": ("num_key_value_heads",),
    "head_dim": ("head_dim",),
    "ff": ("intermediate_size",),
    "vocab": ("vocab_size",),
    "native_ctx": ("max_position_embeddings",),
    "experts": ("num_experts", "num_local_experts", "n_routed_experts"),
    "experts_used": ("num_experts_per_tok", "top_k_experts"),
    "moe_ff": ("moe_intermediate_size",),
    "shared_ff": ("shared_expert_intermediate_size",),
    "leading_dense": ("first_k_dense_replace",),
    "kv_heads_full": ("num_global_key_value_heads",),
    "head_dim_full": ("global_head_dim",),
    "full_attention_interval": ("full_attention_interval",),
    "lin_k_heads": ("linear_num_key_heads",),
    "lin_v_heads": ("linear_num_value_heads",),
    "lin_k_head_dim": ("linear_key_head_dim",),
    "lin_v_head_dim": ("linear_value_head_dim",),
    "conv_kernel": ("linear_conv_kernel_dim",),
    "nextn": ("num_nextn_predict_layers", "mtp_num_hidden_layers"),
}
_FLOAT_BITS = {"float32": 32, "bfloat16": 16, "float16": 16}
_INDEX = "model.safetensors.index.json"
_MAX_TEXT_BYTES = 32 * 1024**2


def model_from_config(name: str, config: Mapping[str, Any], *, weights_bytes: int | None = None) -> Model:
    """The model that a config.json describes; its text part when it sees or hears too.

    Args:
        name: How messages and the model are named.
        config: The file as plain data.
        weights_bytes: The total_size of the safetensors index; by default reckoned from dtype and quantization.

    Raises:
        UnreadableModel: it describes no language model.
    """
    if not isinstance(config, Mapping):
        raise UnreadableModel(f"{name}: its config.json holds no object; download it again")
    nested = config.get("text_config")
    text = {**config, **nested} if isinstance(nested, Mapping) else dict(config)
    parameters = _parameters(text)
    if weights_bytes:
        return model_from_parameters(name, parameters, file_bytes=weights_bytes)
    plain = model_from_parameters(name, parameters)
    reckoned = model_from_parameters(name, parameters, file_bytes=_weights_bytes(plain, text))
    return replace(reckoned, is_sum_exact=False)


def _parameters(text: Mapping[str, Any]) -> dict[str, Any]:
    kind = str(text.get("model_type", "")).removesuffix("_text")
    found: dict[str, Any] = {
        ours: value for ours, theirs in _NAMES.items() if (value := _first(text, theirs)) is not None
    }
    found["arch"] = _ARCHITECTURES.get(kind, kind or None)
    found["tie_embeddings"] = text.get("tie_word_embeddings", kind.startswith("gemma"))
    if kind == "gpt_oss":
        found["moe_ff"] = found.pop("ff", None)
    if kind == "mixtral":
        found["moe_ff"] = found.get("ff")
    if isinstance(count := text.get("n_shared_experts"), int) and isinstance(found.get("moe_ff"), int):
        found["shared_ff"] = count * found["moe_ff"]
    nextn, layers = found.get("nextn"), found.get("layers")
    if found["arch"] in ("glm4moe", "glm4") and isinstance(nextn, int) and isinstance(layers, int):
        found["layers"] = layers + nextn
    return found | _attention(text, kind, found)


def _first(text: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((text[name] for name in names if text.get(name) is not None), None)


def _attention(text: Mapping[str, Any], kind: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """Which layers see everything, a window, or keep a state."""
    types, layers = text.get("layer_types"), found.get("layers")
    window = text.get("sliding_window") if text.get("use_sliding_window", True) else None
    if isinstance(types, list):
        windows = [number for number, one in enumerate(types) if one in ("sliding_attention", "chunked_attention")]
        states = [number for number, one in enumerate(types) if one == "linear_attention"]
        return {"swa": window or 0, "swa_layers": windows if window else [], "lin_layers": states, "n_lin": len(states)}
    if not isinstance(layers, int):
        return {}
    if "lin_v_heads" in found:
        interval = found.get("full_attention_interval", 4)
        full = layers // interval if isinstance(interval, int) and interval > 0 else 0
        return {"n_full": full, "n_lin": layers - full}
    period = {"gemma2": 2, "gpt_oss": 2, "gemma3": text.get("sliding_window_pattern") or 6}.get(kind)
    if not window or not isinstance(period, int) or period < 1:
        return {}
    return {"swa": window, "swa_layers": [layer for layer in range(layers) if layer % period < period - 1]}


def _weights_bytes(model: Model, text: Mapping[str, Any]) -> int:
    """Linear layers at the quantised width, all else at the dtype's."""
    dtype = str(text.get("dtype") or text.get("torch_dtype") or "bfloat16").removeprefix("torch.")
    plain = _FLOAT_BITS.get(dtype, 16)
    width, experts_only = _quantised(text.get("quantization_config"), plain)
    bits = 0.0
    for tensor in model.tensors:
        is_linear = len(tensor.shape) > 1 and tensor.layer is not None and "ffn_gate_inp" not in tensor.name
        is_small = not is_linear or (experts_only and not tensor.is_expert)
        bits += math.prod(tensor.shape) * (plain if is_small else width)
    return int(bits / 8)


def _quantised(config: Any, plain: float) -> tuple[float, bool]:
    """Bits of a linear weight with its scales, and whether only experts are quantised."""
    if not isinstance(config, Mapping):
        return plain, False
    method = str(config.get("quant_method", "")).lower()
    algorithm = str(config.get("quant_algo") or config.get("format") or "").lower()
    if "mxfp4" in method:
        return 4.25, True
    if "nvfp4" in algorithm or "nvfp4" in method:
        return 4.5, False
    if "fp8" in method or "fp8" in algorithm or "float-quantized" in algorithm:
        return 8, False
    return _grouped(config), False


def _grouped(config: Mapping[str, Any]) -> float:
    """AWQ, GPTQ, compressed-tensors: so many bits, a 16-bit scale and a zero point for each group."""
    groups = config.get("config_groups")
    first: Any = next(iter(groups.values()), {}) if isinstance(groups, Mapping) else {}
    weights = first.get("weights") if isinstance(first, Mapping) else None
    source = weights if isinstance(weights, Mapping) else config
    bits = source.get("num_bits") or source.get("bits") or source.get("w_bit") or 4
    size = source.get("group_size") or source.get("q_group_size") or 128
    if not isinstance(bits, int) or not isinstance(size, int):
        return 4.25
    return bits + (16 + bits) / size if size > 0 else bits


def read_config(folder: Path) -> Model:
    """The model in a folder with config.json and safetensors files.

    Raises:
        UnreadableModel: something is missing there, or is no language model.
    """

    def fetch(name: str) -> bytes | None:
        path = folder / name
        return path.read_bytes() if path.is_file() and path.stat().st_size <= _MAX_TEXT_BYTES else None

    try:
        files = [path.stat().st_size for path in folder.glob("*.safetensors")]
        return fetch_config(str(folder), fetch, files_bytes=sum(files) or None)
    except OSError as error:
        raise UnreadableModel(f"{folder}: {(error.strerror or 'cannot be read').lower()}; check the folder") from None


def fetch_config(where: str, fetch: Callable[[str], bytes | None], *, files_bytes: int | None = None) -> Model:
    """The model of a repository, whose small files `fetch` gives by name, or None for those that are not there.

    Raises:
        UnreadableModel: it has no config.json, or that is no language model.
    """
    config = _json(where, "config.json", fetch("config.json"))
    if config is None:
        raise UnreadableModel(f"{where}: has no config.json; name a folder or repository of safetensors files")
    index = _json(where, _INDEX, fetch(_INDEX)) or {}
    metadata = index.get("metadata")
    total = metadata.get("total_size") if isinstance(metadata, Mapping) else None
    is_size = isinstance(total, (int, float)) and total > 0
    name = where.rstrip("/").rpartition("/")[2] or where
    return model_from_config(name, config, weights_bytes=int(total) if is_size and total else files_bytes)


def _json(where: str, name: str, data: bytes | None) -> dict[str, Any] | None:
    if data is None:
        return None
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise UnreadableModel(f"{where}: its {name} is no JSON; download it again") from None
    if not isinstance(found, dict):
        raise UnreadableModel(f"{where}: its {name} holds no object; download it again")
    return found
