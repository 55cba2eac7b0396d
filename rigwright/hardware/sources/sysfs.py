"""Our own list of /sys/bus/pci: cards and network adapters with their places in the PCIe tree, driver or not."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping

from rigwright.hardware.reading import Pair, Reading
from rigwright.hardware.software import NOBODY_ASKED, Software
from rigwright.hardware.sources import cells, lspci, software_text
from rigwright.hardware.values import Gpu, Nic, PcieLink, Problem

_KEY = re.compile(r"\s(?=[a-z_]{1,40}=)")
_ROOT = re.compile(r"pci[0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}")
_HEX = re.compile(r"(?:0x)?([0-9a-fA-F]{4,6})")
_CPUS = re.compile(r"[0-9][0-9,-]{0,2000}")
_TITLE = "# display controllers"  # as collect.sh begins its list, which may be empty
_LEAST_BYTES, _MOST_BYTES = 1 << 24, 1 << 50
_GONE = 63  # every bit of the link status register reads as one


def read(text: str) -> Reading:
    """GPUs in PCI order, adapters, and the class of the path between each two; pairs are positions in `gpus`.

    Blocks of `key=value`, parted by blank lines: `device`, `path`, `class`, `vendor`, `device_id`, `driver` and the
    link files of the device, `slot_*` for those of the port above it; or `nic` and `path`.
    Source: Documentation/ABI/testing/sysfs-bus-pci of Linux 6.12.
    """
    blocks = list(_blocks(text))
    found = {facts["device"]: facts for facts in (_addressed(block) for block in blocks) if facts}
    gpus = [(gpu, facts) for gpu, facts in ((_gpu(facts), facts) for _, facts in sorted(found.items())) if gpu]
    return Reading(
        gpus=tuple(gpu for gpu, _ in gpus),
        kinds=_kinds([facts for _, facts in gpus]),
        nics=tuple(_nic(block, [facts for _, facts in gpus]) for block in blocks if block.get("nic")),
        is_bus=bool(found) or any(line.startswith(_TITLE) for line in cells.lines(text)),
        problems=tuple(problem for facts in found.values() for problem in _problems(facts)),
        software=_switches(text, found.values()),
    )


def _switches(text: str, devices: Iterable[Mapping[str, str]]) -> Software:
    """Whether there is an NVSwitch, where the list says that it looked for them."""
    ids = ((_hex(facts, "class") or "", _ids(facts, "vendor", "device_id") or "") for facts in devices)
    has = any(lspci.is_switch(code, pci_id) for code, pci_id in ids)
    is_asked = has or any(line.startswith(_TITLE) and "NVSwitch" in line for line in cells.lines(text))
    return software_text.answer("has_nvswitch", has_nvswitch=has).software if is_asked else NOBODY_ASKED


def kind(path_a: str, path_b: str, numa_a: int | None, numa_b: int | None) -> str | None:
    """The class of the path between two devices, from their resolved places in /sys/devices.

    PIX: at most one PCIe switch between them. PXB: several, without the host bridge. PHB: through one host bridge.
    NODE: between the host bridges of a NUMA node. SYS: between NUMA nodes. None where that is not known.
    Source: legend of `nvidia-smi topo -m`. A switch shows as its upstream port with a downstream port per device.
    """
    tree_a, tree_b = _tree(path_a), _tree(path_b)
    shared = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(tree_a, tree_b, strict=False)))
    below = max(len(tree_a), len(tree_b)) - shared
    if not tree_a or not tree_b or shared == min(len(tree_a), len(tree_b)):
        return None
    if shared > 1:
        return "PIX" if below <= 2 else "PXB"
    if shared == 1:
        return "PHB"
    if numa_a is None or numa_b is None:
        return None
    return "NODE" if numa_a == numa_b else "SYS"


def _tree(path: str) -> tuple[str, ...]:
    """Host bridge, ports, device."""
    parts = path.strip().strip("/").split("/")
    start = next((place for place, part in enumerate(parts) if _ROOT.fullmatch(part)), len(parts))
    return tuple(part.lower() for part in parts[start:])


def _blocks(text: str) -> Iterator[dict[str, str]]:
    block: dict[str, str] = {}
    for line in [*cells.lines(text), ""]:
        if not line.strip():
            if block:
                yield block
            block = {}
        for part in _KEY.split(line.strip()):
            key, equals, value = part.partition("=")
            if equals:
                block.setdefault(key.strip(), value.strip().strip("'\""))


def _addressed(block: Mapping[str, str]) -> dict[str, str] | None:
    """A block of a device, by its address; one whose path leads to another device is two blocks run together."""
    address = cells.pci_address(block.get("device", ""))
    is_own = "path" not in block or cells.pci_address(block["path"].rpartition("/")[2]) == address
    return {**block, "device": address} if address and is_own and not block.get("nic") else None


def _hex(facts: Mapping[str, str], key: str) -> str | None:
    found = _HEX.fullmatch(facts.get(key, ""))
    return found[1].lower() if found else None


def _ids(facts: Mapping[str, str], *keys: str) -> str | None:
    parts = [_hex(facts, key) for key in keys]
    return ":".join(part for part in parts if part) if all(parts) else None


def _node(facts: Mapping[str, str]) -> int | None:
    """The NUMA node, None for -1: the firmware names none."""
    node = cells.whole(facts.get("numa_node", ""))
    return node if node is not None and 0 <= node < 1024 else None


def _lanes(facts: Mapping[str, str], key: str) -> int | None:
    width = cells.whole(facts.get(key, ""))
    return width if width in lspci.WIDTHS else None


def _link(facts: Mapping[str, str], prefix: str = "") -> PcieLink:
    return PcieLink(
        gen_current=lspci.generation(facts.get(f"{prefix}current_link_speed", "")),
        gen_max=lspci.generation(facts.get(f"{prefix}max_link_speed", "")),
        width_current=_lanes(facts, f"{prefix}current_link_width"),
        width_max=_lanes(facts, f"{prefix}max_link_width"),
    )


def _is_gone(facts: Mapping[str, str]) -> bool:
    return _hex(facts, "vendor") == "ffff" or cells.whole(facts.get("current_link_width", "")) == _GONE


def _is_gpu(facts: Mapping[str, str]) -> bool:
    code = _hex(facts, "class") or ""
    if _hex(facts, "vendor") == "ffff":
        return code[:2] == "03" or code[:4] == "1200"
    return lspci.is_gpu(code, lspci.VENDOR_IDS.get(_hex(facts, "vendor") or ""))


def _gpu(facts: Mapping[str, str]) -> Gpu | None:
    if not _is_gpu(facts):
        return None
    vendor = lspci.VENDOR_IDS.get(_hex(facts, "vendor") or "")
    cpus = _CPUS.fullmatch(facts.get("local_cpulist", ""))
    # amdgpu, and no other driver, tells here what it has: so it answers.
    own, shared = _memory(facts, "mem_info_vram_total"), _memory(facts, "mem_info_gtt_total")
    return Gpu(
        pci_address=facts["device"],
        pci_id=_ids(facts, "vendor", "device_id") if vendor else None,
        subsystem_id=_ids(facts, "subsystem_vendor", "subsystem_device") if vendor else None,
        vendor=vendor,
        numa_node=_node(facts),
        cpu_affinity=cpus[0] if cpus else None,
        vram_bytes=own,
        gtt_bytes=shared,
        state="lost" if _is_gone(facts) else "ok" if own else None,
        pcie=_link(facts),
        slot=_link(facts, "slot_"),
    )


def _memory(facts: Mapping[str, str], key: str) -> int | None:
    """Bytes as amdgpu tells them; None for what no card has."""
    size = cells.whole(facts.get(key, "")) or 0
    return size if _LEAST_BYTES < size < _MOST_BYTES else None


def _problems(facts: Mapping[str, str]) -> list[Problem]:
    if not _is_gpu(facts):
        return []
    vendor = lspci.VENDOR_IDS.get(_hex(facts, "vendor") or "")
    gone = lspci.fallen_off_bus(facts["device"]) if _is_gone(facts) else None
    held = lspci.driver_problem(facts["device"], facts.get("driver", ""), vendor)
    return [problem for problem in (gone, held) if problem]


def _kind(first: Mapping[str, str], second: Mapping[str, str]) -> str | None:
    return kind(first.get("path", ""), second.get("path", ""), _node(first), _node(second))


def _kinds(gpus: list[dict[str, str]]) -> dict[Pair, str]:
    pairs = itertools.combinations(enumerate(gpus[:64]), 2)
    named = (((i, j), _kind(first, second)) for (i, first), (j, second) in pairs)
    return {pair: word for pair, word in named if word}


def _nic(block: Mapping[str, str], gpus: list[dict[str, str]]) -> Nic:
    named = ((place, _kind(block, gpu)) for place, gpu in enumerate(gpus))
    return Nic(name=block["nic"], kinds={place: word for place, word in named if word})
