"""llama.cpp's own dry run of a plan, on the rig, before an instance is switched to it."""

from __future__ import annotations

import shlex

from rigwright.errors import WrongSpec
from rigwright.hardware import Hardware
from rigwright.models.values import Model
from rigwright.plan.engines.llamacpp.overrides import Overrides
from rigwright.plan.memory.said import MOST_LINES, MOST_THOUSANDTHS, Said, asked, stages_of
from rigwright.resolve.instance import Instance
from rigwright.resources import assignments, role_text
from rigwright.units import MIB

# What decides about memory; llama-fit-params refuses what concerns the server alone.
_ASKED = frozenset((
    "--model", "--ctx-size", "--parallel", "--kv-unified", "--flash-attn", "--cache-type-k", "--cache-type-v",
    "--device", "--n-gpu-layers", "--n-cpu-moe", "--split-mode", "--tensor-split", "--batch-size", "--ubatch-size",
    "--load-mode", "--override-tensor", "--swa-full", "--rope-scaling", "--rope-scale",
))  # fmt: skip


_LIMIT_SECONDS = 60


def dry_run(instance: Instance, hardware: Hardware, model: Model | None = None, *, is_locked: bool = False) -> str:
    """The shell of the dry run: estimate.sh behind its arguments, its environment, and the MiB of each GPU.

    Without the model's header nothing is noted for later plans.
    """
    flags = [flag for flag in instance.flags if flag.name in _ASKED]
    words = [word for flag in flags for word in (flag.name, flag.value) if word is not None]
    sizes = {(gpu.index, gpu.uuid): gpu.vram_bytes or 0 for gpu in hardware.gpus}
    taken = _drafting(instance)
    room = [(sizes.get((gpu.index, gpu.uuid), 0) - taken[place]) // MIB for place, gpu in enumerate(instance.gpus)]
    planned = _planned(instance)
    said = _said(instance, model) if model and planned else None
    variables: dict[str, str | int] = {
        "FIT": shlex.join(words),
        "VISIBLE": shlex.join(f"{name}={value}" for name, value in instance.environment),
        "LIMIT": _LIMIT_SECONDS,
        "ROOM": " ".join(map(str, room)) if min(room, default=0) > 0 and not _is_shared(instance) else "",
        "PLANNED": " ".join(map(str, planned)),
        "EXPLAINED": " ".join(map(str, _explained(planned, model, said))) if model and said else "",
        "MOST": " ".join(map(str, _most(said, model, len(planned)))) if model and said else "",
        "BUFFERS_OF": said.key if said else "",
        "MOST_LINES": MOST_LINES,
        "LOCKED": "yes" if is_locked else "",
        "FORMULA": "\n".join(" ".join(map(str, row)) for row in _formula(instance)),
        "ON_GPUS": "yes" if instance.gpus and "none" not in words else "",
    }
    return "\n".join([*assignments(variables), role_text("llamacpp", "estimate.sh")])


# What the dry run tells apart, by the parts of a plan's memory.
_PARTS = (("weights",), ("KV cache", "SWA cache", "recurrent state"), ("compute buffers",))


def _formula(instance: Instance) -> list[tuple[int, ...]]:
    """MiB of model, context and compute buffer on each GPU, and last in RAM; nothing where the plan does not say."""
    parts = instance.plan.memory.parts if instance.plan.memory else ()
    if _is_shared(instance) or not any(part.name == "weights" for part in parts):
        return []
    places = [*range(len(instance.gpus)), None]
    return [
        tuple(
            sum(one.size_bytes for one in parts if one.device == place and one.name in names) // MIB for names in _PARTS
        )
        for place in places
    ]


def _drafting(instance: Instance) -> list[int]:
    """Bytes that a model which drafts takes of each GPU: llama-fit-params knows nothing of it."""
    parts = instance.plan.memory.parts if instance.plan.memory else ()
    is_there = any(flag.name == "--spec-draft-model" for flag in instance.flags)
    own = [part for part in parts if is_there and part.name in ("draft model", "drafting")]
    return [sum(part.size_bytes for part in own if part.device == place) for place in range(len(instance.gpus))]


def _said(instance: Instance, model: Model) -> Said | None:
    """What the dry run is asked, in the terms of the formula: read off the flags, which are the inventory's too."""
    flags = {flag.name: True if flag.value is None else flag.value for flag in instance.flags}
    try:
        overrides = Overrides.of(instance.wish.model_copy(update={"flags": flags}))
    except WrongSpec:
        return None
    placement = overrides.placement(model, devices=len(instance.gpus))
    return asked(instance.plan.engine_version, model, overrides.load(), placement) if placement else None


def _explained(planned: list[int], model: Model, said: Said) -> list[int]:
    """MiB of each buffer that are no news: the plan's, and on the last GPU the logits that only a dry run reserves."""
    logits = -(-said.load.ubatch_tokens * model.vocab * 4 // MIB)
    return [*planned[:-1], planned[-1] + logits]


def _most(said: Said, model: Model, gpus: int) -> list[int]:
    """MiB beyond which no buffer is believed."""
    return [stage * MOST_THOUSANDTHS // 1000 // MIB for stage in stages_of(said, model, gpus)]


def _planned(instance: Instance) -> list[int]:
    """MiB that the plan has for the compute buffer of each GPU, with its margin; nothing where it does not say."""
    parts = instance.plan.memory.parts if instance.plan.memory else ()
    own = [part for part in parts if part.name in ("compute buffers", "margin for compute") and part.device is not None]
    sizes = [sum(part.size_bytes for part in own if part.device == place) for place in range(len(instance.gpus))]
    return [-(-size // MIB) for size in sizes] if all(sizes) and not _is_shared(instance) else []


def _is_shared(instance: Instance) -> bool:
    """Whether GPUs share each layer: of them the dry run says what the first has, and names none."""
    return instance.plan.layout.kind == "tensor"
