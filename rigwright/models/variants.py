"""Which models are known, and which files of each can be had: the catalogue, asked by name.

The catalogue is read once and on demand; the dimensions of a file become a `Model` only when somebody asks for them.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from functools import cache

from rigwright.errors import WrongSpec
from rigwright.models.known import Format, KnownModel, Sampling, Superseded, Variant
from rigwright.models.offer_rows import models, offers_of, rows
from rigwright.models.quants import quants

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
    "near_names",
    "offer_of",
    "split_quant",
    "variants",
]  # fmt: skip

_PART = re.compile(r"-\d{5}-of-\d{5}$")
_PUBLISHED_TOLERANCE = 0.03  # a size rounded to whole GB


def known_models() -> tuple[KnownModel, ...]:
    """Every model of the catalogue, in its order: by family, then by size."""
    return tuple(models().values())


def find_model(text: str) -> KnownModel | None:
    """The model of a key, name, alias or repository: `qwen3.5-35b-a3b`, `Qwen/Qwen3.5-35B-A3B`, `qwen3.5:35b-a3b`."""
    return _index().get(_normal(text))


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


def split_quant(text: str) -> tuple[KnownModel | None, str | None]:
    """The model and the quant that a text names: no quant where it names none, neither where it is no model."""
    if known := find_model(text):
        return known, None
    normal = _normal(text)
    for name in sorted(quants(), key=len, reverse=True):
        ending = _normal(name)
        if normal.endswith(ending) and normal[-len(ending) - 1 : -len(ending)] in (":", "-", ".", "/"):
            known = find_model(normal[: -len(ending) - 1])
            if known:
                return known, name
    return None, None


def model_of(text: str, *, where: str) -> KnownModel:
    """The model that `text` names.

    Raises:
        WrongSpec: no model has that name; up to three near ones are proposed.
    """
    if known := split_quant(text)[0]:
        return known
    near = near_names(text)
    advice = f"did you mean {_either(near)}?" if near else "give one of docs/models.md, or a GGUF file"
    raise WrongSpec(f"{where}: no model is called {text}; {advice}")


def offer_of(text: str, *, where: str, format: Format | None = None) -> Variant:
    """The offer that `text` names, model and quant.

    Raises:
        WrongSpec: no model has that name, or the catalogue has no such file of it.
    """
    known = model_of(text, where=where)
    if variant := find_offer(text, format=format):
        return variant
    names = tuple(dict.fromkeys(one.quant for one in variants(known) if format in (None, one.format)))
    raise WrongSpec(f"{where}: the catalogue has no {text}; of {known.key} it has {_either(names) or 'nothing'}")


def near_names(text: str) -> tuple[str, ...]:
    """Up to three keys whose names resemble a text."""
    names = difflib.get_close_matches(_normal(text), _index(), n=9, cutoff=0.6)
    return tuple(dict.fromkeys(_index()[name].key for name in names))[:3]


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


def _either(names: tuple[str, ...]) -> str:
    """`a, b or c`."""
    return " or ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def _normal(text: str) -> str:
    """`qwen3.5-35b-a3b` of ` Qwen3.5 35B_A3B.gguf`."""
    words = re.sub(r"[\s_]+", "-", text.strip().lower()).removesuffix(".gguf")
    return _PART.sub("", words)


@cache
def _index() -> dict[str, KnownModel]:
    index: dict[str, KnownModel] = {}
    for known in known_models():
        for name in _names(known):
            index.setdefault(_normal(name), known)
    return index


def _names(known: KnownModel) -> Iterator[str]:
    yield from (known.key, known.name, *known.aliases)
    for files in rows()[known.key]["files"]:
        yield from (files["repo"], files["repo"].partition("/")[2])
