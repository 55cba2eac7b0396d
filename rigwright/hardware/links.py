"""How two GPUs reach each other: the ranking of link classes, what they carry, which GPUs NVLinks or XGMI connect."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import combinations

from rigwright.hardware.models import find, pcie_gbytes_per_second
from rigwright.hardware.reading import Pair
from rigwright.hardware.values import Gpu, Hardware, Link

# Source: the legend of `nvidia-smi topo -m`; rocm-smi prints XGMI or PCIE, which says nothing of switches.
RANKS = {"SYS": 1, "SOC": 1, "NODE": 2, "PCIE": 2, "PHB": 3, "PXB": 4, "PIX": 5}
NVLINK_RANK = 5
NVLINK = re.compile(r"NV([0-9]{1,2})")

Group = tuple[int, ...]


def nvlinks_of(kind: str | None) -> int:
    """The number of bonded NVLinks of a class: 4 for `NV4`, 0 for all others."""
    found = NVLINK.fullmatch(kind or "")
    return int(found[1]) if found else 0


def rank(kind: str | None) -> int:
    """The place of a class in the ranking, 0 for one that is not known."""
    if kind == "XGMI":
        return NVLINK_RANK + 1
    links = nvlinks_of(kind)
    return NVLINK_RANK + links if links else RANKS.get(kind or "", 0)


def islands(hardware: Hardware) -> tuple[Group, ...]:
    """GPUs that NVLinks connect, directly or over others: connected components of two and more."""
    return _components((link.first, link.second) for link in hardware.links if nvlinks_of(link.kind))


# Fewer bonded links than this join GPUs board to board, without switches.
SWITCHED_LINKS = 12


def outsiders(hardware: Hardware) -> dict[int, int]:
    """The GPUs that NVLink should join with the others and does not, with the links that those have.

    Without the models only a matrix of NVSwitches tells: three GPUs and more that are all joined by as many links as
    no bridge between two of three has. A GPU cut into MIG devices has no NVLink.
    """
    kinds = {(link.first, link.second): link.kind for link in hardware.links if link.kind}
    found: dict[int, int] = {}
    for island in islands(hardware):
        counts = {nvlinks_of(kinds.get(pair)) for pair in combinations(island, 2)}
        models = {gpu.index: find(gpu.name, gpu.pci_id, gpu.vram_bytes) for gpu in hardware.gpus}
        model = next((models[index] for index in island if models.get(index)), None)
        is_even = len(island) > 2 and len(counts) == 1 and min(counts) > 0
        is_switched = is_even and min(counts) >= SWITCHED_LINKS
        is_board = is_even and model is not None and model.nvlink_links > 0 and not model.nvlink_is_bridge
        for gpu in hardware.gpus:
            if gpu.index is None or gpu.index in island or gpu.mig or gpu.state in ("lost", "error"):
                continue
            ways = [kinds.get((min(gpu.index, one), max(gpu.index, one))) for one in island]
            is_alone = not any(nvlinks_of(kind) and gpu.index in pair for pair, kind in kinds.items())
            is_same = models.get(gpu.index) == model if model and gpu.name else is_switched and not gpu.name
            if is_alone and all(ways) and is_same and (is_switched or is_board):
                found[gpu.index] = max(counts)
    return found


def xgmi_islands(hardware: Hardware) -> tuple[Group, ...] | None:
    """The same for AMD's XGMI, None where no kind of link was recorded."""
    if hardware.vendor != "AMD" or not any(link.kind for link in hardware.links):
        return None
    return _components((link.first, link.second) for link in hardware.links if link.kind == "XGMI")


def link_gbytes_per_second(hardware: Hardware, link: Link) -> float | None:
    """What a link carries in one direction: the NVLinks together, or the narrower PCIe link of the two GPUs.

    Source: `nvidia-smi nvlink -s` where recorded, else the catalogue; PCIe from signalling rate and encoding.
    """
    ends = [gpu for gpu in hardware.gpus if gpu.index in (link.first, link.second)]
    if links := nvlinks_of(link.kind):
        speeds = hardware.nvlink_gbytes_per_second.get(link.first) or ()
        model = next((found for gpu in ends if (found := find(gpu.name, gpu.pci_id, gpu.vram_bytes))), None)
        speed = max(speeds) if speeds else model.nvlink_gbytes_per_second_per_link if model else None
        return round(links * speed, 1) if speed else None
    if rank(link.kind) > NVLINK_RANK or len(ends) < 2:
        return None
    rates = [_pcie_rate(gpu) for gpu in ends]
    known = [rate for rate in rates if rate is not None]
    return round(min(known), 1) if len(known) == len(rates) else None


def _components(edges: Iterable[Pair]) -> tuple[Group, ...]:
    member: dict[int, set[int]] = {}
    for a, b in edges:
        joined = member.get(a, {a}) | member.get(b, {b})
        for index in joined:
            member[index] = joined
    return tuple(sorted({tuple(sorted(group)) for group in member.values()}))


def _pcie_rate(gpu: Gpu) -> float | None:
    """The generation falls at idle, so the best one counts; the width does not."""
    gen, lanes = gpu.pcie.gen_max or gpu.pcie.gen_current, gpu.pcie.width_current or gpu.pcie.width_max
    return pcie_gbytes_per_second(gen, lanes) if gen and lanes else None
