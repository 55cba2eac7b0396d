"""The contract of `rigwright hardware --json` as a JSON Schema: every field, its type, what it means.

`python -m rigwright.hardware.schema > docs/hardware.schema.json` writes the published file.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping

Shape = dict[str, object]

_TEXT: Shape = {"type": ["string", "null"]}
_COUNT: Shape = {"type": ["integer", "null"], "minimum": 0}
_NUMBER: Shape = {"type": ["number", "null"], "minimum": 0}
_INDEX: Shape = {"type": "integer", "minimum": 0}
_INDEXES: Shape = {"type": "array", "items": _INDEX}
_GROUPS: Shape = {"type": "array", "items": _INDEXES}
_GROUPS_OR_NULL: Shape = {"type": ["array", "null"], "items": _INDEXES}
_NAMES: Shape = {"type": "array", "items": {"type": "string"}}


def _by_pair(pattern: str) -> Shape:
    values = {"type": "string", "pattern": pattern}
    return {"type": "object", "propertyNames": {"pattern": "^[0-9]+-[0-9]+$"}, "additionalProperties": values}


def _one_of(*names: str | None) -> Shape:
    return {"enum": list(names)}


def _reference(name: str, *, is_optional: bool = False) -> Shape:
    reference: Shape = {"$ref": f"#/$defs/{name}"}
    return {"anyOf": [reference, {"type": "null"}]} if is_optional else reference


def _list_of(name: str) -> Shape:
    return {"type": "array", "items": _reference(name)}


Fields = Mapping[str, tuple[Shape, str]]

RIG: Fields = {
    "gpu_count": (_COUNT, "GPUs in the rig; null where a driver was asked and gave no whole list"),
    "vendor": (_one_of("NVIDIA", "AMD", "Apple", "Intel", None), "who made the GPUs"),
    "gpus": (_list_of("gpu"), "what is known of each GPU, in the order of their indexes"),
    "nvlink_islands": (
        _GROUPS_OR_NULL,
        "GPUs that NVLink joins, directly or through others; null where no driver told",
    ),
    "nvlink_pairs": (_by_pair("^NV[0-9]+$"), "pairs joined by NVLink directly, with the number of links: NV4"),
    "xgmi_islands": (_GROUPS_OR_NULL, "the same for AMD's XGMI; null where no link types were recorded"),
    "pair_class": (_by_pair("."), "how two GPUs reach each other: NV#, XGMI, PIX, PXB, PHB, NODE, SYS, SOC, PCIE"),
    "p2p": (_by_pair("."), "direct access between two GPUs as the driver says: OK, CNS, GNS, …"),
    "nics": (_NAMES, "network adapters that the driver lists beside the GPUs"),
    "tp2_groups": (_GROUPS, "groups for tensor parallel 2, best first in each"),
    "tp4_groups": (_GROUPS, "groups for tensor parallel 4"),
    "cuda_visible_devices": (_TEXT, "the order to set, with CUDA_DEVICE_ORDER=PCI_BUS_ID; null where no GPU is usable"),
    "bottlenecks": (_list_of("bottleneck"), "the slowest link inside each group"),
    "grouping_confidence": (_reference("confidence"), "how sure the groups and the order are"),
    "left_out": (_list_of("left_out"), "GPUs that are in no order, and why"),
    "problems": (_list_of("problem"), "what the owner of the rig should know"),
    "driver_version": (_TEXT, "version of the running GPU driver"),
    "cpu": (_reference("cpu", is_optional=True), "the processors, all sockets together"),
    "ram_bytes": (_COUNT, "memory of the rig"),
    "numa_nodes": (_list_of("numa_node"), "NUMA nodes; empty where none were recorded"),
    "os": (_reference("os", is_optional=True), "the operating system"),
    "chip": (_TEXT, "Apple's name of the chip"),
    "chip_gpu_cores": (_COUNT, "GPU cores of that chip"),
    "sources": (_NAMES, "what was read"),
}

GPU: Fields = {
    "index": (_COUNT, "the driver's index, or the place in PCI order"),
    "uuid": (_TEXT, "the driver's name of this very card"),
    "pci_address": (_TEXT, "0000:01:00.0"),
    "pci_id": (_TEXT, "vendor and device: 10de:2204"),
    "name": (_TEXT, "the product's name as recorded"),
    "architecture": (_TEXT, "ampere, gfx90a, …"),
    "vram_bytes": (_COUNT, "its memory"),
    "compute_capability": (_TEXT, "CUDA's version of the hardware: 8.6"),
    "numa_node": (
        {"type": ["integer", "string", "null"]},
        "the node of its CPUs; a text (0-1) where only a range was printed, so that the node is unknown",
    ),
    "gpu_numa_id": (_COUNT, "the node of its own memory (GH200)"),
    "state": (_one_of("ok", "lost", "error", None), "null where no driver answered for it"),
    "mig": (
        {"type": ["array", "null"], "items": {"type": "string"}},
        "the profiles of its MIG devices: 1g.10gb; empty where MIG is off, null where they are not known",
    ),
    "mig_enabled": ({"type": ["boolean", "null"]}, "whether it is cut into MIG devices"),
    "pcie": (_reference("pcie_link"), "its PCIe link"),
    "power_limit_watts": (_reference("power_limit"), "its power limits in watts"),
}

PCIE: Fields = {
    "gen_current": (_COUNT, "generation now; 1 at idle is normal"),
    "gen_max": (_COUNT, "the best that card and slot can do together"),
    "width_current": (_COUNT, "lanes now"),
    "width_max": (_COUNT, "lanes at best"),
}

POWER: Fields = {
    "current": (_NUMBER, "the limit now"),
    "default": (_NUMBER, "as delivered"),
    "min": (_NUMBER, "the least that may be set"),
    "max": (_NUMBER, "the most that may be set"),
}

DEFINITIONS: Mapping[str, Fields] = {
    "gpu": GPU,
    "pcie_link": PCIE,
    "power_limit": POWER,
    "bottleneck": {
        "group": (_INDEXES, "the group"),
        "first": (_INDEX, "one end of its slowest link"),
        "second": (_INDEX, "the other end"),
        "class": (_TEXT, "the class of that link"),
        "gbytes_per_second": (_NUMBER, "what it can carry, one direction; null where that cannot be told"),
    },
    "confidence": {
        "level": (_one_of("high", "medium", "low"), "how sure"),
        "because": ({"type": "string"}, "why"),
    },
    "left_out": {
        "index": (_INDEX, "the GPU"),
        "because": ({"type": "string"}, "why"),
    },
    "problem": {
        "code": ({"type": "string", "pattern": "^[a-z0-9_]+$"}, "stable name of this kind of problem: gpu_lost"),
        "where": ({"type": "string"}, "what it is about: GPU 5"),
        "what": ({"type": "string"}, "what is wrong"),
        "do": ({"type": "string"}, "what to do"),
    },
    "cpu": {
        "model": ({"type": "string"}, "the name that it gives itself"),
        "physical_cores": (_COUNT, "cores"),
        "logical_cores": (_COUNT, "threads"),
        "sockets": (_COUNT, "processors"),
    },
    "numa_node": {
        "node": (_INDEX, "its number"),
        "cpus": ({"type": "string"}, "its CPUs as the kernel lists them: 0-19,40-59; empty where it is memory alone"),
        "memory_bytes": (_COUNT, "its memory"),
    },
    "os": {
        "id": (_TEXT, "ID of os-release: debian"),
        "version": (_TEXT, "VERSION_ID of os-release: 13"),
        "kernel": (_TEXT, "the kernel's release"),
        "architecture": (_TEXT, "x86_64, aarch64, ppc64le"),
    },
}


def schema() -> dict[str, object]:
    """The JSON Schema (draft 2020-12) of one rig's report. Fields may be added; none goes, none changes its meaning."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "rigwright hardware",
        "description": "One rig as `rigwright hardware --json` reports it. Unknown is null, never a guess.",
        **_object(RIG),
        "$defs": {name: _object(fields) for name, fields in DEFINITIONS.items()},
    }


def schema_text() -> str:
    """docs/hardware.schema.json."""
    return json.dumps(schema(), indent=2, ensure_ascii=False)


def _object(fields: Fields) -> dict[str, object]:
    properties = {name: {"description": meaning, **shape} for name, (shape, meaning) in fields.items()}
    return {"type": "object", "properties": properties, "required": list(fields)}


if __name__ == "__main__":
    sys.stdout.write(f"{schema_text()}\n")
