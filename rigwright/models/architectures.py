"""From a GGUF header to a `Model`.

Source: llama_model_base::load_hparams of llama.cpp 0c1e570 (src/llama-model.cpp) and its defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rigwright.models.caches import caches_of
from rigwright.models.header import Header, Length
from rigwright.models.keys import Keys, printable
from rigwright.models.values import Model, Pooling

_MAX_LAYERS = 512  # LLAMA_MAX_LAYERS
_POOLINGS: Mapping[int, Pooling] = {1: "mean", 2: "cls", 3: "last", 4: "rank"}  # llama_pooling_type


def model_from_header(header: Header) -> Model:
    """The model that a header describes.

    Raises:
        Corrupt: it describes no language model.
    """
    keys = Keys(header.metadata)
    layers = keys.number("block_count", low=1, high=_MAX_LAYERS)
    embedding = keys.number("embedding_length", low=1)
    heads = keys.per_layer("attention.head_count", layers)
    nextn = keys.number("nextn_predict_layers", 0, high=layers - 1)
    caches = caches_of(keys, layers=layers, nextn=nextn, embedding=embedding, heads=heads)
    return Model(
        name=printable(header.metadata.get("general.name")) or keys.architecture,
        architecture=keys.architecture,
        file_bytes=header.end_bytes,
        context_train=keys.number("context_length", low=1),
        layers=layers,
        nextn_layers=nextn,
        embedding=embedding,
        feed_forward=max(keys.per_layer("feed_forward_length", layers, default=(0,))),
        heads=heads,
        **caches._asdict(),
        experts=keys.number("expert_count", 0),
        experts_used=max(keys.per_layer("expert_used_count", layers, default=(0,))),
        expert_feed_forward=max(keys.per_layer("expert_feed_forward_length", layers, default=(0,))),
        vocab=_vocab(keys, header.metadata),
        has_chat_template=bool(header.metadata.get("tokenizer.chat_template")),
        split_count=keys.number("split.count", 1, is_global=True) or 1,
        tensors=header.tensors,
        shared_feed_forward=keys.number("expert_shared_feed_forward_length", 0),
        pooling=_POOLINGS.get(keys.number("pooling_type", 0)),
        assumptions=tuple(keys.assumptions),
    )


def _vocab(keys: Keys, metadata: Mapping[str, Any]) -> int:
    tokens = metadata.get("tokenizer.ggml.tokens")
    return tokens.count if isinstance(tokens, Length) else keys.number("vocab_size", 0)
