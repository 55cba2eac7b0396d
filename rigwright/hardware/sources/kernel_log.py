"""`dmesg` or `journalctl -k`: what the drivers of the GPUs reported since the last boot.

Source: NVIDIA "XID Errors" (docs.nvidia.com/deploy/xid-errors); logs in public issues of open-gpu-kernel-modules and
NVSentinel, drivers 331 to 595; amdgpu's `amdgpu_device.c`. A message may run over several lines, each with `NVRM:`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from rigwright.hardware.reading import Reading
from rigwright.hardware.sources import cells
from rigwright.hardware.values import Gpu, Problem, Vendor

_BOOT = re.compile(r"^-- (?:Boot|Reboot)\b|(?:\] |kernel: )Linux version [0-9]")
# rsyslog writes a line break inside a message as #012.
_NVRM = re.compile(r"NVRM:|#012")
_PLACE = r"(?P<place>[0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2})(?:\.[0-7])?"
_XID = re.compile(rf"Xid \((?:PCI:)?{_PLACE}[^)]{{0,40}}\): (?P<number>[0-9]{{1,4}})\b")
_UUID = re.compile(rf"GPU at (?:PCI:)?{_PLACE}: (?P<uuid>GPU-[0-9a-fA-F-]{{36}})")
_SXID = re.compile(rf"nvidia-nvswitch[0-9]{{1,2}}: SXid \((?:PCI:)?{_PLACE}[^)]{{0,4}}\): [0-9]{{1,6}}, Fatal\b")
_KERNEL = "the kernel log"


@dataclass(frozen=True)
class _Event:
    code: str
    what: str
    do: str


_RESEAT = "reboot; if it comes back, check power, riser, cables and heat, and lower the power limit"
_FELL = _Event("fallen_off_bus", "the GPU has fallen off the PCIe bus", _RESEAT)
_MEMORY = "reset the GPU or reboot, then look at `nvidia-smi -q -d ECC,ROW_REMAPPER`; exchange it if it comes back"
_REMAP = _Event("xid_63", "a bad row of memory was taken out", "reset the GPU or reboot, so that it takes effect")
_NVLINK = "look at `nvidia-smi nvlink -s` and `-e`; reseat the bridge; reset the GPUs or reboot"
_SWITCH = _Event("nvswitch_error", "a fatal error of an NVSwitch",
                 "reboot; see `systemctl status nvidia-fabricmanager`; if it comes back, exchange it")  # fmt: skip
_GSP = _Event("gsp_timeout", "the GPU's own processor (GSP) does not answer",
              "reset the GPU or reboot; update driver and VBIOS if it comes back")  # fmt: skip
# Those that say something of the machine. 13, 31, 43 and 45 come from programs that crash, and are left out.
_XIDS = {
    48: _Event("xid_48", "an error in memory that ECC cannot correct", _MEMORY),
    61: _Event("xid_61", "the GPU's microcontroller broke down", "reboot; update driver and VBIOS if it comes back"),
    62: _Event("xid_62", "the GPU's microcontroller halted", "reboot; update driver and VBIOS if it comes back"),
    63: _REMAP,
    64: _Event("xid_64", "a bad row of memory could not be taken out", _MEMORY),
    74: _Event("nvlink_error", "an error on NVLink", _NVLINK),
    79: _FELL,
    92: _Event("xid_92", "many errors in memory that ECC corrected", _MEMORY),
    94: _Event("xid_94", "an error in memory that ECC could not correct, contained to one program", _MEMORY),
    95: _Event("xid_95", "an error in memory that ECC could not contain", _MEMORY),
    119: _GSP,
    120: _GSP,
    **{number: _Event("nvlink_error", "an error on NVLink 5", _NVLINK) for number in range(144, 151)},
    154: _Event("xid_154", "the GPU asks for recovery",
                "see what it asks for: `nvidia-smi -q | grep 'Recovery Action'`; most often a reset or a reboot"),
}  # fmt: skip
_INSTALLED = rf"The NVIDIA GPU {_PLACE} (?:\(PCI ID: [0-9a-fA-F:]{{9}}\) )?installed in this system "
# What stands in NVRM's messages beside Xid, words with one blank between them.
_MESSAGES = (
    (re.compile(_INSTALLED + "has fallen off the bus"), _FELL),
    (re.compile(rf"GPU (?:at )?(?:PCI:)?{_PLACE}:?(?: GPU)? has fallen off the bus"), _FELL),
    (re.compile(rf"(?:GPU {_PLACE}: )?(?:RmInitAdapter|rm_init_adapter) failed"),
     _Event("gpu_init_failed", "the driver could not start the GPU",
            "reboot; then try another driver (open or closed modules) and another slot; see the lines before it")),
    (re.compile(rf"(?:{_INSTALLED})?requires use of the NVIDIA open kernel modules"),
     _Event("wrong_kernel_module", "the GPU takes the open kernel modules only, the closed ones are loaded",
            "install the driver with its open kernel modules (`nvidia-open`) and reboot")),
    (re.compile(rf"(?:{_INSTALLED})?is not supported by open nvidia\.ko"),
     _Event("wrong_kernel_module", "the GPU is too old for the open kernel modules, which are loaded",
            "install the driver with its closed kernel modules and reboot")),
    (re.compile(rf"BAR[0-9] is 0M @ 0x0 \((?:PCI:)?{_PLACE}\)"),
     _Event("bar_missing", "the firmware gave the GPU no room for its memory window (BAR)",
            "switch on `Above 4G Decoding` in the BIOS, or boot with `pci=realloc`")),
)  # fmt: skip
_BAR = re.compile(r"This PCI I/O region assigned to your NVIDIA device is invalid")
_MISMATCH = re.compile(
    r"API mismatch: the client (?:'.{1,40}?' \(pid [0-9]{1,9}\) )?has the version (?P<client>[0-9.]{3,15}),? "
    r"but this kernel module has the version (?P<module>[0-9.]{3,15})"
)
_AMD = (
    (re.compile(rf"amdgpu {_PLACE}:(?: amdgpu:)? device lost from bus"), _FELL),
    (re.compile(rf"amdgpu {_PLACE}:(?: amdgpu:)? GPU reset begin"),
     _Event("gpu_reset", "the driver had to reset the GPU", "see the lines before it: `journalctl -k -g amdgpu`")),
)  # fmt: skip


def read(text: str) -> Reading:
    """A problem per GPU and kind of event; the GPUs that fell off the bus, as lost."""
    lines = _since_boot(cells.lines(text))
    nvrm = _nvrm(lines)
    amd = "\n".join(line for line in lines if "amdgpu" in line)
    events = Counter(
        [*_events(nvrm), *((found["place"].lower(), _SWITCH) for found in _SXID.finditer("\n".join(lines)))]
    )
    amd_events = Counter((match["place"].lower(), event) for pattern, event in _AMD for match in pattern.finditer(amd))
    uuids = {match["place"].lower(): match["uuid"] for match in _UUID.finditer(nvrm)}
    mismatch = _MISMATCH.search(nvrm)
    problems = [_problem(place, event, count) for (place, event), count in [*events.items(), *amd_events.items()]]
    if mismatch:
        problems.append(_mismatch(mismatch["client"].rstrip("."), mismatch["module"].rstrip(".")))
    return Reading(
        gpus=(*_lost(events, uuids, "NVIDIA"), *_lost(amd_events, {}, "AMD")),
        kernel_module_version=mismatch["module"].rstrip(".") if mismatch else None,
        problems=tuple({(problem.code, problem.where): problem for problem in problems}.values()),
    )


def _since_boot(lines: list[str]) -> list[str]:
    """The lines after the last boot: a log file may hold many."""
    starts = [number for number, line in enumerate(lines) if _BOOT.search(line)]
    return lines[starts[-1] :] if starts else lines


def _nvrm(lines: list[str]) -> str:
    """What NVRM says, without prefixes: a line each, a message that runs on joined by a blank."""
    parts = [_NVRM.split(line, maxsplit=20)[1:] for line in lines if "NVRM:" in line]
    return " ".join(" ".join(part for row in parts for part in row).split())


def _events(nvrm: str) -> Iterator[tuple[str, _Event]]:
    """Place on the bus (without function, "" where none is named) and event."""
    for match in _XID.finditer(nvrm):
        event = _XIDS.get(int(match["number"]))
        if event:
            yield match["place"].lower(), event
    for pattern, event in _MESSAGES:
        for match in pattern.finditer(nvrm):
            yield (match["place"] or "").lower(), event
    if _BAR.search(nvrm) and not _MESSAGES[-1][0].search(nvrm):
        yield "", _MESSAGES[-1][1]


def _problem(place: str, event: _Event, count: int) -> Problem:
    times = (
        f", {count} times since boot" if count > 1 and event is not _FELL else ""
    )  # one fall is told by several lines
    return Problem(event.code, _address(place) or _KERNEL, event.what + times, event.do)


def _mismatch(client: str, module: str) -> Problem:
    what = f"the driver's libraries are {client}, the loaded kernel module is {module}"
    return Problem(
        "driver_library_mismatch", _KERNEL, what, "reboot, or stop what uses the GPUs and reload the modules"
    )


def _lost(events: Counter[tuple[str, _Event]], uuids: dict[str, str], vendor: Vendor) -> Iterator[Gpu]:
    """The GPUs that fell off the bus. A Xid names no function: a GPU's is 0."""
    for place in dict.fromkeys(place for place, event in events if event is _FELL):
        address = _address(place)
        if address:
            yield Gpu(uuid=cells.uuid(uuids.get(place, "")), pci_address=address, vendor=vendor, state="lost")


def _address(place: str) -> str | None:
    return cells.pci_address(f"{place}.0") if place else None
