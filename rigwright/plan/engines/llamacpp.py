"""llama.cpp: from a wish, a rig and a model to the flags of llama-server, on the CPU or one GPU.

Source of every flag: `llama-server --help` of llama.cpp 0c1e570.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rigwright.errors import DoesNotFit, WrongSpec
from rigwright.hardware.values import Gpu, Hardware
from rigwright.models.ggml import TYPES_BY_NAME
from rigwright.models.values import Model
from rigwright.plan.engines.llamacpp_decision import PROMPT_CACHE, Decision, decide
from rigwright.plan.engines.llamacpp_flags import flags_of
from rigwright.plan.engines.llamacpp_overrides import Overrides, apply_overrides
from rigwright.plan.memory import MemoryEstimate, padded
from rigwright.plan.placement import Taken
from rigwright.plan.reasons import Reason
from rigwright.plan.refusal import gpu_label, why_unused
from rigwright.plan.service import ServicePlan
from rigwright.plan.wish import ServiceWish

_NOTHING_TAKEN = Taken()


class Request(NamedTuple):
    """One service to plan: `weights_path` and `api_key_path` are paths on the rig; `model` is None when unreadable."""

    wish: ServiceWish
    model: Model | None
    weights_path: str
    api_key_path: str | None = None


def plan_services(hardware: Hardware, requests: Sequence[Request]) -> tuple[ServicePlan, ...]:
    """Plans the services of one rig in their order: each gets what those before it have left.

    Raises:
        DoesNotFit: a service does not fit beside the earlier ones.
        WrongSpec: a wish contradicts its model.
    """
    bare = _plan_each(hardware, requests, needs=())
    needs = [plan.memory.without_part(PROMPT_CACHE).ram_bytes if plan.memory else 0 for plan in bare]
    return tuple(_plan_each(hardware, requests, needs=needs))


def _plan_each(hardware: Hardware, requests: Sequence[Request], *, needs: Sequence[int]) -> list[ServicePlan]:
    """Plans in order. Without `needs`, the RAM of each, prompt caches count for nothing: they take what is left."""
    plans: list[ServicePlan] = []
    taken = Taken()
    for position, request in enumerate(requests):
        plan = plan_service(
            hardware,
            request.wish,
            model=request.model,
            weights_path=request.weights_path,
            api_key_path=request.api_key_path,
            taken=taken._replace(later_ram_bytes=sum(needs[position + 1 :])),
        )
        memory = _accounted(plan, hardware)
        taken = taken.plus(plan.gpu_uuid, memory if needs else memory.without_part(PROMPT_CACHE))
        plans.append(plan)
    return plans


def plan_service(
    hardware: Hardware,
    wish: ServiceWish,
    *,
    model: Model | None,
    weights_path: str,
    api_key_path: str | None = None,
    taken: Taken = _NOTHING_TAKEN,
) -> ServicePlan:
    """Plans one service; `taken` is what other services on the rig already have.

    Raises:
        DoesNotFit: the rig cannot hold it, or has no such GPU.
        WrongSpec: the wish contradicts the model.
    """
    overrides = Overrides.of(wish)
    gpu = _wished_gpu(hardware, wish)
    if model:
        _check(wish, model, overrides)
    decision = decide(hardware, wish, model, gpu, taken, overrides)
    own = flags_of(wish, decision, hardware.cpu, weights_path=weights_path, api_key_path=api_key_path)
    flags, notes = apply_overrides(own, wish.flags)
    return ServicePlan(
        service=wish.name,
        device=gpu_label(decision.gpu) if decision.gpu else "CPU",
        gpu_uuid=decision.gpu.uuid if decision.gpu else None,
        context_tokens=padded(decision.load.context_tokens),
        slots=decision.load.slots,
        flags=flags,
        environment=_environment(decision.gpu),
        memory=decision.memory,
        reasons=(*_device_reasons(hardware, wish, decision), *decision.reasons, *notes),
    )


def _wished_gpu(hardware: Hardware, wish: ServiceWish) -> Gpu | None:
    """The GPU that the inventory names; None when it names none."""
    if not isinstance(wish.gpu, int):
        return None
    usable = {gpu.index: gpu for gpu in hardware.usable_gpus}
    if gpu := usable.get(wish.gpu):
        return gpu
    where = f"services.{wish.name}: there is no usable GPU {wish.gpu}"
    if usable:
        raise DoesNotFit(f"{where}; use {', '.join(map(gpu_label, usable.values()))}, or gpu: auto")
    if hardware.gpus:
        named = next((gpu for gpu in hardware.gpus if gpu.index == wish.gpu), hardware.gpus[0])
        raise DoesNotFit(f"{where}; {gpu_label(named)}: {why_unused(named)}")
    raise DoesNotFit(f"{where}, this rig has none; set gpu to none or auto")


def _check(wish: ServiceWish, model: Model, overrides: Overrides) -> None:
    """Refuses what llama-server would refuse, or quietly do otherwise, after a long load."""
    where = f"services.{wish.name}"
    if model.split_count > 1:
        raise WrongSpec(
            f"{where}: {model.name} comes in {model.split_count} parts, and only one is named; "
            f"join them with llama-gguf-split --merge and name the result"
        )
    if overrides.context and overrides.context > model.context_train and not overrides.is_stretched:
        raise WrongSpec(
            f"{where}: context {overrides.context} is more than the {model.context_train} tokens that {model.name} "
            f"was trained for; lower context, or stretch it with flags: {{'--rope-scaling': 'yarn'}}"
        )
    heads = (model.key_length, overrides.cache_type_k), (model.value_length, overrides.cache_type_v)
    for length, cache_type in heads:
        if max(model.kv_heads) and length % TYPES_BY_NAME[cache_type].block_elements:
            raise WrongSpec(
                f"{where}: cache type {cache_type} needs heads in blocks of "
                f"{TYPES_BY_NAME[cache_type].block_elements}, {model.name} has {length}; set cache_type to f16"
            )


def _environment(gpu: Gpu | None) -> tuple[tuple[str, str], ...]:
    if not gpu or not gpu.uuid:
        return ()
    return ("CUDA_DEVICE_ORDER", "PCI_BUS_ID"), ("CUDA_VISIBLE_DEVICES", gpu.uuid)


def _device_reasons(hardware: Hardware, wish: ServiceWish, decision: Decision) -> tuple[Reason, ...]:
    silent = [gpu for gpu in hardware.gpus if gpu not in hardware.usable_gpus]
    warning: tuple[Reason, ...] = ()
    if wish.gpu != "none":
        unused = dict.fromkeys(why_unused(gpu) for gpu in silent)
        told = [(why, _labels([gpu for gpu in silent if why_unused(gpu) == why])) for why in unused]
        warning = tuple(Reason(choice="A GPU IS NOT USED", because=f"{why} ({labels})") for why, labels in told)
    if decision.gpu:
        because = "the inventory names it" if wish.gpu != "auto" else _why_this_gpu(decision)
        return (*warning, Reason(choice=gpu_label(decision.gpu), because=because))
    because = "the inventory says gpu: none"
    if wish.gpu != "none":
        because = "no GPU holds a part worth moving" if hardware.usable_gpus else "no GPU of this rig answers"
    return (*warning, Reason(choice="CPU", because=because))


def _why_this_gpu(decision: Decision) -> str:
    if decision.placement is None:
        return "the one with the most room"
    if not decision.is_whole:
        return "no GPU holds the model whole, and this one has the most room"
    return "the first GPU that holds the whole model"


def _labels(gpus: Sequence[Gpu]) -> str:
    return ", ".join(map(gpu_label, gpus))


def _accounted(plan: ServicePlan, hardware: Hardware) -> MemoryEstimate:
    """What to count for `plan`; a service whose memory is not known has its GPU to itself."""
    if plan.memory:
        return plan.memory
    whole = next((gpu.vram_bytes or 0 for gpu in hardware.gpus if gpu.uuid == plan.gpu_uuid), 0)
    return MemoryEstimate(parts=()).with_part("unknown", "gpu", whole)
