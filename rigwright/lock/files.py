"""The files of a service as its lock names them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath

from rigwright.lock.values import PinnedModel, PinnedService
from rigwright.models.parts import part_names
from rigwright.models.repository_files import CONFIG
from rigwright.models.variants import find_model, split_quant, variants
from rigwright.plan.changes import Change
from rigwright.plan.source import ModelSource
from rigwright.plan.wish import ServiceWish
from rigwright.spec.weights import WeightsSettings
from rigwright.weights.local import LocalModel, inspect_model
from rigwright.weights.whole import inspect_named, locked_repository


def locked_source(wish: ServiceWish, pinned: PinnedService) -> ModelSource:
    """What a lock names, a file or a repository; that of the wish where the wish itself says where it lies."""
    return _source(wish.model, pinned.model)


def _source(given: ModelSource, pinned: PinnedModel) -> ModelSource:
    first = pinned.files[0] if pinned.files and not _is_whole(pinned) else None
    if pinned.repo:
        # A whole repository is named without a file.
        keys = {"repo": pinned.repo, "revision": pinned.revision}
        keys |= {"file": first.name, "sha256": first.sha256} if first else {}
        return ModelSource(**{key: value for key, value in keys.items() if value})
    if given.url and first and first.sha256:
        return given.model_copy(update={"sha256": first.sha256})
    return given


def _is_whole(pinned: PinnedModel) -> bool:
    return bool(pinned.files) and pinned.files[0].name == CONFIG


def locked_drafter(given: ModelSource, pinned: PinnedModel, settings: WeightsSettings) -> LocalModel:
    """The files of the model that drafts for a service, as its lock names them.

    Raises:
        RigwrightError: a file is not there.
    """
    source = _source(given, pinned)
    return inspect_model(source, settings, sums=_sums(pinned) if source.path is None else {})


def _sums(pinned: PinnedModel) -> dict[str, str]:
    return {PurePosixPath(file.name).name: file.sha256 for file in pinned.files if file.sha256}


def locked_model(wish: ServiceWish, pinned: PinnedService, settings: WeightsSettings) -> LocalModel:
    """The files of a service as its lock names them.

    Raises:
        RigwrightError: a file is not there.
    """
    source, files = locked_source(wish, pinned), pinned.model.files
    if source.repo and _is_whole(pinned.model):
        rows = [(file.name, file.sha256, file.size_bytes) for file in files]
        known = find_model(pinned.model.name) or find_model(source.repo)
        row = next((one for one in (variants(known) if known else ()) if one.repo == source.repo), None)
        return replace(locked_repository(source.repo, source.revision, rows, settings), variant=row)
    if _is_whole(pinned.model):
        return inspect_named(source, settings)
    parts = part_names(source.file_name)
    beside = [file.name for file in files[1:] if PurePosixPath(file.name).name not in parts]
    known = split_quant(source.file_name)[0] if not wish.model.names_file else None
    listed = variants(known) if known else ()
    variant = next((one for one in listed if (one.repo, one.file) == (source.repo, source.file)), None)
    return inspect_model(
        source,
        settings,
        variant=variant,
        sums=_sums(pinned.model) if source.path is None else {},
        projector=beside[0] if beside else None,
    )


def changed_file(where: str, pinned: PinnedModel, local: LocalModel) -> Change | None:
    """A file on this machine that is another one than that of the lock; `where` is the key that names it."""
    if local.source.path is None:
        return None
    locked = {file.name: file.sha256 for file in pinned.files}
    names = {file.source.file_name for file in local.own_files}
    if gone := next((name for name in locked if local.folder and name not in names), None):
        return Change("-", where, note=f"{gone} is not there")
    for file in local.own_files:
        name = Path(file.source.path or "").name
        if locked.get(name) != file.sha256:
            return Change("~", where, f"sha256 {locked.get(name) or 'none'}", f"sha256 {file.sha256}", note=name)
    return None
