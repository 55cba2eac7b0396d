"""What to say when a model does not fit: how much is missing, and a change that really helps."""

from __future__ import annotations

from rigwright.errors import DoesNotFit
from rigwright.hardware.values import Gpu
from rigwright.models.values import Model
from rigwright.plan.memory import Load, Placement, estimate_memory
from rigwright.plan.placement import Site, contexts, fit_any
from rigwright.plan.wish import ServiceWish
from rigwright.units import format_bytes


def gpu_label(gpu: Gpu) -> str:
    """How messages name a GPU: `GPU 0 (NVIDIA GeForce RTX 3090)`."""
    index = gpu.pci_address if gpu.index is None else gpu.index
    return f"GPU {index} ({gpu.name or gpu.pci_id or 'unknown'})"


def why_unused(gpu: Gpu) -> str:
    """Why a GPU that is there serves nothing, and what to do."""
    if gpu.state == "lost":
        return "it no longer answers; power the rig off and on"
    if gpu.state == "error":
        return "it reports errors; look at `rigwright hardware`"
    if gpu.mig:
        return f"it is cut into MIG devices; `nvidia-smi -i {gpu.index} -mig 0` joins them"
    if gpu.vendor not in ("NVIDIA", None):
        return f"llama.cpp is built for CUDA or the CPU so far, and it is from {gpu.vendor}"
    return "no driver answers for it; install the NVIDIA driver, then deploy again"


def does_not_fit(wish: ServiceWish, model: Model, load: Load, site: Site, *, context: int | None) -> DoesNotFit:
    """The error for a model that fits nowhere on a rig whose best site is `site`."""
    tried = load._replace(context_tokens=context or contexts(model)[-1])
    memory = estimate_memory(model, tried, Placement(model.main_layers if site.gpu else 0))
    slots = f"{tried.slots} slot{'s' if tried.slots > 1 else ''}"
    offer = f"this rig offers {format_bytes(site.ram_bytes)} of RAM"
    if site.gpu:
        offer = f"{gpu_label(site.gpu)} offers {format_bytes(site.gpu_bytes)}, RAM {format_bytes(site.ram_bytes)}"
    return DoesNotFit(
        f"services.{wish.name}: {model.name} needs {format_bytes(memory.total_bytes)} at {tried.context_tokens} tokens "
        f"× {slots}, {offer}; {' or '.join(_remedies(model, tried, site))}"
    )


def _remedies(model: Model, load: Load, site: Site) -> list[str]:
    """Changes after which the model fits, the smallest loss first."""
    found: list[str] = []

    def helps(changed: Load) -> bool:
        return fit_any(model, changed, site, context=changed.context_tokens) is not None

    quantised = load._replace(cache_type_k="q8_0", cache_type_v="q8_0")
    if load.cache_type_k != "q4_0" and load != quantised and helps(quantised):
        found.append("set cache_type to q8_0")
    shorter = (tokens for tokens in contexts(model) if tokens < load.context_tokens)
    if tokens := next((tokens for tokens in shorter if helps(load._replace(context_tokens=tokens))), None):
        found.append(f"lower context to {tokens}")
    fewer = range(load.slots - 1, 0, -1)
    if slots := next((slots for slots in fewer if helps(load._replace(slots=slots))), None):
        found.append(f"lower slots to {slots}")
    if found:
        return found
    both = (tokens for tokens in contexts(model) if helps(load._replace(context_tokens=tokens, slots=1)))
    if load.slots > 1 and (tokens := next(both, None)):
        return [f"lower slots to 1 and context to {tokens}"]
    least = load._replace(context_tokens=contexts(model)[-1], slots=1)
    place = Placement(model.main_layers if site.gpu else 0)
    beside = estimate_memory(model, least, place).total_bytes - model.weights_bytes
    room = site.ram_bytes + site.gpu_bytes - beside
    return [f"choose a smaller file, of at most {format_bytes(room)}" if room > 0 else "use a rig with more memory"]
