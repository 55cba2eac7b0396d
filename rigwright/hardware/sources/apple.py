"""system_profiler of a Mac (SPDisplaysDataType, SPHardwareDataType): its chip, unified memory and GPU."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from rigwright.hardware.reading import Reading
from rigwright.hardware.sources import cells, rocm_json
from rigwright.hardware.values import Cpu, Gpu, Vendor

_VENDORS: tuple[tuple[str, Vendor], ...] = (
    ("apple", "Apple"),
    ("amd", "AMD"),
    ("ati", "AMD"),
    ("intel", "Intel"),
    ("nvidia", "NVIDIA"),
)
_PREFIX = re.compile(r"^sppci_vendor_", re.IGNORECASE)
_LEADS = re.compile(r"\s*(?:proc\s+)?([0-9]{1,4})\b")  # `8 (4 performance and 4 efficiency)`, JSON: `proc 8:4:4`
_MEMORY = re.compile(r"([0-9]{1,6})\s*(GB|TB)", re.IGNORECASE)
_UNITS = {"gb": 1024**3, "tb": 1024**4}
_HARDWARE = {
    "Chip": "chip",
    "Processor Name": "processor",
    "Total Number of Cores": "cores",
    "Memory": "memory",
    "Model Identifier": "model",
    "chip_type": "chip",
    "cpu_type": "processor",
    "number_processors": "cores",
    "physical_memory": "memory",
    "machine_model": "model",
}
_DISPLAYS = {
    "Chipset Model": "name",
    "Vendor": "vendor",
    "Total Number of Cores": "cores",
    "sppci_model": "name",
    "spdisplays_vendor": "vendor",
    "sppci_cores": "cores",
}


def read(text: str) -> Reading:
    """Chip, cores, memory and GPUs; serial numbers and UUIDs are passed over.

    The memory of an Apple chip is shared with its GPU, whose `vram_bytes` is therefore left open. Apple's GB are GiB.
    Source: system_profiler as recorded on macOS 14 and 26; keys of its -json as macOS 14 prints them.
    """
    hardware, cards = _json(text) if '"SP' in text else _text("\n".join(cells.lines(text)))
    chip = _word(hardware.get("chip", ""))
    gpus = [gpu for gpu in (_gpu(card) for card in cards) if gpu]
    gpus = [gpu for place, gpu in enumerate(gpus) if gpu.vendor != "Apple" or gpu not in gpus[:place]]  # one chip
    on_chip: Mapping[str, str] = next((card for card in cards if _vendor(card) == "Apple"), {})
    chip = chip or _word(on_chip.get("name", ""))
    if chip and chip.startswith("Apple") and not any(gpu.vendor == "Apple" for gpu in gpus):
        gpus.insert(0, Gpu(vendor="Apple", name=chip, state="ok"))
    numbered = tuple(Gpu(**{**vars(gpu), "index": index}) for index, gpu in enumerate(gpus))
    return Reading(
        gpus=numbered,
        cpu=_cpu(hardware),
        ram_bytes=_memory(hardware),
        vendor=numbered[0].vendor if numbered else None,
        chip=chip if chip and chip.startswith("Apple") else None,
        chip_gpu_cores=_count(on_chip.get("cores", "")),
        is_driver_list=bool(numbered),
    )


def _text(text: str) -> tuple[dict[str, str], list[dict[str, str]]]:
    """The hardware overview, and a record per `Chipset Model` line; "cores" mean those of the section."""
    hardware: dict[str, str] = {}
    cards: list[dict[str, str]] = []
    for line in text.split("\n"):
        key, colon, value = (part.strip() for part in line.partition(":"))
        if key == "Hardware Overview":
            cards = [*cards, {}]  # lines below belong to no card
        if key == "Chipset Model" and value:
            cards.append({})
        if not colon or not value:
            continue
        is_card = bool(cards and "name" in cards[-1]) or key == "Chipset Model"
        record, names = (cards[-1], _DISPLAYS) if is_card else (hardware, _HARDWARE)
        if key in names:
            record.setdefault(names[key], value)
    return hardware, [card for card in cards if card]


def _json(text: str) -> tuple[dict[str, str], list[dict[str, str]]]:
    data = rocm_json.load("\n".join(cells.lines(text)))
    sections: Mapping[str, Any] = data if isinstance(data, dict) else {}
    hardware = next(_records(sections.get("SPHardwareDataType"), _HARDWARE), {})
    return hardware, [card for card in _records(sections.get("SPDisplaysDataType"), _DISPLAYS) if "name" in card]


def _records(items: Any, names: Mapping[str, str]) -> Iterator[dict[str, str]]:
    for item in items if isinstance(items, list) else []:
        if isinstance(item, dict):
            yield {
                names[key]: str(value) for key, value in item.items() if key in names and isinstance(value, str | int)
            }


def _word(text: str) -> str | None:
    """A model's name: something with letters, not a sentence."""
    plain = text.strip()
    return plain if re.fullmatch(r"[A-Za-z][\w ()./+-]{1,60}", plain) else None


def _vendor(card: Mapping[str, str]) -> Vendor | None:
    for text in (_PREFIX.sub("", card.get("vendor", "")), card.get("name", "")):
        for word, vendor in _VENDORS:
            if text.strip().lower().startswith(word):
                return vendor
    return None


def _gpu(card: Mapping[str, str]) -> Gpu | None:
    name, vendor = _word(card.get("name", "")), _vendor(card)
    return Gpu(vendor=vendor, name=name, state="ok") if name and vendor else None


def _count(text: str) -> int | None:
    found = _LEADS.match(text)
    return int(found[1]) if found and int(found[1]) else None


def _memory(hardware: Mapping[str, str]) -> int | None:
    found = _MEMORY.fullmatch(hardware.get("memory", "").strip())
    is_mac = any(key in hardware for key in ("chip", "processor", "model"))
    return int(found[1]) * _UNITS[found[2].lower()] if found and is_mac else None


def _cpu(hardware: Mapping[str, str]) -> Cpu | None:
    model = _word(hardware.get("chip", "")) or hardware.get("processor", "")[:80]
    cores = _count(hardware.get("cores", ""))
    return Cpu(model=model, physical_cores=cores, logical_cores=cores) if model else None
