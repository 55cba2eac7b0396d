"""Models in several GGUF files: `x-00001-of-00003.gguf` and those beside it, read as one.

Source: llama_split_path and llama_model_loader of llama.cpp 0c1e570; each part has its own header with split.* keys.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from rigwright.models.header import MAX_TENSORS, Corrupt, Header

_PART = re.compile(r"(?P<stem>.*-)(?P<number>\d{5})-of-(?P<count>\d{5})(?P<end>\.gguf)", re.IGNORECASE)
_MAX_PARTS = 1000


def part_names(name: str) -> tuple[str, ...]:
    """The names of all parts of a split model, `name` being one of them; the name alone when it is no part."""
    match = _PART.fullmatch(name)
    count = int(match["count"]) if match else 1
    if match is None or not 1 < count <= _MAX_PARTS or not 1 <= int(match["number"]) <= count:
        return (name,)
    return tuple(f"{match['stem']}{number:05}-of-{match['count']}{match['end']}" for number in range(1, count + 1))


def split_count(metadata: Mapping[str, Any]) -> int:
    """How many parts the header says there are."""
    count = metadata.get("split.count", 1)
    return count if isinstance(count, int) and not isinstance(count, bool) and count > 1 else 1


def joined(names: tuple[str, ...], read: Callable[[str], Header]) -> Header:
    """One header for all parts: the keys of the first, the tensors of all, the sum of the sizes.

    Raises:
        Corrupt: a part belongs elsewhere, or tensors are missing.
    """
    headers, count = [], 0
    for number in range(len(names)):
        headers.append(_part(names, number, read))
        count += len(headers[-1].tensors)
        if count > MAX_TENSORS:
            raise Corrupt(f"its parts hold more than {MAX_TENSORS} tensors")
    first = headers[0].metadata
    tensors = tuple(tensor for header in headers for tensor in header.tensors)
    wanted = first.get("split.tensors.count", len(tensors)) if len(names) > 1 else len(tensors)
    if wanted != len(tensors):
        raise Corrupt(f"its parts hold {len(tensors)} tensors, its first one says {wanted!r:.40}")
    if len({tensor.name for tensor in tensors}) < len(tensors):
        raise Corrupt("a tensor appears twice in it; its parts are of different models")
    return Header(first, tensors, sum(header.end_bytes for header in headers))


def _part(names: tuple[str, ...], number: int, read: Callable[[str], Header]) -> Header:
    """One part, which says of itself that it is that one of so many."""
    header = read(names[number])
    count = split_count(header.metadata)
    if count != len(names):
        where = f"{names[number]} says that it" if number else "it says that it"
        raise Corrupt(f"{where} is one of {count} files, its name says {len(names)}")
    lines = header.metadata.get("split.no", number)
    if count > 1 and lines != number:
        raise Corrupt(f"{names[number]} says that it is part {lines!r:.40}, not {number}")
    return header
