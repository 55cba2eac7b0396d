"""What drafts of a model's own layers, or of a small model beside it, make of its speed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rigwright.models.values import Model
from rigwright.plan.speed.kinds import Throughput, kind_of, settings
from rigwright.plan.speed.stages import Seconds

# From so many drafts on the rows of `four` count.
_MANY = 4


class Gain(NamedTuple):
    """A factor of the speed, as a range."""

    low: float
    expected: float
    high: float

    def faded(self, share: float) -> Gain:
        """What is left of it where only a share of the gain, or of the loss, remains."""
        return Gain(*(1 + (factor - 1) * share for factor in self))


def draft_gain(
    model: Model,
    throughputs: Sequence[Throughput],
    parts: Sequence[Seconds],
    *,
    engine: str,
    tensor_parallel: int,
    users: int,
    tokens: int,
) -> Gain:
    """How much sooner one request gets its tokens; as many users as `gone_at` at once gain nothing."""
    rows = settings()["drafts"]
    is_shared = engine == "vllm" and tensor_parallel > 1
    if model.is_mixture:
        name = "experts_in_ram" if any(part.is_host for part in parts) else "mixture"
        row = rows["tensor_mixture" if is_shared else name]
    else:
        names = {kind_of(throughput).name for throughput in throughputs}
        kind = names.pop() if len(names) == 1 else ""
        row = rows["kinds"].get(kind, rows["dense"])
        row = rows["four"].get(kind, row) if tokens >= _MANY else row
    gain = Gain(row["low"], row["expected"], row["high"])
    if is_shared and not model.is_mixture:
        gain = gain.faded(max(0.0, 1 - rows["lost_per_device"] * (tensor_parallel - 1)))
    return gain.faded(max(0.0, (rows["gone_at"] - users) / (rows["gone_at"] - 1)))
