"""The machine as frozen values: whole bytes, GPUs by UUID. Unknown is None, never a guess."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from rigwright.hardware.software import NOBODY_ASKED, Software

Vendor = Literal["NVIDIA", "AMD", "Apple", "Intel"]
GpuState = Literal["ok", "lost", "error"]


@dataclass(frozen=True)
class Problem:
    """One thing that the owner of a rig should know.

    `code` is stable (`gpu_lost`), `where` is what it is about (`GPU 5`, `0000:0c:00.0`, `smi.txt`), `what` says what is
    wrong, `do` what to do about it; lower case, no full stop.
    """

    code: str
    where: str
    what: str
    do: str


@dataclass(frozen=True)
class Cpu:
    """The processors of a rig, all sockets together."""

    model: str = "unknown"
    physical_cores: int | None = None
    logical_cores: int | None = None
    sockets: int | None = None


@dataclass(frozen=True)
class NumaNode:
    """A NUMA node: the CPUs that belong to it (none where it is memory alone, as on GH200) and its memory."""

    node: int
    cpus: tuple[int, ...] = ()
    memory_bytes: int | None = None


@dataclass(frozen=True)
class PcieLink:
    """The PCIe link of a device: generation (1 to 6) and lanes, now and at best.

    The best is what device and slot can do together, as far as the source says; the generation falls to 1 at idle, the
    width does not. Source: nvidia-smi(1), "PCIe"; measured in the recorded machines.
    """

    gen_current: int | None = None
    gen_max: int | None = None
    width_current: int | None = None
    width_max: int | None = None


@dataclass(frozen=True)
class PowerLimit:
    """The power limits of a GPU in watts: now, as delivered, and the range that may be set."""

    current: float | None = None
    default: float | None = None
    min: float | None = None
    max: float | None = None


@dataclass(frozen=True)
class Gpu:
    """One GPU, or what one source says of it.

    `pci_address` is `0000:01:00.0` (lower case, domain of four digits), `pci_id` is `10de:2204`, `subsystem_id` is that
    of the board. `index` is the driver's, or the place in PCI order where no driver answers. `numa_node` is the node of
    its CPUs; where the firmware names none, `numa_affinity` holds what was printed (`0-1`). `numa_memory_node` is the
    node of its own memory (GH200). `mig` is True for a GPU that is cut into MIG devices, whose profiles are in
    `mig_devices`. `hip_index` is the number that AMD's runtime gives it, which need not be the driver's. `ram_share` is
    the part of the machine's memory that a GPU without memory of its own may have, `gtt_bytes` what amdgpu really lets
    it have. `slot` is the port that the GPU sits
    in. `copied_gbytes_per_second` is what a copy from RAM reached, where one was made. `has_power_limit` is False where
    the driver was asked for the limit and has none to tell ([N/A]): it cannot be set. `reserve_bytes` is what its owner
    keeps free of it.
    What only a driver knows is None while none is running; `state` too.
    """

    index: int | None = None
    uuid: str | None = None
    pci_address: str | None = None
    pci_id: str | None = None
    subsystem_id: str | None = None
    vendor: Vendor | None = None
    name: str | None = None
    architecture: str | None = None
    vram_bytes: int | None = None
    ram_share: float | None = None
    gtt_bytes: int | None = None
    compute_capability: str | None = None
    numa_node: int | None = None
    numa_affinity: str | None = None
    numa_memory_node: int | None = None
    cpu_affinity: str | None = None
    state: GpuState | None = None
    mig: bool | None = None
    mig_devices: tuple[str, ...] = ()
    has_display: bool | None = None
    hip_index: int | None = None
    is_name_cut: bool = False
    copied_gbytes_per_second: float | None = None
    pcie: PcieLink = PcieLink()
    slot: PcieLink = PcieLink()
    power: PowerLimit = PowerLimit()
    has_power_limit: bool | None = None
    reserve_bytes: int | None = None

    @property
    def label(self) -> str:
        """How a message names it: by its index, else by its place on the bus."""
        return f"GPU {self.index}" if self.index is not None else self.pci_address or self.uuid or "a GPU"


@dataclass(frozen=True)
class Disk:
    """The file system that holds `path`: its size and what an ordinary user may still write."""

    path: str
    total_bytes: int
    free_bytes: int


@dataclass(frozen=True)
class Link:
    """How two GPUs reach each other. `first` and `second` are indexes, `first < second`.

    `kind` is the class as printed: `NV4`, `PIX`, `PXB`, `PHB`, `NODE`, `SYS` (`SOC` with old drivers), `XGMI`, `PCIE`.
    `p2p` is the status of direct access (`OK`, `CNS`, `GNS`, …), None where nobody recorded it. `weight` is how far
    apart rocm-smi says they are, less is closer.
    """

    first: int
    second: int
    kind: str | None = None
    p2p: str | None = None
    weight: int | None = None


@dataclass(frozen=True)
class Nic:
    """A network adapter that GPUs can reach directly; `kinds` holds the class of its link per GPU index."""

    name: str
    kinds: Mapping[int, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Hardware:
    """One rig. `os_id` and `os_version` are those of os-release: `debian`, `13`.

    `gpu_count` is None where the driver was asked and gave no whole list: then `gpus` holds what is known all the same.
    `nvlink_gbytes_per_second` is the speed of each active NVLink of a GPU, one direction, by index.
    `sources` names what was read, `not_read` what was not understood: files, and parts of files. `software` is what
    stands around the driver.
    """

    os_id: str = "unknown"
    os_version: str = ""
    os_codename: str = ""
    kernel: str = ""
    architecture: str = ""
    cpu: Cpu = Cpu()
    ram_bytes: int = 0
    disks: tuple[Disk, ...] = ()
    vendor: Vendor | None = None
    gpu_count: int | None = None
    gpus: tuple[Gpu, ...] = ()
    links: tuple[Link, ...] = ()
    nvlink_gbytes_per_second: Mapping[int, tuple[float, ...]] = field(default_factory=dict, hash=False)
    nics: tuple[Nic, ...] = ()
    numa: tuple[NumaNode, ...] = ()
    driver_version: str | None = None
    chip: str | None = None
    chip_gpu_cores: int | None = None
    sources: tuple[str, ...] = ()
    not_read: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    software: Software = NOBODY_ASKED

    @property
    def usable_gpus(self) -> tuple[Gpu, ...]:
        """The GPUs that CUDA can use as a whole: the driver answers for them, and they are not cut into MIG devices."""
        cuda = (gpu for gpu in self.gpus if gpu.vendor in ("NVIDIA", None))
        sized = (gpu for gpu in cuda if gpu.uuid and (gpu.vram_bytes or gpu.ram_share))
        return tuple(gpu for gpu in sized if gpu.state == "ok" and not gpu.mig)
