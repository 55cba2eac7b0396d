"""The services of a rig that wait for a driver: neither a lock nor a deploy goes ahead without it."""

from __future__ import annotations

from typing import NamedTuple

from rigwright.hardware.values import Hardware
from rigwright.plan.devices import devices, gpu_label, unsized_silent
from rigwright.resolve.resolve import Resolved
from rigwright.spec.rig import RigSpec

_AMDGPU = "`modprobe amdgpu`, after its firmware is there (Debian's firmware-amd-graphics), has it answer"


class Waiting(NamedTuple):
    """A service that waits, and the label of its GPU; `is_on_cpu` where nobody knows the memory of that GPU.

    `do` is what brings the driver.
    """

    service: str
    gpu: str
    is_on_cpu: bool
    do: str = "deploys/nvidia.py brings one"


def waiting_for_driver(resolved: Resolved, spec: RigSpec, hardware: Hardware) -> Waiting | None:
    """The first service that waits for a driver, None where none does."""
    silent = {device.ref: device for device in devices(hardware, is_preview=True) if device.is_silent}
    unsized = [gpu_label(gpu) for gpu in unsized_silent(hardware)]
    for plan in resolved.plan.services:
        if found := [silent[gpu] for gpu in plan.gpus if gpu in silent]:
            return Waiting(plan.service, found[0].label, False, *([_AMDGPU] if found[0].gpu.vendor == "AMD" else []))
        if unsized and not plan.gpus and spec.wish(plan.service).gpu == "auto":
            return Waiting(plan.service, unsized[0], is_on_cpu=True)
    return None
