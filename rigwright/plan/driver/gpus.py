"""NVIDIA's GPUs as a driver sees them: chip, and the drivers that can drive it."""

from __future__ import annotations

from dataclasses import dataclass

from rigwright.hardware import models
from rigwright.hardware.values import Gpu
from rigwright.plan.driver.tables import Limits, architecture_of_name, limits, old_architecture, version_of


@dataclass(frozen=True)
class DrivenGpu:
    """A GPU of NVIDIA and the drivers that can drive it; no limits where its chip is not known."""

    gpu: Gpu
    architecture: str | None
    capability: str | None
    limits: Limits | None

    @property
    def label(self) -> str:
        """How a message names it."""
        name = self.gpu.name or self.gpu.pci_id or "a GPU"
        return f"{name} ({self.architecture})" if self.architecture else name


def driven(gpu: Gpu) -> DrivenGpu:
    """A GPU by its id, by what it tells of itself, or by its name."""
    model = models.find(gpu.name, gpu.pci_id)
    by_id, capability = models.architecture(gpu.pci_id)
    architecture = by_id or gpu.architecture or (model.architecture if model else None) or old_architecture(gpu.pci_id)
    capability = gpu.compute_capability or (model.compute_capability if model else None) or capability
    architecture = architecture or _by_capability(capability) or architecture_of_name(gpu.name or "")
    if architecture is None and gpu.pci_id and gpu.pci_id.lower() > "10de:3340":
        # Ids grow with time: what is newer than the table wants what the newest in it wants.
        architecture = "Blackwell"
    return DrivenGpu(gpu, architecture, capability, limits(architecture, capability) if architecture else None)


def _by_capability(capability: str | None) -> str | None:
    number = version_of(capability or "")
    names = {3: "Kepler", 5: "Maxwell", 6: "Pascal", 9: "Hopper", 10: "Blackwell", 11: "Blackwell", 12: "Blackwell"}
    if number[:1] == (7,):
        return "Turing" if number[1:2] == (5,) else "Volta"
    if number[:1] == (8,):
        return "Ada Lovelace" if number[1:2] == (9,) else "Ampere"
    return names.get(number[0]) if number else None
