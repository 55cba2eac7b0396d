"""What the owner of a rig should know beyond what its tools say: slow slots, sleeping links, odd mixtures."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations

from rigwright.hardware.links import SWITCHED_LINKS, islands, link_gbytes_per_second, nvlinks_of, outsiders
from rigwright.hardware.models import GpuModel, find, pcie_gbytes_per_second
from rigwright.hardware.statements import Precedence, Source
from rigwright.hardware.values import Gpu, Hardware, Problem

# Source: recorded large copies reach 80 to 88 % of a link: 12.4 to 13.1 GB/s on gen 3 x16, 24.6 to 26.3 on gen 4.
SLOW_COPY = 0.6
# In a laptop the GPU is soldered, and x8 is what its maker wired.
_LAPTOP = re.compile(r"\b(?:Laptop GPU|Mobile|with Max-Q(?: Design)?)\b")
_ON_BOARD = re.compile(r"\b(?:GB10|GH200|GB[23]00|Thor|Orin|Xavier|Tegra)\b")


def findings(hardware: Hardware, sources: Sequence[Source]) -> Hardware:
    """The same machine, with what the whole picture says added to its problems; each code and place once."""
    found = [
        *_versions(hardware, sources),
        *(problem for problem in hardware.problems if problem.code != "driver_missing" or _needs_driver(hardware)),
        *_missing(hardware, sources),
        *_one_of_many(hardware),
        *_models(hardware),
        *(problem for gpu in hardware.gpus for problem in _of_gpu(gpu, sources)),
        *_bridges(hardware),
        *_fabric(hardware),
        *_outside(hardware),
        *_unlisted(hardware, sources),
        *_power(hardware),
        *_numa(hardware),
    ]
    first: dict[tuple[str, str], Problem] = {}
    for problem in found:
        first.setdefault((problem.code, problem.where), problem)
    return replace(hardware, problems=tuple(first.values()))


def _needs_driver(hardware: Hardware) -> bool:
    """Whether NVIDIA's driver has something to drive here; on a machine that nobody looked into, it may."""
    return hardware.vendor in ("NVIDIA", None) and hardware.gpu_count != 0


def is_on_board(gpu: Gpu) -> bool:
    """Whether the GPU is soldered beside its CPU, which it reaches over C2C: what it says of PCIe means nothing.

    Source: every DGX Spark reports x1 of x16, gen 1 at best.
    """
    return bool(gpu.ram_share) or bool(_ON_BOARD.search(gpu.name or ""))


def possible_lanes(gpu: Gpu) -> int | None:
    """The lanes that slot and card can do together, None where nobody says.

    A driver may call a card of 8 lanes one of 16 (two RTX 5060 Ti of one rig, 8 and 16): the model knows better.
    """
    model = find(gpu.name, gpu.pci_id, gpu.vram_bytes)
    limits = [gpu.pcie.width_max, gpu.slot.width_max, model.pcie_lanes if model else None]
    return min((limit for limit in limits if limit), default=None)


def _of_gpu(gpu: Gpu, sources: Sequence[Source]) -> Iterator[Problem]:
    if not is_on_board(gpu):
        yield from _lanes(gpu)
        yield from _generation(gpu, sources)
        yield from _copies(gpu)
    if gpu.mig:
        parts = ", ".join(f"{count}×{name}" for name, count in Counter(gpu.mig_devices).items()) or "MIG devices"
        what = f"MIG is on: the GPU is cut into {parts} and takes no part in a group"
        target = gpu.index if gpu.index is not None else gpu.pci_address or gpu.uuid or "<GPU>"
        do = f"to use it whole: stop what runs on it, `nvidia-smi -i {target} -mig 0`"
        yield Problem("mig_enabled", gpu.label, what, do)


def _lanes(gpu: Gpu) -> Iterator[Problem]:
    now, possible = gpu.pcie.width_current, possible_lanes(gpu)
    if _LAPTOP.search(gpu.name or ""):
        return
    model = find(gpu.name, gpu.pci_id, gpu.vram_bytes)
    if now and possible and now < possible:
        what = f"the PCIe link runs x{now}, slot and card can do x{possible}{_rates(gpu, possible)}"
        do = (
            f"nothing where the slot is wired for x{now}, as second slots are; else reseat card and riser, clean the "
            "contacts, look for bifurcation in the BIOS and an M.2 that shares lanes"
        )
        yield Problem("link_width_reduced", gpu.label, what, do)
    elif gpu.slot.width_max and model and model.pcie_lanes and gpu.slot.width_max < model.pcie_lanes:
        what = f"the slot has x{gpu.slot.width_max}, the card x{model.pcie_lanes}"
        yield Problem("slot_narrower_than_card", gpu.label, what, "move it to a wider slot if one is free")


def _rates(gpu: Gpu, possible: int) -> str:
    gen, now = gpu.pcie.gen_max or gpu.pcie.gen_current, gpu.pcie.width_current
    if not gen or not now:
        return ""
    return f": {pcie_gbytes_per_second(gen, now):.1f} instead of {pcie_gbytes_per_second(gen, possible):.1f} GB/s"


def _generation(gpu: Gpu, sources: Sequence[Source]) -> Iterator[Problem]:
    """Generation 1 at idle is how a card saves power; under load it is a fault. A GPU in use was not put under load."""
    loaded = any(
        other.pcie.gen_current and gpu.index is not None and other.index == gpu.index
        for source in sources
        if source.under_load
        for other in source.reading.gpus
    )
    now, best = gpu.pcie.gen_current, gpu.pcie.gen_max
    if loaded and now and best and now < best:
        what = f"the PCIe link stays at gen {now} under load, gen {best} is possible"
        do = "set the slot to this generation in the BIOS, replace the riser; `dmesg` may show PCIe errors (AER)"
        yield Problem("link_generation_reduced", gpu.label, what, do)


def _copies(gpu: Gpu) -> Iterator[Problem]:
    gen, lanes, copied = gpu.pcie.gen_max, possible_lanes(gpu), gpu.copied_gbytes_per_second
    if gen and lanes and copied is not None and copied < SLOW_COPY * pcie_gbytes_per_second(gen, lanes):
        rate = pcie_gbytes_per_second(gen, lanes)
        what = f"a copy from RAM reached {copied:.1f} GB/s of {rate:.1f} (gen {gen} x{lanes})"
        do = "a switch or chipset slot before the card is narrower, or the CPU is busy: compare with the other GPUs"
        yield Problem("transfer_slow", gpu.label, what, do)


def _versions(hardware: Hardware, sources: Sequence[Source]) -> Iterator[Problem]:
    """The driver's libraries and its kernel module belong together; nvidia-smi itself does not name the module's."""
    loaded = {source.reading.kernel_module_version for source in sources} - {None}
    used = {source.reading.driver_version for source in sources} - {None}
    lines = [problem for problem in hardware.problems if problem.code == "driver_library_mismatch"]
    for module in sorted(version for version in loaded if version):
        yield from (
            replace(problem, what=f"{problem.what}, {module}") for problem in lines if module not in problem.what
        )
        for library in sorted(version for version in used if version and version != module and not lines):
            what = f"the loaded kernel module is {module}, nvidia-smi says {library}"
            yield Problem("driver_library_mismatch", "driver", what, "reboot, or unload and load the nvidia modules")


def _missing(hardware: Hardware, sources: Sequence[Source]) -> Iterator[Problem]:
    """GPUs on the PCI bus that a working driver does not list."""
    if not any(source.reading.is_driver_list and source.reading.gpus for source in sources):
        return
    do = "look for NVRM lines in `journalctl -k`; reseat it, check its power cables, turn on Above 4G decoding"
    found = [one for one in hardware.gpus if one.index is None and one.pci_address and one.state is None]
    for gpu in found:
        if gpu.vendor == hardware.vendor:
            what = f"{gpu.name or gpu.pci_id or 'a GPU'} is on the PCI bus, the driver does not list it"
            yield Problem("gpu_missing_from_driver", gpu.pci_address or "GPUs", what, do)
    on_bus, listed = _counts(hardware, sources)
    if not found and listed and on_bus > listed:
        what = f"{on_bus} GPUs are on the PCI bus, the driver lists {listed}"
        yield Problem("gpu_missing_from_driver", "GPUs", what, do)


def _counts(hardware: Hardware, sources: Sequence[Source]) -> tuple[int, int]:
    """How many GPUs the PCI bus has that nothing else is said of, and how many the driver's own tool lists.

    A list by index and UUID alone does not tell which of them is missing.
    """
    told = {problem.where for problem in hardware.problems}
    on_bus = (
        sum(gpu.vendor == hardware.vendor and gpu.state is None and gpu.pci_address not in told for gpu in one.gpus)
        for source in sources
        if (one := source.reading).is_bus
    )
    listed = (
        len(source.reading.gpus)
        for source in sources
        if source.precedence <= Precedence.TABLE and source.reading.is_whole
    )
    return max(on_bus, default=0), max(listed, default=0)


def _one_of_many(hardware: Hardware) -> Iterator[Problem]:
    """Some GPUs answer and some do not: what runs on the others goes on, a new start may fail on all."""
    lost = [gpu for gpu in hardware.gpus if gpu.state == "lost" or (gpu.state == "error" and gpu.name is None)]
    well = [gpu for gpu in hardware.gpus if gpu.state == "ok"]
    is_told = any(problem.code == "one_gpu_lost" for problem in hardware.problems)
    if lost and well and not is_told:
        what = f"does not answer, while {len(well)} other{'s' if len(well) > 1 else ''} of this rig still do"
        do = "move services to the GPUs that answer, then power the rig off and on; check riser, power cables, heat"
        yield Problem("one_gpu_lost", _labels(lost), what, do)


def _models(hardware: Hardware) -> Iterator[Problem]:
    # A card that only the bus knows is named in other words: those that a driver lists are compared, or all of the bus.
    named = [gpu for gpu in hardware.gpus if gpu.name and not gpu.is_name_cut]
    answering = [gpu for gpu in named if gpu.state == "ok"]
    counts = Counter(gpu.name for gpu in answering or [gpu for gpu in named if gpu.state is None])
    if len(counts) > 1:
        lines = ", ".join(f"{count}×{name}" for name, count in counts.items())
        do = "each model serves on its own; across models only layers can be split, at the pace of the slower card"
        yield Problem("mixed_models", "GPUs", f"different models: {lines}", do)


def _bridges(hardware: Hardware) -> Iterator[Problem]:
    """A bridge of which some links sleep; NVLink without direct access; links that two readings disagree on."""
    by_index = {gpu.index: gpu for gpu in hardware.gpus}
    for link in hardware.links:
        links = nvlinks_of(link.kind)
        model = _model(by_index.get(link.first))
        where = f"GPU {link.first} and GPU {link.second}"
        if links and model and model.nvlink_is_bridge and model.nvlink_links and links < model.nvlink_links:
            rate = link_gbytes_per_second(hardware, link)
            what = f"{links} of {model.nvlink_links} NVLinks of the bridge are up{f': {rate:.0f} GB/s' if rate else ''}"
            yield Problem("nvlink_down", where, what, "reseat the bridge, then `nvidia-smi nvlink -s` and -e")
        if links and link.p2p not in (None, "OK"):
            what = f"joined by {link.kind}, but direct access is refused ({link.p2p})"
            do = "reboot after installing the bridge; in a virtual machine pass both cards through together"
            yield Problem("nvlink_without_p2p", where, what, do)


def _fabric(hardware: Hardware) -> Iterator[Problem]:
    """A GPU on NVSwitches has all its links to every other one: fewer, where another pair has all, are down.

    Without the model all are as many as the best pair has, where each has more than a bridge could.
    """
    by_pair = {(link.first, link.second): nvlinks_of(link.kind) for link in hardware.links}
    for island in islands(hardware):
        model = _model(next((gpu for gpu in hardware.gpus if gpu.index == island[0]), None))
        counts = [by_pair.get(pair, 0) for pair in combinations(island, 2)]
        seen = max(counts) if min(counts) >= SWITCHED_LINKS else 0
        whole = seen if not model else model.nvlink_links if not model.nvlink_is_bridge else 0
        if len(island) < 3 or not whole or whole not in by_pair.values():
            continue
        for index in island:
            mine = [count for pair, count in by_pair.items() if index in pair and count]
            if mine and max(mine) < whole:
                what = f"{max(mine)} of {whole} NVLinks to the switches are up"
                do = f"`nvidia-smi nvlink -s -i {index}` and -e show which; look for Xid 74 in `journalctl -k`"
                yield Problem("nvlink_down", f"GPU {index}", what, do)


def _outside(hardware: Hardware) -> Iterator[Problem]:
    """A GPU that stands beside an NVSwitch island with all its links down: a group with it would run over PCIe."""
    for index, links in outsiders(hardware).items():
        what = f"none of its NVLinks is up, the other GPUs reach each other over {links}: it is in no group"
        do = f"`nvidia-smi nvlink -s -i {index}` and -e show its links; look for Xid 74 in `journalctl -k` and at "
        do += "`systemctl status nvidia-fabricmanager`; reset all GPUs or reboot; if it stays, the board is at fault"
        yield Problem("nvlink_down", f"GPU {index}", what, do)


def _unlisted(hardware: Hardware, sources: Sequence[Source]) -> Iterator[Problem]:
    """A list that shows fewer GPUs than the driver has, where no other shows the rest."""
    for source in sources:
        attached, listed = source.reading.attached, len(source.reading.gpus)
        if attached and attached > len(hardware.gpus):
            what = f"{attached} attached, {listed} listed: the other GPUs are not in it"
            do = "record all: `nvidia-smi -q -x` without -i; if it lists no more, look for Xid in `journalctl -k`"
            yield Problem("gpus_not_listed", source.name, what, do)
        is_taken = source.precedence == Precedence.XML and source.reading.is_whole and listed > 0
        if is_taken and attached is None and not _is_listed_elsewhere(source, sources):
            what = f"does not say how many GPUs there are; taken for all: the {listed} in it"
            yield Problem("gpu_count_not_said", source.name, what, "record all: `nvidia-smi -q -x`, not an excerpt")


def _is_listed_elsewhere(source: Source, sources: Sequence[Source]) -> bool:
    """Whether another whole list has as many GPUs."""
    others = [other.reading for other in sources if other is not source]
    return any(other.is_whole and len(other.gpus) == len(source.reading.gpus) for other in others)


def _power(hardware: Hardware) -> Iterator[Problem]:
    limits: dict[str, set[float]] = {}
    for gpu in hardware.gpus:
        if gpu.name and gpu.power.current:
            limits.setdefault(gpu.name, set()).add(gpu.power.current)
    for name, found in limits.items():
        if len(found) > 1:
            lines = " and ".join(f"{limit:g} W" for limit in sorted(found))
            what = f"{name}: power limits differ ({lines}); in a group the slower card sets the pace"
            yield Problem("power_limits_differ", "GPUs", what, "set one limit for all with `nvidia-smi -pl`")


def _numa(hardware: Hardware) -> Iterator[Problem]:
    unknown = [gpu for gpu in hardware.gpus if gpu.numa_node is None and gpu.numa_affinity]
    if unknown and (hardware.cpu.sockets or 1) > 1:
        what = f"the firmware does not say to which of {hardware.cpu.sockets} sockets the GPUs belong"
        do = "update the BIOS; until then the link classes (SYS or not) show which GPUs share a socket"
        yield Problem("numa_unknown", _labels(unknown), what, do)


def _labels(gpus: Iterable[Gpu]) -> str:
    return ", ".join(gpu.label for gpu in gpus)


def _model(gpu: Gpu | None) -> GpuModel | None:
    return find(gpu.name, gpu.pci_id, gpu.vram_bytes) if gpu else None
