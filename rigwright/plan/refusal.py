"""What to say when a wish fits nowhere: the nearest miss, how much is missing, and a change that really helps."""

from __future__ import annotations

from collections.abc import Sequence

from rigwright.errors import DoesNotFit, WrongSpec
from rigwright.models.offers import Offer
from rigwright.models.values import Model
from rigwright.plan.candidates import possibilities
from rigwright.plan.placement import Room, contexts, place
from rigwright.plan.ways import Ground, Miss, Possibilities
from rigwright.plan.wish import ServiceWish
from rigwright.units import format_bytes


def does_not_fit(wish: ServiceWish, offers: Sequence[Offer], ground: Ground, found: Possibilities) -> DoesNotFit:
    """The error for a wish that nothing on this rig serves."""
    where = f"services.{wish.name}"
    if not found.misses:
        why = next(iter(found.refused.values()), "nothing in the catalogue can be served by this rig")
        return DoesNotFit(f"{where}: {why}")
    miss = min(found.misses, key=lambda one: (one.short_bytes, one.offer.file_bytes))
    slots = f"{miss.load.slots} slot{'s' if miss.load.slots > 1 else ''}"
    context = wish.context or miss.load.context_tokens
    name = f"{miss.offer.known.name} {miss.offer.quant}" if miss.offer.known else miss.offer.name
    needs = f"{name} needs {format_bytes(miss.needs_bytes)} at {context} tokens × {slots}"
    remedies = " or ".join(_remedies(wish, offers, ground, miss))
    return DoesNotFit(f"{where}: {needs}, {_offer(miss, ground)}, {format_bytes(miss.short_bytes)} short; {remedies}")


def no_room_beside(wish: ServiceWish, others: Sequence[ServiceWish]) -> DoesNotFit:
    """The error for a service that would fit alone, but not beside those before it."""
    names = ", ".join(other.name for other in others)
    return DoesNotFit(
        f"services.{wish.name}: it fits this rig alone, but not beside {names}; lower the context of one, "
        f"allow a smaller quant, or take one to another rig"
    )


def _offer(miss: Miss, ground: Ground) -> str:
    ram = f"RAM {format_bytes(ground.ram_bytes)}"
    devices = miss.site.devices
    if not devices:
        return f"this rig offers {format_bytes(ground.ram_bytes)} of RAM"
    if len(devices) == 1:
        return f"{devices[0].label} offers {format_bytes(miss.offers_bytes)}, {ram}"
    return f"{len(devices)} GPUs offer {format_bytes(miss.offers_bytes)}, {ram}"


def _remedies(wish: ServiceWish, offers: Sequence[Offer], ground: Ground, miss: Miss) -> list[str]:
    """Changes after which the wish fits, the smallest loss first."""
    model = miss.offer.model

    def helps(**change: object) -> bool:
        try:
            changed = wish.model_copy(update=change)
            return bool(possibilities(changed, offers, ground).candidates)
        except WrongSpec:
            return False

    found: list[str] = []
    if wish.cache_type not in ("auto", "q8_0", "q4_0") and helps(cache_type="q8_0"):
        found.append("set cache_type to q8_0")
    asked = wish.context or miss.load.context_tokens
    if wish.context and (tokens := next((step for step in _shorter(model, asked) if helps(context=step)), None)):
        found.append(f"lower context to {tokens}")
    slots = miss.load.slots
    if fewer := next((count for count in range(slots - 1, 0, -1) if helps(slots=count)), None):
        found.append(f"lower slots to {fewer}")
    if found:
        return found
    if slots > 1 and (tokens := next((step for step in _shorter(model, asked) if helps(slots=1, context=step)), None)):
        return [f"lower slots to 1 and context to {tokens}"]
    if wish.quants or wish.model.quant:
        return ["allow a smaller quant, or choose a smaller model"]
    return [_smaller_file(model, miss, ground)]


def _smaller_file(model: Model, miss: Miss, ground: Ground) -> str:
    gpus = tuple(device.offered_bytes for device in miss.site.devices)
    least = miss.load._replace(context_tokens=contexts(model, longest=2**21)[-1], slots=1)
    if place(model, least, Room(gpus, ground.ram_bytes)):
        return "ask for less context"
    room = sum(gpus) + ground.ram_bytes - (miss.needs_bytes - min(model.weights_bytes, miss.needs_bytes))
    return f"choose a smaller file, of at most {format_bytes(room)}" if room > 0 else "use a rig with more memory"


def _shorter(model: Model, tokens: int) -> list[int]:
    return [step for step in contexts(model, longest=tokens) if step < tokens]
