"""`nvidia-smi -q -x`: an element per GPU, in the order of their indexes.

Source: nvsmi_device_v8.dtd to v13.dtd as they show in recorded output, drivers 390 to 595, Linux and Windows.
"""

from __future__ import annotations

import re
from itertools import pairwise
from xml.etree import ElementTree

from rigwright.hardware.reading import Reading
from rigwright.hardware.sources import cells, nvidia_fields
from rigwright.hardware.sources.nvidia_fields import Row

_POWER = ("gpu_power_readings", "power_readings")
# Our name by path. Where several name one value the first that is known counts.
_PATHS = {
    "name": ("product_name",),
    "architecture": ("product_architecture",),
    "uuid": ("uuid",),
    "bus": ("pci/pci_bus_id",),
    "pci_id": ("pci/pci_device_id",),
    "subsystem": ("pci/pci_sub_system_id",),
    "memory": ("fb_memory_usage/total",),
    "mig": ("mig_mode/current_mig",),
    "display": ("display_active",),
    "fabric_state": ("fabric/state",),
    "fabric_status": ("fabric/status",),
    "gen": ("pci/pci_gpu_link_info/pcie_gen/current_link_gen",),
    "gen_device": ("pci/pci_gpu_link_info/pcie_gen/device_current_link_gen",),
    "gen_max": ("pci/pci_gpu_link_info/pcie_gen/max_link_gen",),
    "gen_gpu": ("pci/pci_gpu_link_info/pcie_gen/max_device_link_gen",),
    "gen_host": ("pci/pci_gpu_link_info/pcie_gen/max_host_link_gen",),
    "width": ("pci/pci_gpu_link_info/link_widths/current_link_width",),
    "width_max": ("pci/pci_gpu_link_info/link_widths/max_link_width",),
    "power": tuple(f"{part}/{name}" for part in _POWER for name in ("current_power_limit", "power_limit")),
    "power_enforced": tuple(f"{part}/{name}_power_limit" for part in _POWER for name in ("enforced", "requested")),
    "power_default": tuple(f"{part}/default_power_limit" for part in _POWER),
    "power_min": tuple(f"{part}/min_power_limit" for part in _POWER),
    "power_max": tuple(f"{part}/max_power_limit" for part in _POWER),
}  # fmt: skip
_ROOT = "<nvidia_smi_log"
_GPU = re.compile(r"<gpu\s+id=")
_ID = re.compile(r'<gpu\s+id="([^"<>]{1,40})">')
_HEAD = {name: re.compile(rf"<{name}>([^<]{{1,40}})</{name}>") for name in ("driver_version", "kmd_version")}
_COUNT = re.compile(r"attached_gpus>\s*(?:([0-9]{1,4})\s*</attached_gpus>)?")
_MINOR = re.compile(r"<minor_number>\s*([0-9]{1,4})\s*</minor_number>")
# What an XML parser refuses or cannot encode: control characters, halves of surrogate pairs.
_REFUSED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_APART = ("processes", "accounted_processes", "mig_devices", "supported_clocks")


def read(text: str) -> Reading:
    """The GPUs of the first log in the text. One whose element is cut or broken is left out, and the list not whole."""
    whole = _REFUSED.sub("", "\n".join(cells.lines(text)))
    start = whole.find(_ROOT)
    if "<!ENTITY" in whole or start < 0:
        return Reading(is_driver_list="nvidia_smi_log" in whole, is_whole="nvidia_smi_log" not in whole)
    log, closed, _ = whole[start:].partition("</nvidia_smi_log>")
    starts = [found.start() for found in _GPU.finditer(log)]
    head = log[: starts[0]] if starts else log
    said = {name: found[1].strip() for name, pattern in _HEAD.items() if (found := pattern.search(head))}
    # Lines may be out of order: the count of the log, else the first in the text.
    count = _COUNT.search(log) or _COUNT.search(whole)
    attached = cells.whole(count[1] or "") if count else None
    is_numbered = attached == len(starts) if count else bool(closed) and _is_all(log, len(starts))
    rows = []
    for index, (begin, end) in enumerate(pairwise([*starts, len(log)])):
        element = _element(log[begin:end])
        if element is not None:
            # Where not all are listed (`-i 2`, a lost one) the place in the list is not the index.
            rows.append(_row(element, index if is_numbered else None))
    return Reading(
        gpus=nvidia_fields.gpus(rows),
        vendor="NVIDIA" if rows else None,
        driver_version=nvidia_fields.version(said.get("driver_version") or said.get("kmd_version")),
        is_driver_list=True,
        is_whole=bool(closed and rows and is_numbered and len(rows) == len(starts)),
        attached=attached,
        problems=(*nvidia_fields.problems(rows), *nvidia_fields.fabric(rows)),
    )


def _is_all(log: str, count: int) -> bool:
    """Whether a log that names no number of GPUs lists them all: each once and to its end, none left out between.

    Excerpts and test files have no count. The devices of all GPUs are numbered from 0, in whatever order.
    """
    ids = {found[1] for found in _ID.finditer(log)}
    minors = sorted(int(found[1]) for found in _MINOR.finditer(log))
    return len(ids) == log.count("</gpu>") == count and minors in ([], list(range(count)))


def _element(text: str) -> ElementTree.Element | None:
    """The element of one GPU, None where it is cut or broken."""
    body, end, _ = text.partition("</gpu>")
    try:
        return ElementTree.fromstring(body + end)
    except ElementTree.ParseError:
        return None


def _row(gpu: ElementTree.Element, index: int | None) -> Row:
    fields = {}
    for name, paths in _PATHS.items():
        texts = (nvidia_fields.known(gpu.findtext(path)) for path in paths)
        fields[name] = next((text for text in texts if text), "")
    fields["bus"] = cells.pci_address(gpu.get("id", "")) or fields["bus"]
    leaves = (leaf for part in gpu if part.tag not in _APART for leaf in part.iter() if len(leaf) == 0)
    return Row(index, fields, {f"{number} {leaf.tag}": leaf.text or "" for number, leaf in enumerate(leaves)})
