"""Data with a source per row: which engine releases are pinned, which packages a system needs."""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from rigwright.catalogue.kept import held, hold


@cache
def load(name: str) -> dict[str, Any]:
    """One catalogue file as plain data: `load("engines")["llamacpp"]["ref"]`."""
    source = resources.files(__package__) / f"{name}.yml"
    return of_file(source) if isinstance(source, Path) else _parsed(source.read_text("utf-8"))


def of_file(source: Path) -> dict[str, Any]:
    """The same of a file: as it is kept, or read, and then kept."""
    if (data := held(source)) is None:
        of = source.stat()
        data = _parsed(source.read_text("utf-8"))
        hold(source, data, of)
    return data


def _parsed(text: str) -> dict[str, Any]:
    import yaml  # 0.02 s: only where nothing is kept

    data: dict[str, Any] = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return data
