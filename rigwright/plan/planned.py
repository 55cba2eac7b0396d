"""What is asked of a plan, and a choice of it as what runs on a rig."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rigwright.hardware.values import Hardware
from rigwright.models.variants import Variant
from rigwright.plan.choice import Choice
from rigwright.plan.drafting import drafter_bytes
from rigwright.plan.engines.planner import Planner
from rigwright.plan.engines.rendered import RenderContext
from rigwright.plan.explain import place_label
from rigwright.plan.memory import Said
from rigwright.plan.service import Replica, ServicePlan
from rigwright.plan.source import ModelSource
from rigwright.plan.spill import in_ram
from rigwright.plan.vision import vision_of
from rigwright.plan.wish import ServiceWish


class Request(NamedTuple):
    """One service to plan: its wish, the files that could serve it, by their paths on the rig, what dry runs said.
    With `is_auto` the model was left open too."""

    wish: ServiceWish
    variants: tuple[Variant, ...]
    api_key_path: str | None = None
    weights_directory: str = "/var/lib/rigwright/weights"
    template_path: str | None = None
    said: tuple[Said, ...] = ()
    is_auto: bool = False


def service_plan(
    request: Request, choice: Choice, hardware: Hardware, engine: Planner, *, ports: Sequence[int]
) -> ServicePlan:
    """A choice as what runs on a rig, whose hardware it names."""
    wish, variant = request.wish, choice.variant
    source = _source(wish, variant)
    place = source.place if source and source.file_name else ""
    weights = variant.path or (f"{request.weights_directory}/{place}" if place else variant.repo or "")
    projector = (
        f"{weights.rpartition('/')[0]}/{variant.known.projector_file}"
        if wish.vision and variant.known and variant.known.projector_file
        else None
    )
    own = request.api_key_path, projector, hardware.links, request.template_path
    rendered = engine.render(choice, RenderContext(hardware.cpu, weights, *own))
    replicas = tuple(
        Replica(gpus=tuple(device.ref for device in group), port=port, environment=environment)
        for group, environment, port in zip(choice.replicas, rendered.environments, ports, strict=True)
    )
    return ServicePlan(
        service=wish.name,
        engine=choice.engine,
        engine_version=engine.version,
        model=variant.known.name if variant.known else variant.name,
        quant=variant.quant,
        source=source,
        file_bytes=(variant.file_bytes + vision_of(wish, variant).file_bytes + drafter_bytes(variant)) or None,
        loss_percent=variant.loss_percent,
        layout=choice.layout,
        replicas=replicas,
        device=place_label(choice),
        context_tokens=rendered.context_tokens or choice.load.context_tokens,
        slots=choice.load.slots,
        flags=rendered.flags,
        memory=choice.memory,
        speed=choice.speed,
        reasons=rendered.reasons,
        modelfile=rendered.modelfile,
        in_ram=in_ram(choice, rendered.flags),
    )


def _source(wish: ServiceWish, variant: Variant) -> ModelSource | None:
    """The files that a name of the catalogue came to."""
    if wish.model.names_file or not variant.repo:
        return wish.model if wish.model.names_file else None
    named = {"repo": variant.repo, "file": variant.file, "sha256": variant.sha256}
    return ModelSource(revision=variant.revision or "main", **{key: value for key, value in named.items() if value})
