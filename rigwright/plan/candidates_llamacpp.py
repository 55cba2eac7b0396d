"""llama.cpp, and Ollama, which runs llama.cpp's server: each file on each GPU, over several, with experts in RAM."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from rigwright.models.ggml import TYPES_BY_NAME
from rigwright.models.offers import Offer
from rigwright.models.values import Model
from rigwright.plan.choice import Choice
from rigwright.plan.engines.llamacpp_overrides import Overrides
from rigwright.plan.layouts import CPU, Site, sites_of_layers
from rigwright.plan.memory import Load, Placement, fast_bytes
from rigwright.plan.placement import Room, contexts, place
from rigwright.plan.ranking import ENOUGH_TOKENS, USUAL_TOKENS, goal_of, score
from rigwright.plan.reasons import Reason
from rigwright.plan.speed import decode_speed
from rigwright.plan.ways import Candidate, Ground, Miss, Possibilities, cache_loss_percent
from rigwright.plan.wish import ServiceWish
from rigwright.units import format_bytes

# A prompt and an answer of ordinary length lie in the cache while tokens are made.
USUAL_DEPTH_TOKENS = 4096
# Rather a whole model on the GPU with a shorter context than a longer one with a part in RAM.
_OFFLOAD_TOKENS = (131072, 65536, 32768, 16384, 8192, 4096)
# Experts stream from RAM once per batch of a prompt: 458 tokens/s at 512, 706 at 1024, 707 at 2048 on one machine.
_OFFLOAD_UBATCH_TOKENS = 1024
# With a placement of the user's own that seems not to fit: his word wins, and the plan warns.
_FORCED_TOKENS = 8192
# Where services share a rig, each may also make do with less of a GPU.
_SHARES = (1.0, 0.75, 0.5, 0.25)


def with_layers(wish: ServiceWish, offer: Offer, ground: Ground, engine: str, found: Possibilities) -> None:
    """All ways to serve a GGUF file: whole and in part, with each type of KV cache that may be chosen."""
    overrides = Overrides.of(wish)
    sites: Iterable[Site] = () if wish.gpu == "none" else sites_of_layers(ground.topology)
    for site in (*sites, *((CPU,) if wish.gpu in ("auto", "none") else ())):
        for load in _loads(wish, offer.model, overrides):
            attempt = _Attempt(wish, offer, ground, engine, site, load, overrides)
            for share in _SHARES if ground.is_shared and site.devices else _SHARES[:1]:
                found.candidates += attempt.within(share)
            if miss := attempt.miss:
                found.misses.append(miss)


def _loads(wish: ServiceWish, model: Model, overrides: Overrides) -> Iterator[Load]:
    """What may be asked of the model, by type of KV cache; the context is still open."""
    load = overrides.load()
    if wish.cache_type != "auto" or overrides.has_cache_types:
        yield load
        return
    types = ("f16", "q8_0", "q4_0") if goal_of(wish) == "context" else ("f16", "q8_0")
    for kind in types:
        lengths = (model.key_length, model.value_length)
        if not any(length % TYPES_BY_NAME[kind].block_elements for length in lengths):
            yield load._replace(cache_type_k=kind, cache_type_v=kind)


class _Attempt:
    """One file on one site with one kind of load."""

    def __init__(
        self,
        wish: ServiceWish,
        offer: Offer,
        ground: Ground,
        engine: str,
        site: Site,
        load: Load,
        overrides: Overrides,
    ) -> None:
        self.wish, self.offer, self.ground, self.engine, self.site, self.load = wish, offer, ground, engine, site, load
        self.forced = overrides.placement(offer.model) if site.devices else None
        self.context = overrides.context
        self.miss: Miss | None = None
        longest = 2**21 if goal_of(wish) == "context" else USUAL_TOKENS
        self.steps = [overrides.context] if overrides.context else contexts(offer.model, longest=longest)

    def within(self, share: float) -> list[Candidate]:
        """The ways that take no more than a share of each GPU: the most context whole, and with a part in RAM."""
        gpus = tuple(int(device.offered_bytes * share) for device in self.site.devices)
        room = Room(gpus, self.ground.ram_bytes)
        made = [self._layered(*whole)] if (whole := self._whole(room)) else []
        if not made and share == 1:
            self.miss = self._missed(room)
        if self.site.devices and not self.forced and self.engine != "ollama":
            reached = whole[0].context_tokens if whole else 0
            made += self._offloaded(room, reached)
        return made

    def _whole(self, room: Room) -> tuple[Load, Placement] | None:
        model = self.offer.model
        for tokens in self.steps:
            asked = self.load._replace(context_tokens=tokens)
            if self.forced:
                placement = self.forced if room.holds(model, asked, self.forced) else None
            else:
                placement = place(model, asked, room, is_whole=True)
            if placement:
                return asked, placement
        if self.forced and not self.context:
            return self.load._replace(context_tokens=min(model.context_train, _FORCED_TOKENS)), self.forced
        return (asked, self.forced) if self.forced else None

    def _offloaded(self, room: Room, reached: int) -> Iterator[Candidate]:
        """With a part in RAM: for what does not fit whole, or not with the context that is worth having."""
        model = self.offer.model
        if reached >= min(ENOUGH_TOKENS, self.steps[0]) and goal_of(self.wish) != "context":
            return
        batch = _OFFLOAD_UBATCH_TOKENS if model.is_mixture and self.load.ubatch_tokens == 512 else 0
        for tokens in self.steps:
            if tokens <= reached:
                return
            if tokens not in _OFFLOAD_TOKENS and tokens != self.steps[0]:
                continue
            asked = self.load._replace(context_tokens=tokens, ubatch_tokens=batch or self.load.ubatch_tokens)
            if placement := place(model, asked, room):
                yield self._layered(asked, placement)

    def _missed(self, room: Room) -> Miss:
        """By how much the least that could be asked overflows."""
        model, site = self.offer.model, self.site
        last = self.load._replace(context_tokens=self.steps[-1])
        share, rest = divmod(model.main_layers, max(1, len(site.devices)))
        even = tuple(share + (position < rest) for position in range(len(site.devices)))
        whole = self.forced or Placement(model.main_layers if site.devices else 0, 0, even if len(even) > 1 else ())
        gpus, ram = fast_bytes(model, last, whole)
        needs, offers = (sum(gpus), sum(room.gpu_bytes)) if gpus else (ram, room.ram_bytes)
        short = max(needs - offers, room.short_bytes(model, last, whole))
        return Miss(self.offer, site, last, needs, offers, short)

    def _layered(self, load: Load, placement: Placement) -> Candidate:
        model, site = self.offer.model, self.site
        gpus, ram = fast_bytes(model, load, placement)
        speed = decode_speed(
            model,
            paces=[device.pace for device in site.devices],
            placement=placement,
            depth_tokens=min(load.context_tokens, USUAL_DEPTH_TOKENS),
            cache_types=(load.cache_type_k, load.cache_type_v),
            host=self.ground.host,
            draft_tokens=load.draft_tokens,
            users=load.slots,
            link_gbytes_per_second=site.link_gbytes_per_second,
        )
        choice = Choice(self.wish, self.offer, self.engine, site.layout, site.replicas, load, placement, None, speed)
        loss = max(cache_loss_percent(load.cache_type_k), cache_loss_percent(load.cache_type_v))
        worth = score(choice, cache_loss_percent=loss)
        needs = list(zip(site.devices, gpus, strict=True))
        if over := [(device, size) for device, size in needs if size > device.offered_bytes]:
            device, size = over[0]
            told = f"{format_bytes(size)} on {device.label}, which offers {format_bytes(device.offered_bytes)}"
            reason = Reason(choice="LIKELY TO RUN OUT OF MEMORY", because=f"the placement in flags needs {told}")
            choice = replace(choice, reasons=(reason,))
        sizes = {device.ordinal: min(size, device.offered_bytes) for device, size in needs}
        return Candidate(choice, worth, sizes, min(ram, self.ground.ram_bytes) if self.forced else ram)
