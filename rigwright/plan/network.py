"""The network between rigs that serve one model: what a token waits for it."""

from __future__ import annotations

from typing import NamedTuple

from rigwright.models.values import Model
from rigwright.plan.service import Layout
from rigwright.plan.speed import Speed

# From there on a network may carry what GPUs tell each other twice in each layer.
FAST_GBITS = 25.0
# One message to a GPU of another rig: through the kernel's TCP by way of RAM, or past it. Assumed, not measured.
_TCP_SECONDS, _RDMA_SECONDS = 100e-6, 15e-6
_BYTES = 2  # of a value that is handed on: bf16


class Network(NamedTuple):
    """How many rigs it joins, what it carries in Gbit/s one way, and whether GPUs use it past the kernel."""

    rigs: int
    gbits_per_second: float
    has_rdma: bool = False

    @property
    def is_fast(self) -> bool:
        """Whether GPUs of several rigs may share each layer."""
        return self.has_rdma or self.gbits_per_second >= FAST_GBITS

    @property
    def gbytes_per_second(self) -> float:
        """The same in GB/s."""
        return self.gbits_per_second / 8

    def crossings(self, layout: Layout, model: Model) -> int:
        """How often a token waits for the network: twice in each layer that rigs share, else once between two rigs."""
        return self._hops(layout, model)[0]

    def seconds_per_token(self, layout: Layout, model: Model, *, users: int = 1) -> float:
        """What the tokens of a step wait for it, those of all users together."""
        crossings, size = self._hops(layout, model)
        each = _RDMA_SECONDS if self.has_rdma else _TCP_SECONDS
        return crossings * each + users * size / (self.gbytes_per_second * 1e9)

    def slowed(self, speed: Speed, layout: Layout, model: Model, *, users: int) -> Speed:
        """A speed that knows nothing of the network, with the wait for it."""
        wait = self.seconds_per_token(layout, model)
        _, size = self._hops(layout, model)
        changes = {key: 1 / (1 / getattr(speed, key) + wait) for key in ("low", "expected", "high")}
        if speed.aggregate:
            step = users / speed.aggregate + self.seconds_per_token(layout, model, users=users)
            changes["aggregate"] = users / step
        if speed.prefill_expected:
            changes["prefill_expected"] = 1 / (1 / speed.prefill_expected + size / (self.gbytes_per_second * 1e9))
        because = f"{speed.because}; the network between {self.rigs} rigs {wait * 1e3:.1f} ms"
        return speed.model_copy(update={**changes, "because": because, "confidence": "low"})

    def _hops(self, layout: Layout, model: Model) -> tuple[int, float]:
        """How often a token crosses, and the bytes that do."""
        width = model.embedding * _BYTES
        if layout.kind == "pipeline":
            return self.rigs - 1, float((self.rigs - 1) * width)
        # A ring of rigs, each of which joins its own GPUs first.
        crossings = 2 * model.main_layers
        return crossings * (self.rigs - 1), crossings * 2 * (self.rigs - 1) / self.rigs * width
