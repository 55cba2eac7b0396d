"""The variant that one GGUF file is, seen from the controller."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import PurePosixPath

from rigwright.models import Model
from rigwright.models.names import quant_in
from rigwright.models.quants import quants
from rigwright.models.variants import Variant, find_model, find_offer, split_quant

_PART = re.compile(r"-\d{5}-of-\d{5}$")


def stem_of(file_name: str) -> str:
    """The name of a model file without its ending and without the number of its part."""
    return _PART.sub("", PurePosixPath(file_name).stem)


def gguf_offer(file_name: str, model: Model | None) -> Variant:
    """The variant of one GGUF file; where its header could not be read, what the catalogue knows of a file so named."""
    stem = stem_of(file_name)
    if model is None:
        note = f"the header of {file_name} could not be read from here"
        if listed := find_offer(stem, format="gguf"):
            return replace(listed, notes=f"{note}: its dimensions are the catalogue's")
        return Variant(split_quant(stem)[0], stem, quant_in(stem) or "unknown", "gguf", file_bytes=0, notes=note)
    known, quant = split_quant(stem)
    known = known or find_model(model.name)
    quant = quant or quant_in(stem) or _commonest_type(model)
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


def _commonest_type(model: Model) -> str:
    """The type that most bytes of a file have."""
    sizes: Counter[str] = Counter()
    for tensor in model.tensors:
        sizes[tensor.type.upper()] += tensor.size_bytes
    return sizes.most_common(1)[0][0] if sizes else "unknown"
