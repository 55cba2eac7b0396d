"""From an inventory to what it asks of driver and toolkit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

from rigwright.plan.driver import DriverWish, Need
from rigwright.plan.driver.power import ALL_GPUS
from rigwright.plan.driver.tables import engine_driver
from rigwright.spec.rig import RigSpec

Value = TypeVar("Value")


def driver_wish(spec: RigSpec) -> DriverWish:
    """What an inventory asks of driver and toolkit, by its own words and by the engines of its services."""
    nvidia, cuda = spec.nvidia, spec.cuda
    return DriverWish(
        branch=nvidia.branch if isinstance(nvidia.branch, int) else None,
        modules=None if nvidia.modules == "auto" else nvidia.modules,
        source=None if nvidia.source == "auto" else nvidia.source,
        has_hold=nvidia.hold,
        replaces_runfile=nvidia.replace_runfile,
        cuda_source=None if cuda.source == "auto" else cuda.source,
        cuda_version=None if cuda.version == "auto" else cuda.version,
        needs=tuple(dict.fromkeys(_needs(spec))),
        power_watts=_by_gpu(nvidia.power_watts),
        clocks_mhz=_by_gpu(nvidia.clocks_mhz),
    )


def _by_gpu(given: Value | Mapping[str, Value | None] | None) -> tuple[tuple[str, Value | None], ...]:
    """One value for all GPUs, or one for each of some, as pairs."""
    if isinstance(given, Mapping):
        return tuple(given.items())
    return ((ALL_GPUS, given),) if given is not None else ()


def _needs(spec: RigSpec) -> Iterator[Need]:
    build = spec.engines.get("llamacpp")
    backend = getattr(build, "backend", "auto")
    is_built = (
        backend != "cpu" and not getattr(build, "is_prebuilt", False) and getattr(build, "source", "") != "prebuilt"
    )
    for service in spec.services:
        if service.gpu == "none" and backend != "cuda":
            continue
        if service.engine in ("auto", "llamacpp") and is_built:
            yield Need("llama.cpp", is_built=True)
        elif service.engine == "vllm" and service.gpu != "none":
            yield Need("vLLM", driver=engine_driver("vllm"))
