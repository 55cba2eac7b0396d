"""The engines of a rig: with its settings, what it has built, and what its services want of a build."""

from __future__ import annotations

from collections.abc import Sequence

from rigwright.hardware.values import Hardware
from rigwright.lock.values import LockedRig
from rigwright.plan.candidates import Engines
from rigwright.plan.engines import planners
from rigwright.plan.wish import ServiceWish
from rigwright.records.values import RigRecords
from rigwright.resolve.toolkit import with_toolkit
from rigwright.spec.rig import RigSpec


def engines_for(
    spec: RigSpec, wishes: Sequence[ServiceWish], hardware: Hardware, records: RigRecords, held: LockedRig | None
) -> Engines:
    """The engines as these wishes want them built, from what the lock says where it holds."""
    settings = {name: own.narrowed(wishes) for name, own in spec.engines.items()}
    if held:
        settings = {name: own.with_source(held.builds.get(name, {})) for name, own in settings.items()}
    made = planners(settings, with_toolkit(records.installed, hardware, spec))
    return {name: engine.sourced(hardware, wishes) for name, engine in made.items()}
