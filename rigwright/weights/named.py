"""The model that `rigwright size` is asked about: a name, a file, an address, or a JSON file of dimensions."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rigwright.errors import UnreadableModel, WrongSpec
from rigwright.given import at_home
from rigwright.models.values import Model

if TYPE_CHECKING:
    from rigwright.models.variants import Variant
    from rigwright.plan.source import ModelSource

# What most people download; the catalogue has it of nearly every model.
_USUAL = ("Q4_K_M", "UD-Q4_K_XL", "MXFP4")
# A JSON file of dimensions is a page; a larger one is something else.
_LARGEST_BYTES = 4 << 20


class Sized(NamedTuple):
    """A model, and how its weights are quantised, where that is known."""

    model: Model
    quant: str | None


def sized_model(text: str, *, quant: str | None, file_bytes: int | None, is_vllm: bool) -> Sized:
    """The model that `text` names.

    Raises:
        RigwrightError: it is not there, or cannot be understood.
    """
    path = at_home(text)
    if text.lower().endswith(".json") or (path.suffix.lower() != ".gguf" and path.is_file()):
        return _from_json(path, quant=quant, file_bytes=file_bytes)
    from pydantic import ValidationError

    from rigwright.plan.source import ModelSource

    try:
        source = ModelSource.model_validate(text)
    except ValidationError as error:
        raise WrongSpec(f"{text}: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None
    if source.name:
        return _from_catalogue(source, quant=quant, file_bytes=file_bytes, is_vllm=is_vllm)
    return _from_file(source, text, quant=quant, file_bytes=file_bytes)


def _from_catalogue(source: ModelSource, *, quant: str | None, file_bytes: int | None, is_vllm: bool) -> Sized:
    from rigwright.models.names import model_of, quant_called
    from rigwright.models.variants import variants

    known = model_of(source.name or "", where="size")
    wanted = quant_called(quant or source.quant or "") or None
    found = [variant for variant in variants(known) if (variant.format == "safetensors") == is_vllm] or list(
        variants(known)
    )
    if file_bytes or not found:
        return _from_parameters(known.name, known.parameters, quant=wanted, file_bytes=file_bytes)
    if wanted is None:
        variant = _usual(found)
        return Sized(variant.model, variant.quant)
    fitting = [variant for variant in (*found, *variants(known)) if variant.quant.lower() == wanted.lower()]
    if fitting:
        return Sized(fitting[0].model, fitting[0].quant)
    return _from_parameters(known.name, known.parameters, quant=wanted, file_bytes=None)


def _usual(found: Sequence[Variant]) -> Variant:
    usual = [variant for name in _USUAL for variant in found if variant.quant == name]
    return (usual or found)[0]


def _from_parameters(name: str, parameters: Mapping[str, Any], *, quant: str | None, file_bytes: int | None) -> Sized:
    from rigwright.models.parameters import model_from_parameters

    return Sized(model_from_parameters(name, parameters, file_bytes=file_bytes, quant=quant), quant)


def _from_json(path: Path, *, quant: str | None, file_bytes: int | None) -> Sized:
    """One entry of dimensions, alone or under its name; or the config.json of a repository."""
    data = _mapping(path)
    name = path.stem
    if "layers" not in data and not _is_config(data):
        entries = {key: value for key, value in data.items() if isinstance(value, Mapping)}
        if len(entries) != 1 or len(data) != 1:
            what = f"holds {len(entries)} models" if len(entries) > 1 else "holds no dimensions of a model"
            raise UnreadableModel(f"{path}: {what}; write one mapping with layers, hidden, heads, kv_heads and vocab")
        name, data = next(iter(entries.items()))
    if _is_config(data):
        from rigwright.models.config import model_from_config

        return Sized(model_from_config(name, data, weights_bytes=file_bytes), quant)
    return _from_parameters(name, data, quant=quant, file_bytes=file_bytes)


def _is_config(data: Mapping[str, Any]) -> bool:
    """Hugging Face's own form."""
    return "model_type" in data or "num_hidden_layers" in data or isinstance(data.get("text_config"), Mapping)


def _mapping(path: Path) -> Mapping[str, Any]:
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise UnreadableModel(f"{path}: is larger than 4 MiB; name a file with the dimensions of one model")
        data = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UnreadableModel(f"{path}: cannot be read: {error.strerror}; check the path") from None
    except (ValueError, RecursionError):
        raise UnreadableModel(f"{path}: is no JSON; write one mapping with layers, hidden, heads …") from None
    if not isinstance(data, Mapping):
        raise UnreadableModel(f"{path}: holds no keys; write layers, hidden, heads …")
    return data


def _from_file(source: ModelSource, text: str, *, quant: str | None, file_bytes: int | None) -> Sized:
    """A GGUF file here or elsewhere, or a repository of safetensors: their own headers say all."""
    if file_bytes or quant:
        option = "--file-bytes" if file_bytes else "--quant"
        raise WrongSpec(f"{text}: the file itself says what {option} would; leave it out")
    from rigwright.weights.variants import HUB, offers_for

    # The variable is what huggingface_hub heeds too.
    variant = _usual(offers_for(source, hub=os.environ.get("HF_ENDPOINT") or HUB))
    if variant.header is None and (variant.known is None or not variant.file_bytes):
        raise UnreadableModel(f"{text}: its header cannot be read from here; download the file, and name its path")
    return Sized(variant.model, variant.quant)
