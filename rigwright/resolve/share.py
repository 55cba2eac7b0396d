"""Share: what one rig runs of a service that several serve together."""

from __future__ import annotations

from typing import NamedTuple

from rigwright.plan.service import ServicePlan
from rigwright.plan.wish import ServiceWish
from rigwright.spec.rig import RigSpec
from rigwright.weights.local import LocalModel


class Share(NamedTuple):
    """The service as the cluster's data wishes it, the rig's plan of it, and its files where it is served from some."""

    wish: ServiceWish
    plan: ServicePlan
    model: LocalModel | None = None


def alone(spec: RigSpec, share: Share | None) -> RigSpec:
    """What a rig serves for itself: planned with its own lock, beside its share."""
    if share is None:
        return spec
    own = tuple(one for one in spec.services if one.name != share.wish.name)
    return spec.model_copy(update={"services": own})


def models_of(share: Share | None) -> dict[str, LocalModel]:
    """The files of the share, as `Resolved.models` has them."""
    return {share.wish.name: share.model} if share and share.model else {}
