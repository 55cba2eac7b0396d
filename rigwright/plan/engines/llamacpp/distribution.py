"""A distribution's own packages of llama.cpp: which ones a rig asks its apt for, and where none are taken."""

from __future__ import annotations

from collections.abc import Sequence

from rigwright.catalogue import load
from rigwright.hardware.values import Hardware
from rigwright.plan.engines.llamacpp.binaries import serves_more
from rigwright.plan.engines.llamacpp.release import uses_cuda
from rigwright.plan.engines.llamacpp.settings import LlamacppSettings
from rigwright.plan.wish import ServiceWish


def packages_for(
    settings: LlamacppSettings, hardware: Hardware, wishes: Sequence[ServiceWish]
) -> tuple[str, ...] | str:
    """The names of packages, the one with llama-server first, or why none are taken.

    What they need of llama.cpp's own comes along, and is a part of the release.
    """
    row, is_for_gpus = load("engines")["llamacpp"]["packages"], uses_cuda(settings, hardware)
    manager = load("packages")["managers"].get(hardware.os_id)
    if hardware.os_id and manager != "apt":
        system = f"{hardware.os_id} {hardware.os_version}".strip()
        return f"packages are taken of Debian and Ubuntu alone, the rig has {system}"
    if settings.is_for_amd:
        return f"packages are taken for CUDA and the CPU alone, backend is {settings.backend}"
    if is_for_gpus and (why := serves_more(wishes)):
        return f"the distribution's packages do not fit: {why}"
    return (row["program"], *((row["cuda"],) if is_for_gpus else ()))
