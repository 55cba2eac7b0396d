"""From an inventory to what it asks of driver and toolkit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

from rigwright.hardware.values import Hardware
from rigwright.plan.driver import DriverWish, Need
from rigwright.plan.driver.power import ALL_GPUS
from rigwright.plan.driver.tables import engine_driver
from rigwright.plan.engines.llamacpp.planner import LlamacppPlanner
from rigwright.plan.engines.llamacpp.settings import LlamacppSettings
from rigwright.spec.rig import RigSpec

Value = TypeVar("Value")


def driver_wish(spec: RigSpec, hardware: Hardware | None = None) -> DriverWish:
    """What an inventory asks of driver and toolkit, by its own words and by the engines of its services.

    With `hardware` no toolkit is asked for where binaries are taken in place of a build.
    """
    nvidia, cuda = spec.nvidia, spec.cuda
    return DriverWish(
        branch=nvidia.branch if isinstance(nvidia.branch, int) else None,
        modules=None if nvidia.modules == "auto" else nvidia.modules,
        source=None if nvidia.source == "auto" else nvidia.source,
        has_hold=nvidia.hold,
        replaces_runfile=nvidia.replace_runfile,
        cuda_source=None if cuda.source == "auto" else cuda.source,
        cuda_version=None if cuda.version == "auto" else cuda.version,
        needs=tuple(dict.fromkeys(_needs(spec, hardware))),
        power_watts=_by_gpu(nvidia.power_watts),
        clocks_mhz=_by_gpu(nvidia.clocks_mhz),
    )


def _by_gpu(given: Value | Mapping[str, Value | None] | None) -> tuple[tuple[str, Value | None], ...]:
    """One value for all GPUs, or one for each of some, as pairs."""
    if isinstance(given, Mapping):
        return tuple(given.items())
    return ((ALL_GPUS, given),) if given is not None else ()


def _takes_binaries(spec: RigSpec, hardware: Hardware) -> bool:
    """Whether upstream's fit the rig, by the driver that it has."""
    own = LlamacppPlanner(spec.settings(LlamacppSettings).narrowed(spec.services))
    return own.sourced(hardware, spec.services).settings.is_prebuilt


def _needs(spec: RigSpec, hardware: Hardware | None) -> Iterator[Need]:
    build = spec.engines.get("llamacpp")
    backend = getattr(build, "backend", "auto")
    is_built = backend in ("auto", "cuda") and not getattr(build, "wants_no_build", False)
    is_built = is_built and not (hardware and _takes_binaries(spec, hardware))
    for service in spec.services:
        if service.gpu == "none" and backend != "cuda":
            continue
        if service.engine in ("auto", "llamacpp") and is_built:
            yield Need("llama.cpp", is_built=True)
        elif service.engine == "vllm" and service.gpu != "none":
            yield Need("vLLM", driver=engine_driver("vllm"))
