"""rocm-smi --json: an object per card, and one of the system with the links between cards."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from rigwright.hardware.reading import Pair, Reading
from rigwright.hardware.sources import cells, rocm_text
from rigwright.hardware.values import Gpu

_MAX_CHARACTERS = 8_000_000
_MAX_DEPTH = 64
_CARD = re.compile(r"card([0-9]{1,3})")
_OBJECT = re.compile(r'"(card[0-9]{1,3}|system)"\s{0,99}:\s{0,99}(?=\{)')
# What rocm-smi measures: a card with nothing else is one all the same.
_MEASURED = re.compile(
    r"temperature \(sensor|gpu use \(%\)|gpu memory |average graphics|current socket|[a-z]{1,4}clk clock|fan "
)
_LINK = re.compile(r"\(Topology\) (Link type|Weight) between DRM devices ([0-9]{1,3}) and ([0-9]{1,3})")


def read(text: str) -> Reading:
    """GPUs and links out of `rocm-smi -a --json`; of a text that was cut, the cards that are complete."""
    plain = "\n".join(cells.lines(text))
    data = load(plain)
    is_whole = isinstance(data, dict)
    objects = data if isinstance(data, dict) else _complete_objects(plain)
    gpus = _gpus(objects)
    system = objects.get("system")
    facts = system if isinstance(system, dict) else {}
    version = facts.get("Driver version")
    return Reading(
        gpus=tuple(gpus[index] for index in sorted(gpus)),
        kinds=_kinds(facts, gpus),
        weights=_weights(facts, gpus),
        vendor="AMD" if gpus else None,
        driver_version=version[:40] if isinstance(version, str) and version[:1].isdigit() else None,
        is_driver_list=True,
        is_whole=is_whole and bool(gpus),
    )


def load(text: str) -> Any:
    """The JSON value that begins at the first brace of a text, None where there is none or it is out of all bounds."""
    start = text.find("{")
    return _decode(text, start) if start >= 0 and is_bounded(text) else None


def is_bounded(text: str) -> bool:
    """Whether a text is short and flat enough for the decoder, which recurses."""
    if len(text) > _MAX_CHARACTERS:
        return False
    depth = deepest = 0
    for mark in re.findall(r"[\[\]{}]", text):
        depth = depth + 1 if mark in "[{" else max(depth - 1, 0)
        deepest = max(deepest, depth)
    return deepest <= _MAX_DEPTH


def _decode(text: str, start: int) -> Any:
    decoder = json.JSONDecoder(parse_int=_bounded_int)
    try:
        return decoder.raw_decode(text, start)[0]
    except json.JSONDecodeError:
        return None


def _bounded_int(digits: str) -> int | None:
    return int(digits) if len(digits) <= 20 else None


def _complete_objects(text: str) -> dict[str, Any]:
    if not is_bounded(text):
        return {}
    found = ((match[1], _decode(text, match.end())) for match in _OBJECT.finditer(text))
    return {key: value for key, value in found if isinstance(value, dict)}


def _gpus(objects: dict[str, Any]) -> dict[int, Gpu]:
    gpus: dict[int, Gpu] = {}
    for key, value in objects.items():
        card = _CARD.fullmatch(key)
        if card and isinstance(value, dict):
            facts = {name.strip().lower(): _text(cell) for name, cell in value.items()}
            gpu = rocm_text.gpu(int(card[1]), {name: cell for name, cell in facts.items() if cell})
            if gpu is None and any(_MEASURED.match(name) for name in facts):
                gpu = Gpu(index=int(card[1]), vendor="AMD", state="ok")
            gpus.update({int(card[1]): gpu} if gpu else {})
    return gpus


def _text(cell: Any) -> str:
    return str(cell).strip() if isinstance(cell, str | int | float) else ""


def _kinds(facts: dict[str, Any], gpus: dict[int, Gpu]) -> dict[Pair, str]:
    """Links between cards that are listed: the system object also names those that are not."""
    return {pair: value for pair, value in _between(facts, gpus, "link type") if value in rocm_text.KINDS}


def _weights(facts: dict[str, Any], gpus: dict[int, Gpu]) -> dict[Pair, int]:
    found = ((pair, cells.whole(value)) for pair, value in _between(facts, gpus, "weight"))
    return {pair: weight for pair, weight in found if weight is not None}


def _between(facts: dict[str, Any], gpus: dict[int, Gpu], what: str) -> Iterator[tuple[Pair, str]]:
    for key, value in facts.items():
        found = _LINK.fullmatch(key)
        if found and found[1].lower() == what and isinstance(value, str):
            first, second = sorted((int(found[2]), int(found[3])))
            if first != second and first in gpus and second in gpus:
                yield (first, second), value
