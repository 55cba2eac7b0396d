"""Plans for the rigs of a preview: wishes to requests, requests to plans. Nothing on a rig is changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from rigwright.errors import RigwrightError, WrongSpec
from rigwright.hardware.values import Hardware
from rigwright.models.offers import Offer
from rigwright.plan.reasons import Reason
from rigwright.plan.recommend import settle_auto
from rigwright.plan.rig_plan import Request, plan_rig
from rigwright.plan.service import RigPlan
from rigwright.plan.speed.measured import Measurement
from rigwright.spec.rig import KEY_CREDENTIAL, RigSpec, for_build
from rigwright.weights.offers import offers_for


@dataclass
class Planned:
    """The rigs with a plan, and those without, each with why."""

    hardware: dict[str, Hardware] = field(default_factory=dict)
    plans: dict[str, RigPlan] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)


def requests_of(
    specs: Mapping[str, RigSpec], *, origin: str | None = None, say: Callable[[str], None] = lambda _: None
) -> dict[str, tuple[Request, ...]]:
    """The requests of each rig; a model that several of them name is looked at once.

    Args:
        specs: What each rig shall serve.
        origin: The file that the wishes stand in, for messages; without it they are the inventory's, by rig.
        say: Is told of each model before it is looked at.

    Raises:
        WrongSpec: a line for each model that cannot be served.
    """
    seen: dict[tuple[str, str], tuple[Offer, ...]] = {}
    requests: dict[str, tuple[Request, ...]] = {}
    wrong: list[str] = []
    for rig, spec in specs.items():
        found = []
        for index, wish in enumerate(spec.services):
            key = str(wish.model), spec.weights.hugging_face
            try:
                if key not in seen:
                    say(key[0])
                    seen[key] = offers_for(wish.model, hub=spec.weights.hugging_face)
            except RigwrightError as error:
                wrong.append(f"{origin or rig}: rig.services.{index}.model: {error.message.removeprefix('model: ')}")
                continue
            credential = KEY_CREDENTIAL if wish.api_key_file else None
            found.append(Request(for_build(wish, spec.llamacpp), seen[key], credential, spec.weights.directory))
        requests[rig] = tuple(found)
    if wrong:
        raise WrongSpec("\n".join(dict.fromkeys(wrong)))
    return requests


def plan_all(
    rigs: Mapping[str, tuple[Hardware, tuple[Reason, ...]]],
    requests: Mapping[str, Sequence[Request]],
    *,
    measurements: Sequence[Measurement] = (),
    alternatives: int = 3,
) -> Planned:
    """A plan for each rig, or the reason why it has none; the notes beside each machine open those of its plan."""
    planned = Planned()
    for name, (hardware, notes) in rigs.items():
        planned.hardware[name] = hardware
        try:
            plan = plan_rig(
                hardware,
                settle_auto(hardware, requests[name], is_preview=True),
                is_preview=True,
                measurements=measurements,
                alternatives_count=alternatives,
            )
        except RigwrightError as error:
            planned.errors[name] = error.message
            continue
        planned.plans[name] = plan.model_copy(update={"notes": (*notes, *plan.notes)})
    return planned
