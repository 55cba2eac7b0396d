"""From what the inventory wishes to files that are certain: the one way that a deploy and a lock file share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from rigwright.errors import WrongSpec
from rigwright.hardware.values import Hardware
from rigwright.models.offers import Offer
from rigwright.plan.engines.llamacpp.capabilities import Capabilities, kv_pairs_of, pinned_capabilities
from rigwright.plan.engines.llamacpp.settings import LlamacppSettings
from rigwright.plan.recommend import settle_auto
from rigwright.plan.rig_plan import Request, plan_rig
from rigwright.plan.service import RigPlan, ServicePlan
from rigwright.plan.wish import ModelSource
from rigwright.spec.rig import KEY_CREDENTIAL, RigSpec, for_build
from rigwright.weights.local import LocalModel, inspect_model, projector_of, weights_path
from rigwright.weights.offers import gguf_offer, offers_for

Models = Mapping[str, LocalModel]


class Settled(NamedTuple):
    """The files of all services by service name, and the plan that stands on them."""

    models: dict[str, LocalModel]
    plan: RigPlan


def requests_of(spec: RigSpec, models: Models) -> list[Request]:
    """What is asked of the planner: the one file of each service in `models`, else all that could serve it.

    Raises:
        RigwrightError: a model is not there.
    """
    return [
        Request(
            for_build(wish, spec.llamacpp),
            (offer_at(models[wish.name], spec),)
            if wish.name in models
            else offers_for(wish.model, hub=spec.weights.hugging_face),
            KEY_CREDENTIAL if wish.api_key_file else None,
            spec.weights.directory,
        )
        for wish in spec.services
    ]


def capabilities_of(settings: LlamacppSettings) -> Capabilities:
    """What the llama-server that these settings build accepts."""
    return replace(pinned_capabilities(), kv_pairs=kv_pairs_of(settings.cmake_options))


def settle(spec: RigSpec, models: Models, hardware: Hardware) -> Settled:
    """Plan, read the headers of the files that the plan chose, and plan again until it stands on headers alone.

    Raises:
        RigwrightError: the rig cannot serve what is wished.
    """
    found, read = dict(models), dict[str, LocalModel]()
    open_places = [place for place, wish in enumerate(spec.services) if wish.name not in models]
    requests = settle_auto(hardware, requests_of(spec, models), is_preview=False)
    while True:
        plan = plan_rig(hardware, requests, capabilities=capabilities_of(spec.llamacpp))
        chosen = [(place, _file_of(plan.services[place])) for place in open_places]
        unread = [(place, source) for place, source in chosen if source and str(source) not in read]
        if not unread:
            break
        for place, source in unread:
            offer = next(one for one in requests[place].offers if (one.repo, one.file) == (source.repo, source.file))
            projector = projector_of(spec.services[place], offer)
            read[str(source)] = inspect_model(source, spec.weights, offer=offer, projector=projector)
            exact = replace(offer, header=read[str(source)].model)
            swapped = tuple(exact if one is offer else one for one in requests[place].offers)
            requests[place] = requests[place]._replace(offers=swapped)
    for place in open_places:
        service = plan.services[place]
        if str(service.source) in read:
            found[service.service] = read[str(service.source)]
    _no_collisions(found)
    return Settled(found, plan)


def _file_of(service: ServicePlan) -> ModelSource | None:
    """The GGUF file that a plan chose."""
    source = service.source
    return source if service.engine == "llamacpp" and source and source.file else None


def _no_collisions(models: Models) -> None:
    taken: dict[str, ModelSource] = {}
    for name, local in models.items():
        for file in local.files:
            other = taken.setdefault(file.source.file_name, file.source)
            if str(other) != str(file.source):
                raise WrongSpec(
                    f"services.{name}: {file.source} and {other} would have one name on the rig; "
                    f"serve one of them from another rig, or name files that are called differently"
                )


def offer_at(local: LocalModel, spec: RigSpec) -> Offer:
    """A file as the planner sees it, where it will lie."""
    path = weights_path(local.source, spec.weights)
    if local.offer:
        return replace(local.offer, header=local.model, path=path)
    return replace(gguf_offer(local.source.file_name, local.model), path=path)
