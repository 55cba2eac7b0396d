"""Data with a source per row: which engine releases are pinned, which packages a system needs."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

import yaml


@cache
def load(name: str) -> dict[str, Any]:
    """One catalogue file as plain data: `load("engines")["llamacpp"]["ref"]`."""
    text = (resources.files(__package__) / f"{name}.yml").read_text("utf-8")
    data: dict[str, Any] = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return data
