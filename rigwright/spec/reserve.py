"""The key `rig.reserve`: memory of GPUs that stays free for a desktop, or for programs that are not ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator

from rigwright.given import memory

# As many GPUs as any rig has.
_MOST_INDEX = 999


def _read(given: Any) -> Any:
    """Bytes of `2G`, or of each GPU of `{0: 2G}` by its index."""
    if given is None:
        return None
    if isinstance(given, Mapping):
        return {_index(key): _size(value) for key, value in given.items()}
    return _size(given)


def _index(key: Any) -> int:
    if isinstance(key, bool) or not re.fullmatch(r"\s*\d{1,3}\s*", str(key), re.ASCII):
        raise ValueError(f"{str(key)[:40]!r} is no index of a GPU; write it like {{0: 2G}}")
    return min(_MOST_INDEX, int(key))


def _size(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"{str(value)[:40]!r} is no size; write one like 2G")
    if isinstance(value, int):
        if 0 < value < 1 << 20:
            raise ValueError(f"{value} would be bytes; write a size with its unit, like {value}G")
        found = value
    else:
        found = memory(value)
    if found < 0:
        raise ValueError(f"{value} is less than nothing; write a size like 2G")
    return found


Reserve = Annotated[int | dict[int, int], BeforeValidator(_read)]


def reserve_text(reserve: int | dict[int, int]) -> str:
    """For a lock: `2147483648` of all, `0: 2147483648, 1: 0` of some."""
    if isinstance(reserve, int):
        return str(reserve)
    return ", ".join(f"{index}: {size}" for index, size in sorted(reserve.items()))
