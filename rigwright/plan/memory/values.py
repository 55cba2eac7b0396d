"""What is asked of a model, where its layers lie, and the memory that comes to."""

from __future__ import annotations

from typing import NamedTuple

from rigwright.strict import Strict

# A part that grows with what is left of RAM.
PROMPT_CACHE = "prompt cache"


class Growth(NamedTuple):
    """How large compute buffers are by llama.cpp's own dry run, in thousandths of the formula; 0 where it did not say.

    Whole on one GPU, layers over several that work at once, and with a part in RAM.
    """

    whole: int = 0
    pipelined: int = 0
    spilled: int = 0


class Load(NamedTuple):
    """What is asked of the model: `context_tokens` for each of `slots`, and `draft_tokens` guessed ahead.

    `is_unified` shares one pool of context_tokens × slots cells among all slots. `growth`: of the formula's buffers.
    """

    context_tokens: int
    slots: int = 1
    cache_type_k: str = "f16"
    cache_type_v: str = "f16"
    ubatch_tokens: int = 512
    draft_tokens: int = 0
    swa_full: bool = False
    is_unified: bool = False
    has_flash_attention: bool = True
    growth: Growth = Growth()


class Placement(NamedTuple):
    """Which layers lie on GPUs: the last `gpu_layers`, but not the experts of the first `cpu_expert_layers`.

    `split` says how many of them each device takes, in order; empty means one device. `shares` are the parts that each
    device has of every layer where they share them, in the numbers of --tensor-split.
    """

    gpu_layers: int
    cpu_expert_layers: int = 0
    split: tuple[int, ...] = ()
    shares: tuple[int, ...] = ()

    @property
    def devices(self) -> tuple[int, ...]:
        """The layers of each device; empty when all is RAM."""
        if self.shares:
            return (self.gpu_layers,) * len(self.shares)
        return self.split or ((self.gpu_layers,) if self.gpu_layers else ())


class MemoryPart(Strict):
    """One use of memory: on a device (an ordinal among the service's own), or in RAM."""

    name: str
    device: int | None
    size_bytes: int
    is_exact: bool = False


class MemoryEstimate(Strict):
    """All uses of memory by one service."""

    parts: tuple[MemoryPart, ...]

    @property
    def gpu_bytes(self) -> int:
        """What all GPUs hold together."""
        return sum(part.size_bytes for part in self.parts if part.device is not None)

    @property
    def ram_bytes(self) -> int:
        """What RAM must hold."""
        return self.on(None)

    @property
    def total_bytes(self) -> int:
        """GPUs and RAM together."""
        return sum(part.size_bytes for part in self.parts)

    def on(self, device: int | None) -> int:
        """What one device must hold; None is RAM."""
        return sum(part.size_bytes for part in self.parts if part.device == device)

    def named(self, name: str) -> int:
        """What that use comes to, wherever it lies."""
        return sum(part.size_bytes for part in self.parts if part.name == name)

    def with_part(self, name: str, device: int | None, size_bytes: int, *, is_exact: bool = False) -> MemoryEstimate:
        """The same with one use more."""
        part = MemoryPart(name=name, device=device, size_bytes=size_bytes, is_exact=is_exact)
        return MemoryEstimate(parts=(*self.parts, part))

    def without_part(self, name: str) -> MemoryEstimate:
        """The same without the uses of that name."""
        return MemoryEstimate(parts=tuple(part for part in self.parts if part.name != name))
