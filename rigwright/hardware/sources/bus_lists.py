"""What other programs say of the PCI bus, told as lspci tells it: lshw, inxi, and lspci's own tree (`-tv`).

Source: lshw 02.18 to 02.20 (`*-display` blocks), inxi 3.3 (`Device-1: NVIDIA GA102 [GeForce RTX 3090] … bus-ID:`),
pciutils 3.7 to 3.13. The tree has no classes: a name in brackets that a maker sells GPUs under is one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from rigwright.hardware.reading import Reading
from rigwright.hardware.sources import cells, lspci

_DISPLAY = "VGA compatible controller"
_LSHW_BLOCK = re.compile(r"\s*\*-(\w+)(?::[0-9]+)?(?: (?:UNCLAIMED|DISABLED))?\s*")
_LSHW_FACT = re.compile(r"\s*(description|product|vendor|bus info): (.+)")
_INXI_DEVICE = re.compile(
    r"(?:^|\s)Device-[0-9]{1,2}: (?P<device>(?:NVIDIA|AMD|Intel)\b.*?)(?=\s(?:vendor|driver|bus-ID|v|arch|pcie):|$)"
)
_INXI_BUS = re.compile(rf"\bbus-ID: ({lspci.PLACE})")
_INXI_ID = re.compile(r"\bchip-ID: ([0-9a-f]{4}:[0-9a-f]{4})")
_TREE_ROOT = re.compile(r"\[([0-9a-f]{4,8})(?::([0-9a-f]{2})(?:-[0-9a-f]{2})?)?\]-")
_TREE_LEAF = re.compile(
    r"^(?P<before>[-+\\| \[\]0-9a-f.:]{4,200}?)(?P<place>[0-9a-f]{2}\.[0-7]) {2}"
    r"(?P<maker>NVIDIA|Advanced Micro|Intel)(?P<rest>.*)"
)
_TREE_BUS = re.compile(r"-\[([0-9a-f]{2})(?:-[0-9a-f]{2})?\][-+\\| ]*$")
_SOLD_AS = re.compile(
    r"\[[^\[\]]*(?:GeForce|RTX|GTX|Quadro|Tesla|TITAN|Radeon|Instinct|Arc |Data Center GPU|[AHLVB][0-9]{2,3}\b)"
    r"[^\[\]]*\]"
)


def read(text: str) -> Reading:
    """The GPUs of such a list, as lspci names them."""
    lines = cells.lines(text)
    return lspci.read("\n".join([*_lshw(lines), *_inxi(lines), *_tree(lines)]))


def _lshw(lines: list[str]) -> Iterator[str]:
    """A line for each `*-display` that says where it sits."""
    kind, facts = "", dict[str, str]()
    for line in [*lines, "*-end"]:
        if block := _LSHW_BLOCK.fullmatch(line):
            place = cells.pci_address(facts.get("bus info", ""))
            if kind == "display" and place:
                device = f"{facts.get('vendor', '')} {facts.get('product', '')}"
                yield f"{place} {facts.get('description', _DISPLAY)}: {device}"
            kind, facts = block[1], {}
        elif fact := _LSHW_FACT.fullmatch(line):
            facts.setdefault(fact[1], fact[2].strip())


def _inxi(lines: list[str]) -> Iterator[str]:
    """A line for each graphics device; its place may stand on one of the next lines."""
    device = ""
    chip = ""
    for line in lines:
        if found := _INXI_DEVICE.search(line):
            device, chip = found["device"].strip(), ""
        if found := _INXI_ID.search(line):
            chip = f" [{found[1]}]"
        if device and (found := _INXI_BUS.search(line)):
            ids = _INXI_ID.search(line)
            yield f"{found[1]} {_DISPLAY}: {device}{f' [{ids[1]}]' if ids else chip}" if _SOLD_AS.search(device) else ""
            device = ""


def _tree(lines: list[str]) -> Iterator[str]:
    """A line for each GPU of the tree; its bus is the last one in brackets before it."""
    domain = "0000"
    for line in lines:
        if root := _TREE_ROOT.search(line):
            domain = root[1][-4:]
        leaf = _TREE_LEAF.match(line)
        bus = _TREE_BUS.search(leaf["before"]) if leaf else None
        if leaf and bus and _SOLD_AS.search(leaf["rest"]):
            maker = leaf["maker"].replace("Advanced Micro", "AMD")
            yield f"{domain}:{bus[1]}:{leaf['place']} {_DISPLAY}: {maker}{_named(leaf['rest'])}"


def _named(rest: str) -> str:
    """What follows a maker, without the rest of its own name: ` Devices, Inc. [AMD/ATI] Navi 31 [Radeon …]`."""
    return re.sub(r"^(?: Devices, Inc\.?)?(?: Corporation)?(?: \[AMD/ATI\])?", "", rest)
