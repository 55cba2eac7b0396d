"""What if the rig had other GPUs, or more RAM? Names of GPUs as people write them, applied to a machine as it is."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rigwright.errors import WrongSpec
from rigwright.hardware import models
from rigwright.hardware.models import GpuModel
from rigwright.hardware.values import Hardware
from rigwright.plan.devices import named, with_gpu
from rigwright.plan.reasons import Reason
from rigwright.plan.speed.names import apple_chip, gpu_names, known_models, models_of_words, models_within
from rigwright.units import GIB, format_bytes

_BRANDS = re.compile(r"\b(?:nvidia|amd|apple|geforce|quadro|tesla|radeon|instinct) ")
_PROCESSOR = re.compile(
    r"\b(?:ryzen|epyc|threadripper|xeon|celeron|pentium|core (?:i[3579]|ultra)|i[3579]-\d)", re.IGNORECASE
)
_NO_CARD = "write it as nvidia-smi does: NVIDIA GeForce RTX 3090, or plan where the card is: @local, --capture DIR"
_SIZE_ALONE = re.compile(r"\s*\d{1,3}\s*G(?:i?B)?\s*(?:vram|gpu|card)?\s*", re.IGNORECASE)
_SIZE = re.compile(r"(?P<name>.+?)[\s:,]+(?P<size>\d{1,3}) ?G(?:i?B)?", re.IGNORECASE)


def gpu_model(name: str) -> GpuModel:
    """The catalogue's model of a name: `3090`, `RTX 5060 Ti 16GB`, `A100-SXM4-80GB`.

    Raises:
        WrongSpec: no card is called that, or several that differ.
    """
    if _SIZE_ALONE.fullmatch(name):
        raise WrongSpec(f"GPU {name[:60]!r}: is a size, and several cards have it; name the card, like 3090")
    if not known_models(name):
        name = re.sub(r"(?<=\d)['’]?s\b", "", name)
    found = _sized(name)
    if len(found) != 1:
        found = _with_memory(_likely(name)) or found or _within(name)
    if len(found) == 1:
        return found[0]
    if found:
        raise WrongSpec(
            f"GPU {name[:60]!r}: may be {' or '.join(row.name for row in found)}; write one of them in full"
        )
    if chip := apple_chip(name):
        own = f"--gpu '{chip['name'].removeprefix('Apple ')}' --ram 64G"
        raise WrongSpec(f"GPU {name[:60]!r}: {chip['name']} is a machine of its own; plan for it with {own}")
    if _PROCESSOR.search(name[:120]):
        raise WrongSpec(f"GPU {name[:60]!r}: is a processor; say none for a machine without GPU")
    near = _near_names(name)
    advice = f"did you mean {' or '.join(near)}?" if near else _NO_CARD
    raise WrongSpec(f"GPU {name[:60]!r}: is not in the catalogue; {advice}")


def _sized(name: str) -> list[GpuModel]:
    """The cards of a name that ends in a size, as they are sold or soldered; none of a name without one."""
    match = _SIZE.fullmatch(name.strip()[:120])
    if not match:
        return []
    found = _with_memory(known_models(name))
    if len(found) == 1:
        return found
    sized = [models.find(row.name, None, int(match["size"]) * GIB) for row in known_models(match["name"])]
    return _with_memory([row for row in sized if row and row.vram_bytes == int(match["size"]) * GIB])


def _within(name: str) -> list[GpuModel]:
    """The cards whose names a longer one holds; where it says a size, those that are sold or soldered so."""
    rows, said = models_within(name), re.search(r"(?<!\d)(\d{1,3}) ?G(?:i?B|D\w*)?\b", name[:120], re.IGNORECASE)
    size = int(said[1]) * GIB if said else None
    sized = [
        models.find(row.name, None, size) if size and row.vram_bytes and not row.ram_share else row for row in rows
    ]
    return _with_memory([row for row in sized if row])


def _likely(name: str) -> tuple[GpuModel, ...]:
    """The models that a person may mean: cards of several generations where only the number is said, `RTX 6000`."""
    found, like = known_models(name), models_of_words(name)
    generations = {model.architecture for model in like}
    is_whole = any(model.name.lower() == name.strip().lower() for model in like)
    if is_whole or (found and len(generations) == 1):
        return found
    return like if len(generations) > 1 or len(like) == 1 else found


def _near_names(name: str) -> list[str]:
    """Up to three names that resemble it, makers and series aside; those with nearly its number first."""
    names = {_BRANDS.sub("", full.lower()): full for full in gpu_names()}
    plain = _BRANDS.sub("", name.lower()[:60].strip())
    number = re.search(r"\d{3,4}", plain)
    alike = [one for one in names if number and _is_near(number[0], one)]
    # Where a number is said, a card without it is no misspelling of the name.
    others = [one for one in names if not number or number[0] in one]
    order = [*difflib.get_close_matches(plain, alike, n=3, cutoff=0.3), *difflib.get_close_matches(plain, others, n=3)]
    return [names[one] for one in dict.fromkeys(order)][:3]


def _is_near(number: str, name: str) -> bool:
    """Whether a name has this number, with one digit of four wrong, or two of them swapped."""
    for other in re.findall(r"\d{3,4}", name):
        wrong = sum(one != two for one, two in zip(number, other, strict=False))
        if len(number) == len(other) and (wrong <= len(number) - 3 or (wrong == 2 and sorted(number) == sorted(other))):
            return True
    return False


def _with_memory(found: Sequence[GpuModel]) -> list[GpuModel]:
    return [row for row in dict.fromkeys(found) if row.vram_bytes or row.ram_share]


def what_if(
    hardware: Hardware, *, gpu: str | None = None, more: Sequence[str] = (), ram_bytes: int | None = None,
    recording: Path | None = None,
) -> tuple[Hardware, tuple[Reason, ...]]:  # fmt: skip
    """The machine with what the command line says of it, and a note for each.

    Args:
        hardware: As it is.
        gpu: What its GPUs are, where nothing recorded names their model.
        more: GPUs beside its own.
        ram_bytes: Its memory.
        recording: Where it was read from: whoever recorded it may have named the GPUs in its meta.json.
    """
    notes: list[Reason] = []
    found, lines = _with_names(hardware, gpu, recording)
    notes += lines
    for name in more:
        model = gpu_model(name)
        found = with_gpu(found, model)
        notes.append(Reason(choice=f"what if: one {model.name} more", because="--with-gpu says so"))
    if ram_bytes:
        found = replace(found, ram_bytes=ram_bytes)
        notes.append(Reason(choice=f"RAM {format_bytes(ram_bytes)}", because="--ram says so"))
    return found, tuple(notes)


def _with_names(hardware: Hardware, gpu: str | None, recording: Path | None) -> tuple[Hardware, list[Reason]]:
    nameless = {
        one.index
        for one in hardware.gpus
        if one.index is not None and not one.name and not models.find(None, one.pci_id)
    }
    if gpu:
        model = gpu_model(gpu)
        if not nameless:
            because = "the GPUs name their model themselves, so that --gpu-model is not used"
            return hardware, [Reason(choice="GPU models", because=because)]
        note = Reason(choice=f"GPUs taken for {model.name}", because="no output names them; --gpu-model says so")
        return named(hardware, dict.fromkeys(nameless, model)), [note]
    lines = _told_by_recorder(hardware, recording) if nameless and recording else {}
    by_index = {index: model for index, model in lines.items() if index in nameless}
    if not by_index:
        return hardware, []
    names = " and ".join(dict.fromkeys(model.name for model in by_index.values()))
    because = "no output names them; the recording's meta.json does, as whoever recorded it said"
    return named(hardware, by_index), [Reason(choice=f"GPUs taken for {names}", because=because)]


def _told_by_recorder(hardware: Hardware, folder: Path | None) -> Mapping[int, GpuModel]:
    """The models that a recording's meta.json names, by index; nothing where they cannot be told apart."""
    from rigwright.hardware.capture import plain_bytes

    try:
        lines = json.loads(plain_bytes(folder / "meta.json") or b"{}").get("gpus") if folder else None
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}
    if not isinstance(lines, list) or not all(isinstance(name, str) for name in lines):
        return {}
    count = len(hardware.gpus)
    names = lines if len(lines) == count else lines * count if len(set(lines)) == 1 else []
    rows = {place: _with_memory(known_models(name)) for place, name in enumerate(names)}
    return {place: found[0] for place, found in rows.items() if len(found) == 1}
