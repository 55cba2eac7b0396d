"""The cost of a plan on a bare machine: bytes to fetch and keep, what is built, what is interrupted."""

from __future__ import annotations

from collections.abc import Sequence

from rigwright.plan.candidates import Engines
from rigwright.plan.devices import Device
from rigwright.plan.service import Cost, ServicePlan


def cost_of(services: Sequence[ServicePlan], usable: Sequence[Device], engines: Engines) -> Cost:
    """The cost on a rig that has nothing of ours yet."""
    files: dict[object, int] = {}
    for service in services:
        if service.source:  # two services of one file may differ in projector and draft model
            files[service.source.identity] = max(files.get(service.source.identity, 0), service.file_bytes or 0)
    fetched = {service.source.identity for service in services if service.source and not service.source.is_at_hand}
    used = [engines[name] for name in dict.fromkeys(service.engine for service in services)]
    silent = {device.ref for device in usable if device.is_silent}
    copies = sum(service.file_bytes or 0 for service in services if engines[service.engine].copies_weights)
    return Cost(
        download_bytes=sum(size for source, size in files.items() if source in fetched),
        disk_bytes=sum(files.values()) + copies + sum(engine.install_bytes for engine in used),
        builds=tuple(filter(None, (engine.install for engine in used))),
        reboot="once, for the NVIDIA driver, which you install"
        if any(silent.intersection(service.gpus) for service in services)
        else None,
        downtime="a service that runs already stands still while its model loads",
    )
