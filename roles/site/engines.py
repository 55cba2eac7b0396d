"""The engines that there is a role for: those of this package, and those that other packages bring."""

from __future__ import annotations

import importlib
import importlib.util
from importlib.metadata import entry_points
from typing import cast

from rigwright.catalogue import load
from rigwright.roles.service.engine import Engine

GROUP = "rigwright.roles"


def engines() -> tuple[Engine, ...]:
    """The roles, in the order of the catalogue; another package names its own by an entry point of `rigwright.roles`.

    None takes the place of one of ours.
    """
    rows = load("engines")
    own = [f"rigwright.roles.{name}.engine" for name in rows]
    found = [importlib.import_module(module).ENGINE for module in own if _exists(module)]
    found += [point.load() for point in sorted(entry_points(group=GROUP)) if point.name not in rows]
    return tuple(cast(Engine, one) for one in found)


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
