"""The variants of the model that a service names: files that could serve it, seen from the controller."""

from __future__ import annotations

from rigwright.given import at_home
from rigwright.models import read_model
from rigwright.models.variants import Variant, model_of, split_quant, variants
from rigwright.plan.source import ModelSource
from rigwright.weights.cache import file_url, model_at
from rigwright.weights.gguf import gguf_offer
from rigwright.weights.on_rig import model_on_rig
from rigwright.weights.repository import directory_offer, of_quant, of_repository

HUB = "https://huggingface.co"


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
        path = at_home(source.path)
        if path.is_dir():
            return (directory_offer(path),)
        return (gguf_offer(path.name, read_model(path)),)
    if source.path_on_rig:
        return (gguf_offer(source.file_name, model_on_rig(source.rig, source.path_on_rig)),)
    if not source.names_file:
        return of_repository(source, hub)
    url = source.url or file_url(hub, source.repo or "", revision=source.revision, file=source.file or "")
    return (gguf_offer(source.file_name, model_at(url, hub=hub, revision=source.revision, sha256=source.sha256)),)


def _of_catalogue(source: ModelSource) -> tuple[Variant, ...]:
    """All files of a model, or those of one quant."""
    known = model_of(source.name or "", where="model")
    wanted = source.quant or split_quant(source.name or "")[1]
    return of_quant(variants(known), wanted, what=f"{source}: the catalogue has no such quant of {known.key}")
