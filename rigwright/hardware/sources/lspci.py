"""lspci: cards that the bus knows, driver or not, with the state of their PCIe links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from rigwright.hardware.reading import Reading
from rigwright.hardware.software import NOBODY_ASKED, Software
from rigwright.hardware.sources import cells, software_text
from rigwright.hardware.values import Gpu, PcieLink, Problem, Vendor

# Source: PCI Express base specification 6.0; sysfs prints `8.0 GT/s PCIe`, lspci `8GT/s`.
GENERATIONS = {2.5: 1, 5.0: 2, 8.0: 3, 16.0: 4, 32.0: 5, 64.0: 6}
WIDTHS = (1, 2, 4, 8, 12, 16, 32)
VENDOR_IDS: dict[str, Vendor] = {"10de": "NVIDIA", "1002": "AMD", "8086": "Intel"}
# Source: pci.ids 2025.06.09, section "C": 0300 VGA, 0301 XGA, 0302 3D, 0380 display, 1200 processing accelerators.
_CLASSES = {
    "vga compatible controller": "0300",
    "xga compatible controller": "0301",
    "3d controller": "0302",
    "display controller": "0380",
    "processing accelerators": "1200",
    "host bridge": "0600",
    "isa bridge": "0601",
    "pci bridge": "0604",
    "bridge": "0680",
}
_VENDORS: tuple[tuple[str, Vendor], ...] = (
    (r"nvidia(?: corporation)?", "NVIDIA"),
    (r"(?:advanced micro devices(?:, inc\.?)?|amd|ati technologies(?: inc\.?)?)(?: ?\[amd(?:/ati)?\])?", "AMD"),
    (r"intel(?: corporation)?", "Intel"),
)
PLACE = r"(?:[0-9a-fA-F]{4,8}:)?[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7]"
_ADDRESS = rf"(?P<address>{PLACE})"
_HEADER = re.compile(rf"(?:[\w .#-]{{0,30}}[:>|] +|[ *>|-]{{0,8}}){_ADDRESS}\s+(?P<kind>[^:]{{2,60}}):\s*(?P<rest>.*)")
_BARE = re.compile(rf"\s*{_ADDRESS}\s*:?\s*|.{{0,80}}\blspci .{{0,20}}-s ?(?P<asked>{PLACE})\b.*")
# `lspci -mm`: 01:00.0 "VGA compatible controller" "NVIDIA Corporation" "GA102 [GeForce RTX 3090]" -ra1 "…" "…"
_QUOTED = re.compile(
    rf'\s*{_ADDRESS} "(?P<kind>[^"]{{2,60}})" "(?P<vendor>[^"]{{2,80}})" "(?P<rest>(?:[^"\\]|\\.){{1,160}})"'
)
_DEVICE = re.compile(r"\b(?:controller|bridge|device|adapter|accelerator|peripheral)s?\b", re.IGNORECASE)
_MACHINE_ID = re.compile(r" \[([0-9a-fA-F]{4})\]$")
_NODE = re.compile(r"\bnuma node ([0-9]{1,4})\b", re.IGNORECASE)  # of `lspci -v`, in the line of flags
_CODE = re.compile(r"\[?([0-9a-fA-F]{4})\]?$")
_ID = re.compile(r"\[?([0-9a-fA-F]{4}:[0-9a-fA-F]{4})\]?")
_UNNAMED = re.compile(r"Device ([0-9a-fA-F]{4})\b")
_DRESSING = re.compile(r"\((?:rev|prog-if)\b[^)]{0,60}(?:\)|$)|\[[0-9a-fA-F]{4}:[0-9a-fA-F]{4}\]")
_SPEED = re.compile(r"([0-9]{1,2}(?:\.[0-9]{1,2})?)\s*GT/s", re.IGNORECASE)
_WIDTH = re.compile(r"\bx([0-9]{1,2})\b", re.IGNORECASE)


def generation(text: str) -> int | None:
    """The PCIe generation of the speed in a text (`16.0 GT/s PCIe`), None for `Unknown`."""
    found = _SPEED.search(text)
    return GENERATIONS.get(float(found[1])) if found else None


def lanes(text: str) -> int | None:
    """The lanes named in a text (`Width x8 (downgraded)`), None for a width that no link has, as x0 and x63."""
    found = _WIDTH.search(text)
    return int(found[1]) if found and int(found[1]) in WIDTHS else None


def fallen_off_bus(address: str) -> Problem:
    """The problem of a card that no longer answers configuration reads."""
    return Problem(
        "fallen_off_bus",
        address,
        "the card no longer answers on the PCI bus",
        "shut down and cut the power for ten seconds, then reseat the card and check its riser and power cables",
    )


def bar_missing(address: str) -> Problem:
    """The problem of a card for whose memory no addresses were left."""
    return Problem(
        "bar_missing",
        address,
        "the firmware gave the GPU no room for its memory window (BAR)",
        "switch on `Above 4G Decoding` in the BIOS, or boot with `pci=realloc`; give a virtual machine a larger window "
        "for 64-bit devices",
    )


# The kernel's own drivers of NVIDIA's cards: `NovaCore` is the driver that the module nova_core has.
KERNELS_OWN = ("nouveau", "NovaCore", "nova_core", "nvidiafb", "rivafb")


def driver_problem(address: str, driver: str, vendor: Vendor | None) -> Problem | None:
    """The problem of a card that another driver holds: nouveau, nova, vfio-pci."""
    if driver in KERNELS_OWN and vendor == "NVIDIA":
        do = f"install NVIDIA's driver, which blacklists {driver}, and reboot"
        return Problem("nouveau_loaded", address, f"the {driver} driver holds the card: CUDA cannot use it", do)
    if driver == "vfio-pci":
        do = "unbind it from vfio-pci and reboot, or leave the card to its virtual machine"
        return Problem("gpu_passed_through", address, "vfio-pci keeps the card for a virtual machine", do)
    return None


def is_gpu(class_code: str, vendor: Vendor | None) -> bool:
    """Whether a PCI class (`0300`, `030000`) of that vendor is a GPU; Intel's accelerators are NPUs and FPGAs."""
    if class_code[:4] in ("0300", "0301", "0302", "0380"):
        return vendor is not None
    return class_code[:4] == "1200" and vendor in ("AMD", "NVIDIA")


@dataclass
class _Block:
    """The lines that belong to one device; without `header` its class is not known."""

    address: str
    class_code: str = ""
    kind: str = ""
    header: str = ""
    facts: dict[str, str] = field(default_factory=dict)
    is_gone: bool = False

    def note(self, line: str) -> None:
        key, colon, value = line.strip().partition(":")
        if line.lstrip().startswith("!!! Unknown header type"):
            self.is_gone = True
        elif colon:
            self.facts.setdefault(key.strip().lower(), value.strip())


def read(text: str) -> Reading:
    """The GPUs in the output of lspci, with any of -nn, -v, -k, -D, or what a grep left of it, in PCI order.

    Source: pciutils 3.9, lspci(8); suffixes `(ok)` (3.6 to 3.8), `(downgraded)`, `(overdriven)` as recorded.
    """
    blocks = list(_blocks(text))
    named = [block for block in blocks if block.header]
    bare = [block for block in blocks if not block.header]
    gpus: dict[str, Gpu] = {}
    problems: dict[tuple[str, str], Problem] = {}
    for block in named:
        gpu = _gpu(block)
        if gpu:
            known = gpus.get(block.address)
            gpus[block.address] = _fill(known, gpu) if known else gpu
            problems.update({(found.where, found.code): found for found in _problems(block, gpu)})
    for block in bare:
        if block.address in gpus:
            gpus[block.address] = _fill(gpus[block.address], _bare_gpu(block))
    if not named and all({"lnkcap", "lnksta"} <= set(block.facts) for block in bare):
        gpus = {block.address: _bare_gpu(block) for block in bare}
    # A list that shows neither a GPU nor a bridge (`lspci -s`, a grep) does not say that there is no GPU.
    is_bus = bool(gpus) or any(block.class_code.startswith("06") for block in named)
    return Reading(
        gpus=tuple(gpus[key] for key in sorted(gpus)),
        is_bus=is_bus,
        is_quiet=any(block.class_code or _DEVICE.search(block.kind) for block in named),
        problems=tuple(problems.values()),
        software=_switches(named),
    )


def _switches(named: list[_Block]) -> Software:
    """Whether there is an NVSwitch; that there is none only a list with bridges says, and a host bridge is on each."""
    has = any(is_switch(block.class_code, *_switch_words(block)) for block in named)
    is_list = any(block.class_code.startswith("06") and block.class_code != "0680" for block in named)
    return software_text.answer("has_nvswitch", has_nvswitch=has).software if has or is_list else NOBODY_ASKED


def _switch_words(block: _Block) -> tuple[str, str]:
    ids = _ID.findall(block.header)
    return (ids[-1] if ids else ""), block.header


def is_switch(class_code: str, pci_id: str, name: str = "") -> bool:
    """Whether a device is an NVSwitch: a bridge of NVIDIA's that is none of its old chipsets.

    Source: NVSwitches of V100, A100 and H100 are 10de:1ac2, 1af1 and 22a3; nForce chipsets end before 10de:1000.
    """
    if class_code[:4] != "0680":
        return False
    vendor, _, device = pci_id.lower().partition(":")
    return "NVSwitch" in name or (vendor == "10de" and int(device or "0", 16) >= 0x1A00)


def _blocks(text: str) -> Iterator[_Block]:
    block: _Block | None = None
    for line in cells.lines(text):
        header = _HEADER.match(_plain(line).expandtabs(1))
        begun = header or _BARE.fullmatch(line)
        address = cells.pci_address(begun["address"] or begun["asked"]) if begun else None
        if address:
            if block:
                yield block
            block = (
                _Block(address, _class_code(header["kind"]), header["kind"], header["rest"])
                if header
                else _Block(address)
            )
        elif block:
            block.note(line)
    if block:
        yield block


def _plain(line: str) -> str:
    """A line of `lspci -mm`, which is made for programs, as lspci writes it for people; any other as it is."""
    found = _QUOTED.match(line)
    if not found:
        return line
    maker, device = (_MACHINE_ID.search(found[part]) for part in ("vendor", "rest"))
    names = [_MACHINE_ID.sub("", found[part].replace("\\", "")) for part in ("vendor", "rest")]
    ids = f" [{maker[1]}:{device[1]}]" if maker and device else ""
    return f"{found['address']} {found['kind']}: {' '.join(names)}{ids}"


def _class_code(kind: str) -> str:
    code = _CODE.search(kind.strip())
    return code[1].lower() if code else _CLASSES.get(kind.strip().lower(), "")


def _vendor(rest: str) -> tuple[Vendor | None, str]:
    """The vendor that a device's text begins with, and what follows."""
    for pattern, vendor in _VENDORS:
        found = re.match(pattern, rest, re.IGNORECASE)
        if found:
            return vendor, rest[found.end() :].strip()
    numeric = _ID.match(rest)
    return (VENDOR_IDS.get(numeric[1][:4].lower()), "") if numeric else (None, "")


def _gpu(block: _Block) -> Gpu | None:
    vendor, device = _vendor(block.header)
    if not is_gpu(block.class_code, vendor):
        return None
    ids = _ID.findall(block.header) or _unnamed(device, vendor)
    subsystem = _ID.findall(block.facts.get("subsystem", ""))
    return replace(
        _bare_gpu(block),
        vendor=vendor,
        pci_id=ids[-1].lower() if ids else None,
        subsystem_id=subsystem[-1].lower() if subsystem else None,
        name=_name(device, vendor),
        state="lost" if _is_gone(block) else None,
    )


def _unnamed(device: str, vendor: Vendor | None) -> list[str]:
    """The id of a device that the list of names does not know: `Device 2330 (rev a1)`."""
    found = _UNNAMED.match(device)
    return [f"{code}:{found[1]}" for code, one in VENDOR_IDS.items() if found and one == vendor]


def _bare_gpu(block: _Block) -> Gpu:
    cap, sta = block.facts.get("lnkcap", ""), block.facts.get("lnksta", "")
    flags = _NODE.search(block.facts.get("flags", ""))
    node = cells.whole(block.facts.get("numa node", flags[1] if flags else ""))
    link = PcieLink(
        gen_current=generation(sta), gen_max=generation(cap), width_current=lanes(sta), width_max=lanes(cap)
    )
    return Gpu(pci_address=block.address, pcie=link, numa_node=node if node is not None and 0 <= node < 1024 else None)


def _name(device: str, vendor: Vendor | None) -> str | None:
    """`GeForce RTX 3090` of `GA102 [GeForce RTX 3090] [10de:2204] (rev a1)`; a chip's name alone is none."""
    plain = _DRESSING.sub("", device).strip()
    chip, bracket, name = plain.partition("[")
    if bracket and re.search(r"[0-9]GB?\b", chip):  # GH200 120GB [Grace Hopper "Superchip"]
        return chip.strip()
    if bracket:  # one that does not close was cut within the name
        return name.split("]")[0].strip()[:80] or None if "]" in name else None
    return plain[:80] if vendor == "Intel" and plain and not plain.startswith("Device") else None


def _is_gone(block: _Block) -> bool:
    return block.is_gone or "(rev ff)" in block.header


def _problems(block: _Block, gpu: Gpu) -> list[Problem]:
    held = driver_problem(block.address, block.facts.get("kernel driver in use", ""), gpu.vendor)
    gone = fallen_off_bus(block.address) if _is_gone(block) else None
    bare = bar_missing(block.address) if gpu.vendor == "NVIDIA" and not gone and _has_no_room(block) else None
    return [problem for problem in (gone, bare, held) if problem]


def _has_no_room(block: _Block) -> bool:
    """Whether a window of the card's memory got no address; what is `[disabled]` has one, and no driver yet."""
    regions = (value for key, value in block.facts.items() if key.startswith("region "))
    return any(re.match(r"Memory at <(?:unassigned|ignored)>", value) for value in regions)


def _fill(gpu: Gpu, other: Gpu) -> Gpu:
    """A GPU that was listed twice: what the first listing lacks is taken from the second."""
    known = {name: value for name, value in vars(gpu).items() if value is not None and value != PcieLink()}
    return replace(other, **known)
