"""The packages of the distribution that a release of llama.cpp runs on, and that one is built with."""

from __future__ import annotations

from rigwright.hardware import Hardware
from rigwright.plan.engines.llamacpp.settings import LlamacppSettings
from rigwright.roles.base.packages import all_names, package_names

_VULKAN = ("vulkan", "vulkan_build")


def running_packages(settings: LlamacppSettings, hardware: Hardware) -> tuple[str, ...] | None:
    """What a release needs to run; None where it is not known on this system."""
    return _joined(hardware, "binaries", *(["vulkan"] if settings.backend == "vulkan" else []))


def build_packages(settings: LlamacppSettings, hardware: Hardware) -> tuple[str, ...] | None:
    """What a release is built with, but for CUDA's toolkit; None where it is not known on this system."""
    return _joined(hardware, "build", *(["vulkan_build"] if settings.backend == "vulkan" else []))


def asked_packages(settings: LlamacppSettings) -> tuple[str, ...]:
    """The names to ask of any system, beside those that are asked for every engine."""
    return tuple(name for one in _VULKAN for name in all_names(one)) if settings.backend == "vulkan" else ()


def _joined(hardware: Hardware, *purposes: str) -> tuple[str, ...] | None:
    names: list[str] = []
    for purpose in purposes:
        found = package_names(purpose, hardware)
        if found is None:
            return None
        names += found
    return tuple(names)
