"""The header that parameters state of a GGUF file which is not there, in the keys of llama.cpp.

What a layer keeps follows from it by the rules for real files. `header` has the keys without the architecture; a list
that goes round is `{repeat: [0, 0, 0, 1]}`, and `end` what its last layers have instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rigwright.models.dimensions import Latent
from rigwright.models.keys import Keys

# One letter for each layer of a model whose layers are one thing each, as Nemotron's configurations have it.
_ATTENTION, _EXPERTS = "*", "E"


def stated_keys(parameters: Mapping[str, Any], layers: int) -> Keys:
    """The keys of a model with so many layers, those that predict further tokens counted."""
    head = parameters.get("head_dim") or parameters["hidden"] // parameters["heads"]
    found: dict[str, Any] = {
        "attention.head_count": parameters["heads"],
        "attention.head_count_kv": parameters.get("kv_heads", parameters["heads"]),
        "attention.key_length": head,
        "attention.value_length": head,
        "attention.sliding_window": parameters.get("swa", 0),
        "feed_forward_length": parameters.get("ff", 0),
    }
    if pattern := parameters.get("pattern"):
        heads, width = found["attention.head_count_kv"], parameters["moe_ff"]
        found["attention.head_count_kv"] = [heads if one == _ATTENTION else 0 for one in pattern]
        found["feed_forward_length"] = [width if one == _EXPERTS else 0 for one in pattern]
    found |= parameters["header"]
    kind = parameters["arch"]
    metadata = {f"{kind}.{key}": _laid(value, layers) for key, value in found.items()}
    return Keys({"general.architecture": kind, **metadata})


def _laid(value: Any, layers: int) -> Any:
    if isinstance(value, Mapping):
        end = list(value.get("end", ()))
        count = layers - len(end)
        value = [*(value["repeat"] * (count // len(value["repeat"]) + 1))[:count], *end]
    return tuple(value) if isinstance(value, list) else value


def stated_latent(keys: Keys) -> Latent | None:
    """Multi-head latent attention, where the header has it."""
    rank = keys.number("attention.kv_lora_rank", 0)
    if not rank or not keys.get("attention.key_length_mla"):
        return None
    output = keys.number("attention.output_lora_rank", 0)
    return Latent(
        query_rank=keys.number("attention.q_lora_rank", 0),
        rank=rank,
        rope=0 if output else keys.number("rope.dimension_count", 0),
        key=keys.number("attention.key_length_mla"),
        value=keys.number("attention.value_length_mla"),
        output_rank=output,
        output_groups=keys.number("attention.output_group_count", 1, low=1),
    )
