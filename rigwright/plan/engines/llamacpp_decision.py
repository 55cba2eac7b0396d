"""llama.cpp: where a service goes, with how much context, and how much RAM is left for cached prompts."""

from __future__ import annotations

from typing import NamedTuple

from rigwright.hardware.values import Gpu, Hardware
from rigwright.models.values import Model
from rigwright.plan.engines.llamacpp_overrides import Overrides
from rigwright.plan.memory import Load, MemoryEstimate, Placement, estimate_memory
from rigwright.plan.placement import Fit, Site, Taken, choose_gpu, fit_any, offered_vram_bytes, site_of
from rigwright.plan.reasons import Reason
from rigwright.plan.refusal import does_not_fit
from rigwright.plan.wish import ServiceWish
from rigwright.units import MIB, format_bytes

PROMPT_CACHE = "prompt cache"

_BLIND_CONTEXT_TOKENS = 8192
_MAX_CACHE_MIB, _CACHE_STEP_MIB = 8192, 256


class Decision(NamedTuple):
    """Where a service goes and what it takes.

    `placement` and `memory` are None when the plan does not know them: the model's header could not be read, or the
    inventory's flags place the model in a way that is not reckoned. `is_fitted` leaves the placement to llama-server.
    """

    gpu: Gpu | None
    model: Model | None
    placement: Placement | None
    load: Load
    memory: MemoryEstimate | None
    cache_mib: int
    is_fitted: bool = False
    reasons: tuple[Reason, ...] = ()

    @property
    def is_whole(self) -> bool:
        """True when all that can be on the GPU is there."""
        return bool(self.gpu and self.model and self.placement == Placement(self.model.main_layers))

    @property
    def is_split(self) -> bool:
        """True when the GPU and RAM share the weights."""
        return bool(self.gpu and self.placement and not self.is_whole)


def decide(
    hardware: Hardware,
    wish: ServiceWish,
    model: Model | None,
    gpu: Gpu | None,
    taken: Taken,
    overrides: Overrides,
) -> Decision:
    """Chooses a device, a placement and a context; `gpu` is the one that the inventory names.

    Raises:
        DoesNotFit: the rig cannot hold it.
    """
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
    return _decided(model, found, overrides, later_ram_bytes=taken.later_ram_bytes)


def _forced(model: Model, load: Load, site: Site, placement: Placement, *, context: int | None) -> Fit:
    """The placement that the inventory names, although it seems not to fit: the user's word wins."""
    load = load._replace(context_tokens=context or min(model.context_train, _BLIND_CONTEXT_TOKENS))
    return Fit(site, load, placement, estimate_memory(model, load, placement))


def _decided(model: Model, found: Fit, overrides: Overrides, *, later_ram_bytes: int) -> Decision:
    cache_mib = _cache_mib(found.site.ram_bytes - found.memory.ram_bytes - later_ram_bytes, overrides)
    memory = found.memory.with_part(PROMPT_CACHE, "ram", cache_mib * MIB) if cache_mib else found.memory
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
