"""The variants of the model that a service names: files that could serve it, seen from the controller."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from rigwright.errors import UnreadableModel, WrongSpec
from rigwright.models import Model, read_model
from rigwright.models.quants import quants
from rigwright.models.variants import Variant, find_model, find_offer, model_of, split_quant, variants
from rigwright.plan.wish import ModelSource
from rigwright.weights.cache import file_url, json_at, model_at
from rigwright.weights.hub import hub_facts

HUB = "https://huggingface.co"
_PART = re.compile(r"-\d{5}-of-\d{5}$")
_ELSEWHERE = "try again with a connection, or name a model of the catalogue where the hub wants a token"
_INDEX, _WHOLE = "model.safetensors.index.json", "model.safetensors"


def offers_for(source: ModelSource, *, hub: str = HUB) -> tuple[Variant, ...]:
    """The files that could serve a model; none for `auto`, where the plan chooses the model too.

    Raises:
        UnreadableModel: a file is not there, or is no language model.
        WrongSpec: the catalogue has no such model or quant.
    """
    if source.name == "auto":
        return ()
    if source.name:
        return _of_catalogue(source)
    if source.path:
        path = Path(source.path).expanduser()
        return (gguf_offer(path.name, read_model(path)),)
    if source.repo and not source.file:
        return (_repository(source, hub),)
    url = source.url or file_url(hub, source.repo or "", revision=source.revision, file=source.file or "")
    return (gguf_offer(source.file_name, model_at(url, hub=hub, revision=source.revision, sha256=source.sha256)),)


def gguf_offer(file_name: str, model: Model | None) -> Variant:
    """The variant of one GGUF file; where its header could not be read, what the catalogue knows of a file so named."""
    stem = _PART.sub("", PurePosixPath(file_name).stem)
    if model is None:
        note = f"the header of {file_name} could not be read from here"
        if listed := find_offer(stem, format="gguf"):
            return replace(listed, notes=f"{note}: its dimensions are the catalogue's")
        return Variant(split_quant(stem)[0], stem, _quant_in(stem) or "unknown", "gguf", file_bytes=0, notes=note)
    known, quant = split_quant(stem)
    known = known or find_model(model.name)
    quant = quant or _quant_in(stem) or _commonest_type(model)
    row = quants().get(quant)
    return Variant(
        known,
        f"{known.name} {quant}" if known else model.name or stem,
        quant,
        "gguf",
        file_bytes=model.file_bytes,
        loss_percent=row.loss_percent if row else None,
        header=model,
    )


def _of_catalogue(source: ModelSource) -> tuple[Variant, ...]:
    """All files of a model, or those of one quant."""
    text = str(source)
    known = model_of(source.name or "", where="model")
    found = variants(known)
    wanted = source.quant or split_quant(source.name or "")[1]
    chosen = [variant for variant in found if wanted is None or variant.quant.lower() == wanted.lower()]
    if not chosen:
        names = ", ".join(dict.fromkeys(variant.quant for variant in found)) or "none"
        raise WrongSpec(f"{text}: the catalogue has no such quant of {known.key}; it has {names}")
    return tuple(chosen)


def _repository(source: ModelSource, hub: str) -> Variant:
    """A whole repository of safetensors, as vLLM takes it."""
    repo = source.repo or ""
    known = find_model(repo)
    listed = next((variant for variant in variants(known) if variant.repo == repo), None) if known else None
    url = file_url(hub, repo, revision=source.revision, file="config.json")
    config = json_at(url, hub=hub, revision=source.revision)
    if config is None:
        if listed:
            return replace(listed, notes="config.json could not be read from here: its dimensions are the catalogue's")
        raise UnreadableModel(f"{source}: config.json cannot be read from here; {_ELSEWHERE}")
    from rigwright.models.config import model_from_config  # a file of one kind needs no reader of the other
    from rigwright.models.config_parameters import text_part

    size = _weights_bytes(source, hub) or (listed.file_bytes if listed else None)
    model = model_from_config(repo.partition("/")[2], config, weights_bytes=size)
    quant = listed.quant if listed else _method(text_part(config))
    return Variant(
        known,
        f"{known.name} {quant}" if known else model.name,
        quant,
        "safetensors",
        file_bytes=size or model.file_bytes,
        loss_percent=listed.loss_percent if listed else None,
        repo=repo,
        revision=source.revision,
        header=model,
    )


def _weights_bytes(source: ModelSource, hub: str) -> int | None:
    """The sum of the weights: what their index says, or the size of the only file."""
    revision, repo = source.revision, source.repo or ""
    try:
        index = json_at(file_url(hub, repo, revision=revision, file=_INDEX), hub=hub, revision=revision) or {}
    except UnreadableModel:
        with suppress(UnreadableModel):
            return hub_facts(file_url(hub, repo, revision=revision, file=_WHOLE), hub=hub).size_bytes
        return None
    from rigwright.models.config import index_bytes

    return index_bytes(index)


def _method(config: Mapping[str, Any]) -> str:
    """How a repository's weights are stored, in the words of its configuration."""
    quantised = config.get("quantization_config")
    method = quantised.get("quant_method") if isinstance(quantised, Mapping) else None
    if isinstance(method, str):
        bits = quantised.get("bits") if isinstance(quantised, Mapping) else None
        return f"{method.upper()}-INT{bits}" if isinstance(bits, int) else method.upper()
    kind = config.get("torch_dtype") or config.get("dtype")
    return {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}.get(str(kind), "BF16")


def _quant_in(stem: str) -> str | None:
    """The quant that a file name ends in: `Q4_K_M` of `my-model.Q4_K_M`."""
    plain = stem.lower().replace("_", "-")
    names = sorted(quants(), key=len, reverse=True)
    return next(
        (name for name in names if re.search(rf"[-.]{re.escape(name.lower().replace('_', '-'))}$", plain)), None
    )


def _commonest_type(model: Model) -> str:
    """The type that most bytes of a file have."""
    sizes: Counter[str] = Counter()
    for tensor in model.tensors:
        sizes[tensor.type.upper()] += tensor.size_bytes
    return sizes.most_common(1)[0][0] if sizes else "unknown"
