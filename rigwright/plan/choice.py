"""A choice: one candidate with all that engines turn into flags."""

from __future__ import annotations

from dataclasses import dataclass

from rigwright.models.variants import Variant
from rigwright.plan.devices import Device
from rigwright.plan.memory import Load, MemoryEstimate, Placement
from rigwright.plan.reasons import Reason
from rigwright.plan.service import Layout
from rigwright.plan.speed import Speed
from rigwright.plan.wish import ServiceWish


@dataclass(frozen=True)
class Choice:
    """A wish, one of its variants, and where and how that would run.

    `replicas` holds the devices of each copy, in the order in which the engine numbers them: tensor-parallel groups
    side by side; on the CPU one copy without any. `load` is what each copy is asked for; `placement` is None
    where the engine itself or the inventory's flags place the model. `own` is what the engine alone knows of it.
    `memory` is that of one copy, `device` in its parts an index into one replica's devices. `reasons` are those of
    engine, quant and layout.
    """

    wish: ServiceWish
    variant: Variant
    engine: str
    layout: Layout
    replicas: tuple[tuple[Device, ...], ...]
    load: Load
    placement: Placement | None
    memory: MemoryEstimate | None
    speed: Speed | None
    own: object = None
    cache_loss_percent: float = 0.0
    cache_mib: int = 0
    is_fitted: bool = False
    reasons: tuple[Reason, ...] = ()

    @property
    def devices(self) -> tuple[Device, ...]:
        """The devices of the first copy; empty on the CPU."""
        return self.replicas[0]

    @property
    def is_whole(self) -> bool:
        """True when all that can be on GPUs is there."""
        layers = self.variant.model.main_layers if self.variant.has_model else -1
        return bool(self.devices and (self.placement is None or self.placement[:2] == (layers, 0)))

    @property
    def is_split(self) -> bool:
        """True when GPUs and RAM share the weights."""
        return bool(self.devices and self.placement and not self.is_whole)
