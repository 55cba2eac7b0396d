"""What a wish rules out by itself: GPUs that it does not name, files that its other keys contradict."""

from __future__ import annotations

from collections.abc import Sequence

from rigwright.errors import DoesNotFit
from rigwright.hardware.values import Hardware
from rigwright.models.ggml import TYPES_BY_NAME
from rigwright.models.offers import Offer
from rigwright.plan.devices import Device, gpu_label, unsized, why_unused
from rigwright.plan.engines.llamacpp.overrides import Overrides
from rigwright.plan.wish import ServiceWish


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
        raise DoesNotFit(f"{where}; use {', '.join(device.label for device in usable)}, or gpu: auto")
    if hardware.gpus:
        named = next((gpu for gpu in hardware.gpus if gpu.index == missing[0]), hardware.gpus[0])
        raise DoesNotFit(f"{where}; {gpu_label(named)}: {why_unused(named)}")
    raise DoesNotFit(f"{where}, this rig has none; set gpu to none or auto")


def check_sizes(hardware: Hardware, wishes: Sequence[ServiceWish], usable: Sequence[Device]) -> None:
    """A plan for the CPU of a machine full of GPUs that nobody named would mislead.

    Raises:
        DoesNotFit: the memory of no GPU is known, and a service may have one.
    """
    nameless = unsized(hardware)
    wish = next((one for one in wishes if one.gpu == "auto"), None)
    if wish and nameless and not usable:
        which = f"{len(nameless)} GPUs" if len(nameless) > 1 else nameless[0]
        raise DoesNotFit(
            f"services.{wish.name}: nobody recorded the model or the memory of {which}; name it with --gpu-model NAME, "
            f"record the machine with `rigwright hardware --record`, or set gpu to none for a plan without them"
        )


def contradiction(wish: ServiceWish, offer: Offer, overrides: Overrides) -> str | None:
    """What the engine would refuse, or quietly do otherwise, after a long load."""
    model = offer.model
    context = overrides.context or wish.context or wish.min_context
    if context and context > model.context_train and not overrides.is_stretched:
        return (
            f"context {context} is more than the {model.context_train} tokens that {model.name} was trained for; "
            f"lower context, or stretch it with flags: {{'--rope-scaling': 'yarn'}}"
        )
    load = overrides.load()
    for length, kind in ((model.key_length, load.cache_type_k), (model.value_length, load.cache_type_v)):
        if max(model.kv_heads) and length % TYPES_BY_NAME[kind].block_elements:
            return (
                f"cache type {kind} needs heads in blocks of {TYPES_BY_NAME[kind].block_elements}, {model.name} has "
                f"{length}; set cache_type to f16"
            )
    if wish.draft and not model.nextn_layers:
        return f"draft {wish.draft} needs nextn layers, which {model.name} has not; set draft to 0"
    return None
