"""`amd-smi static`, `list -e`, `metric` and, as JSON, `topology`: a block or an object per GPU.

Source: amd-smi 24 to 26 as recorded in public issues of ROCm/amdsmi and ROCm/rocm-systems. Its MB are MiB: 65520 for
the 64 GiB of an MI210.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from rigwright.hardware.reading import Pair, Reading
from rigwright.hardware.sources import cells, lspci, rocm_json, rocm_text
from rigwright.hardware.values import Gpu, PcieLink, PowerLimit

_GPU = re.compile(r"\s*GPU: ([0-9]{1,3})\s*")
_OTHER = re.compile(r"\s*(?:AI_NIC|NIC|CPU|SWITCH|BRCM_NIC): [0-9]{1,3}\s*")
_FACT = re.compile(r"\s*([A-Z][A-Z0-9_ ()-]{0,40}):(?:\s+(\S.*))?\s*")
_ASKED_FOR_SOME = re.compile(r"amd-smi\b.{0,120}\s(?:-g|--gpu)[ =]")
_HEX = re.compile(r"0x([0-9a-fA-F]{1,4})")
_UUID = re.compile(r"GPU-[0-9a-fA-F]{16}")
_NONE = ("", "N/A", "NONE", "UNKNOWN", "0X0")
_MIB = 1024**2
_UNITS = {"MB": _MIB, "MIB": _MIB, "GB": 1024 * _MIB, "GIB": 1024 * _MIB, "": _MIB}
_SIZE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)\s*([A-Za-z]{0,3})")
P2P = {"ENABLED": "OK", "DISABLED": "NS"}


def read(text: str) -> Reading:
    """The GPUs of a text or JSON, and their links where a topology is in it."""
    plain = "\n".join(cells.lines(text))
    objects = list(_objects(plain)) if '"gpu"' in plain else []
    blocks = [(index, _flat(value)) for index, value in objects] or list(_blocks(plain))
    facts: dict[int, dict[str, str]] = {}
    for index, said in blocks:
        facts[index] = {**said, **facts.get(index, {})}
    links = [(index, link) for index, value in objects for link in _links(value)]
    gpus = [gpu(index, facts[index]) for index in sorted(facts)]
    versions = (said.get("driver/version", "") for said in facts.values())
    version = next((version[:40] for version in versions if version[:1].isdigit()), None)
    kinds, weights, p2p = (_between(links, facts, key) for key in ("link_type", "weight", "link_status"))
    return Reading(
        gpus=tuple(gpus),
        kinds={pair: word for pair, word in kinds.items() if word in rocm_text.KINDS},
        weights={pair: int(word) for pair, word in weights.items() if word.isdecimal() and len(word) < 7},
        p2p={pair: P2P[word] for pair, word in p2p.items() if word in P2P},
        vendor="AMD" if gpus else None,
        driver_version=version,
        is_driver_list=True,
        is_whole=bool(gpus) and sorted(facts) == list(range(len(facts))) and not _ASKED_FOR_SOME.search(plain),
    )


def gpu(index: int, facts: Mapping[str, str]) -> Gpu:
    """A GPU from what is said of it, by `section/key` in lower case."""
    node, hip = cells.whole(_first(facts, "numa/node")), _first(facts, "hip_id", "asic/hip_id", "enumeration/hip_id")
    uuid = _UUID.fullmatch(_first(facts, "hip_uuid", "enumeration/hip_uuid"))
    size = _SIZE.fullmatch(_first(facts, "vram/size", "mem_usage/total_vram"))
    return Gpu(
        index=index,
        hip_index=int(hip) if hip.isdecimal() and len(hip) < 4 else None,
        uuid=uuid[0] if uuid else None,
        pci_address=cells.pci_address(_first(facts, "bus/bdf", "bdf")),
        pci_id=_pci_id(_first(facts, "asic/vendor_id") or "0x1002", _first(facts, "asic/device_id")),
        subsystem_id=_pci_id(_first(facts, "asic/subvendor_id"), _first(facts, "asic/subsystem_id")),
        vendor="AMD",
        name=_name(_first(facts, "asic/market_name")) or _name(_first(facts, "board/product_name")),
        architecture=_first(facts, "asic/target_graphics_version") or None,
        vram_bytes=int(float(size[1]) * _UNITS.get(size[2].upper(), 0)) or None if size else None,
        numa_node=node if node is not None and 0 <= node < 1024 else None,
        state="ok",
        pcie=PcieLink(
            gen_current=lspci.generation(_first(facts, "pcie/speed")),
            gen_max=lspci.generation(_first(facts, "bus/max_pcie_speed")),
            width_current=_lanes(_first(facts, "pcie/width")),
            width_max=_lanes(_first(facts, "bus/max_pcie_width")),
        ),
        power=PowerLimit(
            current=_watts(facts, "limit/socket_power", "limit/socket_power_limit", "ppt0/socket_power_limit"),
            min=_watts(facts, "limit/min_power", "limit/min_power_limit", "ppt0/min_power_limit"),
            max=_watts(facts, "limit/max_power", "limit/max_power_limit", "ppt0/max_power_limit"),
        ),
    )


def _first(facts: Mapping[str, str], *keys: str) -> str:
    return next((facts[key] for key in keys if facts.get(key, "").upper() not in _NONE), "")


def _pci_id(vendor: str, device: str) -> str | None:
    found = [_HEX.fullmatch(part) for part in (vendor, device)]
    return ":".join(match[1].lower().zfill(4) for match in found if match) if all(found) else None


def _name(text: str) -> str | None:
    return text[:80] if re.search("[A-Za-z]{2}", text) and not _HEX.match(text) else None


def _lanes(text: str) -> int | None:
    width = cells.whole(text)
    return width if width in lspci.WIDTHS else None


def _watts(facts: Mapping[str, str], *keys: str) -> float | None:
    amount = cells.number(_first(facts, *keys))
    return amount if amount and 0 < amount < 10_000 else None


def _blocks(text: str) -> Iterator[tuple[int, dict[str, str]]]:
    """The facts of each GPU; a heading is a key without a value."""
    index, heading, facts = -1, "", dict[str, str]()
    for line in text.split("\n"):
        start, fact = _GPU.fullmatch(line), _FACT.fullmatch(line)
        if start or _OTHER.fullmatch(line):
            if index >= 0:
                yield index, facts
            index, heading, facts = int(start[1]) if start else -1, "", {}
        elif fact and fact[2]:
            key = fact[1].strip().lower()
            facts.setdefault(f"{heading}/{key}" if heading else key, fact[2].strip())
        elif fact:
            heading = fact[1].strip().lower()
    if index >= 0:
        yield index, facts


def _objects(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects that have a number of a GPU; in a text that was cut, those that are complete."""
    if not rocm_json.is_bounded(text):
        return
    decoder = json.JSONDecoder(parse_int=str, parse_float=str, strict=False)
    end = 0
    for start in re.finditer(r'\{\s*"gpu"\s*:', text):
        if start.start() < end:
            continue
        try:
            value, end = decoder.raw_decode(text, start.start())
        except json.JSONDecodeError:
            continue
        number = str(value.get("gpu"))
        if number.isdecimal() and len(number) < 4:
            yield int(number), value


def _flat(value: Mapping[str, Any], section: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, item in value.items():
        name = f"{section}/{key}" if section else str(key)
        if isinstance(item, dict) and {"value", "unit"} <= item.keys():
            found[name.lower()] = f"{item['value']} {item['unit']}"
        elif isinstance(item, dict):
            found |= _flat(item, str(key))
        elif isinstance(item, str):
            found[name.lower()] = item.strip()
    return found


def _links(value: Mapping[str, Any]) -> list[dict[str, Any]]:
    links = value.get("links")
    return [link for link in links if isinstance(link, dict)] if isinstance(links, list) else []


def _between(links: list[tuple[int, dict[str, Any]]], listed: Collection[int], key: str) -> dict[Pair, str]:
    """What links say under a key, by pair of listed GPUs."""
    found: dict[Pair, str] = {}
    for index, link in links:
        other = str(link.get("gpu"))
        if other.isdecimal() and int(other) in listed and int(other) != index:
            found.setdefault((min(index, int(other)), max(index, int(other))), str(link.get(key)))
    return found
