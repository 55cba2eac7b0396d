"""The JSON answer of `rigwright hardware`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema

from rigwright.hardware import values
from rigwright.hardware.cpus import cpu_list
from rigwright.hardware.topology import group, islands, xgmi_islands
from rigwright.view.answers.answer import Answer
from rigwright.view.hardware_words import visible_devices

_PAIRS = {
    "type": "object",
    "propertyNames": {"pattern": "^[0-9]+-[0-9]+$"},
    "additionalProperties": {"type": "string", "minLength": 1},
}
_NVLINKS = {**_PAIRS, "additionalProperties": {"type": "string", "pattern": "^NV[0-9]+$"}}
# What a machine says is told as it is; the schema says what it should be.
ByPair = Annotated[dict[str, str], WithJsonSchema(_PAIRS)]
Group = tuple[int, ...]


class Gpu(Answer):
    """What is known of a GPU."""

    index: int | None = Field(description="the driver's index, or the place in PCI order")
    hip_index: int | None = Field(description="the number that AMD's HIP gives it, which need not be the driver's")
    uuid: str | None = Field(description="the driver's name of this very card")
    pci_address: str | None = Field(description="0000:01:00.0")
    pci_id: str | None = Field(description="vendor and device: 10de:2204")
    name: str | None = Field(description="the product's name as recorded")
    architecture: str | None = Field(description="ampere, gfx90a, …")
    vram_bytes: int | None = Field(description="its memory")
    compute_capability: str | None = Field(description="CUDA's version of the hardware: 8.6")
    numa_node: int | str | None = Field(
        description="the node of its CPUs; a text (0-1) where only a range was printed, so that the node is unknown"
    )
    gpu_numa_id: int | None = Field(description="the node of its own memory (GH200)")
    state: values.GpuState | None = Field(description="null where no driver answered for it")
    mig: tuple[str, ...] | None = Field(
        description="the profiles of its MIG devices: 1g.10gb; empty where MIG is off, null where they are not known"
    )
    mig_enabled: bool | None = Field(description="whether it is cut into MIG devices")
    pcie: values.PcieLink
    power_limit_watts: values.PowerLimit


class Bottleneck(Answer):
    """The slowest link inside a group."""

    group: Group = Field(description="the group")
    first: int = Field(description="one end of its slowest link")
    second: int = Field(description="the other end")
    kind: str | None = Field(serialization_alias="class", description="the class of that link")
    gbytes_per_second: float | None = Field(
        description="what it can carry, one direction; null where that cannot be told"
    )


class Confidence(Answer):
    """How sure the groups and the order are."""

    level: Literal["high", "medium", "low"] = Field(description="how sure")
    because: str = Field(description="why")


class LeftOut(Answer):
    """A GPU that is in no order."""

    index: int = Field(description="the GPU")
    because: str = Field(description="why")


class Problem(Answer):
    """What the owner of the rig should know."""

    code: str = Field(pattern="^[a-z0-9_]+$", description="stable name of this kind of problem: gpu_lost")
    where: str = Field(description="what it is about: GPU 5")
    what: str = Field(description="what is wrong")
    do: str = Field(description="what to do")


class NumaNode(Answer):
    """A NUMA node."""

    node: int = Field(description="its number")
    cpus: Annotated[str, BeforeValidator(cpu_list)] = Field(
        description="its CPUs as the kernel lists them: 0-19,40-59; empty where it is memory alone"
    )
    memory_bytes: int | None = Field(description="its memory")


class System(Answer):
    """The operating system."""

    id: str | None = Field(description="ID of os-release: debian")
    version: str | None = Field(description="VERSION_ID of os-release: 13")
    kernel: str | None = Field(description="the kernel's release")
    architecture: str | None = Field(description="x86_64, aarch64, ppc64le")


class Rig(Answer):
    """One rig as `rigwright hardware --json` reports it. Unknown is null, never a guess."""

    model_config = ConfigDict(title="rigwright hardware")

    gpu_count: int | None = Field(description="GPUs in the rig; null where a driver was asked and gave no whole list")
    vendor: values.Vendor | None = Field(description="who made the GPUs")
    gpus: tuple[Gpu, ...] = Field(description="what is known of each GPU, in the order of their indexes")
    nvlink_islands: tuple[Group, ...] | None = Field(
        description="GPUs that NVLink joins, directly or through others; null where no driver told"
    )
    nvlink_pairs: Annotated[dict[str, str], WithJsonSchema(_NVLINKS)] = Field(
        description="pairs joined by NVLink directly, with the number of links: NV4"
    )
    xgmi_islands: tuple[Group, ...] | None = Field(
        description="the same for AMD's XGMI; null where no link types were recorded"
    )
    pair_class: ByPair = Field(
        description="how two GPUs reach each other: NV#, XGMI, PIX, PXB, PHB, NODE, SYS, SOC, PCIE"
    )
    p2p: ByPair = Field(description="direct access between two GPUs as the driver says: OK, CNS, GNS, …")
    nics: tuple[str, ...] = Field(description="network adapters that the driver lists beside the GPUs")
    tp2_groups: tuple[Group, ...] = Field(description="groups for tensor parallel 2, best first in each")
    tp4_groups: tuple[Group, ...] = Field(description="groups for tensor parallel 4")
    cuda_visible_devices: str | None = Field(
        description="the order to set, with CUDA_DEVICE_ORDER=PCI_BUS_ID; for AMD that of HIP_VISIBLE_DEVICES, in "
        "HIP's numbers where they were recorded; null where no GPU is usable"
    )
    bottlenecks: tuple[Bottleneck, ...] = Field(description="the slowest link inside each group")
    grouping_confidence: Confidence
    left_out: tuple[LeftOut, ...] = Field(description="GPUs that are in no order, and why")
    problems: tuple[Problem, ...] = Field(description="what the owner of the rig should know")
    driver_version: str | None = Field(description="version of the running GPU driver")
    cpu: values.Cpu | None = Field(description="null where nothing was recorded of it")
    ram_bytes: int | None = Field(description="memory of the rig")
    numa_nodes: tuple[NumaNode, ...] = Field(description="NUMA nodes; empty where none were recorded")
    os: System | None = Field(description="null where nothing was recorded of it")
    chip: str | None = Field(description="Apple's name of the chip")
    chip_gpu_cores: int | None = Field(description="GPU cores of that chip")
    sources: tuple[str, ...] = Field(description="what was read")
    not_read: tuple[str, ...] = Field(
        description="what was not understood: files, and parts of files in brackets: topo.txt (network adapters)"
    )


def hardware_answer(hardware: values.Hardware) -> Rig:
    """One rig."""
    kinds = {f"{link.first}-{link.second}": link.kind for link in hardware.links if link.kind}
    # Links can be known at all where there is a whole list of GPUs, or a recorded link.
    has_answer = hardware.gpu_count is not None or bool(hardware.links)
    groups = group(hardware)
    return Rig.of(
        hardware,
        gpus=[_gpu(gpu) for gpu in hardware.gpus],
        nvlink_islands=islands(hardware) if has_answer else None,
        nvlink_pairs={pair: kind for pair, kind in kinds.items() if kind.startswith("NV")},
        xgmi_islands=xgmi_islands(hardware),
        pair_class=kinds,
        p2p={f"{link.first}-{link.second}": link.p2p for link in hardware.links if link.p2p},
        nics=[nic.name for nic in hardware.nics],
        tp2_groups=groups.pairs,
        tp4_groups=groups.quads,
        cuda_visible_devices=visible_devices(hardware, groups.order) or None,
        bottlenecks=groups.bottlenecks,
        grouping_confidence=Confidence(level=groups.confidence, because=groups.because),
        left_out=[LeftOut(index=index, because=why) for index, why in groups.left_out],
        cpu=None if hardware.cpu == values.Cpu() else hardware.cpu,
        ram_bytes=hardware.ram_bytes or None,
        numa_nodes=hardware.numa,
        os=_system(hardware),
    )


def _system(hardware: values.Hardware) -> System | None:
    system = System(
        id=hardware.os_id if hardware.os_id != "unknown" else None,
        version=hardware.os_version or None,
        kernel=hardware.kernel or None,
        architecture=hardware.architecture or None,
    )
    return system if any(value for _, value in system) else None


def _gpu(gpu: values.Gpu) -> Gpu:
    return Gpu.of(
        gpu,
        numa_node=gpu.numa_affinity if gpu.numa_node is None else gpu.numa_node,
        gpu_numa_id=gpu.numa_memory_node,
        # nvidia-smi tells the profiles in -L alone.
        mig=gpu.mig_devices or (() if gpu.mig is False else None),
        mig_enabled=gpu.mig,
        power_limit_watts=gpu.power,
    )
