"""Which models are known, and which files of each can be had: the catalogue, asked by name.

The catalogue is read once and on demand; the dimensions of a file become a `Model` only when somebody asks for them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rigwright.errors import WrongSpec
from rigwright.models.known import Format, KnownModel, Sampling, Superseded, Variant
from rigwright.models.names import either, find_model, model_of, split_quant
from rigwright.models.offer_rows import WITH_NEXTN, models, offers_of

__all__ = [
    "KnownModel",
    "Sampling",
    "Superseded",
    "Variant",
    "find_model",
    "find_offer",
    "find_superseded",
    "known_models",
    "model_of",
    "offer_of",
    "one_of_twins",
    "split_quant",
    "variants",
]  # fmt: skip

_PUBLISHED_TOLERANCE = 0.03  # a size rounded to whole GB


def known_models() -> tuple[KnownModel, ...]:
    """Every model of the catalogue, in its order: by family, then by size."""
    return tuple(models().values())


def variants(known: KnownModel) -> tuple[Variant, ...]:
    """All that the catalogue lists of a model: GGUF files from coarse to fine, then repositories of safetensors."""
    return offers_of(known.key)


def find_offer(text: str, *, format: Format | None = None) -> Variant | None:
    """The offer of `qwen3.5-35b-a3b:Q4_K_M`, also with the model's other names, or as the name of a GGUF file.

    Where both formats have the quant (`BF16`), it is the GGUF file unless `format` says otherwise.
    """
    known, quant = split_quant(text)
    found = [one for one in variants(known) if one.quant == quant] if known and quant else []
    return next((one for one in found if format in (None, one.format)), None)


def offer_of(text: str, *, where: str, format: Format | None = None) -> Variant:
    """The offer that `text` names, model and quant.

    Raises:
        WrongSpec: no model has that name, or the catalogue has no such file of it.
    """
    known = model_of(text, where=where)
    if variant := find_offer(text, format=format):
        return variant
    names = tuple(dict.fromkeys(one.quant for one in variants(known) if format in (None, one.format)))
    raise WrongSpec(f"{where}: the catalogue has no {text}; of {known.key} it has {either(names) or 'nothing'}")


def one_of_twins(offers: Sequence[Variant], *, drafts: Callable[[Variant], bool]) -> list[Variant]:
    """The offers; of a file that there is with and without the layers that draft, the one that a service wants.

    `drafts` says of one that has them whether it would draft.
    """
    plain, left = {one.quant for one in offers}, set[str]()
    for one in offers:
        twin = one.quant.removeprefix(WITH_NEXTN)
        if twin != one.quant and twin in plain:
            left.add(twin if drafts(one) else one.quant)
    return [one for one in offers if one.quant not in left]


def find_superseded(
    known: KnownModel, quant: str, *, sha256: str | None = None, file_bytes: int | None = None
) -> Superseded | None:
    """The warning about a file that is there already: an upload that a later one of the same name replaced."""
    for row in known.superseded:
        if sha256 and sha256 == row.sha256:
            return row
        if row.quant == quant and file_bytes and row.file_bytes:
            slack = 0 if row.is_size_exact else _PUBLISHED_TOLERANCE * row.file_bytes
            if abs(file_bytes - row.file_bytes) <= slack:
                return row
    return None
