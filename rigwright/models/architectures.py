"""From a GGUF header to a `Model`: which layers attend to everything, to a window, or keep a recurrent state.

Source: the load_hparams functions of llama.cpp 0c1e570 (src/models/*.cpp) and its defaults.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from rigwright.models.header import Corrupt, Header, Length
from rigwright.models.values import DELTA_NET, Model, Ssm

# Every n-th layer attends to everything, the others to a window. What is not here and has no pattern in its header is
# counted as if all layers attended to everything: too much memory, never too little.
_WINDOW_PERIODS = {
    "gemma2": 2, "gemma3": 6, "gemma3n": 5, "gemma-embedding": 6, "gpt-oss": 2, "cohere2": 4, "olmo2": 4, "exaone4": 4,
}  # fmt: skip

_MAX_LAYERS = 512  # LLAMA_MAX_LAYERS
_MAX_NUMBER = 2**40


def model_from_header(header: Header) -> Model:
    """The model that a header describes.

    Raises:
        Corrupt: it describes no language model.
    """
    keys = _Keys(header.metadata)
    layers = keys.number("block_count", low=1, high=_MAX_LAYERS)
    embedding = keys.number("embedding_length", low=1)
    heads = keys.per_layer("attention.head_count", layers)
    head = embedding // max(1, *heads)
    key_length = keys.number("attention.key_length", head)
    value_length = keys.number("attention.value_length", head)
    nextn = keys.number("nextn_predict_layers", 0, high=layers - 1)
    window = keys.number("attention.sliding_window", 0)
    kv_heads = keys.per_layer("attention.head_count_kv", layers, default=heads)
    ssm = _ssm(keys)
    recurrent = _recurrent_layers(keys, layers - nextn, kv_heads, has_ssm=ssm is not None)
    shared_kv = keys.number("attention.shared_kv_layers", 0, high=layers)
    return Model(
        name=_printable(header.metadata.get("general.name")) or keys.architecture,
        architecture=keys.architecture,
        file_bytes=header.end_bytes,
        context_train=keys.number("context_length", low=1),
        layers=layers,
        nextn_layers=nextn,
        embedding=embedding,
        feed_forward=max(keys.per_layer("feed_forward_length", layers, default=(0,))),
        heads=heads,
        kv_heads=_without_cache(kv_heads, recurrent, shared_kv, is_mixed=keys.architecture == "falcon-h1"),
        key_length=key_length,
        value_length=value_length,
        swa_key_length=keys.number("attention.key_length_swa", key_length),
        swa_value_length=keys.number("attention.value_length_swa", value_length),
        sliding_window=window,
        swa_layers=_window_layers(keys, layers) if window else (),
        recurrent_layers=recurrent,
        ssm=ssm,
        experts=keys.number("expert_count", 0),
        experts_used=max(keys.per_layer("expert_used_count", layers, default=(0,))),
        expert_feed_forward=max(keys.per_layer("expert_feed_forward_length", layers, default=(0,))),
        vocab=_vocab(keys, header.metadata),
        has_chat_template=bool(header.metadata.get("tokenizer.chat_template")),
        split_count=keys.number("split.count", 1, is_global=True) or 1,
        tensors=header.tensors,
        shared_feed_forward=keys.number("expert_shared_feed_forward_length", 0),
    )


class _Keys:
    """The keys of one architecture, each checked: a header may say anything."""

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        self._metadata = metadata
        architecture = metadata.get("general.architecture")
        if not isinstance(architecture, str) or not re.fullmatch(r"[\w.-]{1,64}", architecture, re.ASCII):
            raise Corrupt("it does not name its architecture")
        kind = metadata.get("general.type", "model")
        if architecture == "clip" or kind in ("adapter", "mmproj", "imatrix"):
            raise Corrupt(f"it holds no language model but {_printable(kind) or architecture} ({architecture})")
        self.architecture = architecture

    def get(self, key: str) -> Any:
        return self._metadata.get(f"{self.architecture}.{key}")

    def number(
        self,
        key: str,
        default: int | None = None,
        *,
        low: int = 0,
        high: int = _MAX_NUMBER,
        is_global: bool = False,
    ) -> int:
        """A whole number within bounds; without a default the key must be there."""
        value = self._metadata.get(key) if is_global else self.get(key)
        name = key if is_global else f"{self.architecture}.{key}"
        if value is None and default is None:
            raise Corrupt(f"it has no {name}, so it is no language model")
        return _number(name, default if value is None else value, low=low, high=high)

    def per_layer(self, key: str, layers: int, *, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """One number per layer; the header may give a single one for all."""
        name, value = f"{self.architecture}.{key}", self.get(key)
        if value is None:
            if default is None:
                raise Corrupt(f"it has no {name}, so it is no language model")
            return default
        values = value if isinstance(value, tuple) else (value,) * layers
        if len(values) < layers:
            raise Corrupt(f"its {name} has {len(values)} entries for {layers} layers")
        return tuple(_number(name, entry) for entry in values[:layers])

    def flags(self, key: str) -> tuple[bool, ...] | None:
        value = self.get(key)
        return tuple(bool(entry) for entry in value) if isinstance(value, tuple) else None


def _number(name: str, value: Any, *, low: int = 0, high: int = _MAX_NUMBER) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise Corrupt(f"its {name} is {_printable(repr(value))}, not a number from {low} to {high}")
    return value


def _printable(value: Any) -> str:
    """Text from the file that may go to a terminal."""
    return "".join(char for char in value if char.isprintable())[:120].strip() if isinstance(value, str) else ""


def _ssm(keys: _Keys) -> Ssm | None:
    if keys.get("ssm.inner_size") is None:
        return None
    return Ssm(
        conv_kernel=keys.number("ssm.conv_kernel", 1, low=1),
        inner_size=keys.number("ssm.inner_size"),
        state_size=keys.number("ssm.state_size", 0),
        group_count=keys.number("ssm.group_count", 0),
    )


def _recurrent_layers(keys: _Keys, main: int, kv_heads: tuple[int, ...], *, has_ssm: bool) -> tuple[int, ...]:
    if flags := keys.flags("attention.recurrent_layers"):
        return tuple(layer for layer, is_recurrent in enumerate(flags[:main]) if is_recurrent)
    if keys.architecture in DELTA_NET:
        interval = keys.number("full_attention_interval", 4, low=1)
        return tuple(layer for layer in range(main) if (layer + 1) % interval)
    if keys.architecture == "falcon-h1":  # each layer does both
        return tuple(range(main))
    return tuple(layer for layer in range(main) if has_ssm and not kv_heads[layer])


def _window_layers(keys: _Keys, layers: int) -> tuple[int, ...]:
    if flags := keys.flags("attention.sliding_window_pattern"):
        return tuple(layer for layer, is_window in enumerate(flags[:layers]) if is_window)
    period = keys.get("attention.sliding_window_pattern") or _WINDOW_PERIODS.get(keys.architecture, 1)
    period = _number("attention.sliding_window_pattern", period, low=1)
    return tuple(layer for layer in range(layers) if layer % period < period - 1)


def _without_cache(
    kv_heads: tuple[int, ...], recurrent: tuple[int, ...], shared: int, *, is_mixed: bool
) -> tuple[int, ...]:
    """The KV heads by layer, 0 where the layer is recurrent or borrows the cache of an earlier one (the last ones)."""
    none = set() if is_mixed else set(recurrent)
    none |= set(range(len(kv_heads) - shared, len(kv_heads)))
    return tuple(0 if layer in none else heads for layer, heads in enumerate(kv_heads))


def _vocab(keys: _Keys, metadata: Mapping[str, Any]) -> int:
    tokens = metadata.get("tokenizer.ggml.tokens")
    return tokens.count if isinstance(tokens, Length) else keys.number("vocab_size", 0)
