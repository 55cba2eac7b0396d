"""What the kernel itself says of NVIDIA's modules and cards: what it did not take, or gave no room, or stops.

Source: kernel/module/version.c and main.c of Linux 5.14 to 7.0; nvidia.ko's nv-pci.c; logs in public issues.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from rigwright.hardware.sources import cells
from rigwright.hardware.values import Problem

_MODULE = r"(?:^|[\]\s:])(?P<module>nvidia(?:[_-][a-z]{2,12})*): "
_MAGIC = re.compile(_MODULE + r"version magic '(?P<own>\S+)[^']*' should be '(?P<kernel>\S+)[^']*'")
_DISAGREES = re.compile(_MODULE + r"disagrees about version of symbol (?P<symbol>\w{1,80})")
_UNKNOWN = re.compile(_MODULE + r"Unknown symbol (?P<symbol>\w{1,80})(?: \(err (?P<error>-?[0-9]{1,3})\))?")
_BOUND = re.compile(
    r"GPU (?P<place>[0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7]) is already bound to (?P<driver>\w{2,30})"
)
_ADDRESS = r"(?P<place>(?:[0-9a-fA-F]{4}:)?[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7])"
_PROBED = re.compile(
    rf"\bnvidia {_ADDRESS}: probe with driver nvidia failed|\bnvidia: probe of {_ADDRESS.replace('place', 'of')} failed"
)
_NO_ROOM = re.compile(rf"\bpci {_ADDRESS}: BAR [0-3]\b.*(?:can't assign; no space|no space for|failed to assign)")
_FAULT = re.compile(
    rf"DMAR: .*Request device \[{_ADDRESS}\].*fault|\bnvidia {_ADDRESS.replace('place', 'of')}: AMD-Vi: Event logged"
    rf"|AMD-Vi: Event logged \[IO_PAGE_FAULT (?:device=)?{_ADDRESS.replace('place', 'device')}"
)
# What one of NVIDIA's modules wants of another: the other one failed, and that is said.
_OWN = re.compile(r"nv[A-Z_]|nvidia_|rm_|uvm_")
_OTHER_DO = "compile the modules for this kernel (dkms autoinstall, akmods --force), or install those made for it"
_MISSING_DO = (
    "install the rest of the kernel's own modules: kernel-modules-$(uname -r) on RHEL and Fedora, "
    "linux-modules-extra-$(uname -r) on Ubuntu; then modprobe nvidia"
)
_WHERE = "the kernel log"


def problems(lines: Sequence[str]) -> Iterator[Problem]:
    """Each kind once, by the first line that tells it."""
    yield from _of_other_kernel(lines)
    yield from _of_cards(lines)
    for line in lines:
        if found := _BOUND.search(line):
            driver = found["driver"]
            what = f"the {driver} driver holds the card: CUDA cannot use it"
            do = f"keep {driver} from loading, make the initramfs anew, and reboot"
            yield Problem("nouveau_loaded", cells.pci_address(found["place"]) or _WHERE, what, do)


def _of_cards(lines: Sequence[str]) -> Iterator[Problem]:
    """By their addresses: those that NVIDIA's driver has to do with, as a log names other devices too."""
    probed = _places(_PROBED, lines)
    mine = {*probed, *(place for line in lines if "NVRM" in line or " nvidia " in line for place in _any_place(line))}
    for place in _places(_NO_ROOM, lines):
        if place in mine:
            what = "the firmware gave the GPU no room for its memory window (BAR)"
            do = "switch on `Above 4G Decoding` in the BIOS, or boot with `pci=realloc`"
            yield Problem("bar_missing", place, what, do)
    for place in _places(_FAULT, lines):
        if place in mine:
            what = "the IOMMU stops what the GPU reads and writes"
            do = "boot with iommu=pt, and update the BIOS; where no virtual machine has a card, switch the IOMMU off"
            yield Problem("iommu_fault", place, what, do)
    for place in probed:
        what = "the driver could not start the GPU (its probe failed)"
        do = "see what NVRM says before it: `journalctl -k -g NVRM`; switch the machine off and on, try another slot"
        yield Problem("gpu_init_failed", place, what, do)


def _places(pattern: re.Pattern[str], lines: Sequence[str]) -> list[str]:
    found = (next(filter(None, match.groups())) for line in lines if (match := pattern.search(line)))
    return list(dict.fromkeys(filter(None, map(cells.pci_address, found))))


def _any_place(line: str) -> Iterator[str]:
    found = re.findall(r"[0-9a-fA-F]{4}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}(?:\.[0-7])?", line)
    yield from filter(None, (cells.pci_address(one if "." in one else f"{one}.0") for one in found))


def _of_other_kernel(lines: Sequence[str]) -> Iterator[Problem]:
    for line in lines:
        if found := _MAGIC.search(line):
            what = f"module {found['module']} was compiled for {found['own']}, and {found['kernel']} runs"
            yield Problem("module_of_other_kernel", _WHERE, what, _OTHER_DO)
            return
    disagreed = [found for line in lines if (found := _DISAGREES.search(line))]
    unknown = [found for line in lines if (found := _UNKNOWN.search(line)) and not _OWN.match(found["symbol"])]
    # -22: the symbol is there, of another version.
    others = [*disagreed, *(found for found in unknown if found["error"] == "-22")]
    if others:
        what = (
            f"module {others[0]['module']} was compiled for another build of the kernel: {others[0]['symbol']} differs"
        )
        yield Problem("module_of_other_kernel", _WHERE, what, _OTHER_DO)
    elif unknown:
        names = ", ".join(list(dict.fromkeys(found["symbol"] for found in unknown))[:3])
        what = f"module {unknown[0]['module']} asks for {names}, which no module that is loaded has"
        yield Problem("module_symbol_missing", _WHERE, what, _MISSING_DO)
