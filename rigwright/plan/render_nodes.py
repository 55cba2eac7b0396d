"""Render nodes: the device files of AMD's GPUs, by which a unit opens those of its own and no others. Pure.

Derived from the plan and the machine at each reading, as the CPUs are, so that a lock needs to hold nothing of it.
Vulkan counts devices by numbers of its own, which nobody knows beforehand; a file is named by a GPU's place on the bus.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from rigwright.hardware.values import Gpu, Hardware
from rigwright.plan.service import Replica, ServicePlan

_ADDRESS = re.compile(r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
# All of them, where nothing tells which: by their driver's name. Source: systemd.resource-control(5), DeviceAllow=.
_ALL, _COMPUTE = "char-drm", "/dev/kfd"


def with_render_nodes(plan: ServicePlan, hardware: Hardware) -> ServicePlan:
    """The plan with the device files of each copy; as it is where its GPUs are of others."""
    known = {(gpu.index, gpu.uuid): gpu for gpu in hardware.gpus if gpu.vendor == "AMD"}
    replicas = tuple(
        replica.model_copy(update={"device_files": tuple(_files(replica, known))}) for replica in plan.replicas
    )
    return plan.model_copy(update={"replicas": replicas})


def _files(replica: Replica, known: dict[tuple[int | None, str | None], Gpu]) -> Iterator[str]:
    gpus = [known[gpu.index, gpu.uuid] for gpu in replica.gpus if (gpu.index, gpu.uuid) in known]
    if not gpus:
        return
    addresses = [gpu.pci_address or "" for gpu in gpus]
    if all(map(_ADDRESS.fullmatch, addresses)):
        yield from (f"/dev/dri/by-path/pci-{address}-render" for address in addresses)
    else:
        yield _ALL
    if {"HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"} & dict(replica.environment).keys():
        yield _COMPUTE
