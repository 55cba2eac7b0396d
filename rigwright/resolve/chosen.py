"""The files that plans choose: looked at, and planned with again, until a plan stands on what they really hold."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from rigwright.errors import WrongSpec
from rigwright.models.variants import Variant
from rigwright.plan.rig_plan import Request
from rigwright.plan.service import RigPlan, ServicePlan
from rigwright.plan.source import ModelSource
from rigwright.records.values import Deployed, RigRecords
from rigwright.spec.rig import RigSpec
from rigwright.spec.weights import WeightsSettings
from rigwright.weights.gguf import gguf_offer
from rigwright.weights.local import LocalModel, inspect_model, model_path, projector_of
from rigwright.weights.lookup import Lookup
from rigwright.weights.repository import directory_offer

Models = Mapping[str, LocalModel]
Plan = Callable[[Sequence[Request]], RigPlan]


def offer_of(local: LocalModel, settings: WeightsSettings) -> Variant:
    """A model as the planner sees it, where it will lie."""
    path = model_path(local, settings)
    if local.variant:
        return replace(local.variant, header=local.model, path=path)
    if local.folder and local.path:
        return replace(directory_offer(local.path.parent), path=path)
    return replace(gguf_offer(local.source.file_name, local.model), path=path)


def settled(
    plan: Plan, requests: list[Request], models: Models, spec: RigSpec, *, records: RigRecords, lookup: Lookup
) -> tuple[RigPlan, dict[str, LocalModel]]:
    """Plan, look at the files that the plan chose, and plan again until it stands on what they hold alone.

    Whole repositories that no hub can be asked for stay as they are named.
    """
    found, read = dict(models), dict[_Key, LocalModel | None]()
    open_places = [place for place, wish in enumerate(spec.services) if wish.name not in models]
    done: set[tuple[int, _Key]] = set()
    while True:
        rig_plan = plan(requests)
        keys = {place: _key(rig_plan.services[place], records) for place in open_places}
        left = [(place, key) for place, key in keys.items() if key and (place, key) not in done]
        if not left:
            break
        for place, key in left:
            source, wish = key.source, spec.services[place]
            variant = next(
                one for one in requests[place].variants if (one.repo, one.file) == (source.repo, source.file)
            )
            if key not in read and source.file:
                projector = projector_of(wish, variant)
                read[key] = inspect_model(source, spec.weights, variant=variant, projector=projector)
            elif key not in read:
                read[key] = lookup.repository(source, spec.weights, kept=key.kept)
            if local := read[key]:
                exact = _exact(variant, local, spec.weights)
                swapped = tuple(exact if one is variant else one for one in requests[place].variants)
                requests[place] = requests[place]._replace(variants=swapped)
            done.add((place, key))
    for place, at in keys.items():
        if at and (local := read[at]):
            found[rig_plan.services[place].service] = local
    return rig_plan, found


def check_collisions(models: Models) -> None:
    """Refuse two files of one name on a rig.

    Raises:
        WrongSpec: there are such.
    """
    taken: dict[str, ModelSource] = {}
    for name, local in models.items():
        for file in local.files:
            other = taken.setdefault(file.place, file.source)
            if other.identity != file.source.identity:
                raise WrongSpec(
                    f"services.{name}: {file.source} and {other} would have one name on the rig; "
                    f"serve one of them from another rig, or name files that are called differently"
                )


class _Key(NamedTuple):
    """What a plan chose, and of a branch the commit that the rig has."""

    source: ModelSource
    kept: str | None


def _key(plan: ServicePlan, records: RigRecords) -> _Key | None:
    if plan.source is None:
        return None
    kept = None if plan.source.file else kept_commit(records.of(plan.service), plan.source)
    return _Key(plan.source, kept)


def kept_commit(deployed: Deployed, source: ModelSource) -> str | None:
    """The commit of a whole repository that a service runs on, where it was deployed from the same branch."""
    if deployed.record is None:  # it could not be read
        return None
    said = json.loads(deployed.record_text or "{}").get("source")
    if not isinstance(said, dict) or (said.get("repo"), said.get("revision")) != (source.repo, source.revision):
        return None
    folder = re.escape((source.repo or "").replace("/", "--"))
    found = (re.search(rf"/{folder}/([0-9a-f]{{40}})$", word) for word in deployed.record.argv)
    return next((one[1] for one in found if one), None)


def _exact(variant: Variant, local: LocalModel, settings: WeightsSettings) -> Variant:
    """With what the header of a file says; with the place of a repository, whose dimensions are known by then."""
    return replace(variant, path=model_path(local, settings)) if local.folder else replace(variant, header=local.model)
