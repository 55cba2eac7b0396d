"""How many bytes the weights of a Hugging Face repository take, by what its config.json says of their types.

Source: the quantization_config of transformers 5, compressed-tensors 0.12 and modelopt 0.37 checkpoints.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rigwright.models.values import Model

_FLOAT_BITS = {"float32": 32, "bfloat16": 16, "float16": 16}


def reckoned_bytes(model: Model, text: Mapping[str, Any]) -> int:
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
    if config.get("load_in_8bit") is True:  # bitsandbytes
        return 8
    if not isinstance(bits, (int, float)) or not isinstance(size, int):
        return 4.25
    return bits + (16 + bits) / size if size > 0 else bits
