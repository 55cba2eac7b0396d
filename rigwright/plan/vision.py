"""Vision: what the projector of a model takes besides, where a wish asks for images."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from rigwright.models.variants import Variant, known_models
from rigwright.plan.wish import ServiceWish


class Vision(NamedTuple):
    """Bytes of the projector's file, and of what computing an image needs; `is_exact` where the file's size is known.

    What an image needs depends on its size, and is bounded nowhere: as much as the projector itself is kept for it.
    """

    file_bytes: int = 0
    compute_bytes: int = 0
    is_exact: bool = True

    @property
    def total_bytes(self) -> int:
        """Both, on the first GPU, or in RAM."""
        return self.file_bytes + self.compute_bytes


NOTHING = Vision()


def vision_of(wish: ServiceWish, variant: Variant) -> Vision:
    """Nothing where no image is asked for, or the inventory brings a projector of its own."""
    known = variant.known
    if not wish.vision or variant.format != "gguf" or not known or not known.projector_file or "--mmproj" in wish.flags:
        return NOTHING
    size = known.projector_bytes or _largest()
    return Vision(size, size, is_exact=known.projector_bytes is not None)


@cache
def _largest() -> int:
    """The largest projector in the catalogue stands for one whose size nobody wrote down."""
    return max(known.projector_bytes or 0 for known in known_models())


def with_vision(gpus: tuple[int, ...], ram_bytes: int, vision: Vision) -> tuple[tuple[int, ...], int]:
    """The bytes of each GPU and of RAM, the projector's with those of the first GPU, without one with RAM's."""
    if not gpus:
        return gpus, ram_bytes + vision.total_bytes
    return (gpus[0] + vision.total_bytes, *gpus[1:]), ram_bytes
