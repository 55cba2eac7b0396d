"""The files of a repository that its name alone, a quant or a pattern leaves to choose from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from rigwright.errors import UnreadableModel, WrongSpec
from rigwright.models.names import either, foreign_quant, known_upload, near_quants, quant_called, quant_in
from rigwright.models.repository_files import needs_code, wanted_files
from rigwright.models.variants import Variant, find_model, variants
from rigwright.plan.source import ModelSource
from rigwright.weights.cache import file_url, json_at, model_at
from rigwright.weights.gguf import gguf_offer, stem_of
from rigwright.weights.hub import hub_facts
from rigwright.weights.listing import names_at

# The largest repositories have some hundreds; each name costs a millisecond.
_MOST_FILES = 2000
_INDEX, _WHOLE = "model.safetensors.index.json", "model.safetensors"
_NEEDS_CODE = "its config.json names Python code of its own (auto_map), which is not brought: no code of models runs"


def of_quant(found: Sequence[Variant], wanted: str | None, *, what: str) -> tuple[Variant, ...]:
    """Those of a quant, all where none is wanted."""
    quant = quant_called(wanted or "").lower()
    chosen = tuple(variant for variant in found if not wanted or variant.quant.lower() == quant)
    if chosen:
        return chosen
    names = tuple(dict.fromkeys(variant.quant for variant in found))
    near = near_quants(wanted or "", names)
    what = ": ".join(filter(None, (what, foreign_quant(wanted or ""))))
    raise WrongSpec(f"{what}; " + (f"did you mean {either(near)}?" if near else f"it has {either(names) or 'none'}"))


def of_repository(source: ModelSource, hub: str) -> tuple[Variant, ...]:
    """The files of a repository that its name, a quant or a pattern leaves to choose from."""
    repo = (source.repo or "").lower()
    known = find_model(repo)
    listed = [variant for variant in variants(known) if (variant.repo or "").lower() == repo] if known else []
    files = [variant for variant in listed if variant.format == "gguf"]
    if files:
        fitting = [one for one in files if source.file is None or _fits(one.file or "", source.file)]
        if not fitting:
            raise WrongSpec(f"{source}: no file of {source.repo} is called so; it has {_quants_of(files)}")
        own = source.revision if source.revision != "main" else None
        pinned = [replace(one, revision=own, sha256=None) if own else one for one in fitting]
        return of_quant(pinned, source.quant, what=f"{source}: {source.repo} has no such quant")
    names: tuple[str, ...] | None = None
    if source.quant or source.file:
        names = _files_at(source, hub)
    else:
        try:
            return (_whole(source, hub),)
        except UnreadableModel:
            with suppress(UnreadableModel):
                names = _files_at(source, hub)
            if not names:
                raise
    return (_file_at(source, names, hub),)


def _fits(file: str, pattern: str) -> bool:
    """Whether a pattern fits a file, or its name alone, in any case, as that of `--include` does."""
    return any(fnmatchcase(one.lower(), pattern.lower()) for one in (file, file.rpartition("/")[2]))


def _quants_of(files: Sequence[Variant]) -> str:
    return either(dict.fromkeys(one.quant for one in files))


def _file_at(source: ModelSource, names: Sequence[str] | None, hub: str) -> Variant:
    """The one file of a repository that is meant, by the names that the hub lists.

    Raises:
        WrongSpec: none is, or several are.
    """
    if names is None:
        other = known_upload(source.repo or "")
        advice = f", or the catalogue's {other.key}" if other else ""
        raise UnreadableModel(
            f"{source}: which files it has cannot be asked from here; name one: hf:{source.repo}:FILE.gguf{advice}"
        )
    quant = quant_called(source.quant or "").lower()
    quants = {name: quant_in(stem_of(name)) or "" for name in names}
    fitting = [
        name
        for name in names
        if (not source.file or _fits(name, source.file)) and (not quant or quants[name].lower() == quant)
    ]
    if len(fitting) == 1:
        file, revision = fitting[0], source.revision
        header = model_at(file_url(hub, source.repo or "", revision=revision, file=file), hub=hub, revision=revision)
        return replace(gguf_offer(PurePosixPath(file).name, header), repo=source.repo, revision=revision, file=file)
    if not names:
        raise WrongSpec(f"{source}: it holds no GGUF file; name a repository that does")
    there = [quants[name] or name for name in fitting or names]
    if near := near_quants(source.quant or "", there):
        raise WrongSpec(f"{source}: no file of it is called so; did you mean {either(near)}?")
    fault = f"{len(fitting)} files of it could be meant" if fitting else "no file of it is called so"
    raise WrongSpec(f"{source}: {fault}; name one, like hf:{source.repo}:{there[0]}; it has {either(there[:30])}")


def _files_at(source: ModelSource, hub: str) -> tuple[str, ...] | None:
    """The GGUF files of a repository without projectors, of one in parts the first; None where no hub answers.

    Source: the Hub API, GET /api/models/{repo}/revision/{revision}.
    """
    url = f"{hub.rstrip('/')}/api/models/{source.repo}/revision/{quote(source.revision, safe='')}"
    answer = json_at(url, hub=hub, revision=source.revision)
    if answer is None:
        return None
    siblings = answer.get("siblings")
    names = [row.get("rfilename") for row in siblings if isinstance(row, Mapping)] if isinstance(siblings, list) else []
    files = [name for name in names if isinstance(name, str) and name.lower().endswith(".gguf")]
    if len(files) > _MOST_FILES:
        raise WrongSpec(f"{source}: it lists {len(files)} GGUF files; name one: hf:{source.repo}:FILE.gguf")
    wanted = [name for name in files if not name.rpartition("/")[2].lower().startswith(("mmproj", "imatrix"))]
    firsts = [name for name in wanted if stem_of(name) == PurePosixPath(name).stem or "-00001-of-" in name]
    return tuple(sorted(firsts))


def _whole(source: ModelSource, hub: str) -> Variant:
    """A whole repository of safetensors, as vLLM takes it."""
    repo = source.repo or ""
    known = find_model(repo)
    listed = next((one for one in variants(known) if one.repo == repo), None) if known else None
    if source.sha256:
        raise WrongSpec(f"{source}: is a whole repository, and sha256 is that of one file; name a commit instead")
    url = file_url(hub, repo, revision=source.revision, file="config.json")
    config = json_at(url, hub=hub, revision=source.revision)
    if config is None:
        if listed:
            return replace(listed, notes="config.json could not be read from here: its dimensions are the catalogue's")
        raise UnreadableModel(f"{source}: config.json cannot be read from here; {_elsewhere(source)}")
    from rigwright.models.config import model_from_config  # a file of one kind needs no reader of the other
    from rigwright.models.config_parameters import text_part

    size = _weights_bytes(source, hub) or (listed.file_bytes if listed else None)
    if not size and (names := names_at(repo, source.revision, hub)):
        wanted_files(names, None, where=str(source))  # refuses what has no safetensors
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
        notes=_NEEDS_CODE if needs_code(config) else "",
        header=model,
    )


def directory_offer(root: Path) -> Variant:
    """A directory of safetensors on this machine.

    Raises:
        UnreadableModel: it is none.
    """
    from rigwright.models.config import read_config
    from rigwright.models.config_parameters import text_part

    model = read_config(root)
    config = json.loads((root / "config.json").read_bytes())
    known, quant = find_model(root.name), _method(text_part(config))
    name = f"{known.name} {quant}" if known else root.name
    notes = _NEEDS_CODE if needs_code(config) else ""
    return Variant(known, name, quant, "safetensors", file_bytes=model.file_bytes, notes=notes, header=model)


def _elsewhere(source: ModelSource) -> str:
    """What to do where the hub does not answer."""
    known = known_upload(source.repo or "")
    other = f"the catalogue's {known.key}" if known else "a model of the catalogue where the hub wants a token"
    return f"try again with a connection, or name {other}"


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
