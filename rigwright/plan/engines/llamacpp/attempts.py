"""llama.cpp: one file with one kind of load, tried on one set of GPUs after the other: whole, shared, in part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from rigwright.models.variants import Variant
from rigwright.plan.choice import Choice
from rigwright.plan.contexts import contexts
from rigwright.plan.drafting import drafting_of, is_assistant, with_drafting
from rigwright.plan.engines.llamacpp.overrides import Overrides
from rigwright.plan.engines.llamacpp.placement import Room, place
from rigwright.plan.engines.llamacpp.sharing import share, sharing_obstacle
from rigwright.plan.engines.llamacpp.speed import speed_at
from rigwright.plan.layouts import CPU, GpuAssignment, Group
from rigwright.plan.memory import Load, Placement, fast_bytes
from rigwright.plan.memory.compute import UNQUANTISED
from rigwright.plan.ranking import ENOUGH_TOKENS, USUAL_TOKENS, depth_of, goal_of, longest_context, score
from rigwright.plan.reasons import Reason
from rigwright.plan.search_space import Candidate, Miss, SearchResult, SearchSpace, cache_loss_percent, pareto_front
from rigwright.plan.vision import Vision, vision_of, with_vision
from rigwright.plan.wish import ServiceWish
from rigwright.units import format_bytes

# Rather a whole model on the GPU with a shorter context than a longer one with a part in RAM.
_OFFLOAD_TOKENS = (131072, 65536, 32768, 16384, 4096)
# Experts stream from RAM once per batch of a prompt: 458 tokens/s at 512, 706 at 1024, 707 at 2048 on one machine.
_OFFLOAD_UBATCH_TOKENS = 1024
# With a placement of the user's own that seems not to fit: the user's word wins, and the plan warns.
_FORCED_TOKENS = 8192
# Where services share a rig, each may also make do with less of a GPU.
_SHARES = (1.0, 0.75, 0.5, 0.25)

_Placed = tuple[Load, Placement]


@dataclass
class Attempts:
    """One file with one kind of load, tried on one site after the other."""

    wish: ServiceWish
    variant: Variant
    space: SearchSpace
    engine: str
    load: Load
    overrides: Overrides
    found: SearchResult
    can_spill: bool
    misses: list[Miss] = field(default_factory=list)
    has_enough: bool = False

    @cached_property
    def steps(self) -> list[int]:
        """The contexts to try, the longest first."""
        longest = longest_context(self.wish, is_shared=self.space.is_shared)
        named = self.overrides.context
        return [named] if named else contexts(self.variant.model, longest=longest, least=self.wish.min_context or 0)

    @cached_property
    def vision(self) -> Vision:
        """What its projector takes besides, of the first GPU."""
        return vision_of(self.wish, self.variant)

    @cached_property
    def loads(self) -> list[Load]:
        """What is asked for at each of them."""
        return [self.load._replace(context_tokens=tokens) for tokens in self.steps]

    @cached_property
    def offloads(self) -> list[Load]:
        """What may be asked for with a part in RAM."""
        batch = _OFFLOAD_UBATCH_TOKENS if self.variant.model.is_mixture and self.load.ubatch_tokens == 512 else 0
        worth = _OFFLOAD_TOKENS[1::2] if self.space.is_shared else _OFFLOAD_TOKENS
        ends = self.steps[0], self.steps[-1]
        return [
            load._replace(ubatch_tokens=batch or load.ubatch_tokens)
            for load in self.loads
            if load.context_tokens in worth or load.context_tokens in ends
        ]

    def on(self, assignments: Sequence[GpuAssignment], *, may_split: bool) -> bool:
        """Adds what works on these sites of GPUs; True when one holds all the context that could be asked for."""
        is_held = False
        for assignment in (one for one in assignments if one.layout.kind == "tensor"):
            self.shared_on(assignment)
        assignments = [one for one in assignments if one.layout.kind != "tensor"]
        for size in sorted({len(assignment.devices) for assignment in assignments}):
            is_held = max([self.whole_on(assignment) for assignment in assignments if len(assignment.devices) == size])
            # More GPUs than are needed make nothing better: they work one after the other. Copies that nobody asked for
            # are the more, the less each of them needs.
            if is_held or (self.has_enough and not may_split):
                break
        if may_split and (not is_held or self.space.is_shared):
            for assignment in assignments:
                if not self.has_enough or len(assignment.devices) == 1:
                    self.partly_on(assignment)
        return is_held

    def whole_on(self, assignment: GpuAssignment) -> bool:
        """Adds what works whole on a site; True when that has all the context that could be asked for."""
        made = self._add(assignment, self._whole_within)
        tokens = max((one.choice.load.context_tokens for one in made), default=0)
        enough = self.steps[0] if goal_of(self.wish) == "context" else min(ENOUGH_TOKENS, self.steps[0])
        self.has_enough |= bool(assignment.devices) and tokens >= enough
        return tokens == self.steps[0]

    def shared_on(self, assignment: GpuAssignment) -> None:
        """Adds what works where all of these GPUs share each layer."""
        obstacle = sharing_obstacle(self.variant.model, self.load, assignment.devices)
        if self._forced(assignment):
            obstacle = obstacle or "GPUs that share layers have all of each; take --n-gpu-layers and --n-cpu-moe out"
        is_own_try = self.wish.cache_type == "auto" and not self.overrides.has_cache_types
        if obstacle and self.wish.layout and not (is_own_try and self.load.cache_type_k not in UNQUANTISED):
            self.found.refused.setdefault(f"{self.engine}, {assignment.layout}, {self.variant.quant}", obstacle)
        # With any other model that drafts nobody has measured it: only who names the layout gets it.
        drafter = self.variant.drafter
        is_untried = bool(drafter) and not is_assistant(drafter) and not self.wish.layout
        if obstacle or is_untried or self.variant.model.pooling:
            return
        self._add(assignment, self._whole_within)

    def partly_on(self, assignment: GpuAssignment) -> None:
        """Adds what works with a part in RAM, where something can be moved there."""
        # What works in the machine's memory gains no byte, and waits for the CPU.
        is_in_ram = any(one.is_in_ram for one in assignment.devices)
        if self._forced(assignment) or not self.can_spill or is_in_ram:
            return
        self._add(assignment, self._partly_within)

    def _add(
        self, assignment: GpuAssignment, attempt: Callable[[GpuAssignment, float], list[_Placed]]
    ) -> list[Candidate]:
        """The candidates of a site, with less and less of a GPU where services share a rig."""
        parts = _SHARES if self.space.is_shared and len(assignment.every_device) == 1 else _SHARES[:1]
        # What takes less than a part is the same with all of it.
        placed = dict.fromkeys(one for part in parts for one in attempt(assignment, part))
        made = pareto_front(self._layered(assignment, *one) for one in placed)
        self.found.candidates += made
        return made

    def _forced(self, assignment: GpuAssignment) -> Placement | None:
        """The placement that the inventory's own flags name, unless it is what GPUs that share layers do anyway."""
        if not assignment.devices:
            return None
        found = self.overrides.placement(self.variant.model, devices=len(assignment.devices))
        is_whole = found is not None and found[:2] == (self.variant.model.main_layers, 0)
        return None if is_whole and assignment.layout.kind == "tensor" else found

    def _room(self, assignment: GpuAssignment, share: float) -> Room:
        """What each copy may fill: the least of its place in each group, and its part of RAM."""
        least = [min(device.offered_bytes for device in alike) for alike in zip(*assignment.replicas, strict=True)]
        ram_bytes, sees = self.space.ram_bytes // len(assignment.replicas), self.vision.total_bytes
        if not least:
            return Room((), max(0, ram_bytes - sees))
        first, *others = (int(size * share) for size in least)
        return Room((max(0, first - sees), *others), ram_bytes)

    def _whole_within(self, assignment: GpuAssignment, share: float) -> list[_Placed]:
        """With the most context that takes no more than a share of each GPU."""
        room, forced = self._room(assignment, share), self._forced(assignment)
        shared = assignment.devices if assignment.layout.kind == "tensor" else ()
        if found := self._whole(room, forced, shared):
            is_uneven = len({*(found[1].shares)}) > 1
            return [found, *(self._less_uneven(room, shared, found) if is_uneven else ())]
        if share == 1 and (not shared or self.wish.layout):
            self.misses.append(self._missed(assignment, room, forced))
        return []

    def _less_uneven(self, room: Room, shared: Group, longest: _Placed) -> list[_Placed]:
        """With shorter contexts, where unequal GPUs that share layers can have parts nearer to what each reads."""
        worth = [one for one in self.loads if ENOUGH_TOKENS <= one.context_tokens < longest[0].context_tokens]
        return [found for load in worth if (found := self._fitting(load, room, None, shared))]

    def _partly_within(self, assignment: GpuAssignment, share: float) -> list[_Placed]:
        """For what does not fit whole, or not with the context that is worth having."""
        model, room = self.variant.model, self._room(assignment, share)
        placed = [(load, place(model, load, self._beside_drafts(room, load))) for load in self.offloads]
        return [(load, placement) for load, placement in placed if placement]

    def _whole(self, room: Room, forced: Placement | None, shared: Group = ()) -> _Placed | None:
        """The longest context with which all of it fits, shared by GPUs if so: what fits goes on fitting with less."""
        low, high = self._first(room), len(self.loads) - 1
        best = self._fitting(self.loads[high], room, forced, shared)
        while best and low < high:
            middle = (low + high) // 2
            if found := self._fitting(self.loads[middle], room, forced, shared):
                best, high = found, middle
            else:
                low = middle + 1
        if best or not forced:
            return best
        tokens = self.overrides.context or min(self.variant.model.context_train, _FORCED_TOKENS)
        return self.load._replace(context_tokens=tokens), forced

    def _first(self, room: Room) -> int:
        """Of RAM alone no more context than is usual: it is the machine's, and a CPU reads so much for hours."""
        if room.gpu_bytes or goal_of(self.wish) == "context":
            return 0
        usual = (place for place, load in enumerate(self.loads) if load.context_tokens <= USUAL_TOKENS)
        return next(usual, len(self.loads) - 1)

    def _fitting(self, asked: Load, room: Room, forced: Placement | None, shared: Group) -> _Placed | None:
        model, room = self.variant.model, self._beside_drafts(room, asked)
        if forced:
            return (asked, forced) if room.holds(model, asked, forced) else None
        placement = share(model, asked, room, shared) if shared else place(model, asked, room, is_whole=True)
        return (asked, placement) if placement else None

    def _beside_drafts(self, room: Room, load: Load) -> Room:
        """What a model that drafts ahead leaves."""
        found = drafting_of(self.variant, load, on_gpu=bool(room.gpu_bytes))
        return room.without(found.total_bytes, found.beside_bytes) if found.total_bytes else room

    def _missed(self, assignment: GpuAssignment, room: Room, forced: Placement | None) -> Miss:
        """By how much the least that could be asked overflows."""
        model = self.variant.model
        last = self.loads[-1]
        room = self._beside_drafts(room, last)
        share, rest = divmod(model.main_layers, max(1, len(assignment.devices)))
        even = tuple(share + (position < rest) for position in range(len(assignment.devices)))
        whole = forced or Placement(model.main_layers if assignment.devices else 0, 0, even if len(even) > 1 else ())
        gpus, ram = fast_bytes(model, last, whole)
        needs, variants = (sum(gpus), sum(room.gpu_bytes)) if gpus else (ram, room.ram_bytes)
        if needs > variants:
            return Miss(self.engine, self.variant, assignment, last, needs, variants, needs - variants)
        # Together there is room: it is one GPU that is too small for its share of the layers, or RAM.
        pairs = [*zip(gpus, room.gpu_bytes, strict=True)] if gpus else []
        fullest = max(pairs, key=lambda pair: pair[0] - pair[1], default=(0, 0))
        if fullest[0] > fullest[1]:
            return Miss(self.engine, self.variant, assignment, last, *fullest, fullest[0] - fullest[1], is_each=True)
        return Miss(self.engine, self.variant, CPU, last, ram, room.ram_bytes, max(0, ram - room.ram_bytes))

    def _layered(self, assignment: GpuAssignment, load: Load, placement: Placement) -> Candidate:
        model = self.variant.model
        gpus, ram = with_vision(*fast_bytes(model, load, placement), self.vision)
        gpus, ram = with_drafting(gpus, ram, drafting_of(self.variant, load, on_gpu=bool(gpus)))
        depth = depth_of(self.wish, load.context_tokens)
        speed = speed_at(
            self.wish, self.variant, self.engine, self.space, assignment, load, placement, depth_tokens=depth
        )
        loss = max(cache_loss_percent(load.cache_type_k), cache_loss_percent(load.cache_type_v))
        choice = Choice(
            self.wish, self.variant, self.engine, assignment.layout, assignment.replicas, load, placement, None, speed,
            cache_loss_percent=loss,
        )  # fmt: skip
        worth = score(choice)
        needs = [pair for group in assignment.replicas for pair in zip(group, gpus, strict=True)]
        ram *= len(assignment.replicas)
        if over := [(device, size) for device, size in needs if size > device.offered_bytes]:
            device, size = over[0]
            lines = f"{format_bytes(size)} on {device.label}, which offers {format_bytes(device.offered_bytes)}"
            reason = Reason(choice="likely to run out of memory", because=f"the placement in flags needs {lines}")
            choice = replace(choice, reasons=(reason,))
        sizes = {device.ordinal: min(size, device.offered_bytes) for device, size in needs}
        return Candidate(
            choice, worth, sizes, min(ram, self.space.ram_bytes) if self._forced(assignment) else ram, assignment
        )
