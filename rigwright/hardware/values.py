"""The machine as frozen values: whole bytes, GPUs by UUID. Unknown is None, never a guess."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cpu:
    """The processors of a rig, all sockets together."""

    model: str
    physical_cores: int
    logical_cores: int


@dataclass(frozen=True)
class Gpu:
    """One GPU.

    `pci_address` is `0000:01:00.0`, `pci_id` is `10de:2204`. What only a driver knows (`uuid`, `index`, `vram_bytes`,
    `compute_capability` such as "8.6") is None while none is running.
    """

    pci_address: str
    pci_id: str | None = None
    name: str | None = None
    index: int | None = None
    uuid: str | None = None
    vram_bytes: int | None = None
    compute_capability: str | None = None


@dataclass(frozen=True)
class Disk:
    """The file system that holds `path`: its size and what an ordinary user may still write."""

    path: str
    total_bytes: int
    free_bytes: int


@dataclass(frozen=True)
class Hardware:
    """One rig. `os_id` and `os_version` are those of os-release: `debian`, `13`."""

    os_id: str
    os_version: str
    os_codename: str
    kernel: str
    architecture: str
    cpu: Cpu
    ram_bytes: int
    disks: tuple[Disk, ...] = ()
    gpus: tuple[Gpu, ...] = ()
    driver_version: str | None = None

    @property
    def usable_gpus(self) -> tuple[Gpu, ...]:
        """The GPUs that a driver answers for."""
        return tuple(gpu for gpu in self.gpus if gpu.uuid and gpu.vram_bytes)
