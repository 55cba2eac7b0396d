"""What was decided for one service: the flags of its engine, its environment, its memory, and why."""

from __future__ import annotations

from rigwright.plan.memory import MemoryEstimate
from rigwright.plan.reasons import Reason
from rigwright.plan.wish import Strict


class Flag(Strict):
    """One flag of an engine; a bare flag has no value."""

    name: str
    value: str | None = None
    reason: Reason


class ServicePlan(Strict):
    """One service as it will run. `context_tokens` is for each slot; `gpu_uuid` is None on the CPU."""

    service: str
    device: str
    gpu_uuid: str | None
    context_tokens: int
    slots: int
    flags: tuple[Flag, ...]
    environment: tuple[tuple[str, str], ...]
    memory: MemoryEstimate | None
    reasons: tuple[Reason, ...]

    @property
    def argv(self) -> tuple[str, ...]:
        """The arguments of the engine, without its name."""
        return tuple(word for flag in self.flags for word in (flag.name, flag.value) if word is not None)
