"""What every engine makes of a choice."""

from __future__ import annotations

from typing import NamedTuple

from rigwright.hardware.values import Cpu, Link
from rigwright.plan.reasons import Reason
from rigwright.plan.service import Flag

Environment = tuple[tuple[str, str], ...]


class RenderContext(NamedTuple):
    """What a plan needs to know of the rig besides its GPUs: paths are those on the rig, None where there is none."""

    cpu: Cpu
    weights_path: str
    api_key_path: str | None = None
    projector_path: str | None = None
    links: tuple[Link, ...] = ()
    template_path: str | None = None


class Rendered(NamedTuple):
    """The flags and the environment of each replica, in the order of `Choice.replicas` (one entry for the CPU).

    `context_tokens` is what the engine makes of the context of a slot, None where it takes it as it is.
    """

    flags: tuple[Flag, ...]
    environments: tuple[Environment, ...]
    reasons: tuple[Reason, ...] = ()
    modelfile: str | None = None
    context_tokens: int | None = None
