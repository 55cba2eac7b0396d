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
from rigwright.plan.engines.llamacpp_flags import Decision, flags_of
from rigwright.plan.engines.llamacpp_overrides import Overrides, apply_overrides
from rigwright.plan.memory import Load, MemoryEstimate, Placement, estimate_memory, padded
from rigwright.plan.placement import Fit, Site, Taken, choose_gpu, fit_any, offered_vram_bytes, site_of
from rigwright.plan.reasons import Reason
from rigwright.plan.refusal import does_not_fit, gpu_label
from rigwright.plan.service import ServicePlan
from rigwright.plan.wish import ServiceWish
from rigwright.units import MIB, format_bytes

_BLIND_CONTEXT_TOKENS = 8192
_MAX_CACHE_MIB, _CACHE_STEP_MIB = 8192, 256
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
    plans: list[ServicePlan] = []
    taken = Taken()
    for request in requests:
        plan = plan_service(
            hardware,
            request.wish,
            model=request.model,
            weights_path=request.weights_path,
            api_key_path=request.api_key_path,
            taken=taken,
        )
        taken = _taken_after(plan, hardware, taken)
        plans.append(plan)
    return tuple(plans)


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
    decision = _decide(hardware, wish, model, gpu, taken, overrides)
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
        raise DoesNotFit(f"{where}, no driver answers for {_labels(hardware.gpus)}; run deploys/nvidia.py first")
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


def _decide(
    hardware: Hardware,
    wish: ServiceWish,
    model: Model | None,
    gpu: Gpu | None,
    taken: Taken,
    overrides: Overrides,
) -> Decision:
    candidates = () if wish.gpu == "none" else (gpu,) if gpu else hardware.usable_gpus
    roomiest = max(candidates, key=lambda one: offered_vram_bytes(one, taken), default=None)
    site = site_of(hardware, roomiest, taken)
    if model is None or (roomiest and overrides.is_free):
        return _blind(model, site, overrides)
    load, context = overrides.load(), overrides.context
    found: Fit | None
    if site.gpu and (placement := overrides.placement(model)):
        site = site._replace(placement=placement)
        found = fit_any(model, load, site, context=context) or _forced(model, load, site, placement, context=context)
    elif wish.gpu == "auto":
        found = choose_gpu(hardware, taken, model, load, context=context)
    else:
        found = fit_any(model, load, site, context=context)
    if not found:
        raise does_not_fit(wish, model, load, site, context=context)
    return _decided(model, found, overrides)


def _forced(model: Model, load: Load, site: Site, placement: Placement, *, context: int | None) -> Fit:
    """The placement that the inventory names, although it seems not to fit: the user's word wins."""
    load = load._replace(context_tokens=context or min(model.context_train, _BLIND_CONTEXT_TOKENS))
    return Fit(site, load, placement, estimate_memory(model, load, placement))


def _decided(model: Model, found: Fit, overrides: Overrides) -> Decision:
    cache_mib = _cache_mib(found.site.ram_bytes - found.memory.ram_bytes, overrides)
    memory = found.memory.with_part("prompt cache", "ram", cache_mib * MIB) if cache_mib else found.memory
    reasons: tuple[Reason, ...] = ()
    if not found.site.holds(found.memory):
        needs, offers = format_bytes(found.memory.gpu_bytes), format_bytes(found.site.gpu_bytes)
        because = f"the placement in flags needs {needs} on the GPU, which offers {offers}"
        reasons = (Reason(choice="LIKELY TO RUN OUT OF MEMORY", because=because),)
    if not model.has_chat_template:
        reasons += (Reason(choice="chat template chatml", because=f"{model.name} brings none of its own"),)
    return Decision(
        gpu=found.site.gpu if found.placement.gpu_layers else None,
        model=model,
        placement=found.placement,
        load=found.load,
        memory=memory,
        cache_mib=cache_mib,
        reasons=reasons,
    )


def _blind(model: Model | None, site: Site, overrides: Overrides) -> Decision:
    """What can be said without knowing where each byte goes: the rest is up to llama-server's own --fit."""
    why = (
        "the inventory's own flags place the model" if model else "the header of the model could not be read from here"
    )
    return Decision(
        gpu=site.gpu,
        model=model,
        placement=None,
        load=overrides.load()._replace(context_tokens=overrides.context or _BLIND_CONTEXT_TOKENS),
        memory=None,
        cache_mib=_cache_mib(site.ram_bytes, overrides),
        is_fitted=model is None or overrides.is_fitted,
        reasons=(Reason(choice="memory not checked", because=why),),
    )


def _cache_mib(free_ram_bytes: int, overrides: Overrides) -> int:
    """A quarter of the RAM that is left, in whole steps, up to llama-server's own default."""
    if overrides.cache_mib is not None:
        return max(0, overrides.cache_mib)
    return min(_MAX_CACHE_MIB, max(0, free_ram_bytes) // 4 // (_CACHE_STEP_MIB * MIB) * _CACHE_STEP_MIB)


def _environment(gpu: Gpu | None) -> tuple[tuple[str, str], ...]:
    if not gpu or not gpu.uuid:
        return ()
    return ("CUDA_DEVICE_ORDER", "PCI_BUS_ID"), ("CUDA_VISIBLE_DEVICES", gpu.uuid)


def _device_reasons(hardware: Hardware, wish: ServiceWish, decision: Decision) -> tuple[Reason, ...]:
    silent = [gpu for gpu in hardware.gpus if gpu not in hardware.usable_gpus]
    warning: tuple[Reason, ...] = ()
    if silent and wish.gpu != "none":
        because = f"no driver answers for it; run deploys/nvidia.py, then deploy again ({_labels(silent)})"
        warning = (Reason(choice="A GPU IS NOT USED", because=because),)
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


def _taken_after(plan: ServicePlan, hardware: Hardware, taken: Taken) -> Taken:
    """What is taken after `plan`; a service whose memory is not known has its GPU to itself."""
    if plan.memory:
        return taken.plus(plan.gpu_uuid, plan.memory)
    whole = next((gpu.vram_bytes or 0 for gpu in hardware.gpus if gpu.uuid == plan.gpu_uuid), 0)
    return taken.plus(plan.gpu_uuid, MemoryEstimate(parts=()).with_part("unknown", "gpu", whole))
