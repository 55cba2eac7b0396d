"""The keys of a GGUF header, read by the rules of one architecture, each checked: a header may say anything."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from rigwright.models.header import Corrupt

_MAX_NUMBER = 2**40


class Keys:
    """The keys of one architecture; `assumptions` says what had to be guessed."""

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        self._metadata = metadata
        self.assumptions: list[str] = []
        architecture = metadata.get("general.architecture")
        if not isinstance(architecture, str) or not re.fullmatch(r"[\w.-]{1,64}", architecture, re.ASCII):
            raise Corrupt("it does not name its architecture")
        kind = metadata.get("general.type", "model")
        if architecture == "clip" or kind in ("adapter", "mmproj", "imatrix"):
            raise Corrupt(f"it holds no language model but {printable(kind) or architecture} ({architecture})")
        self.architecture = architecture

    def get(self, key: str) -> Any:
        """The value of a key of this architecture, whatever it is; None without it."""
        return self._metadata.get(f"{self.architecture}.{key}")

    def number(
        self,
        key: str,
        default: int | None = None,
        *,
        low: int = 0,
        high: int = _MAX_NUMBER,
        is_global: bool = False,
    ) -> int:
        """A whole number within bounds; without a default the key must be there."""
        value = self._metadata.get(key) if is_global else self.get(key)
        name = key if is_global else f"{self.architecture}.{key}"
        if value is None and default is None:
            raise Corrupt(f"it has no {name}, so it is no language model")
        return checked(name, default if value is None else value, low=low, high=high)

    def per_layer(self, key: str, layers: int, *, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """One number per layer; the header may give a single one for all."""
        name, value = f"{self.architecture}.{key}", self.get(key)
        if value is None:
            if default is None:
                raise Corrupt(f"it has no {name}, so it is no language model")
            return default
        values = value if isinstance(value, tuple) else (value,) * layers
        if len(values) < layers:
            raise Corrupt(f"its {name} has {len(values)} entries for {layers} layers")
        return tuple(checked(name, entry) for entry in values[:layers])

    def flags(self, key: str) -> tuple[bool, ...] | None:
        """Yes or no for each layer; None where the header gives no list."""
        value = self.get(key)
        return tuple(bool(entry) for entry in value) if isinstance(value, tuple) else None


def checked(name: str, value: Any, *, low: int = 0, high: int = _MAX_NUMBER) -> int:
    """The value when it is a whole number within bounds.

    Raises:
        Corrupt: it is not.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise Corrupt(f"its {name} is {printable(repr(value))}, not a number from {low} to {high}")
    return value


def printable(value: Any) -> str:
    """Text from the file that may go to a terminal."""
    return "".join(char for char in value if char.isprintable())[:120].strip() if isinstance(value, str) else ""
