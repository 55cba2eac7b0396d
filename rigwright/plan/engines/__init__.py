"""The engines that plans know: a folder here for each row of catalogue/engines.yml, and what other packages bring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from rigwright.catalogue.engines import brought, engine_names

if TYPE_CHECKING:
    from rigwright.plan.devices import Device
    from rigwright.plan.engines.installed import Installed
    from rigwright.plan.engines.planner import Planner
    from rigwright.plan.engines.settings import EngineSettings
    from rigwright.plan.service import ServicePlan
    from rigwright.plan.wish import ServiceWish


@cache
def planner_of(name: str) -> type[Planner]:
    """The planner of an engine, imported when it is asked for."""
    found: type[Planner] = (
        brought()[name].load() if name in brought() else import_module(f"{__name__}.{name}.planner").PLANNER
    )
    return found


def label(name: str) -> str:
    """What people call an engine; the name itself of one that is not known."""
    return planner_of(name).label if name in engine_names() else name


def why_not_deployed(service: ServicePlan, usable: Sequence[Device], engines: Mapping[str, Planner]) -> str | None:
    """Why no deploy brings a service as it is planned; None where one does."""
    if service.engine in engine_names() and not planner_of(service.engine).is_deployed:
        deployed = [name for name in engine_names() if planner_of(name).is_deployed]
        served = " or ".join(label(name) for name in deployed)
        return f"no role serves with {label(service.engine)} yet; {served} is deployed: write engine: {deployed[0]}"
    vendors = dict.fromkeys(one.gpu.vendor or "NVIDIA" for one in usable if one.ref in service.gpus)
    planner = engines.get(service.engine)
    foreign = [vendor for vendor in vendors if vendor not in (planner.vendors if planner else ("NVIDIA",))]
    if foreign == ["AMD"] and service.engine == "llamacpp":
        return "GPUs of AMD's are served where rig.llamacpp.backend says by what: vulkan, or hip"
    if foreign == ["AMD"] and service.engine == "ollama":
        return "GPUs of AMD's are served by Ollama where rig.ollama.rocm is true"
    names = " and ".join(foreign)
    return f"deploys are to GPUs of NVIDIA's and AMD's and to CPUs, on Linux, not to {names}'s" if names else None


def as_planned(
    wishes: Sequence[ServiceWish], services: Sequence[ServicePlan], engines: Mapping[str, Planner]
) -> tuple[ServiceWish, ...]:
    """The wishes with what a plan has made of them and what the build of its engine has to be for."""
    planned = {one.service: one for one in services}
    return tuple(engines[planned[one.name].engine].as_planned(one, planned[one.name]) for one in wishes)


@cache
def settings_models() -> Mapping[str, type[EngineSettings]]:
    """The models of the keys `rig.<engine>`, of the engines that have settings."""
    found = {name: planner_of(name).settings_model for name in engine_names()}
    return {name: model for name, model in found.items() if model}


def planners(
    settings: Mapping[str, EngineSettings] | None = None, installed: Installed | None = None
) -> dict[str, Planner]:
    """A planner for each engine, with the settings and the releases of a rig; without them as the catalogue pins it."""
    from rigwright.plan.engines.installed import NOTHING

    models, given = settings_models(), settings or {}
    found = {}
    for name in engine_names():
        own = given.get(name) or (models[name]() if name in models else None)
        found[name] = planner_of(name)(own, installed or NOTHING)
    return found
