"""Refusals of a wish that fits nowhere: the nearest miss, how much is missing, and a change that really helps."""

from __future__ import annotations

from collections.abc import Sequence

from rigwright.errors import DoesNotFit, Refused, WrongSpec
from rigwright.hardware.values import Hardware
from rigwright.models.values import Model
from rigwright.models.variants import Variant, variants
from rigwright.plan.candidates import Engines, find_candidates
from rigwright.plan.contexts import contexts
from rigwright.plan.devices import unsized
from rigwright.plan.engines import planner_of
from rigwright.plan.memory.said import GROWN_FILE
from rigwright.plan.search import Budget, choose
from rigwright.plan.search_space import Candidate, Miss, SearchResult, SearchSpace
from rigwright.plan.unified import limit_of
from rigwright.plan.wish import ServiceWish
from rigwright.units import format_bytes


def does_not_fit(
    wish: ServiceWish,
    files: Sequence[Variant],
    space: SearchSpace,
    found: SearchResult,
    *,
    hardware: Hardware,
    engines: Engines,
) -> Refused:
    """The error for a wish that nothing on this rig serves."""
    where, also = f"services.{wish.name}", _unknown(wish, hardware)
    if not found.misses:
        why = next(iter(found.refused.values()), "nothing in the catalogue can be served by this rig")
        return Refused(f"{where}: {why}{also}")
    miss = min(found.misses, key=lambda one: (_short_bytes(one, space), one.variant.file_bytes))
    slots = f"{miss.load.slots} slot{'s' if miss.load.slots > 1 else ''}"
    context = wish.context or miss.load.context_tokens
    name = f"{miss.variant.known.name} {miss.variant.quant}" if miss.variant.known else miss.variant.name
    needs = f"{name} needs {format_bytes(miss.needs_bytes)} at {context} tokens × {slots}"
    each, offer, short = _offer(miss, space)
    mine = [one for one in files if not wish.quants or one.quant in wish.quants]
    more = limit_of(hardware, miss.assignment.devices)
    also = f"{_told(wish, miss)}{also}{f'; {more}' if more else ''}"
    remedies = " or ".join(_remedies(wish, mine, space, miss, engines))
    message = f"{where}: {needs}{each}, {offer}, {short}; {remedies}{also}"
    return DoesNotFit(message, offer=offer, short_bytes=_short_bytes(miss, space))


def no_room_beside(
    wish: ServiceWish, result: SearchResult, others: Sequence[ServiceWish], taken: Sequence[Candidate], budget: Budget
) -> DoesNotFit:
    """The error for a service that would fit alone, but not beside those before it, which take `taken`."""
    least = min(result.candidates, key=lambda one: (sum(one.gpu_bytes.values()) + one.ram_bytes, one.ram_bytes))
    ram = budget.ram_bytes - sum(one.ram_bytes for one in taken)
    free = [size - sum(one.gpu_bytes.get(ordinal, 0) for one in taken) for ordinal, size in budget.gpu_bytes.items()]
    names = ", ".join(other.name for other in others)
    needs = _amounts(sum(least.gpu_bytes.values()), least.ram_bytes)
    left = _amounts(max(free, default=0), ram)
    return DoesNotFit(
        f"services.{wish.name}: it fits this rig alone, but not beside {names}: it takes {needs} at least, they leave "
        f"{left}; lower the context of one, allow a smaller quant, or take one to another rig"
    )


def _amounts(gpu_bytes: int, ram_bytes: int) -> str:
    on_gpu = f"{format_bytes(gpu_bytes)} on a GPU and " if gpu_bytes > 0 else ""
    return f"{on_gpu}{format_bytes(max(0, ram_bytes))} of RAM"


def _unknown(wish: ServiceWish, hardware: Hardware) -> str:
    """What would change the answer: nobody recorded the memory of the GPUs, or of the machine."""
    lines = []
    if wish.gpu != "none" and (gpus := unsized(hardware)):
        lines.append(f"the memory of {', '.join(gpus)} was not recorded: name the model with --gpu-model NAME")
    if not hardware.ram_bytes:
        lines.append("RAM was not recorded and counts as 16 GiB: name it with --ram SIZE")
    return "".join(f"; {one}" for one in lines)


def _told(wish: ServiceWish, miss: Miss) -> str:
    """That the compute buffers are those which a dry run told, and how it is forgotten."""
    if not any(miss.load.growth):
        return ""
    where = GROWN_FILE.replace("NAME", wish.name)
    return f"; its compute buffers count as llama.cpp's own dry run says; delete {where} to count them by the formula"


def _can_spill(miss: Miss) -> bool:
    """True where RAM may hold what a GPU does not."""
    is_in_ram = any(device.is_in_ram for device in miss.assignment.devices)
    return bool(miss.assignment.devices) and planner_of(miss.engine).can_spill and not is_in_ram


def _short_bytes(miss: Miss, space: SearchSpace) -> int:
    """What is missing, with RAM where that helps; at least what a GPU alone lacks where RAM would do."""
    spilled = miss.total_short_bytes - space.ram_bytes if _can_spill(miss) and not miss.is_each else 0
    return spilled if spilled > 0 else miss.total_short_bytes


def _offer(miss: Miss, space: SearchSpace) -> tuple[str, str, str]:
    """Of each of which GPUs it is said, what there is, and by how much it is too little."""
    devices = miss.assignment.devices
    if not devices:
        return "", f"this rig offers {format_bytes(space.ram_bytes)} of RAM", miss.short
    count = len(devices)
    label = devices[0].label if count == 1 else f"{count} GPUs"
    if miss.is_each and count > 1:
        return f" on each of {label}", f"each offers {format_bytes(miss.offers_bytes)}", miss.short
    offers = f"{label} offer{'s' if count == 1 else ''} {format_bytes(miss.offers_bytes)}"
    if not _can_spill(miss) or miss.is_each:
        return "", offers, miss.short
    return "", f"{offers} and RAM {format_bytes(space.ram_bytes)}", f"{format_bytes(_short_bytes(miss, space))} short"


def _remedies(
    wish: ServiceWish, files: Sequence[Variant], space: SearchSpace, miss: Miss, engines: Engines
) -> list[str]:
    """Changes after which the wish fits, the smallest loss first."""
    model = miss.variant.model

    def helps(change: dict[str, object]) -> bool:
        return bool(_found(wish.model_copy(update=change), files, space, engines))

    found: list[str] = []
    if wish.cache_type not in ("auto", "q8_0", "q4_0") and helps({"cache_type": "q8_0"}):
        found.append("set cache_type to q8_0")
    asked = wish.context or miss.load.context_tokens
    key = "min_context" if wish.min_context else "context"
    if getattr(wish, key) and (tokens := next((step for step in _shorter(model, asked) if helps({key: step})), None)):
        found.append(f"lower {key} to {tokens}")
    slots = miss.load.slots
    if fewer := next((count for count in range(slots - 1, 0, -1) if helps({"slots": count})), None):
        found.append(f"lower slots to {fewer}")
    if found:
        return found
    if slots > 1 and (
        tokens := next((step for step in _shorter(model, asked) if helps({"slots": 1, key: step})), None)
    ):
        return [f"lower slots to 1 and {key} to {tokens}"]
    if wish.engine != "auto" and helps({"engine": "auto"}):
        return ["set engine to auto"]
    every = variants(miss.variant.known) if miss.variant.known and not wish.model.names_file else ()
    if (wish.quants or wish.model.quant) and (quant := _best_quant(wish, every, space, engines)):
        return [f"allow {quant}" if wish.quants else f"ask for {quant}"]
    return [_smaller_file(miss, space)]


def _found(wish: ServiceWish, files: Sequence[Variant], space: SearchSpace, engines: Engines) -> SearchResult | None:
    """What a changed wish could have; None where that is nothing."""
    try:
        found = find_candidates(wish, files, space, engines)
    except WrongSpec:
        return None
    return found if found.candidates else None


def _best_quant(wish: ServiceWish, files: Sequence[Variant], space: SearchSpace, engines: Engines) -> str | None:
    """The quant that a plan would choose among all of the catalogue."""
    found = _found(wish.model_copy(update={"quants": ()}), files, space, engines)
    room = Budget({one.ordinal: one.offered_bytes for one in space.topology.devices}, space.ram_bytes)
    chosen = choose([found.candidates], room) if found else None
    return chosen[0].choice.variant.quant if chosen else None


def _smaller_file(miss: Miss, space: SearchSpace) -> str:
    copies = len(miss.assignment.devices) if miss.is_each else 1
    weights = min(miss.variant.model.weights_bytes, miss.needs_bytes * copies)
    room = weights - miss.short_bytes * copies
    if _can_spill(miss) and not miss.is_each:
        room = weights - _short_bytes(miss, space)
    if room <= 0:
        return "use a rig with more memory"
    kind = "smaller files" if miss.variant.format == "safetensors" else "a smaller file"
    return f"choose {kind}, of at most {format_bytes(room)}"


def _shorter(model: Model, tokens: int) -> list[int]:
    return [step for step in contexts(model, longest=tokens) if step < tokens]
