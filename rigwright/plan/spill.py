"""What of a model stays in RAM beside its GPUs, in words: from a choice, and from the flags that a lock holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rigwright.plan.choice import Choice
from rigwright.plan.service import Flag
from rigwright.units import whole_number

# The inventory's own way to place a model, which is not computed.
_BY_HAND = ("--override-tensor", "--n-cpu-ffn")


def in_ram(choice: Choice, flags: Sequence[Flag]) -> str | None:
    """`experts of 24 of 40 layers`, `21 of 64 layers`; None where GPUs hold all that they can hold, or nothing."""
    if not choice.devices:
        return None
    if choice.placement is None or not choice.variant.has_model:
        return in_ram_by_flags((flag.name, flag.value) for flag in flags)
    layers, moved = choice.variant.model.main_layers, choice.placement.cpu_expert_layers
    words = [f"{layers - choice.placement.gpu_layers} of {layers} layers"] * (choice.placement.gpu_layers < layers)
    words += [f"experts of {'all' if moved >= layers else f'{moved} of'} {layers} layers"] * bool(moved)
    return " and ".join(words) or None


def in_ram_by_flags(flags: Iterable[tuple[str, str | None]]) -> str | None:
    """The same as far as flags tell; nothing of a service without a GPU."""
    values = {name: value or "" for name, value in flags}
    if values.get("--device") == "none":
        return None
    if "--cpu-moe" in values:
        return "experts of all layers"
    if moved := whole_number(values.get("--n-cpu-moe", "")):
        return f"experts of {moved} layers"
    if whole_number(values.get("--n-gpu-layers", values.get("--gpu-layers", ""))) is not None:
        return "a part of its layers"
    return next((f"what {name} names" for name in _BY_HAND if name in values), None)
