"""What is known of a GPU model beyond what its rig says: memory, links, power. Rows: rigwright/catalogue/gpus.yml."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, get_args

from rigwright import catalogue
from rigwright.hardware.values import Vendor

GIB = 1024**3
# A driver reports less than the box says: 22731 of 24576 MiB with ECC (A10G), 24564 on the RTX 3090 Ti, and never more.
_LEAST, _MOST = 0.90, 1.01
# What nvidia-smi and lspci put before a name or leave out: "NVIDIA" since driver 470, "Tesla" before.
_LEADS = re.compile(r"^(?:nvidia |amd |tesla |geforce )+")
_VENDORS: dict[str, Vendor] = {word: word for word in get_args(Vendor)}


@dataclass(frozen=True)
class GpuModel:
    """One model as delivered; None is not known.

    `vram_bytes` is the size on the box counted in GiB (24 GB: 24 GiB), a driver reports up to 8 % less.
    `ram_share`: its memory is the machine's, of which it may have that part. `nvlink_is_bridge`: its NVLinks all go to
    one other card, `nvlink_is_switched`: to switches. `pcie_*` are the card's own, without the slot.
    """

    name: str
    vendor: Vendor = "NVIDIA"
    chip: str | None = None
    architecture: str | None = None
    compute_capability: str | None = None
    vram_bytes: int | None = None
    ram_share: float | None = None
    bandwidth_gbytes_per_second: float | None = None
    nvlink_links: int = 0
    nvlink_gbytes_per_second_per_link: float | None = None
    nvlink_is_bridge: bool = False
    nvlink_is_switched: bool = False
    tdp_watts: float | None = None
    power_min_watts: float | None = None
    power_max_watts: float | None = None
    pcie_gen: int | None = None
    pcie_lanes: int | None = None
    notes: str = ""


@dataclass(frozen=True)
class _Row:
    model: GpuModel
    names: frozenset[str]
    shared_title: str | None
    shared_names: frozenset[str]
    pci_ids: frozenset[str]
    shared_pci_ids: frozenset[str]
    other_pci_ids: frozenset[str]
    modified_bytes: tuple[int, ...]


@cache
def find(name: str | None = None, pci_id: str | None = None, vram_bytes: int | None = None) -> GpuModel | None:
    """The model of a GPU by its PCI id, else by its name; None rather than a wrong guess.

    VRAM that the model never had says that it is another one. A size to which cards are known to be soldered
    (RTX 2080 Ti: 22 GB) becomes the model's. Where models share a name or an id and only their VRAM would tell which
    one it is (RTX 5060 Ti), what hangs on the size is None. A cut name (`NVIDIA GeForce RTX 30…`) finds nothing.
    """
    device, word = (pci_id or "").lower(), _normal(name or "")
    own = [row for row in _rows() if device in row.pci_ids]
    shared = [row for row in _rows() if device in row.shared_pci_ids]
    if not own and not shared:
        rows = [row for row in _rows() if device not in row.other_pci_ids]
        own = [row for row in rows if word in row.names]
        shared = [row for row in rows if word in row.shared_names]
    if not own and shared and not vram_bytes:
        named = [row for row in shared if word in row.names]
        return named[0].model if len(named) == 1 else _without_size(shared)
    fitting = [model for model in (_fit(row, vram_bytes) for row in own or shared) if model]
    return fitting[0] if len(fitting) == 1 else None


def architecture(pci_id: str | None) -> tuple[str | None, str | None]:
    """`("Ampere", "8.6")` of `10de:2204`, for cards without a row too; the capability where the chip has only one."""
    found = re.fullmatch(r"10de:([0-9a-f]{4})", (pci_id or "").lower())
    for part in catalogue.load("gpus")["architectures"] if found else ():
        if found and part["from"] <= found[1] <= part["to"]:
            return part["architecture"], part.get("compute_capability")
    return None, None


def pcie_gbytes_per_second(gen: int, lanes: int) -> float:
    """What a PCIe link carries in one direction, before the protocol's own share; 0 for a generation without a row."""
    rate = catalogue.load("gpus")["pcie"].get(str(gen))
    return float(rate["gt_per_second"] * rate["payload"][0] / rate["payload"][1] / 8 * lanes) if rate else 0.0


def _normal(name: str) -> str:
    """`rtx 3090` of `NVIDIA GeForce RTX 3090`; `a100 sxm4 40gb` of `A100-SXM4-40GB`."""
    words = " ".join(re.sub(r"[-_,()]", " ", name[:120].lower().replace("(tm)", "")).split())
    return _LEADS.sub("", words)


def _fit(row: _Row, vram_bytes: int | None) -> GpuModel | None:
    if not vram_bytes or not row.model.vram_bytes or _is_size(vram_bytes, row.model.vram_bytes):
        return row.model
    modified = next((size for size in row.modified_bytes if _is_size(vram_bytes, size)), None)
    return replace(row.model, vram_bytes=modified) if modified else None


def _without_size(rows: list[_Row]) -> GpuModel | None:
    """What models of one chip have in common: the chip, its capability, its PCIe lanes."""
    models = [row.model for row in rows]
    if len({(model.chip, model.compute_capability, model.pcie_gen, model.pcie_lanes) for model in models}) != 1:
        return None
    title = rows[0].shared_title or models[0].chip or models[0].name
    return replace(
        models[0],
        name=title,
        vram_bytes=None,
        bandwidth_gbytes_per_second=None,
        tdp_watts=None,
        power_min_watts=None,
        power_max_watts=None,
    )


def _is_size(reported: int, nominal: int) -> bool:
    return _LEAST * nominal <= reported <= _MOST * nominal


@cache
def _rows() -> tuple[_Row, ...]:
    return tuple(row for entry in catalogue.load("gpus")["gpus"] for row in _variants(entry))


def _variants(entry: Mapping[str, Any]) -> Iterator[_Row]:
    """A row, or one per variant of it, which has its own names, ids and memory."""
    for variant in entry.get("variants", [{}]):
        yield _row({**entry, **variant})


def _row(entry: Mapping[str, Any]) -> _Row:
    return _Row(
        model=_model(entry),
        names=frozenset(_normal(name) for name in [entry["name"], *entry.get("aliases", [])]),
        shared_title=next((f"NVIDIA {name}" for name in entry.get("shared_names", [])), None),
        shared_names=frozenset(_normal(name) for name in entry.get("shared_names", [])),
        pci_ids=frozenset(entry.get("pci_ids", [])),
        shared_pci_ids=frozenset(entry.get("shared_pci_ids", [])),
        other_pci_ids=frozenset(entry.get("other_pci_ids", [])),
        modified_bytes=tuple(size * GIB for size in entry.get("modified_vram_gb", [])),
    )


def _model(entry: Mapping[str, Any]) -> GpuModel:
    nvlink, pcie, power = entry.get("nvlink", {}), entry.get("pcie", {}), entry.get("power_watts", {})
    vram_gb = entry.get("vram_gb")
    return GpuModel(
        name=entry["name"],
        vendor=_VENDORS[entry.get("vendor", "NVIDIA")],
        chip=entry.get("chip"),
        architecture=entry.get("architecture"),
        compute_capability=entry.get("compute_capability"),
        vram_bytes=vram_gb * GIB if vram_gb else None,
        ram_share=entry.get("ram_share"),
        bandwidth_gbytes_per_second=entry.get("bandwidth_gbytes_per_second"),
        nvlink_links=nvlink.get("links", 0),
        nvlink_gbytes_per_second_per_link=nvlink.get("gbytes_per_second_per_link"),
        nvlink_is_bridge=nvlink.get("joins") == "bridge",
        nvlink_is_switched=nvlink.get("joins") == "switch",
        tdp_watts=entry.get("tdp_watts"),
        power_min_watts=power.get("min"),
        power_max_watts=power.get("max"),
        pcie_gen=pcie.get("gen"),
        pcie_lanes=pcie.get("lanes"),
        notes=entry.get("notes", ""),
    )
