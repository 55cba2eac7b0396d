"""From a Hugging Face config.json to a `Model`: what vLLM serves, safetensors files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rigwright.errors import UnreadableModel
from rigwright.models.config_parameters import described, text_part
from rigwright.models.config_weights import reckoned_bytes
from rigwright.models.parameters import model_from_parameters
from rigwright.models.repositories import as_repository
from rigwright.models.values import Model

_INDEX = "model.safetensors.index.json"
_MAX_TEXT_BYTES = 32 * 1024**2
_MAX_BYTES = 2**50
_MAX_LATENT = 2**20


def model_from_config(name: str, config: Mapping[str, Any], *, weights_bytes: int | None = None) -> Model:
    """The model that a config.json describes; its text part when it sees or hears too.

    Args:
        name: How messages and the model are named.
        config: The file as plain data.
        weights_bytes: The total_size of the safetensors index; by default computed from dtype and quantization.

    Raises:
        UnreadableModel: it describes no language model.
    """
    if not isinstance(config, Mapping):
        raise UnreadableModel(f"{name}: its config.json holds no object; download it again")
    text = text_part(config)
    found = described(text)
    model = model_from_parameters(name, found.parameters, file_bytes=weights_bytes)
    notes = [*model.assumptions, *found.assumptions]
    if not weights_bytes:
        size = reckoned_bytes(model, text)
        model = replace(model_from_parameters(name, found.parameters, file_bytes=size), is_sum_exact=False)
        notes += ["the weights of its vision part are not counted"] if "vision_config" in config else []
    empty = set(found.layers_without_cache)
    kept = tuple(0 if layer in empty else heads for layer, heads in enumerate(model.kv_heads))
    return _latent(as_repository(replace(model, kv_heads=kept, assumptions=tuple(notes))), text)


def _latent(model: Model, text: Mapping[str, Any]) -> Model:
    """With multi-head latent attention a layer keeps one vector per token, whatever its heads, and no values."""
    rank, rope = text.get("kv_lora_rank"), text.get("qk_rope_head_dim") or 0
    index = text.get("index_head_dim") or 0
    if not all(isinstance(one, int) and 0 <= one <= _MAX_LATENT for one in (rank, rope, index)) or not rank:
        return model
    length = rank + rope + index
    note = "its attention is latent: the cache is exact, the weights of attention are computed as plain ones"
    if index:
        note += "; the indexer's keys are counted as a part of the cache"
    return replace(
        model,
        kv_heads=tuple(min(1, heads) for heads in model.kv_heads),
        key_length=length,
        value_length=0,
        swa_key_length=length,
        swa_value_length=0,
        assumptions=(*model.assumptions, note),
    )


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
    name = where.rstrip("/").rpartition("/")[2] or where
    return model_from_config(name, config, weights_bytes=index_bytes(index) or files_bytes)


def index_bytes(index: Mapping[str, Any]) -> int | None:
    """The size of all weights, as a safetensors index says it; None where it does not."""
    metadata = index.get("metadata")
    total = metadata.get("total_size") if isinstance(metadata, Mapping) else None
    return int(total) if isinstance(total, (int, float)) and 0 < total < _MAX_BYTES else None


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
