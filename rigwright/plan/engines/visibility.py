"""How a process is told which GPUs are its own: by UUID where each has one, else by index."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rigwright.plan.devices import Device

_UUID = re.compile(r"GPU-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def has_own_uuids(devices: Sequence[Device]) -> bool:
    """True when each GPU can be named by a UUID of its own; recordings often mask them."""
    uuids = [device.gpu.uuid or "" for device in devices]
    return bool(uuids) and len(set(uuids)) == len(uuids) and all(map(_is_real, uuids))


def _is_real(uuid: str) -> bool:
    """A masked one repeats a digit or two: `GPU-00000000-0000-…`."""
    return bool(_UUID.fullmatch(uuid)) and len(set(uuid[4:])) > 4


def visible_devices(devices: Sequence[Device], *, by_uuid: bool) -> str:
    """The value of CUDA_VISIBLE_DEVICES, or of HIP's, in the order of the ranks."""
    if by_uuid:
        return ",".join(device.gpu.uuid or "" for device in devices)
    # AMD's runtime has numbers of its own.
    numbers = [device.gpu.hip_index for device in devices]
    if devices and devices[0].throughput.backend == "rocm" and None not in numbers:
        return ",".join(map(str, numbers))
    return ",".join(str(device.ordinal if device.gpu.index is None else device.gpu.index) for device in devices)
