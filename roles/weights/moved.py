"""Model files whose branch moved on: the hub has another one by now than the rig, which keeps its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rigwright.plan.source import ModelSource
from rigwright.roles.base.facts import Rig
from rigwright.roles.weights.facts import FOUND, wanted_stamp
from rigwright.spec.weights import WeightsSettings
from rigwright.weights.hub import is_of
from rigwright.weights.local import LocalModel, source_url
from rigwright.weights.lookup import Lookup


def moved(
    rig: Rig, local: LocalModel, paths: Sequence[str], settings: WeightsSettings, lookup: Lookup
) -> Iterator[str]:
    """A line for each model of which the hub has another file; `paths` are those of `local.files`.

    What the hub named when this run asked for headers is looked at, which costs no request; where that is another sum
    it is asked once more, as the sum may be one of an earlier run.
    """
    count = len(local.own_files)
    whole = [(local, paths[:count])] + ([(local.drafter, paths[count:])] if local.drafter else [])
    for model, places in whole:
        for file, path in zip(model.own_files, places, strict=True):
            if line := _line(rig, model.source, file, path, settings, lookup):
                yield line
                break


def repository_moved(local: LocalModel, asked: ModelSource, settings: WeightsSettings, lookup: Lookup) -> Iterator[str]:
    """A line where the branch of a whole repository is at another commit than the rig has; it costs one request."""
    commit, config = local.source.revision, local.source.model_copy(update={"revision": asked.revision})
    if not local.folder or not asked.repo or asked.revision == commit:
        return
    now = lookup.facts(source_url(config, settings), settings.hugging_face).commit
    if now and now != commit:
        where = f"the hub has another commit of {asked.repo} at {asked.revision} by now"
        yield (
            f"{where}; {commit[:12]} stays here: to take that one name it hf:{asked.repo}@{now}; to keep this one name "
            f"hf:{asked.repo}@{commit}"
        )


def _line(
    rig: Rig, model: ModelSource, file: LocalModel, path: str, settings: WeightsSettings, lookup: Lookup
) -> str | None:
    if file.sha256 or not file.told or not file.url or not is_of(file.url, settings.hugging_face):
        return None
    stamp = wanted_stamp(rig, path, sha256=None, origin=file.origin)
    if stamp is None or stamp.origin == FOUND or stamp.sha256 == file.told:
        return None
    now = lookup.facts(file.url, settings.hugging_face)
    if now.sha256 is None or now.sha256 == stamp.sha256:
        return None
    where = f"the hub has another {file.source.file_name} at {model.revision} by now, sha256 {now.sha256[:12]}"
    take = f"to take that one name it hf:{model.repo}@{now.commit}:{model.file}" if now.commit else "name its commit"
    return f"{where}; {stamp.sha256[:12]} stays here: {take}; to keep this one say sha256: {stamp.sha256}"
