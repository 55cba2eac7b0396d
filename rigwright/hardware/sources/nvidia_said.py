"""What nvidia-smi says instead of a list, or between its rows: each error text as a problem with its remedy.

Source: recorded output of nvidia-smi; NVML's error strings (`nvmlErrorString`); shells' words for a missing command.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from rigwright.hardware.reading import Reading
from rigwright.hardware.sources import cells
from rigwright.hardware.values import Gpu, GpuState, Problem

_SMI = "nvidia-smi"
_FELL = "fallen_off_bus"
_LOG = "`journalctl -k -g NVRM` says why"
_LOAD = (
    "check that the module is built and loaded: `dkms status`, `modprobe nvidia`; with Secure Boot: "
    "`mokutil --sb-state`; else install the driver"
)
_RELOAD = (
    "reboot, or stop what uses the GPUs and reload the modules: "
    "`modprobe -r nvidia_uvm nvidia_drm nvidia_modeset nvidia && modprobe nvidia`"
)
_LIBRARY = "install the driver's libraries of the same version (libnvidia-ml.so.1) and run `ldconfig`"
_ADDRESS = r"(?:[0-9a-f]{4}){1,2}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]"


@dataclass(frozen=True)
class _Saying:
    """A text that nvidia-smi prints, with one blank between words. `has_list`: the list may stand beside it, whole.

    `words`: what it has in lower case, one of them; looked for first, which costs a tenth.
    """

    pattern: re.Pattern[str]
    code: str
    what: str
    do: str
    has_list: bool = False
    words: tuple[str, ...] = ("nvml", "nvidia-smi")


def _saying(
    pattern: str,
    code: str,
    what: str,
    do: str,
    *,
    has_list: bool = False,
    words: tuple[str, ...] = ("nvml", "nvidia-smi"),
) -> _Saying:
    return _Saying(re.compile(pattern, re.IGNORECASE), code, what, do, has_list, words)


_NVML = r"(?:failed to initialize nvml|nvidia-container-cli: .{0,40}nvml error): ?"
# `{0}` in `what` is the first group. The first saying of a code is told.
_SAYINGS = (
    _saying(r"couldn.{0,6}t communicate with the nvidia driver", "driver_not_running",
            "nvidia-smi could not reach the driver: it is not installed or not loaded", _LOAD,
            words=("communicate with the nvidia driver",)),
    _saying(_NVML + "driver not loaded", "driver_not_running", "the driver is not loaded", _LOAD),
    _saying(r"nvidia-smi(?:\.exe)?['’\":]*(?: line [0-9]+:)?:? (?:command )?not found"
            r"|command not found: nvidia-smi|nvidia-smi: no such file or directory|nvidia-smi['\"’]? is not recognized"
            r"|nvidia-smi['\"’]?: executable file not found|unknown command: nvidia-smi|no nvidia-smi in \(",
            "driver_missing", "there is no nvidia-smi: the driver is not installed", "install the NVIDIA driver"),
    _saying(_NVML + r"driver/library version mismatch(?:.{0,40}?nvml library version: ?(?P<library>[0-9.]{3,15}))?",
            "driver_library_mismatch", "the driver's libraries{0} do not fit the loaded kernel module{1}", _RELOAD),
    _saying(_NVML + "unknown error", "nvml_unknown_error", "NVML does not start: Unknown Error",
            "in a container: it lost its devices (`systemctl daemon-reload` on the host does that); restart it, and "
            f"use CDI to keep them; on the host: {_LOG}"),
    _saying(_NVML + "gpu access blocked by the operating system", "gpu_access_blocked",
            "the operating system blocks access to the GPU",
            "in WSL: update the Windows driver, `wsl --shutdown`; in a VM or container: pass the GPU through again"),
    _saying(_NVML + "insufficient permissions", "insufficient_permissions", "NVML may not open the devices",
            "run as root, or see who may read them: `ls -l /dev/nvidia*`"),
    _saying(_NVML + "(?:no supported gpus|not found)", "no_devices", "the driver found no GPU that it supports",
            f"see whether the cards are there: `lspci -d 10de:`; {_LOG}"),
    _saying(_NVML + "gpu is lost", "gpu_lost", "a GPU is lost", f"{_LOG}; reboot"),
    _saying(_NVML + r"(?:error_library_not_found|.{0,60}library.{0,20}not found)"
            r"|couldn.{0,6}t find libnvidia-ml|nvml \w{1,10} library.{0,40}not found"
            r"|libnvidia-ml\.so(?:\.1)?: cannot open",
            "driver_library_missing", "libnvidia-ml.so, the driver's library, is not there", _LIBRARY,
            words=("nvml", "libnvidia-ml")),
    _saying(_NVML + r"([a-z][a-z /_'-]{2,60}?)(?= failed to| nvml |[^a-z /_'-]|$)",
            "nvml_failed", "NVML does not start: {0}", f"{_LOG}; reboot"),
    _saying(r"no devices were found", "no_devices", "the driver runs and finds no GPU that it can use",
            f"see whether the cards are there: `lspci -d 10de:`; {_LOG}", words=("no devices were found",)),
    _saying(r"could not select device driver .{0,20}with capabilities: \[\[gpu\]\]", "container_toolkit_missing",
            "the container engine knows no GPUs",
            "install nvidia-container-toolkit, run `nvidia-ctk runtime configure` and restart the engine",
            words=("could not select device driver",)),
    _saying(r"(?<![\[>:] )(?<![\[>:])\bgpu requires reset(?!\])", "gpu_requires_reset", "a GPU requires a reset",
            "stop what uses it and run `nvidia-smi -r` as root, or reboot", words=("gpu requires reset",)),
    _saying(r"nvidia-smi[^:]{0,60}: timed out after [0-9]{1,5} ?s|(?:^| )@timeout\b", "driver_hangs",
            "nvidia-smi does not return: a GPU is stuck", f"{_LOG}; reboot", words=("nvidia-smi", "@timeout")),
)  # fmt: skip

# Sayings that name a GPU by its address.
_OF_A_GPU = (
    _saying(rf"gpu(?: at)?(?: pci:)? ?({_ADDRESS})?:? ?has fallen off the bus", _FELL,
            "the GPU has fallen off the PCIe bus", f"{_LOG}; reboot; check power, riser and heat"),
    _saying(rf"inforom is corrupted at gpu ({_ADDRESS})", "inforom_corrupted",
            "the InfoROM of the GPU is corrupted: its ECC and power settings may be wrong",
            "the GPU may go on working; ask its maker for an exchange", has_list=True),
)  # fmt: skip

_HANDLE = re.compile(
    r"unable to (?:determine|detect) the device handle for gpu ?(?:(?P<index>[0-9]{1,2}): ?)?"
    # The reason is looked at, not taken: the next message may follow on it.
    rf"(?P<bus>{_ADDRESS})?:? ?(?=(?P<reason>[a-z][a-z]+(?: [a-z]+){{0,2}})?)",
    re.IGNORECASE,
)
# By the beginning of the reason: code, state, what, do.
_REASONS: tuple[tuple[str, str, GpuState, str, str], ...] = (
    ("gpu is lost", "gpu_lost", "lost", "the driver has lost the GPU",
     f"{_LOG}; reboot; if it comes back, check power, riser and heat"),
    ("gpu requires reset", "gpu_requires_reset", "error", "the GPU requires a reset",
     "stop what uses it and run `nvidia-smi -r` for it as root, or reboot"),
    ("insufficient permissions", "insufficient_permissions", "error", "the GPU may not be opened",
     "run as root, or see who may read it: `ls -l /dev/nvidia*`"),
    ("", "device_handle_unknown_error", "error", "the driver gives no handle for the GPU",
     f"{_LOG}; most often it fell off the bus: reboot; if it comes back, check power, riser and heat"),
)  # fmt: skip
_OTHERS = re.compile(rf"{_ADDRESS}|\bGPU-[0-9a-f]{{8}}-", re.IGNORECASE)
_ROW = re.compile(r"^(?:[0-9]{1,3}, \S|GPU [0-9]{1,3}: )", re.MULTILINE)
_MODULE = re.compile(r"kernel module has the version:? ([0-9.]{3,15})|NVRM version: \D{0,60}([0-9]{2,4}\.[0-9.]{2,9})")


def read(text: str) -> Reading:
    """The problems that the text tells, and the GPUs that it names as lost; nothing where it tells none."""
    lines = cells.lines(text)
    # A terminal may have broken the lines at any blank.
    flat = " ".join(" ".join(lines).split())
    messages = list(_general(flat))
    failures = list(_failures(flat, "\n".join(lines)))
    of_gpus = list(_of_gpus(flat))
    if not (messages or failures or of_gpus):
        return Reading()
    is_whole = not failures and all(saying.has_list for _, saying in [*messages, *of_gpus])
    fallen = [Gpu(pci_address=p.where, vendor="NVIDIA", state="lost") for p, _ in of_gpus if p.code == _FELL]
    gpus = {gpu.label: gpu for gpu in [*fallen, *(gpu for gpu, _ in failures)] if gpu.label not in ("a GPU", _SMI)}
    return Reading(
        gpus=tuple(gpus.values()),
        vendor="NVIDIA" if gpus else None,
        is_driver_list=not is_whole,
        is_whole=is_whole,
        problems=_once([p for p, _ in messages] + [p for _, all_ in failures for p in all_] + [p for p, _ in of_gpus]),
    )


def _once(problems: list[Problem]) -> tuple[Problem, ...]:
    once: dict[tuple[str, str], Problem] = {}
    for problem in problems:
        once.setdefault((problem.code, problem.where), problem)
    return tuple(once.values())


def _general(flat: str) -> Iterator[tuple[Problem, _Saying]]:
    """What is said of the driver as a whole. Of what NVML says the closest saying counts."""
    has_nvml = False
    lowered = flat.lower()
    for saying in _SAYINGS:
        found = saying.pattern.search(flat) if any(word in lowered for word in saying.words) else None
        if not found or (saying.code == "nvml_failed" and has_nvml):
            continue
        has_nvml = has_nvml or "nvml" in found[0].lower()[:80]
        words = [found[1].strip()] if found.re.groups and found[1] else [""]
        if saying.code == "driver_library_mismatch":
            module = _MODULE.search(flat)
            known = (found["library"], (module[1] or module[2]) if module else None)
            words = [f" ({version.rstrip('.')})" if version else "" for version in known]
        yield Problem(saying.code, _SMI, saying.what.format(*words), saying.do), saying


def _failures(flat: str, text: str) -> Iterator[tuple[Gpu, tuple[Problem, ...]]]:
    """The GPUs for which there is no handle."""
    found = list(_HANDLE.finditer(flat))
    if not found:
        return
    failed = {cells.pci_address(match["bus"] or "") for match in found}
    seen = {cells.pci_address(match[0]) for match in _OTHERS.finditer(flat)}
    has_others = bool(seen - failed) or bool(_ROW.search(text))
    # A message that counts the GPU (`GPU2: …`) counts the others too.
    is_one = has_others or (len(found) == 1 and "no devices were found" not in flat.lower())
    for match in found:
        reason = (match["reason"] or "").strip()
        _, code, state, what, do = next(row for row in _REASONS if reason.lower().startswith(row[0]))
        gpu = Gpu(
            index=int(match["index"]) if match["index"] else None,
            pci_address=cells.pci_address(match["bus"] or ""),
            vendor="NVIDIA",
            state=state,
        )
        where = gpu.pci_address or (gpu.label if gpu.index is not None else _SMI)
        said = f": {' '.join(reason.split()[:2])}" if code == "device_handle_unknown_error" and reason else ""
        problems = [Problem(code, where, what + said, do)]
        if is_one and (has_others or gpu.index is not None):
            alone = "this GPU is lost while others answer" if has_others else "this GPU alone is named as lost"
            problems.append(Problem("one_gpu_lost", where, alone, do))
        yield gpu, tuple(problems)


def _of_gpus(flat: str) -> Iterator[tuple[Problem, _Saying]]:
    for saying in _OF_A_GPU:
        for found in saying.pattern.finditer(flat):
            where = cells.pci_address(found[1] or "") or _SMI
            yield Problem(saying.code, where, saying.what, saying.do), saying
