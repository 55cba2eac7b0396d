"""A machine that nobody has read, from how people write one: `4x3090`, `2 x RTX 4090 + 3060`, `M4 Max`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

from rigwright.errors import WrongSpec
from rigwright.hardware.models import GpuModel
from rigwright.hardware.values import Gpu, Hardware, Link, PcieLink
from rigwright.inventory.card_words import cards_in
from rigwright.inventory.what_if import gpu_model
from rigwright.plan.devices import with_gpu
from rigwright.plan.reasons import Reason
from rigwright.plan.speed.names import apple_chip, known_models
from rigwright.units import GIB, format_bytes

_COUNTED = re.compile(
    # The x of `RX 580` counts nothing: before a count stands a blank or a number.
    r"(?:(?P<before>\d{1,3})\s*[x×*]\s*)?(?P<name>.+?)(?:(?:(?<=\d)|(?<=\d[a-z])|(?<=ti)|\s)\s*[x×*]\s*(?P<after>\d{1,3}))?",
    re.IGNORECASE,
)
# The product that a chip of Apple is in says nothing of it.
_MAC = re.compile(
    r"\b(?:mac ?book(?: pro| air)?|mac ?(?:studio|mini|pro)|i?mac)\b[\s,]*(?:\d\d(?:[-\s]?inch|[\"”]))?", re.IGNORECASE
)
_PAIR = re.compile(r"(\d{1,2})-(\d{1,2})")
_ENDS_NAME = re.compile(
    r"\b(?:super|xtx|gre|ada|generation|edition|max|pro|ultra|sxm|pcie|nvl|halo|spark|rtx|blackwell|gpus?|cards?|q|oc|each)$",
    re.IGNORECASE,
)
_MOST_GPUS = 64
_EXAMPLE_LANES = (16, 8, 8, 4)
_FORM = "write it like 4x3090, 2x3090:nvlink or 4x3090:nvlink=0-1,2-3:x16,x8,x8,x4"


class Described(NamedTuple):
    """The machine, and what was assumed of it."""

    hardware: Hardware
    notes: tuple[Reason, ...]


@dataclass(frozen=True)
class _Cards:
    """Equal cards; pairs are places among them."""

    model: GpuModel
    count: int
    pairs: tuple[tuple[int, int], ...]
    widths: tuple[int, ...]


def described(texts: Sequence[str], *, ram_bytes: int | None = None) -> Described:
    """The machine with these GPUs.

    Args:
        texts: `COUNTxNAME[:nvlink[=0-1,2-3]][:x16,x8,…]`, several of them joined by `+` or `,`; `none` for no GPU.
        ram_bytes: Its RAM; without it some is assumed, and said.

    Raises:
        WrongSpec: a name is none, or says what cannot be.
    """
    words = [word.strip() for text in texts for word in cards_in(text)]
    if [word.lower() for word in words] in (["none"], ["cpu"], ["no"], ["0"], ["cpu only"], ["no gpu"]):
        return Described(Hardware(gpu_count=0, ram_bytes=ram_bytes or 0), _assumed(0, ram_bytes, 0))
    chip = apple_chip(_MAC.sub("", words[0])) if len(words) == 1 and not known_models(words[0]) else None
    if chip and (counted := _COUNTED.fullmatch(words[0])) and int(counted["before"] or counted["after"] or 1) > 1:
        raise WrongSpec(f"--gpu: {chip['name']} is a machine of its own; plan for one")
    if chip:
        return _mac(chip["name"], chip["memory_gb"] * GIB, ram_bytes or _memory_in(words[0]))
    groups = [_cards(word) for word in words]
    if sum(group.count for group in groups) > _MOST_GPUS:
        raise WrongSpec(f"--gpu: more than {_MOST_GPUS} GPUs are no machine; say fewer")
    hardware = Hardware(gpu_count=0)
    links: list[Link] = []
    for group in groups:
        first = len(hardware.gpus)
        for place in range(group.count):
            hardware = with_gpu(hardware, group.model, pcie=_slot(group, place))
        links += _links(group, first)
    vram = sum(gpu.vram_bytes or 0 for gpu in hardware.gpus)
    shared = next((group.model for group in groups if group.model.ram_share), None)
    if shared and sum(group.count for group in groups) > 1 and any(g.count > 1 for g in groups if g.model.ram_share):
        raise WrongSpec(f"--gpu: {shared.name} works in the memory of its machine, which has one; plan for one")
    if shared and len(words) == 1:
        ram_bytes = ram_bytes or _memory_in(words[0])
    if shared and not ram_bytes:
        raise WrongSpec(f"--gpu: {shared.name} works in the memory of the machine; say how much that is: --ram 128G")
    speeds = {
        place: (model.nvlink_gbytes_per_second_per_link or 0.0,) * model.nvlink_links
        for place, model in _linked(groups)
    }
    assumed = ram_bytes or max(16 * GIB, 1 << (vram - 1).bit_length() if vram else 0)
    return Described(
        Hardware(
            gpu_count=len(hardware.gpus),
            gpus=hardware.gpus,
            links=tuple(links),
            nvlink_gbytes_per_second=speeds,
            ram_bytes=assumed,
        ),
        _assumed(assumed, ram_bytes, len(hardware.gpus), links=bool(links), groups=groups),
    )


def _memory_in(word: str) -> int | None:
    """The memory that the name of a whole machine says, `Mac Studio M3 Ultra 96GB`."""
    found = re.search(r"(?<!\d)(\d{1,3}) ?G(?:i?B)?\b", word, re.IGNORECASE)
    return int(found[1]) * GIB if found else None


def _cards(word: str) -> _Cards:
    name, *said = word.split(":")
    found = _COUNTED.fullmatch(name.strip())
    if (
        found
        and found["after"]
        and re.search(r"\s[A-Za-z]{3,}$", found["name"])
        and not _ENDS_NAME.search(found["name"])
    ):
        # The cooler of a board: `TWIN X2`, `WINDFORCE X3`.
        return _Cards(gpu_model(name.strip()), 1, (), ())
    if not found or (found["before"] and found["after"]):
        raise WrongSpec(f"--gpu: {word[:60]!r} names no GPU; {_FORM}")
    count = int(found["before"] or found["after"] or 1)
    model = gpu_model(_each(found["name"], count))
    if not count:
        raise WrongSpec(f"--gpu: {word[:60]!r} are no GPUs; say none for a machine without")
    pairs: tuple[tuple[int, int], ...] = ()
    widths: tuple[int, ...] = ()
    for part in (one.strip().lower() for one in said):
        if re.fullmatch(r"nvlink(=.*)?", part):
            pairs = _pairs(word, model, count, part.partition("=")[2])
        elif re.fullmatch(r"x\d{1,2}(,x\d{1,2})*", part):
            widths = _widths(word, count, [int(lanes[1:]) for lanes in part.split(",")])
        else:
            raise WrongSpec(f"--gpu: {part[:40]!r} says nothing of GPUs; {_FORM}")
    return _Cards(model, count, pairs, widths)


def _each(name: str, count: int) -> str:
    """The name of a card where the brackets behind it say the memory of all of them, `3090 (48GB VRAM)` of two."""
    said = re.search(r"\s*\((\d{2,4}) ?G(?:i?B)?[^()]*\)", name, re.IGNORECASE)
    if not said or count < 2 or int(said[1]) % count:
        return name
    bare = name[: said.start()] + name[said.end() :]
    return bare if gpu_model(bare).vram_bytes == int(said[1]) // count * GIB else name


def _pairs(word: str, model: GpuModel, count: int, text: str) -> tuple[tuple[int, int], ...]:
    """Which of these cards a bridge joins: the neighbours, where nobody says."""
    if not model.nvlink_links:
        raise WrongSpec(f"--gpu: {model.name} has no NVLink; leave nvlink out")
    if not model.nvlink_is_bridge:
        return ()
    found = [_PAIR.fullmatch(one) for one in text.split(",")] if text else []
    pairs = tuple((int(one[1]), int(one[2])) for one in found if one)
    if text and len(pairs) != len(found):
        raise WrongSpec(f"--gpu: nvlink={text[:40]} names no pairs; write nvlink=0-1,2-3")
    pairs = pairs or tuple((first, first + 1) for first in range(0, count - 1, 2))
    ends = [end for pair in pairs for end in pair]
    if len(set(ends)) != len(ends) or not all(end < count for end in ends):
        raise WrongSpec(
            f"--gpu: {word[:60]!r}: a bridge joins two of the {count} cards, 0 to {count - 1}, each at most once"
        )
    return tuple((min(pair), max(pair)) for pair in pairs)


def _widths(word: str, count: int, widths: list[int]) -> tuple[int, ...]:
    if len(widths) not in (1, count):
        raise WrongSpec(
            f"--gpu: {word[:60]!r} names {len(widths)} slots for {count} cards; name one for each, or one for all"
        )
    if bad := next((lanes for lanes in widths if lanes not in (1, 2, 4, 8, 16)), None):
        raise WrongSpec(f"--gpu: a slot with {bad} lanes is none; say x1, x2, x4, x8 or x16")
    return tuple(widths * count if len(widths) == 1 else widths)


def _slot(group: _Cards, place: int) -> PcieLink:
    if not group.widths:
        return PcieLink()
    lanes, gen = min(group.widths[place], group.model.pcie_lanes or 16), group.model.pcie_gen
    return PcieLink(gen, gen, lanes, lanes)


def _links(group: _Cards, first: int) -> Iterator[Link]:
    """NVLinks where there are any: of a pair by its bridge, of all cards of a board by its switches."""
    model = group.model
    if group.pairs or (model.nvlink_links and not model.nvlink_is_bridge and group.count > 1):
        every = combinations(range(group.count), 2)
        joined = set(group.pairs) if model.nvlink_is_bridge else set(every)
        for one, other in combinations(range(group.count), 2):
            kind = f"NV{model.nvlink_links}" if (one, other) in joined else "PHB"
            yield Link(first + one, first + other, kind)


def _linked(groups: Sequence[_Cards]) -> Iterator[tuple[int, GpuModel]]:
    first = 0
    for group in groups:
        if not group.model.nvlink_is_bridge and group.model.nvlink_links and group.count > 1:
            yield from ((first + place, group.model) for place in range(group.count))
        yield from ((first + end, group.model) for pair in group.pairs for end in pair)
        first += group.count


def _mac(chip: str, most_bytes: int, ram_bytes: int | None) -> Described:
    ram = ram_bytes or most_bytes
    gpu = Gpu(index=0, vendor="Apple", name=chip)
    hardware = Hardware(vendor="Apple", chip=chip, architecture="arm64", ram_bytes=ram, gpu_count=1, gpus=(gpu,))
    because = "the most that it is sold with; name yours with --ram 64G"
    notes = () if ram_bytes else (Reason(choice=f"{format_bytes(ram)} of memory", because=because),)
    return Described(hardware, notes)


def _worded(groups: Sequence[_Cards], *, has_pairs: bool = False) -> str:
    """These cards as an option has them, with what was said of them and an example of what was not."""
    words = []
    for group in groups:
        name = re.sub(r"^(?:NVIDIA |AMD |GeForce |Radeon )+", "", group.model.name).replace(" ", "-")
        pairs = group.pairs
        if has_pairs and not pairs and group.model.nvlink_is_bridge:
            pairs = tuple((first, first + 1) for first in range(0, group.count - 1, 2))
        joined = f":nvlink={','.join(f'{first}-{second}' for first, second in pairs)}" if pairs else ""
        lanes = group.widths or (() if has_pairs else _EXAMPLE_LANES[: group.count])
        slots = f":{','.join(f'x{lane}' for lane in lanes)}" if len(lanes) == group.count else ":x8" if lanes else ""
        words.append(f"{group.count}x{name}{joined}{slots}")
    return f"--gpu {'+'.join(words)}"


def _assumed(
    ram: int, given: int | None, count: int, *, links: bool = False, groups: Sequence[_Cards] = ()
) -> tuple[Reason, ...]:
    """What nobody said, and how to say it."""
    notes = []
    if not given:
        because = "nobody said how much there is; name yours with --ram 64G"
        notes.append(Reason(choice=f"{format_bytes(ram)} of RAM" if ram else "RAM", because=because))
    if any(group.model.nvlink_is_bridge and group.count > 1 and not group.pairs for group in groups):
        because = f"nobody said that bridges join cards; if they do, name the pairs: {_worded(groups, has_pairs=True)}"
        notes.append(Reason(choice="no NVLink", because=because))
    if count > 1 and not any(group.widths for group in groups):
        because = f"nobody said which slots the cards are in; name their lanes: {_worded(groups)}"
        notes.append(Reason(choice="PCIe unknown", because=because))
    return tuple(notes)
