"""Over how many GPUs vLLM can split a model: heads, widths and quantisation groups must divide.

Source: vLLM 0.33.0, `ModelConfig.verify_with_parallel_config`, `QKVParallelLinear`, `fp8_utils.py` (block_n) and
`marlin_utils.py` (group size).
"""

from __future__ import annotations

from collections.abc import Iterator

from rigwright.models.values import Model

# Weights that share one scale along the width that is split. Source: config.json of such models, `group_size`
# and `weight_block_size`; issues vllm #17604 (AWQ, GPTQ) and #25292, #52997 (FP8) show what happens otherwise.
_GROUPS = {"NVFP4": 16, "MXFP4": 32, "AWQ": 128, "GPTQ": 128, "INT4": 128, "W4A16": 128, "AUTOROUND": 128, "FP8": 128}
_VOCAB_PADDING = 64


def tensor_parallel_error(model: Model, tensor_parallel: int, quant: str) -> str | None:
    """Why a model cannot be split over so many GPUs; None when it can.

    KV heads need not divide where there are more GPUs than heads: then each head has copies.
    """
    if tensor_parallel == 1:
        return None
    return next(_obstacles(model, tensor_parallel, quant), None)


def quantisation_group(quant: str) -> int | None:
    """How many weights along the width share one scale; None for what has one per row, or none at all."""
    text = quant.upper()
    return next((size for name, size in _GROUPS.items() if name in text), None)


def _obstacles(model: Model, parts: int, quant: str) -> Iterator[str]:
    for heads in sorted(set(model.heads) - {0}):
        if heads % parts:
            yield f"{heads} attention heads cannot be shared by {parts} GPUs"
    for heads in sorted(set(model.kv_heads) - {0}):
        if heads % parts and parts % heads:
            yield f"{heads} KV heads cannot be shared by {parts} GPUs, nor copied evenly"
    if model.ssm and model.recurrent_layers and model.ssm.group_count > 1:
        values = model.ssm.inner_size // model.ssm.state_size
        if model.ssm.group_count % parts or values % parts:
            yield f"{model.ssm.group_count} and {values} heads of linear attention cannot be shared by {parts} GPUs"
    if -(-model.vocab // _VOCAB_PADDING) * _VOCAB_PADDING % parts:
        yield f"a vocabulary of {model.vocab} cannot be shared by {parts} GPUs"
    yield from _widths(model, parts, quant)


def _widths(model: Model, parts: int, quant: str) -> Iterator[str]:
    group = quantisation_group(quant)
    widths = {"feed-forward": model.feed_forward, "experts'": model.expert_feed_forward if model.is_mixture else 0}
    for name, width in widths.items():
        if width % parts:
            yield f"the {name} width of {width} cannot be shared by {parts} GPUs"
        elif width and group and width // parts % group:
            yield (
                f"{quant} keeps one scale for {group} weights, and the {name} width of {width} leaves "
                f"{width // parts} to each of {parts} GPUs"
            )
