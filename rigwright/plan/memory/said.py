"""What llama.cpp's own dry runs said of compute buffers for which a rig had no room, as lines of a file on the rig.

A line says what was asked, not what was concluded: the release, the model, the load, the kind of placement, then the
MiB of the buffer on each GPU, 0 where the formula explains what was said. So another version of the formula draws its
own conclusion. The numbers come from a stranger's program: what is out of bounds is no line.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

from rigwright.models.ggml import TYPES_BY_NAME
from rigwright.models.values import Model
from rigwright.plan.memory.compute import UNQUANTISED, BufferPlace, place_of, stage_bytes
from rigwright.plan.memory.values import Growth, Load, Placement
from rigwright.units import MIB

# How a reason begins that tells of it, and where what was said lies.
GROWN, GROWN_FILE = "compute buffers", "/var/lib/rigwright/services/NAME/buffers"
# Of the files of an instance; estimate.sh adds no more lines. Each took a deploy that was refused.
MOST_LINES = 32
# By so much may a buffer be larger than the formula: attention that is not fused needs 2 × heads as much, and no model
# here has more than 64. What says more is wrong, or wants to do harm.
MOST_THOUSANDTHS = 128_000
_PLACES = {
    "whole": BufferPlace(has_gpu=True, is_pipelined=False, has_host_experts=False),
    "pipelined": BufferPlace(has_gpu=True, is_pipelined=True, has_host_experts=False),
    "spilled": BufferPlace(has_gpu=True, is_pipelined=False, has_host_experts=True),
}
_SHAPE = (
    "architecture", "layers", "nextn_layers", "embedding", "feed_forward", "heads", "kv_heads", "key_length",
    "value_length", "swa_key_length", "swa_value_length", "sliding_window", "swa_layers", "recurrent_layers", "ssm",
    "experts", "experts_used", "expert_feed_forward", "vocab",
)  # fmt: skip
_LINE = re.compile(
    r"(?P<release>[\w.:/+-]{1,128}) (?P<model>[0-9a-f]{16}) (?P<numbers>[1-9]\d{0,8}(?: \d{1,5}){6})"
    r" (?P<k>\w{2,8}) (?P<v>\w{2,8}) (?P<place>whole|pipelined|spilled)(?P<mib>(?: \d{1,7}){1,64})",
    re.ASCII,
)


class Said(NamedTuple):
    """One dry run: MiB of the compute buffer on each GPU in the engine's order, 0 where the formula explains it."""

    release: str
    model: str
    load: Load
    place: str
    buffers_mib: tuple[int, ...] = ()

    @property
    def key(self) -> str:
        """The line without the buffers."""
        load = self.load
        switches = load.is_unified, load.swa_full, load.has_flash_attention
        numbers = (load.context_tokens, load.slots, load.ubatch_tokens, load.draft_tokens, *map(int, switches))
        words = (self.release, self.model, *numbers, load.cache_type_k, load.cache_type_v, self.place)
        return " ".join(map(str, words))

    @property
    def line(self) -> str:
        """As it lies on the rig."""
        return " ".join([self.key, *map(str, self.buffers_mib)])


def asked(release: str, model: Model, load: Load, placement: Placement) -> Said | None:
    """What a dry run is asked, which says nothing yet; None where no GPU has a part of it."""
    place, load = place_of(model, placement), load._replace(growth=Growth())
    name = next((name for name, one in _PLACES.items() if one == place), None)
    return Said(release, header_id(model), load, name) if name else None


def read_lines(text: str) -> tuple[Said, ...]:
    """The lines that can be read, no more than a rig may have."""
    found = (_read(line) for line in text[: 256 * MOST_LINES].splitlines()[:MOST_LINES])
    return tuple(one for one in found if one)


def _read(line: str) -> Said | None:
    match = _LINE.fullmatch(line)
    if not match or not {match["k"], match["v"]} <= TYPES_BY_NAME.keys():
        return None
    context, slots, ubatch, drafts, unified, swa, flash = map(int, match["numbers"].split())
    load = Load(context, slots, match["k"], match["v"], ubatch, drafts, bool(swa), bool(unified), bool(flash))
    if not slots or not ubatch:
        return None
    return Said(match["release"], match["model"], load, match["place"], tuple(map(int, match["mib"].split())))


def grown(loads: Iterable[Load], model: Model, release: str, lines: Iterable[Said]) -> Iterator[Load]:
    """Loads with the most that was said of such a model with such a cache, by this release."""
    for load in loads:
        yield load._replace(growth=_growth(load, model, release, lines))


def _growth(load: Load, model: Model, release: str, lines: Iterable[Said]) -> Growth:
    mine = [one for one in lines if one.release == release and _says_of(one.load, load)]
    found = dict.fromkeys(_PLACES, 0)
    for one in mine:
        if one.model == header_id(model):
            found[one.place] = max(found[one.place], _thousandths(one, model))
    return Growth(**found)


def _says_of(said: Load, load: Load) -> bool:
    """Whether it holds for such a cache: what a plain one takes a quantised one takes too, beside its own unpacking."""
    types = said.cache_type_k, said.cache_type_v
    is_same = types == (load.cache_type_k, load.cache_type_v) or {*types} <= {*UNQUANTISED}
    return is_same and said.has_flash_attention == load.has_flash_attention


def _thousandths(one: Said, model: Model) -> int:
    stages = stages_of(one, model, len(one.buffers_mib))
    shares = (-(-mib * MIB * 1000 // stage) for mib, stage in zip(one.buffers_mib, stages, strict=True))
    return max((share for share in shares if share <= MOST_THOUSANDTHS), default=0)


def stages_of(one: Said, model: Model, gpus: int) -> tuple[int, ...]:
    """The formula's buffer on each of so many GPUs, in bytes."""
    layer, last = stage_bytes(model, one.load, _PLACES[one.place])
    return (max(1, layer),) * (gpus - 1) + (max(1, last),)


@lru_cache(maxsize=256)
def header_id(model: Model) -> str:
    """Sixteen hex digits over the shape that a header describes: the same for all quants of a model, which differ in
    weights. Another version of rigwright may say another; then nothing is known, as before the first dry run."""
    return hashlib.sha256(repr([getattr(model, name) for name in _SHAPE]).encode()).hexdigest()[:16]
