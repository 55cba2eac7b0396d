"""How a person reads what a machine says of itself: short, and without what could confuse a terminal or a drawing."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rigwright.hardware.values import Cpu, Gpu, Hardware, Link, PcieLink, PowerLimit
from rigwright.units import format_bytes

# What XML 1.0 forbids and what a terminal obeys: control characters, surrogates, marks that turn the writing around.
_UNFIT = re.compile(
    "[^\x20-\x7e\xa0-\u061b\u061d-\u200d\u2010-\u2027\u202f-\u2065\u206a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
)
_BRANDS = re.compile(
    r"^(?:NVIDIA|AMD|Advanced Micro Devices, Inc\.|Intel)\s+(?=\S)|\b(?:GeForce|Instinct|Tesla)\s+(?=\S)"
)
NOT_SERVED = "Intel GPUs are not served yet: models run on the CPU"
_CPU_NOISE = re.compile(r"\((?:R|TM|r|tm)\)|\bCPU\b|\b\d+-Core\b|\bProcessors?\b|@.*$")


def clean(text: str) -> str:
    """One line of printable text: a name that a machine gave may hold anything."""
    return " ".join(_UNFIT.sub(" ", text).split())


def short_name(gpu: Gpu) -> str:
    """`RTX 3090`: without the maker."""
    name = clean(gpu.name or "")
    return _BRANDS.sub("", _BRANDS.sub("", name)) or clean(gpu.pci_id or "") or "unknown GPU"


def pcie_words(link: PcieLink) -> str:
    """`gen 4 x8 of x16 (now gen 1)`; empty where nothing is known."""
    best, now = link.gen_max or link.gen_current, link.gen_current
    width, widest = link.width_current or link.width_max, link.width_max
    words = [f"gen {best}"] if best else []
    words += [f"x{width}"] if width else []
    words += [f"of x{widest}"] if width and widest and width < widest else []
    words += [f"(now gen {now})"] if best and now and now < best else []
    return " ".join(words)


def power_words(power: PowerLimit) -> str:
    """`250 of 350 W`: the limit, and what was delivered where that differs."""
    if power.current is None:
        return ""
    differs = power.default is not None and round(power.default) != round(power.current)
    return f"{power.current:.0f} of {power.default:.0f} W" if differs else f"{power.current:.0f} W"


def cpu_words(cpu: Cpu) -> str:
    """`2x EPYC 7302, 32 cores`; empty where nothing is known."""
    if cpu == Cpu():
        return ""
    model = " ".join(_CPU_NOISE.sub(" ", clean(cpu.model)).split()) if cpu.model != "unknown" else "CPU"
    sockets = f"{cpu.sockets}x " if cpu.sockets and cpu.sockets > 1 else ""
    return f"{sockets}{model}" + (f", {cpu.physical_cores} cores" if cpu.physical_cores else "")


def rig_words(hardware: Hardware) -> list[str]:
    """CPU, RAM, OS and driver, what is known of them."""
    named = "" if hardware.os_id == "unknown" else clean(hardware.os_id)
    system = " ".join(filter(None, (named, clean(hardware.os_version))))
    words = [
        clean(hardware.chip or "") or cpu_words(hardware.cpu),
        f"{format_bytes(hardware.ram_bytes)} RAM" if hardware.ram_bytes else "",
        system,
        f"driver {clean(hardware.driver_version)}" if hardware.driver_version else "",
    ]
    return [word for word in words if word]


def count_words(hardware: Hardware) -> str:
    """`4x RTX 3090`, `2x RTX 3090 + 1x RTX 5090`, `no GPU`."""
    if not hardware.gpus:
        return (
            "no GPU"
            if hardware.gpu_count == 0
            else "GPUs unknown"
            if hardware.gpu_count is None
            else (f"{hardware.gpu_count} GPUs")
        )
    if not any(gpu.name for gpu in hardware.gpus):
        return f"{len(hardware.gpus)} GPU{'s' if len(hardware.gpus) > 1 else ''}"
    names = [short_name(gpu) if gpu.name else "unnamed" for gpu in hardware.gpus]
    return " + ".join(f"{names.count(name)}x {name}" for name in dict.fromkeys(names))


def speed_words(gbytes_per_second: float | None) -> str:
    """`56 GB/s`; empty where unknown."""
    if gbytes_per_second is None:
        return ""
    return f"{gbytes_per_second:.0f} GB/s" if gbytes_per_second >= 10 else f"{gbytes_per_second:.1f} GB/s"


def node_words(gpu: Gpu) -> str:
    """The NUMA node, or what was printed in its place: `0`, `0-1?`."""
    if gpu.numa_node is not None:
        return str(gpu.numa_node)
    return f"{clean(gpu.numa_affinity)}?" if gpu.numa_affinity else ""


def p2p_words(links: Sequence[Link]) -> str:
    """`OK between all`, or `OK 0-3 1-2, CNS elsewhere`; empty where nobody recorded it."""
    pairs: dict[str, list[str]] = {}
    for link in links:
        if link.p2p:
            pairs.setdefault(clean(link.p2p), []).append(f"{link.first}-{link.second}")
    rows = sorted(pairs.items(), key=lambda row: len(row[1]))
    words = [f"{status} {' '.join(named)}" for status, named in rows]
    if rows and sum(len(named) for _, named in rows) == len(links):
        words[-1] = f"{rows[-1][0]} {'elsewhere' if len(rows) > 1 else 'between all'}"
    return ", ".join(words)


def visible_devices(hardware: Hardware, order: Sequence[int]) -> str:
    """`0,3,1,2` as the vendor's runtime counts; nothing for GPUs that no runtime here serves.

    HIP may number GPUs in another order than the driver: on an MI355X board GPU 4 is 5 for HIP.
    """
    if hardware.vendor == "Intel":
        return ""
    numbers = {gpu.index: gpu.hip_index for gpu in hardware.gpus}
    known = [numbers.get(index) for index in order]
    return ",".join(map(str, order if None in known else known))


def order_words(hardware: Hardware, order: Sequence[int]) -> str:
    """`CUDA_VISIBLE_DEVICES=0,3,1,2`, under the name that the vendor's runtime reads; Intel's has none here."""
    if hardware.vendor == "Intel":
        return NOT_SERVED
    name = "HIP_VISIBLE_DEVICES" if hardware.vendor == "AMD" else "CUDA_VISIBLE_DEVICES"
    return f"{name}={visible_devices(hardware, order)}"
