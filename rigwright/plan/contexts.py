"""The contexts that a search tries."""

from __future__ import annotations

from rigwright.models.values import Model

# What to try when the inventory names no context; 4,096 is the least that llama.cpp's own --fit accepts.
STEPS_TOKENS = (
    1048576, 524288, 262144, 196608, 131072, 98304, 81920, 65536, 49152, 32768, 24576, 16384, 12288, 8192, 6144, 4096,
)  # fmt: skip


def contexts(model: Model, *, longest: int, least: int = 0) -> list[int]:
    """The contexts to try, the longest first: none beyond what the model was trained for, none below what is asked."""
    trained = max(min(model.context_train, longest), least)
    steps = {trained, *(step for step in STEPS_TOKENS if least < step < trained), *((least,) if least else ())}
    return sorted(steps, reverse=True)
