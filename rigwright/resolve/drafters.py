"""Models in files of their own that draft ahead for those of services: looked at, planned with, and brought beside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from rigwright.errors import WrongSpec
from rigwright.lock.files import changed_file, locked_drafter
from rigwright.lock.values import LockedRig
from rigwright.models.known import Drafter
from rigwright.plan.changes import Change
from rigwright.plan.rig_plan import Request
from rigwright.spec.rig import RigSpec
from rigwright.spec.weights import WeightsSettings
from rigwright.weights.local import LocalModel, weights_path
from rigwright.weights.lookup import Lookup


def drafting_files(spec: RigSpec, held: LockedRig | None, lookup: Lookup) -> tuple[dict[str, LocalModel], list[Change]]:
    """The files of each service that has such a model, as the lock names them where it holds; and which are others now.

    Raises:
        RigwrightError: one is missing, or not the one that is named.
    """
    found: dict[str, LocalModel] = {}
    changes: list[Change] = []
    for wish in spec.services:
        if not wish.draft_model:
            continue
        pinned = held.services[wish.name].draft_model if held else None
        if pinned:
            found[wish.name] = locked_drafter(wish.draft_model, pinned, spec.weights)
            change = changed_file(f"services.{wish.name}.draft_model", pinned, found[wish.name])
            changes += [change] if change else []
        else:
            found[wish.name] = lookup.model(wish.draft_model, spec.weights)
    return found, changes


def with_drafter(request: Request, local: LocalModel | None, settings: WeightsSettings) -> Request:
    """What is asked of the planner, with the model that drafts ahead.

    Raises:
        WrongSpec: its header could not be read, so that nobody knows what it takes.
    """
    if local is None:
        return request
    if local.model is None:
        raise WrongSpec(
            f"services.{request.wish.name}.draft_model: the header of {local.source} cannot be read from here, so that "
            f"what it takes is not known; download the file, and name its path"
        )
    size = local.size_bytes or local.model.file_bytes
    drafter = Drafter(weights_path(local.source, settings), local.model, size)
    return request._replace(variants=tuple(replace(one, drafter=drafter) for one in request.variants))


def with_drafters(models: Mapping[str, LocalModel], drafters: Mapping[str, LocalModel]) -> dict[str, LocalModel]:
    """The files of services, each with those of the model that drafts for it."""
    return {name: replace(one, drafter=drafters.get(name)) for name, one in models.items()}
