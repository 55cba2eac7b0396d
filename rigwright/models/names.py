"""The names of models and quants as people write them: any case, any separator, with or without the maker's name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from functools import cache

from rigwright.errors import WrongSpec
from rigwright.models.known import KnownModel
from rigwright.models.offer_rows import models, rows
from rigwright.models.quants import quants

_PART = re.compile(r"-\d{5}-of-\d{5}$")
# No model is called longer; a stranger's file may say that it is, and patterns would be at it for minutes.
_LONGEST = 300
_MAKER = re.compile(r"\s*(?:meta|google|openai|alibaba|mistral ai|z\.ai)\s+(?=\w)", re.IGNORECASE)
# What stands after a name and says nothing of which model it is.
_TAIL = re.compile(r"(?:[-.:_/ ]+(?:gguf|latest))+$")
# What others call a quant that has its own name here. Source: the tags of Ollama's library.
_OTHER_QUANTS = {"fp16": "F16", "float16": "F16", "bfloat16": "BF16", "int8": "Q8_0"}
# Bits, as people and papers count them: `4bit`, `4-bit`, `int4`, `w4a16`, `fp4`.
_BITS = re.compile(r"(?:(?P<bits>[2-8])bits?|int(?P<int>[2-8])|w(?P<weights>[2-8])a\d+|fp(?P<float>[468]))")
_FOREIGN_QUANTS = {
    r"exl[23]?.*|\d(?:\.\d+)?bpw": "that is a format of ExLlama, which is not planned",
    r"mlx.*|dwq|oq\d.*": "that is a format of MLX, which is not planned",
    r"(?:bnb|bitsandbytes|nf4).*": "bitsandbytes quantises while it loads, which is not planned",
    r"hqq.*|aqlm.*|quip.*|ggml|ggmlv3": "that is a format which no engine here reads",
}


def find_model(text: str) -> KnownModel | None:
    """The model of a key, name, alias or repository: `qwen3.5-35b-a3b`, `Qwen/Qwen3.5-35B-A3B`, `qwen3.5:35b-a3b`."""
    return _index().get(_squeezed(text))


def of_maker(text: str) -> KnownModel | None:
    """The model whose maker's own repository a text names, today's or an older name of it: `google/Gemma-3-27B`."""
    maker, slash, name = text.strip().lower().partition("/")
    known = _index().get(_squeezed(name)) if slash and "gguf" not in name else None
    if known is None or not any(one.lower().startswith(f"{maker}/") for one in known.aliases):
        return None
    # Meta's untrained models are called like those that chat, without the word.
    if maker == "meta-llama" and "instruct" not in name:
        return None
    own = [known.key, known.name, *(one.rpartition("/")[2] for one in known.aliases)]
    return known if _squeezed(name) in map(_squeezed, own) else None


def of_file(name: str) -> tuple[KnownModel | None, str | None]:
    """The model and the quant of a file as people who upload call it: `Qwen_Qwen3.5-9B-Q4_K_M`, `…-9B.i1-Q4_K_M`."""
    name = re.sub(r"[.-]i1-", "-", re.split(r"[/\\]", name)[-1])
    parts = [name, *(name[found.end() :] for found in re.finditer("_", name[:_LONGEST]))]
    known, quant = next((found for part in parts[:6] if (found := split_quant(part))[0]), (None, None))
    offered = {row["quant"] for files in rows()[known.key]["files"] for row in files["rows"]} if known else ()
    return known, quant if quant in offered else None


def split_quant(text: str) -> tuple[KnownModel | None, str | None]:
    """The model and the quant that a text names: no quant where it names none, neither where it is no model."""
    text = _MAKER.sub("", text)
    squeezed = _squeezed(text)
    if squeezed in _repositories():
        return _repositories()[squeezed]
    if known := _index().get(squeezed):
        return known, None
    # A repository for the files with the layers for further tokens: its quants are called like those of the others.
    squeezed = squeezed.replace("mtpgguf", "mtp")
    for ending, name in _endings():
        if squeezed.endswith(ending) and (known := _index().get(squeezed[: -len(ending)].removesuffix("gguf"))):
            return known, name
    return None, None


def model_of(text: str, *, where: str) -> KnownModel:
    """The model that `text` names.

    Raises:
        WrongSpec: no model has that name; near ones are proposed.
    """
    if known := split_quant(text)[0]:
        return known
    near = near_names(text)
    advice = "name one of docs/models.md, a GGUF file on this machine, or one of a hub as hf:org/repo:QUANT"
    if near:
        other = "" if _has_numbers(near[0], text) else " A model that docs/models.md does not list is hf:org/repo:QUANT"
        advice = f"did you mean {either(near)}?{other}"
    raise WrongSpec(f"{where}: no model is called {text}; {advice}")


def _has_numbers(name: str, text: str) -> bool:
    """Whether a name has each number of a text: where it has not, the text is no misspelling of it."""
    return set(re.findall(r"\d+(?:\.\d+)?", text.replace("-", " "))) <= set(re.findall(r"\d+(?:\.\d+)?", name))


def near_names(text: str) -> tuple[str, ...]:
    """The keys of a family that a text names, `qwen3.5` or `Qwen 3.5 GGUF`; else up to three that resemble it."""
    squeezed = _squeezed(text)
    family = [known.key for known in models().values() if _has_start(known, text)] if len(squeezed) > 3 else []
    if family:
        return tuple(family)
    # A model with words behind it that the catalogue does not have of it: `qwen3.5:35b-a3b-instruct`.
    ends = [found.start() for found in re.finditer(r"[\s:@_-]+", text[:_LONGEST])]
    if known := next((known for end in reversed(ends) if end and (known := find_model(text[:end]))), None):
        return (known.key,)
    near = difflib.get_close_matches(squeezed, _index(), n=9, cutoff=0.6)
    return tuple(dict.fromkeys(_index()[name].key for name in near))[:3]


def known_upload(repo: str) -> KnownModel | None:
    """The model of the catalogue that somebody's repository holds by its name: `bartowski/Qwen_Qwen3.5-9B-GGUF`."""
    name = re.sub(r"(?:[-.]i1)?[-.]gguf$", "", repo.rpartition("/")[2], flags=re.IGNORECASE)
    return find_model(name) or find_model(name.partition("_")[2])


def near_quants(text: str, names: Iterable[str]) -> tuple[str, ...]:
    """Of these quants those that a text may mean, the likeliest first: `Q4_K_M` and more for `Q4`, `UD-IQ4_XS` for
    `IQ4_XS`."""
    wanted = _plain(text)
    given = {_plain(name): name for name in names}
    if bits := _BITS.fullmatch(wanted):
        count = next(filter(None, bits.groups()))
        fitting = [name for plain, name in given.items() if _has_bits(plain, count)]
        return tuple(sorted(fitting, key=lambda name: name.startswith(("UD-", "MTP-"))))
    parts = [name for plain, name in given.items() if wanted and wanted in plain]
    near = [given[one] for one in difflib.get_close_matches(wanted, given, n=3, cutoff=0.6)]
    if not parts and (kind := re.fullmatch(r"(?:ud)?i?q(\d)\w*", wanted)):
        # As many bits are nearer than as many letters: of Q4_0 those with 4, not Q8_0.
        same = [name for plain, name in given.items() if _has_bits(plain, kind[1])]
        parts = [name for name in near if name in same] or same
    return tuple(parts or near)


def _has_bits(quant: str, bits: str) -> bool:
    return bool(re.search(rf"(?:q|int|fp|w){bits}", quant)) or (bits == "4" and quant == "awq")


def quant_called(text: str) -> str:
    """The quant that a text is the name of, in its own spelling; the text itself where none is called so."""
    plain = _plain(text.strip().lower().removesuffix(".gguf"))
    return next((name for ending, name in _endings() if ending == plain), text.strip())


def foreign_quant(text: str) -> str | None:
    """Why a quant of another program is none here; None where it is not known for one."""
    return next((why for form, why in _FOREIGN_QUANTS.items() if re.fullmatch(form, _plain(text))), None)


def quant_in(stem: str) -> str | None:
    """The quant that a file name ends in: `Q4_K_M` of `my-model.Q4_K_M`."""
    plain = stem.lower().replace("_", "-")
    names = sorted(quants(), key=len, reverse=True)
    return next(
        (name for name in names if re.search(rf"[-.]{re.escape(name.lower().replace('_', '-'))}$", plain)), None
    )


def either(names: Iterable[str]) -> str:
    """`a, b or c`."""
    *first, last = [*names] or [""]
    return f"{', '.join(first)} or {last}" if first else last


def _has_start(known: KnownModel, text: str) -> bool:
    """Whether one of a model's names starts so, where a word of it ends: `Qwen3-8B` is none of `Qwen3.5`."""
    words = re.findall(r"[a-z]+|[0-9.]+", _TAIL.sub("", text.strip().lower()))
    return any(re.findall(r"[a-z]+|[0-9.]+", name.lower())[: len(words)] == words for name in _names(known))


def _squeezed(text: str) -> str:
    """`qwen3.535ba3b` of ` Qwen3.5 35B_A3B.gguf`; nothing of what is too long for a name."""
    if len(text) > _LONGEST:
        return ""
    words = _PART.sub("", text.strip().lower().removesuffix(".gguf"))
    return _plain(_TAIL.sub("", words))


def _plain(text: str) -> str:
    return re.sub(r"[\s_:@,-]+", "", text.strip().lower())


@cache
def _endings() -> tuple[tuple[str, str], ...]:
    """Every quant by the plain form of its names, the longest first."""
    names = [(_plain(name), name) for name in quants()] + [*_OTHER_QUANTS.items()]
    return tuple(sorted(names, key=lambda pair: len(pair[0]), reverse=True))


@cache
def _index() -> dict[str, KnownModel]:
    index: dict[str, KnownModel] = {}
    for known in models().values():
        for name in _names(known):
            index.setdefault(_squeezed(name), known)
    return index


@cache
def _repositories() -> dict[str, tuple[KnownModel, str | None]]:
    """Repositories of one quant, which is a part of their name: `Qwen/Qwen3.6-27B-FP8`."""
    own = {_squeezed(name) for known in models().values() for name in (known.key, known.name, *known.aliases)}
    found: dict[str, tuple[KnownModel, str | None]] = {}
    for known in models().values():
        for files in rows()[known.key]["files"]:
            if len(files["rows"]) == 1:
                for name in (files["repo"], files["repo"].partition("/")[2]):
                    if _squeezed(name) not in own:
                        found[_squeezed(name)] = known, files["rows"][0]["quant"]
    return found


def _names(known: KnownModel) -> Iterator[str]:
    yield from (known.key, known.name, *known.aliases)
    for files in rows()[known.key]["files"]:
        yield from (files["repo"], files["repo"].partition("/")[2])
