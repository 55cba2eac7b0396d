"""The contract of `rigwright hardware --json` as a JSON Schema: every field, its type, what it means.

`python -m rigwright.view.answers.hardware_schema > docs/hardware.schema.json` writes the published file.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from rigwright.view.answers import schemas
from rigwright.view.answers.schemas import (
    COUNT,
    COUNT_OR_NULL,
    NUMBER_OR_NULL,
    TEXT,
    TEXT_OR_NULL,
    TEXTS,
    Fields,
    Shape,
    document,
    list_of,
    one_of,
    reference,
)

_INDEX = COUNT
_INDEXES: Shape = {"type": "array", "items": COUNT}
_GROUPS: Shape = {"type": "array", "items": _INDEXES}
_GROUPS_OR_NULL: Shape = {"type": ["array", "null"], "items": _INDEXES}


def _by_pair(pattern: str) -> Shape:
    values = {"type": "string", "pattern": pattern}
    return {"type": "object", "propertyNames": {"pattern": "^[0-9]+-[0-9]+$"}, "additionalProperties": values}


RIG: Fields = {
    "gpu_count": (COUNT_OR_NULL, "GPUs in the rig; null where a driver was asked and gave no whole list"),
    "vendor": (one_of("NVIDIA", "AMD", "Apple", "Intel", None), "who made the GPUs"),
    "gpus": (list_of("gpu"), "what is known of each GPU, in the order of their indexes"),
    "nvlink_islands": (
        _GROUPS_OR_NULL,
        "GPUs that NVLink joins, directly or through others; null where no driver told",
    ),
    "nvlink_pairs": (_by_pair("^NV[0-9]+$"), "pairs joined by NVLink directly, with the number of links: NV4"),
    "xgmi_islands": (_GROUPS_OR_NULL, "the same for AMD's XGMI; null where no link types were recorded"),
    "pair_class": (_by_pair("."), "how two GPUs reach each other: NV#, XGMI, PIX, PXB, PHB, NODE, SYS, SOC, PCIE"),
    "p2p": (_by_pair("."), "direct access between two GPUs as the driver says: OK, CNS, GNS, …"),
    "nics": (TEXTS, "network adapters that the driver lists beside the GPUs"),
    "tp2_groups": (_GROUPS, "groups for tensor parallel 2, best first in each"),
    "tp4_groups": (_GROUPS, "groups for tensor parallel 4"),
    "cuda_visible_devices": (
        TEXT_OR_NULL,
        "the order to set, with CUDA_DEVICE_ORDER=PCI_BUS_ID; null where no GPU is usable",
    ),
    "bottlenecks": (list_of("bottleneck"), "the slowest link inside each group"),
    "grouping_confidence": (reference("confidence"), "how sure the groups and the order are"),
    "left_out": (list_of("left_out"), "GPUs that are in no order, and why"),
    "problems": (list_of("problem"), "what the owner of the rig should know"),
    "driver_version": (TEXT_OR_NULL, "version of the running GPU driver"),
    "cpu": (reference("cpu", is_optional=True), "the processors, all sockets together"),
    "ram_bytes": (COUNT_OR_NULL, "memory of the rig"),
    "numa_nodes": (list_of("numa_node"), "NUMA nodes; empty where none were recorded"),
    "os": (reference("os", is_optional=True), "the operating system"),
    "chip": (TEXT_OR_NULL, "Apple's name of the chip"),
    "chip_gpu_cores": (COUNT_OR_NULL, "GPU cores of that chip"),
    "sources": (TEXTS, "what was read"),
}

GPU: Fields = {
    "index": (COUNT_OR_NULL, "the driver's index, or the place in PCI order"),
    "uuid": (TEXT_OR_NULL, "the driver's name of this very card"),
    "pci_address": (TEXT_OR_NULL, "0000:01:00.0"),
    "pci_id": (TEXT_OR_NULL, "vendor and device: 10de:2204"),
    "name": (TEXT_OR_NULL, "the product's name as recorded"),
    "architecture": (TEXT_OR_NULL, "ampere, gfx90a, …"),
    "vram_bytes": (COUNT_OR_NULL, "its memory"),
    "compute_capability": (TEXT_OR_NULL, "CUDA's version of the hardware: 8.6"),
    "numa_node": (
        {"type": ["integer", "string", "null"]},
        "the node of its CPUs; a text (0-1) where only a range was printed, so that the node is unknown",
    ),
    "gpu_numa_id": (COUNT_OR_NULL, "the node of its own memory (GH200)"),
    "state": (one_of("ok", "lost", "error", None), "null where no driver answered for it"),
    "mig": (
        {"type": ["array", "null"], "items": {"type": "string"}},
        "the profiles of its MIG devices: 1g.10gb; empty where MIG is off, null where they are not known",
    ),
    "mig_enabled": ({"type": ["boolean", "null"]}, "whether it is cut into MIG devices"),
    "pcie": (reference("pcie_link"), "its PCIe link"),
    "power_limit_watts": (reference("power_limit"), "its power limits in watts"),
}

PCIE: Fields = {
    "gen_current": (COUNT_OR_NULL, "generation now; 1 at idle is normal"),
    "gen_max": (COUNT_OR_NULL, "the best that card and slot can do together"),
    "width_current": (COUNT_OR_NULL, "lanes now"),
    "width_max": (COUNT_OR_NULL, "lanes at best"),
}

POWER: Fields = {
    "current": (NUMBER_OR_NULL, "the limit now"),
    "default": (NUMBER_OR_NULL, "as delivered"),
    "min": (NUMBER_OR_NULL, "the least that may be set"),
    "max": (NUMBER_OR_NULL, "the most that may be set"),
}

DEFINITIONS: Mapping[str, Fields] = {
    "gpu": GPU,
    "pcie_link": PCIE,
    "power_limit": POWER,
    "bottleneck": {
        "group": (_INDEXES, "the group"),
        "first": (_INDEX, "one end of its slowest link"),
        "second": (_INDEX, "the other end"),
        "class": (TEXT_OR_NULL, "the class of that link"),
        "gbytes_per_second": (NUMBER_OR_NULL, "what it can carry, one direction; null where that cannot be told"),
    },
    "confidence": {
        "level": (one_of("high", "medium", "low"), "how sure"),
        "because": (TEXT, "why"),
    },
    "left_out": {
        "index": (_INDEX, "the GPU"),
        "because": (TEXT, "why"),
    },
    "problem": {
        "code": ({"type": "string", "pattern": "^[a-z0-9_]+$"}, "stable name of this kind of problem: gpu_lost"),
        "where": (TEXT, "what it is about: GPU 5"),
        "what": (TEXT, "what is wrong"),
        "do": (TEXT, "what to do"),
    },
    "cpu": {
        "model": (TEXT, "the name that it gives itself"),
        "physical_cores": (COUNT_OR_NULL, "cores"),
        "logical_cores": (COUNT_OR_NULL, "threads"),
        "sockets": (COUNT_OR_NULL, "processors"),
    },
    "numa_node": {
        "node": (_INDEX, "its number"),
        "cpus": (TEXT, "its CPUs as the kernel lists them: 0-19,40-59; empty where it is memory alone"),
        "memory_bytes": (COUNT_OR_NULL, "its memory"),
    },
    "os": {
        "id": (TEXT_OR_NULL, "ID of os-release: debian"),
        "version": (TEXT_OR_NULL, "VERSION_ID of os-release: 13"),
        "kernel": (TEXT_OR_NULL, "the kernel's release"),
        "architecture": (TEXT_OR_NULL, "x86_64, aarch64, ppc64le"),
    },
}


def schema() -> Shape:
    """The JSON Schema (draft 2020-12) of one rig's report. Fields may be added; none goes, none changes its meaning."""
    return document(
        "rigwright hardware",
        "One rig as `rigwright hardware --json` reports it. Unknown is null, never a guess.",
        fields=RIG,
        definitions=DEFINITIONS,
    )


def schema_text() -> str:
    """docs/hardware.schema.json."""
    return schemas.schema_text(schema()).rstrip("\n")


if __name__ == "__main__":
    sys.stdout.write(f"{schema_text()}\n")
