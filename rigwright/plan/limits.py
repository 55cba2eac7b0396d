"""The limits that a wish sets: GPUs that it does not name, files that its other keys contradict."""

from __future__ import annotations

from collections.abc import Sequence

from rigwright.errors import Refused
from rigwright.hardware.failures import driver_failure
from rigwright.hardware.values import Hardware
from rigwright.models.values import Model
from rigwright.models.variants import Variant, variants
from rigwright.plan.devices import Device, gpu_label, unsized, why_unused
from rigwright.plan.wish import ServiceWish
from rigwright.plan.yarn import yarn_error


def allowed(hardware: Hardware, wish: ServiceWish, usable: tuple[Device, ...]) -> tuple[Device, ...]:
    """The devices that the inventory lets a service have."""
    if wish.gpu in ("auto", "none"):
        return usable if wish.gpu == "auto" else ()
    wanted = (wish.gpu,) if isinstance(wish.gpu, int) else tuple(wish.gpu)
    by_index = {device.gpu.index: device for device in usable}
    missing = [index for index in wanted if index not in by_index]
    if not missing:
        return tuple(device for device in usable if device.gpu.index in wanted)
    where = f"services.{wish.name}: there is no usable GPU {missing[0]}"
    if usable:
        raise Refused(f"{where}; use {', '.join(device.label for device in usable)}, or gpu: auto")
    if hardware.gpus:
        named = next((gpu for gpu in hardware.gpus if gpu.index == missing[0]), hardware.gpus[0])
        raise Refused(f"{where}; {gpu_label(named)}: {why_unused(named)}")
    raise Refused(f"{where}, this rig has none; set gpu to none or auto")


def check_driver(hardware: Hardware, wishes: Sequence[ServiceWish], usable: Sequence[Device]) -> None:
    """A driver that fails hides the GPUs: a plan for the CPU would take a service away from them.

    Raises:
        Refused: no GPU is known because of it, and a service may have one.
    """
    failure = driver_failure(hardware)
    wish = next((one for one in wishes if one.gpu != "none"), None)
    if failure and wish and not usable and not hardware.gpus:
        raise Refused(
            f"services.{wish.name}: the driver fails, so that no GPU is known here: {failure.what}; {failure.do}; "
            f"or set gpu to none for a plan without GPUs"
        )


def check_sizes(hardware: Hardware, wishes: Sequence[ServiceWish], usable: Sequence[Device]) -> None:
    """A plan for the CPU of a machine full of GPUs that nobody named would mislead.

    Raises:
        Refused: the memory of no GPU is known, and a service may have one.
    """
    nameless = unsized(hardware)
    wish = next((one for one in wishes if one.gpu == "auto"), None)
    if wish and nameless and not usable:
        which = f"{len(nameless)} GPUs" if len(nameless) > 1 else nameless[0]
        raise Refused(
            f"services.{wish.name}: nobody recorded the model or the memory of {which}; name it with --gpu-model NAME, "
            f"record the machine with `rigwright hardware --record`, or set gpu to none for a plan without them"
        )


def context_obstacle(wish: ServiceWish, model: Model) -> str | None:
    """Why the context that a wish names cannot be: the model was trained for less."""
    context = wish.context or wish.min_context
    if error := yarn_error(wish, model):
        return error
    if not context or context <= model.context_train or wish.rope:
        return None
    return (
        f"context {context} is more than the {model.context_train} tokens that {model.name} was trained for; "
        f"lower context"
    )


def draft_error(wish: ServiceWish, variant: Variant) -> str | None:
    """Why nothing can be drafted: the model has no layers for it, or this file of it leaves them out."""
    if not wish.own_drafts or variant.model.nextn_layers:
        return None
    name = variant.model.name
    if not (variant.known and variant.known.has_mtp):
        return f"draft {wish.draft} needs nextn layers, which {name} has not; set draft to 0, or name a draft_model"
    start = f"draft {wish.draft} needs nextn layers: {name} was trained with them, but"
    if variant.format == "safetensors":
        return f"{start} the catalogue does not count them in repositories of safetensors; set draft to 0"
    holding = [one for one in variants(variant.known) if one.nextn_in_file]
    if not holding:
        return f"{start} its files in the catalogue leave them out; set draft to 0, or name a file that holds them"
    near = min(holding, key=lambda one: abs(one.file_bytes - variant.file_bytes))
    other = f"{variant.known.key}:{near.quant} ({near.repo})"
    return f"{start} this file leaves them out; use {other}, or set draft to 0"
