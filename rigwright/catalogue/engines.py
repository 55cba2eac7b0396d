"""The names of the engines that there are: rows of engines.yml, and those that other packages bring.

A package brings its own with an entry point of the group `rigwright.engines`: its name is the engine's, its value the
subclass of `rigwright.plan.engines.planner.Planner`.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points

from rigwright.catalogue import load

GROUP = "rigwright.engines"


@cache
def engine_names() -> tuple[str, ...]:
    """The names, those of the catalogue first."""
    return (*load("engines"), *brought())


@cache
def brought() -> dict[str, EntryPoint]:
    """The entry points of other packages, by the name of the engine; none takes the place of a row."""
    return {point.name: point for point in entry_points(group=GROUP) if point.name not in load("engines")}
