"""The GPUs that a plan may use: what each offers, how fast it is, and why another is left alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from rigwright.errors import Refused
from rigwright.hardware import models
from rigwright.hardware.values import Gpu, Hardware, PcieLink
from rigwright.plan.reasons import Reason
from rigwright.plan.service import GpuRef
from rigwright.plan.speed import Host, Throughput, throughput_of
from rigwright.plan.speed.kinds import Backend
from rigwright.units import GIB, MIB, format_bytes

# What a driver, a desktop and a browser take; 200 MiB too much has thrown Windows users from 70 to 10 tokens/s.
_DISPLAY_BYTES = 768 * MIB
_LEAST_RESERVE_BYTES = 512 * MIB
# A process on an RTX PRO 6000 took 749 MiB besides its buffers, where 300 are usual.
_LARGE_CONTEXT_BYTES = 450 * MIB
# A driver reports less than the box says: 24576 MiB are 24564 on an RTX 3090 Ti, 22731 on an A10G with ECC.
_ASSUMED_SHARE = 0.96
# What macOS lets the GPU have of the memory of both: recommendedMaxWorkingSetSize, two thirds up to 36 GiB, then three
# quarters. Source: Metal's own figures in llama.cpp's logs.
_SMALL_MAC_BYTES, _SMALL_MAC_SHARE, _MAC_SHARE = 36 * GIB, 2 / 3, 3 / 4
_ASSUMED_RAM_BYTES = 16 * GIB
# GB/s of a card that no catalogue knows: that of an RTX 4060 and of an L4.
_SLOW = 300.0
_NO_LINK = PcieLink()
# How a note begins that says why a machine with GPUs gets a plan for its CPU.
NO_GPU = "NO GPU IS USED"


@dataclass(frozen=True)
class Device:
    """One GPU that may serve. `ordinal` is its place in `Hardware.gpus`; what is assumed comes from the catalogue.

    `is_in_ram`: its memory is a part of the machine's; what it offers is not offered as RAM too. `is_silent`: its
    driver is still to come, so that nothing is deployed to it yet.
    """

    ordinal: int
    gpu: Gpu
    name: str
    vram_bytes: int
    offered_bytes: int
    throughput: Throughput
    is_assumed: bool = False
    is_in_ram: bool = False
    is_silent: bool = False

    @property
    def ref(self) -> GpuRef:
        """The GPU as a plan names it: no two are one, also where no driver has numbered them yet."""
        index = self.ordinal if self.gpu.index is None else self.gpu.index
        return GpuRef(index=index, uuid=self.gpu.uuid, name=self.name)

    @property
    def label(self) -> str:
        """`GPU 0 (NVIDIA GeForce RTX 3090)`."""
        return gpu_label(self.gpu, self.name)

    @property
    def kind(self) -> tuple[str, int]:
        """Equal for cards that work at one pace: the model and its size."""
        return self.name, round(self.vram_bytes / GIB)


def on_backend(device: Device, backend: Backend) -> Device:
    """The device as a backend of llama.cpp serves from it."""
    return replace(device, throughput=device.throughput._replace(backend=backend))


def devices(hardware: Hardware, *, is_preview: bool = False) -> tuple[Device, ...]:
    """The GPUs that may serve, in the rig's order.

    NVIDIA's, also while their driver is still to come, at the size that the catalogue gives their model. A preview also
    takes AMD's and Apple's.
    """
    found = (_device(ordinal, gpu, hardware, is_preview=is_preview) for ordinal, gpu in enumerate(hardware.gpus))
    return tuple(device for device in found if device)


def _device(ordinal: int, gpu: Gpu, hardware: Hardware, *, is_preview: bool) -> Device | None:
    is_usable, is_broken = gpu in hardware.usable_gpus, gpu.state in ("lost", "error") or gpu.mig
    is_foreign = gpu.vendor not in ("NVIDIA", None)
    is_silent = gpu.state is None and gpu.vendor != "Apple"
    if not is_usable and (is_broken or gpu.vendor == "Intel" or (is_foreign and not is_preview)):
        return None
    if found := _in_ram(ordinal, gpu, hardware):
        return replace(found, is_silent=is_silent)
    if is_usable and gpu.vram_bytes:
        return _made(ordinal, gpu, gpu.vram_bytes)
    if gpu.vendor == "Apple":
        return None
    known = models.find(gpu.name, gpu.pci_id, gpu.vram_bytes)
    size = gpu.vram_bytes or (int(known.vram_bytes * _ASSUMED_SHARE) if known and known.vram_bytes else 0)
    return _made(ordinal, gpu, size, is_assumed=True, is_silent=is_silent) if size else None


def _made(ordinal: int, gpu: Gpu, vram_bytes: int, *, is_assumed: bool = False, is_silent: bool = False) -> Device:
    known = models.find(gpu.name, gpu.pci_id, vram_bytes)
    name = (known.name if known and (gpu.is_name_cut or not gpu.name) else gpu.name) or gpu.pci_id or "unknown GPU"
    throughput = pace_of_gpu(gpu, known)
    offered = vram_bytes - reserve_bytes(gpu, vram_bytes)
    return Device(ordinal, gpu, name, vram_bytes, offered, throughput, is_assumed, is_silent=is_silent)


def _in_ram(ordinal: int, gpu: Gpu, hardware: Hardware) -> Device | None:
    """A GPU that works in the memory of the whole machine, as Apple's, GB10's and those of APUs do."""
    total = hardware.ram_bytes
    if gpu.vendor == "Apple" and total:
        name = gpu.name or hardware.chip or "Apple GPU"
        offered = int(total * (_SMALL_MAC_SHARE if total <= _SMALL_MAC_BYTES else _MAC_SHARE))
        offered = max(0, offered - (gpu.reserve_bytes or 0))
        return Device(ordinal, gpu, name, total, offered, throughput_of(name, None), is_assumed=True, is_in_ram=True)
    if not gpu.ram_share or not total:
        return None
    count = sum(1 for one in hardware.gpus if one.ram_share)
    # The kernel's limit is a part of all memory, not of what services may take.
    whole = total if gpu.vendor == "AMD" else ram_of(hardware)[1]
    limit = (gpu.gtt_bytes or int(whole * gpu.ram_share)) - (_LEAST_RESERVE_BYTES if gpu.vendor == "AMD" else 0)
    offered = min(ram_of(hardware)[1], limit) // count
    # The BIOS may set memory aside for an APU: that is no RAM any more.
    if gpu.vendor == "AMD" and (gpu.vram_bytes or 0) > offered:
        return None
    known = models.find(gpu.name, gpu.pci_id)
    name = gpu.name or (known.name if known else "unknown GPU")
    offered = max(0, offered - (gpu.reserve_bytes or 0))
    return Device(ordinal, gpu, name, total // count, offered, pace_of_gpu(gpu, known), is_in_ram=True)


def pace_of_gpu(gpu: Gpu, known: models.GpuModel | None) -> Throughput:
    """How fast a GPU reads its memory; a card without a row in the catalogue counts as a slow one of its size."""
    if known and known.bandwidth_gbytes_per_second:
        return throughput_of(known.name, known.bandwidth_gbytes_per_second)
    capability = gpu.compute_capability or models.architecture(gpu.pci_id)[1]
    return Throughput(_SLOW, gpu.vendor, capability, "rocm" if gpu.vendor == "AMD" else "cuda", is_known=False)


def reserve_bytes(gpu: Gpu, vram_bytes: int) -> int:
    """What stays free of a GPU: 512 MiB or 2 %, what its owner keeps or a display takes, more of large Blackwell."""
    display = _DISPLAY_BYTES if gpu.has_display else 0
    display = display if gpu.reserve_bytes is None else gpu.reserve_bytes
    is_large_blackwell = (gpu.compute_capability or "").startswith("12") and vram_bytes > 40 * GIB
    context = _LARGE_CONTEXT_BYTES if is_large_blackwell else 0
    return min(vram_bytes, max(_LEAST_RESERVE_BYTES, vram_bytes // 50) + display + context)


def reserved(hardware: Hardware, reserve: int | Mapping[int, int] | None) -> Hardware:
    """The rig with what its owner keeps free, of every GPU or of some by index.

    Raises:
        Refused: one that is named is not there, or has not as much.
    """
    if reserve is None:
        return hardware
    named = () if isinstance(reserve, int) else tuple(reserve)
    known = [gpu.index for gpu in hardware.gpus if gpu.index is not None]
    # Where a driver fails no index is known, and a plan says that first.
    if hardware.gpus and (missing := next((index for index in named if index not in known), None)) is not None:
        there = ", ".join(map(str, known)) or "none with an index"
        raise Refused(f"rig.reserve: there is no GPU {missing}; this rig has {there}")
    return replace(hardware, gpus=tuple(_reserved(gpu, reserve) for gpu in hardware.gpus))


def _reserved(gpu: Gpu, reserve: int | Mapping[int, int]) -> Gpu:
    size = reserve if isinstance(reserve, int) else reserve.get(-1 if gpu.index is None else gpu.index)
    if size is not None and gpu.vram_bytes and size >= gpu.vram_bytes:
        has = f"GPU {gpu.index} has {format_bytes(gpu.vram_bytes)}"
        raise Refused(f"rig.reserve: {has}, so that {format_bytes(size)} cannot stay free; reserve less of it")
    return gpu if size is None else replace(gpu, reserve_bytes=size)


def idle_gpus(hardware: Hardware, used: tuple[Device, ...]) -> tuple[Reason, ...]:
    """Why GPUs that are there may not serve, once for each cause."""
    serving = {device.ordinal for device in used}
    idle = [gpu for ordinal, gpu in enumerate(hardware.gpus) if ordinal not in serving]
    causes = dict.fromkeys(why_unused(gpu) for gpu in idle)
    lines = []
    for cause in causes:
        mine = [gpu for gpu in idle if why_unused(gpu) == cause]
        is_failing = any(gpu.state in ("lost", "error") for gpu in mine)
        choice = "A GPU FAILS" if is_failing else "A GPU IS NOT USED" if used else NO_GPU
        lines.append(Reason(choice=choice, because=f"{gpu_labels(mine)}: {cause}"))
    return tuple(lines)


def unsized(hardware: Hardware) -> tuple[str, ...]:
    """The GPUs that answer but whose memory and model were not recorded."""
    found = (one for one in hardware.gpus if one.state == "ok" and not one.mig and not one.vram_bytes and not one.name)
    return tuple(gpu_label(gpu) for gpu in found if not models.find(None, gpu.pci_id))


def with_gpu(hardware: Hardware, model: models.GpuModel, *, pcie: PcieLink = _NO_LINK) -> Hardware:
    """What if one GPU more were there? It has no links to others, and a driver answers for it."""
    index = max((gpu.index for gpu in hardware.gpus if gpu.index is not None), default=-1) + 1
    size = int((model.vram_bytes or 0) * _ASSUMED_SHARE)
    gpu = Gpu(
        index=index,
        uuid=f"GPU-what-if-{index}",
        vendor=model.vendor,
        name=model.name,
        vram_bytes=size or None,
        compute_capability=model.compute_capability,
        ram_share=model.ram_share,
        state="ok",
        mig=False,
        pcie=pcie,
    )
    return replace(hardware, gpus=(*hardware.gpus, gpu), gpu_count=len(hardware.gpus) + 1)


def named(hardware: Hardware, models_by_index: dict[int, models.GpuModel]) -> Hardware:
    """What if GPUs that a recording does not name were of these models?"""
    gpus = []
    for gpu in hardware.gpus:
        model = models_by_index.get(gpu.index) if gpu.index is not None else None
        if model is None or gpu.vram_bytes or gpu.state in ("lost", "error"):
            gpus.append(gpu)
            continue
        size = int((model.vram_bytes or 0) * _ASSUMED_SHARE) or None
        lines = replace(gpu, name=gpu.name or model.name, vram_bytes=size, vendor=model.vendor)
        gpus.append(replace(lines, ram_share=model.ram_share))
    return replace(hardware, gpus=tuple(gpus))


def host_of(hardware: Hardware) -> Host:
    """What the CPU's side of the rig brings: cores; its memory's speed is not recorded anywhere yet."""
    return Host(ram_gbytes_per_second=None, cores=hardware.cpu.physical_cores, pcie_gbytes_per_second=None)


def ram_of(hardware: Hardware) -> tuple[int, int]:
    """RAM as it is, and what services may take: all but 1 GiB and 5 % for the system, never less than three quarters.

    A recording without its RAM counts as 16 GiB.
    """
    total = hardware.ram_bytes or _ASSUMED_RAM_BYTES
    return total, max(0, total - min(GIB + total // 20, total // 4))


def unsized_silent(hardware: Hardware) -> list[Gpu]:
    """NVIDIA GPUs that no driver answers for and whose memory the catalogue does not know: no plan can use them yet."""
    planned = {device.ordinal for device in devices(hardware)}
    rest = [gpu for ordinal, gpu in enumerate(hardware.gpus) if ordinal not in planned]
    return [gpu for gpu in rest if gpu.vendor in ("NVIDIA", None) and gpu.state is None and not gpu.vram_bytes]


def gpu_label(gpu: Gpu, name: str = "") -> str:
    """How messages name a GPU: `GPU 0 (NVIDIA GeForce RTX 3090)`; `name` is for one that does not tell its own."""
    return f"GPU {_number(gpu)} ({_name(gpu, name)})"


def gpu_labels(gpus: Iterable[Gpu | Device]) -> str:
    """`GPUs 0–7 (NVIDIA H100), GPU 8 (NVIDIA L4)`: those of one name together."""
    groups: dict[str, list[str]] = {}
    for one in gpus:
        gpu, name = (one.gpu, one.name) if isinstance(one, Device) else (one, "")
        groups.setdefault(_name(gpu, name), []).append(_number(gpu))
    return ", ".join(f"GPU{'s' * (len(found) > 1)} {spans(found)} ({name})" for name, found in groups.items())


def _number(gpu: Gpu) -> str:
    return str(gpu.pci_address if gpu.index is None else gpu.index)


def _name(gpu: Gpu, name: str) -> str:
    return gpu.name or name or gpu.pci_id or "unknown"


def spans(numbers: Sequence[str]) -> str:
    """`0–7` of eight numbers in a row, else `0, 2, 5`."""
    row = [int(number) for number in numbers] if all(number.isdecimal() for number in numbers) else []
    is_span = len(row) > 2 and row == list(range(row[0], row[0] + len(row)))
    return f"{row[0]}–{row[-1]}" if is_span else ", ".join(numbers)


def why_unused(gpu: Gpu) -> str:
    """Why a GPU that is there serves nothing, and what to do."""
    if gpu.state == "lost":
        return "it no longer answers; power the rig off and on"
    if gpu.state == "error":
        return "it reports errors; look at `rigwright hardware`"
    if gpu.mig:
        return f"it is cut into MIG devices; `nvidia-smi -i {gpu.index} -mig 0` joins them"
    if gpu.vendor == "Apple" and not gpu.vram_bytes:
        return "its memory is the machine's, which was not recorded; name that with --ram SIZE"
    if gpu.vendor not in ("NVIDIA", None):
        way = "; rig.llamacpp.backend: vulkan serves from it" if gpu.vendor == "AMD" else ""
        return f"llama.cpp is built for CUDA or the CPU here, and it is from {gpu.vendor}{way}"
    if gpu.state == "ok":
        name = "" if gpu.name else "name its model with --gpu-model NAME, or "
        return f"its memory was not recorded; {name}record the machine with `rigwright hardware --record`"
    return "no driver answers for it; install the NVIDIA driver, then deploy again"
