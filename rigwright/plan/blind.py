"""What can be said without knowing where each byte goes: the header could not be read, or own flags place the model."""

from __future__ import annotations

from collections.abc import Sequence

from rigwright.models.offers import Offer
from rigwright.plan.choice import Choice
from rigwright.plan.devices import Device
from rigwright.plan.engines.llamacpp_overrides import Overrides
from rigwright.plan.ranking import Score
from rigwright.plan.reasons import Reason
from rigwright.plan.service import Layout
from rigwright.plan.ways import Candidate
from rigwright.plan.wish import ServiceWish

_CONTEXT_TOKENS = 8192


def is_blind(offers: Sequence[Offer], overrides: Overrides, allowed: Sequence[Device], wish: ServiceWish) -> bool:
    """True where memory cannot be reckoned."""
    if wish.engine == "vllm":
        return False
    return bool(offers) and (not offers[0].has_model or bool(allowed and overrides.is_free))


def blind_candidate(wish: ServiceWish, offer: Offer, allowed: Sequence[Device], overrides: Overrides) -> Candidate:
    """The roomiest GPU as a whole, with llama-server's own --fit where nothing else places the model."""
    device = max(allowed, key=lambda one: (one.offered_bytes, -one.ordinal), default=None)
    why = (
        "the inventory's own flags place the model"
        if offer.has_model
        else "the header of the model could not be read from here"
    )
    load = overrides.load()._replace(context_tokens=overrides.context or wish.context or _CONTEXT_TOKENS)
    choice = Choice(
        wish=wish,
        offer=offer,
        engine=wish.engine if wish.engine != "auto" else "llamacpp",
        layout=Layout(kind="single" if device else "cpu"),
        replicas=((device,),) if device else ((),),
        load=load,
        placement=None,
        memory=None,
        speed=None,
        is_fitted=not offer.has_model or overrides.is_fitted,
        reasons=(Reason(choice="memory not checked", because=why),),
    )
    return Candidate(choice, Score(0, 0, 0, 0), {device.ordinal: device.offered_bytes} if device else {}, 0)
