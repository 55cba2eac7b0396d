"""Virtual rigs on any Linux machine with root: to rehearse a deploy on, and to test on."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rigwright.lab.inventory import lab_hosts
    from rigwright.lab.lab import Lab
    from rigwright.lab.wish import Rig, RigWish

__all__ = ["Lab", "Rig", "RigWish", "lab_hosts"]

_HOMES = {"Lab": "lab", "Rig": "wish", "RigWish": "wish", "lab_hosts": "inventory"}


def __getattr__(name: str) -> Any:
    """Import on first use: the command line loads this package to print its help."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
