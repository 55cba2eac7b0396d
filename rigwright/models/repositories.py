"""A model as repositories of safetensors keep it: what is no linear layer stays at 16 bit, whatever the quant.

A GGUF file quantises the embedding and the output too. AWQ, GPTQ, NVFP4 and FP8 checkpoints leave both, norms, routers
and convolutions as they were: of Gemma 4 each token reads 262,144 rows of 16 bit. MXFP4 leaves all but experts.
Source: `ignore` and `modules_to_not_convert` in config.json of such checkpoints.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rigwright.models.values import Model, Tensor

_PLAIN_BYTES = 2
_PLAIN_NAMES = ("embed_tokens.weight", "shared_head_head.weight", "ffn_gate_inp.weight", "ssm_conv1d.weight", ".bias")
_EXPERTS_ALONE = ("gpt-oss",)
# Bits of a quantised weight with its part of a scale: 16 bit, and a zero point, for 128 weights; 8 bit for 16 or 32.
_LINEAR_BITS = {
    "INT4": 4.16,
    "AWQ": 4.16,
    "GPTQ-Int4": 4.16,
    "QAT-W4A16": 4.16,
    "MXFP4": 4.25,
    "NVFP4": 4.5,
    "FP8": 8.0,
}
# A linear layer has no fewer bits than that, and with more it is not quantised at all.
_LEAST_BITS, _PLAIN_BITS = 3.5, 15


def as_repository(model: Model) -> Model:
    """The model with its bytes where such a repository has them; their sum is the same.

    What a header says stays as it is, and so does a table that would leave too little to the linear layers.
    """
    known = vars(model)
    if "_as_repository" not in known:
        known["_as_repository"] = _as_repository(model) if model.is_estimated else model
    found: Model = known["_as_repository"]
    return found


def least_bytes(parameters: Mapping[str, Any], quant: str, total_parameters: int) -> int:
    """What weights of that quant take at least: the embedding and the output at 16 bit, all else quantised."""
    edges = parameters["vocab"] * parameters["hidden"] * (1 if parameters.get("tie_embeddings") else 2)
    return int(edges * _PLAIN_BYTES + (total_parameters - edges) * _LINEAR_BITS.get(quant, 0) / 8)


def _as_repository(model: Model) -> Model:
    plain = [_is_plain(tensor, model) for tensor in model.tensors]
    counts = [math.prod(tensor.shape) for tensor in model.tensors]
    fixed = sum(count * _PLAIN_BYTES for count, is_plain in zip(counts, plain, strict=True) if is_plain)
    rest = sum(count for count, is_plain in zip(counts, plain, strict=True) if not is_plain)
    left = model.weights_bytes - fixed
    if not rest or not _LEAST_BITS <= left * 8 / rest <= _PLAIN_BITS:
        return model
    tensors, seen, given = [], 0, 0
    for tensor, count, is_plain in zip(model.tensors, counts, plain, strict=True):
        if is_plain:
            tensors.append(tensor._replace(type="bf16", size_bytes=count * _PLAIN_BYTES))
            continue
        seen += count
        end = left * seen // rest
        tensors.append(tensor._replace(size_bytes=end - given))
        given = end
    found = replace(model, tensors=tuple(tensors))
    vars(found)["_as_repository"] = found
    return found


def _is_plain(tensor: Tensor, model: Model) -> bool:
    if model.architecture in _EXPERTS_ALONE:
        return not tensor.is_expert or len(tensor.shape) < 3
    return tensor.layer is None or len(tensor.shape) == 1 or tensor.name.endswith(_PLAIN_NAMES)
