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
from rigwright.hardware.sources import cells, module_log
from rigwright.hardware.values import Gpu, Problem, Vendor

_BOOT = re.compile(r"^-- (?:Boot|Reboot)\b|(?:\] |kernel: )Linux version [0-9]")
# rsyslog writes a line break inside a message as #012.
_NVRM = re.compile(r"NVRM:|#012")
_PLACE = r"(?P<place>[0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2})(?:\.[0-7])?"
_XID = re.compile(rf"Xid \((?:PCI:)?{_PLACE}[^)]{{0,40}}\): (?P<number>[0-9]{{1,4}})\b")
_UUID = re.compile(rf"GPU at (?:PCI:)?{_PLACE}: (?P<uuid>GPU-[0-9a-fA-F-]{{36}})")
_SXID = re.compile(rf"nvidia-nvswitch[0-9]{{1,2}}: SXid \((?:PCI:)?{_PLACE}[^)]{{0,4}}\): [0-9]{{1,6}}, Fatal\b")
_KERNEL = "the kernel log"
_KERNEL_LINE = re.compile(
    r"^\s*(?:<[0-9]{1,3}>)?\[\s*[0-9]{1,8}\.[0-9]{1,9}\] |NVRM:|\bkernel: "
    r"|^\[[A-Z][a-z]{2} [A-Z][a-z]{2} [ 0-9][0-9] [0-9:]{8} [0-9]{4}\] "
)
_BEGUN = re.compile(r"The NVIDIA .{0,100}$|GPU (?:at )?(?:PCI:)?[0-9a-fA-F]{4,8}:.*$|Xid \(.*$")


@dataclass(frozen=True)
class _Event:
    code: str
    what: str
    do: str


_RESEAT = "reboot; if it comes back, check power, riser, cables and heat, and lower the power limit"
_FELL = _Event("fallen_off_bus", "the GPU has fallen off the PCIe bus", _RESEAT)
_MEMORY = "reset the GPU or reboot, then look at `nvidia-smi -q -d ECC,ROW_REMAPPER`; exchange it if it comes back"
_UNPOWERED = _Event("gpu_unpowered", "a power cable of the GPU is not connected",
                    "switch the machine off, and connect every power cable of the card")  # fmt: skip
_STUCK = _Event("gpu_needs_power_off", "the GPU's own firmware did not start in time",
                "switch it off for half a minute, power supply included; if it comes back, check slot, riser and power "
                "cables, and update its VBIOS")  # fmt: skip
_REMAP = _Event("xid_63", "a bad row of memory was taken out", "reset the GPU or reboot, so that it takes effect")
_NVLINK = "look at `nvidia-smi nvlink -s` and `-e`; reseat the bridge; reset the GPUs or reboot"
_SWITCH = _Event("nvswitch_error", "a fatal error of an NVSwitch",
                 "reboot; see `systemctl status nvidia-fabricmanager`; if it comes back, exchange it")  # fmt: skip
_GSP = _Event("gsp_timeout", "the GPU's own processor (GSP) does not answer",
              "reset the GPU or reboot; update driver and VBIOS if it comes back")  # fmt: skip
# Those that say something of the machine. 13, 31, 43 and 45 come from programs that crash, and are left out.
_XIDS = {
    48: _Event("xid_48", "an error in memory that ECC cannot correct", _MEMORY),
    54: _UNPOWERED,
    61: _Event("xid_61", "the GPU's microcontroller broke down", "reboot; update driver and VBIOS if it comes back"),
    62: _Event("xid_62", "the GPU's microcontroller halted", "reboot; update driver and VBIOS if it comes back"),
    63: _REMAP,
    64: _Event("xid_64", "a bad row of memory could not be taken out", _MEMORY),
    74: _Event("nvlink_error", "an error on NVLink", _NVLINK),
    78: _Event("vgpu_guest_incompatible", "the guest driver of this vGPU does not go with the hypervisor's",
               "install the guest (GRID) driver that the provider names for this host"),
    79: _FELL,
    92: _Event("xid_92", "many errors in memory that ECC corrected", _MEMORY),
    94: _Event("xid_94", "an error in memory that ECC could not correct, contained to one program", _MEMORY),
    95: _Event("xid_95", "an error in memory that ECC could not contain", _MEMORY),
    119: _GSP,
    120: _GSP,
    **{number: _Event("nvlink_error", "an error on NVLink 5", _NVLINK) for number in range(144, 151)},
    140: _Event("xid_140", "an error in memory or caches that ECC cannot correct", _MEMORY),
    143: _Event("xid_143", "the GPU could not be initialized",
                "reset the GPU or reboot; update driver and VBIOS; exchange it if it comes back"),
    154: _Event("xid_154", "the GPU asks for recovery",
                "see what it asks for: `nvidia-smi -q | grep 'Recovery Action'`; most often a reset or a reboot"),
}  # fmt: skip
_RECOVERY = re.compile(
    rf"Xid \((?:PCI:)?{_PLACE}[^)]{{0,40}}\): 154\b,? .{{0,80}}?\bto (?:0x[0-9a-fA-F]{{1,4}} ?)?"
    r"\((?P<action>[A-Za-z][A-Za-z0-9 /-]{2,40})\)"
)
# Source: nvmlDeviceGpuRecoveryAction_t; by the beginning of the kernel's words. None: what was wrong is over.
_ACTIONS = (
    ("none", None),
    ("gpu reset", "stop what uses it and run `nvidia-smi --gpu-reset -i {place}` as root"),
    ("node reboot", "reboot the machine"),
    (
        "drain and reset",
        "start nothing on it, let what runs end, then `nvidia-smi --gpu-reset -i {place}` as root",
    ),
    ("drain", "start nothing on it and let what runs on it end, then reset it or reboot"),
    ("", "do what it says, or reboot"),
)
_INSTALLED = (
    rf"The NVIDIA (?:[^:]{{2,80}} )?GPU (?:at )?(?:PCI:)?{_PLACE} (?:\(PCI ID: [0-9a-fA-F:]{{9}}\) )?"
    "installed in this system "
)
# What stands in NVRM's messages beside Xid, words with one blank between them.
_MESSAGES = (
    (re.compile(_INSTALLED + "has fallen off the bus"), _FELL),
    (re.compile(rf"GPU (?:at )?(?:PCI:)?{_PLACE}:?(?: GPU)? has fallen off the bus"), _FELL),
    (re.compile(rf"(?:GPU (?:at )?(?:PCI:)?{_PLACE}:? )?GPU does not have the necessary power cables connected"),
     _UNPOWERED),
    (re.compile(rf"(?:GPU {_PLACE}: )?(?:RmInitAdapter|rm_init_adapter) failed"),
     _Event("gpu_init_failed", "the driver could not start the GPU",
            "reboot; then try another driver (open or closed modules) and another slot; see the lines before it")),
    # The firmware gave its memory no room, as owners found: open-gpu-kernel-modules#862.
    (re.compile(rf"(?:GPU {_PLACE}: )?RmInitAdapter failed! \(0x22:"),
     _Event("gpu_init_failed", "the driver could not start the GPU (0x22), most often for want of address space",
            "switch on `Above 4G Decoding` and `Resizable BAR` in the BIOS; give a virtual machine a larger window of "
            "64-bit memory")),
    # The second number is nv_status: 0x65 is a timeout. The sentences before it name no card.
    (re.compile(rf"GPU {_PLACE}: RmInitAdapter failed! \(0x[0-9a-f]{{1,4}}:0x65:"), _STUCK),
    (re.compile(rf"(?:GPU {_PLACE}: )?\w*: unexpected WPR2 already up"),
     _Event("gpu_needs_power_off", "the GPU's own processor (GSP) was left running, which a reboot may not clear",
            "reset the GPU or reboot; if it comes back, switch it off for half a minute, power supply included")),
    (re.compile(rf"(?:{_INSTALLED})?requires use of the NVIDIA open kernel modules"),
     _Event("wrong_kernel_module", "the GPU takes the open kernel modules only, the closed ones are loaded",
            "install the driver with its open kernel modules (`nvidia-open`) and reboot")),
    (re.compile(rf"(?:{_INSTALLED})?is not supported by open nvidia\.ko"),
     _Event("wrong_kernel_module", "the GPU is too old for the open kernel modules, which are loaded",
            "install the driver with its closed kernel modules and reboot")),
    (re.compile(rf"BAR[0-9] is 0M @ 0x0 \((?:PCI:)?{_PLACE}\)"),
     _Event("bar_missing", "the firmware gave the GPU no room for its memory window (BAR)",
            "switch on `Above 4G Decoding` in the BIOS, or boot with `pci=realloc`; give a virtual machine a larger "
            "window of 64-bit memory")),
)  # fmt: skip
# The sentences of a driver that does not know a card: name or address, versions, with the remedy that they name.
_TOO_NEW = re.compile(
    r"(?:The NVIDIA (?:(?P<name>(?:(?!The NVIDIA)[^:]){2,80}?) )?GPU "
    rf"(?:(?:at )?(?:PCI:)?{_PLACE} )?(?:\(PCI ID: [0-9a-fA-F:]{{9}}\) )?(?:installed in this system )?(?:is )?)?"
    r"supported through the NVIDIA (?P<branch>[0-9][\w.-]{1,12}) Legacy drivers?"
    r"(?:(?:(?!supported through).){0,200}?The (?P<version>[0-9][0-9.]{2,14}[0-9]) NVIDIA driver will ignore)?"
)
_IGNORED = re.compile(r"The (?P<version>[0-9][0-9.]{2,14}[0-9]) NVIDIA driver will ignore this GPU")
_UNKNOWN_GPU = re.compile(
    rf"(?:{_INSTALLED})?(?:is )?not supported by the (?:NVIDIA )?(?P<version>[0-9][0-9.]{{2,14}}[0-9]) "
    "(?:NVIDIA )?driver"
)
# Source: the kernel's firmware loader, of whichever driver asked; nvidia.ko's kernel_gsp.c.
_FIRMWARE = re.compile(
    rf"(?:{_PLACE}: )?(?:Direct firmware load for|loading|failed to load firmware|[Ff]ailed to load) "
    r"(?:/lib/firmware/)?(?P<file>nvidia/[0-9][\w./-]{2,40}?gsp[\w-]{0,20}\.bin)"
)
_NO_IMAGE = re.compile(r"[Nn]o firmware image found|RmFetchGspRmImages.{0,40}failed")
_NO_FIRMWARE = "the firmware of the GPU's own processor (GSP) is missing"
_FIRMWARE_DO = (
    "install the firmware of exactly this driver (Debian: firmware-nvidia-gsp, Ubuntu: nvidia-firmware-…, Fedora: "
    "nvidia-gpu-firmware or the driver's kmod-common), rebuild the initramfs, reboot"
)
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
    # Xorg says the driver's sentences without the kernel's mark.
    all_said = _nvrm(_with_first_lines(lines)) or " ".join(" ".join(lines).split())
    amd = "\n".join(line for line in lines if "amdgpu" in line)
    said = [*_events(nvrm), *((found["place"].lower(), _SWITCH) for found in _SXID.finditer("\n".join(lines)))]
    said += [found for found in dict.fromkeys(_events(all_said)) if found not in said]
    placed = {event for place, event in said if place}
    explained = {place for place, event in said if event in (_UNPOWERED, _STUCK)}
    events = Counter(
        (place, event)
        for place, event in said
        if (place or event not in placed) and not (event.code == "gpu_init_failed" and place in explained)
    )
    amd_events = Counter((match["place"].lower(), event) for pattern, event in _AMD for match in pattern.finditer(amd))
    uuids = {match["place"].lower(): match["uuid"] for match in _UUID.finditer(nvrm)}
    mismatch = _MISMATCH.search(nvrm)
    actions = {match["place"].lower(): match["action"] for match in _RECOVERY.finditer(nvrm)}
    problems = [
        problem
        for (place, event), count in [*events.items(), *amd_events.items()]
        if (problem := _problem(place, event, count, actions.get(place)))
    ]
    if mismatch:
        problems.append(_mismatch(mismatch["client"].rstrip("."), mismatch["module"].rstrip(".")))
    problems += [*_unsupported(all_said), *_firmware(lines, nvrm)]
    said_already = {(problem.code, problem.where) for problem in problems}
    problems += [one for one in module_log.problems(lines) if (one.code, one.where) not in said_already]
    return Reading(
        gpus=(*_lost(events, uuids, "NVIDIA"), *_lost(amd_events, {}, "AMD")),
        kernel_module_version=mismatch["module"].rstrip(".") if mismatch else None,
        is_quiet=any(_KERNEL_LINE.search(line) for line in lines),
        problems=tuple({(problem.code, problem.where): problem for problem in problems}.values()),
    )


def _with_first_lines(lines: list[str]) -> list[str]:
    """The lines, with `NVRM:` where a message began and the copy lost it: before a line that has it."""
    return [
        f"NVRM: {found[0]}" if "NVRM:" not in line and "NVRM:" in after and (found := _BEGUN.search(line)) else line
        for line, after in zip(lines, [*lines[1:], ""], strict=True)
    ]


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


def _problem(place: str, event: _Event, count: int, action: str | None = None) -> Problem | None:
    """A problem for an event; none where the driver said at last that no recovery is wanted any more."""
    if event.code == "xid_154" and action:
        do = next(do for words, do in _ACTIONS if action.lower().startswith(words))
        address = _address(place) or place
        return Problem(event.code, address, f"the driver asks for: {action}", do.format(place=address)) if do else None
    times = (
        f", {count} times since boot" if count > 1 and event is not _FELL else ""
    )  # one fall is told by several lines
    return Problem(event.code, _address(place) or _KERNEL, event.what + times, event.do)


def _unsupported(nvrm: str) -> Iterator[Problem]:
    """The cards that the driver dropped, and those that it does not know yet."""
    dropped = list(_TOO_NEW.finditer(nvrm))
    ignored = _IGNORED.search(nvrm)
    for found in dropped:
        name = (found["name"] or "").removeprefix("NVIDIA ").strip()
        driver = found["version"] or (ignored["version"] if ignored else "")
        what = f"driver {driver or '(the one that is installed)'} no longer supports this GPU and ignores it"
        do = f"install the {found['branch']} driver, as the kernel says, and hold it there; then reboot"
        yield Problem("driver_too_new_for_gpu", _address(found["place"] or "") or name or _KERNEL, what, do)
    if ignored and not dropped:
        what = f"driver {ignored['version']} no longer supports a GPU and ignores it"
        do = "install the older driver that the kernel names before this line (`journalctl -k -g NVRM`), then reboot"
        yield Problem("driver_too_new_for_gpu", _KERNEL, what, do)
    for found in _UNKNOWN_GPU.finditer(nvrm):
        where = _address(found["place"] or "") or _KERNEL
        do = "install a newer driver; in a virtual machine it may be a vGPU, which takes the GRID guest driver alone"
        yield Problem("driver_does_not_support_gpu", where, f"driver {found['version']} does not support this GPU", do)


def _firmware(lines: list[str], nvrm: str) -> Iterator[Problem]:
    for line in lines:
        found = _FIRMWARE.search(line)
        if found and "nouveau" not in line:
            yield Problem("gsp_firmware_missing", _KERNEL, f"{_NO_FIRMWARE}: {found['file']}", _FIRMWARE_DO)
    if _NO_IMAGE.search(nvrm):
        yield Problem("gsp_firmware_missing", _KERNEL, _NO_FIRMWARE, _FIRMWARE_DO)


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
