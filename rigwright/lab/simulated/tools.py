"""The commands of a simulated driver by their names, and what the lab itself asks of it: `driver boot` and others."""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rigwright.lab.simulated import kmod, smi
from rigwright.lab.simulated.kernel import LATE_SECONDS, Kernel, Refused
from rigwright.lab.simulated.modules import loaded_name

_LOCKED = "RIGWRIGHT_LAB_DRIVER_LOCKED"
_MODULES_LOAD = ("etc/modules-load.d", "run/modules-load.d", "usr/local/lib/modules-load.d", "usr/lib/modules-load.d")


def main(words: Sequence[str]) -> int:
    """Do what the command of this name does; returns its exit code."""
    name, arguments = Path(words[0]).name, list(words[1:])
    kernel = Kernel()
    if not kernel.is_root:
        return TOOLS[name](kernel, arguments)
    kernel.run.mkdir(parents=True, exist_ok=True)
    if arguments == ["late"]:
        time.sleep(kernel.seconds_late())
    with (kernel.run / "lock").open("w") as lock:
        if _LOCKED not in os.environ:  # kmod runs modprobe again where settings say so
            fcntl.flock(lock, fcntl.LOCK_EX)
        os.environ[_LOCKED] = "yes"
        return TOOLS[name](kernel, arguments)


def driver(kernel: Kernel, arguments: Sequence[str]) -> int:
    """`driver boot`, `driver late`, `driver fault NAME [VALUE]`."""
    what, *rest = arguments
    if what == "boot":
        kernel.boot()
    elif what == "late":
        kernel.come_up()
    elif what == "fault":
        try:
            sys.stdout.write(f"{fault(kernel, *rest)}\n")
        except Refused as refusal:
            sys.stderr.write(f"{refusal}\n")
            return 1
    return 0


def fault(kernel: Kernel, name: str, value: str = "") -> str:
    """Do one fault, or `clear` all; returns what was done."""
    faults = kernel.kept / "faults"
    faults.mkdir(exist_ok=True)
    if name == "clear":
        for file in (*faults.iterdir(), kernel.run / "driver-missing", kernel.run / "driver-late"):
            file.unlink(missing_ok=True)
        kernel.come_up()
        return "the driver has no fault any more"
    if name == "driver-mismatch":
        if kernel.driver is None:
            raise Refused("no driver is loaded, so that no older one can come back; install one first")
        (faults / name).write_text(kernel.driver.text)
        return f"the next boot loads {kernel.driver.version}, whatever is installed then"
    (faults / name).write_text(f"{value}\n")
    if name == "gpu-lost":
        kernel.publish()
        return f"{len(kernel.gpus)} GPU(s) answer"
    late = f"loads only {value or LATE_SECONDS} s after it"
    return "from the next boot on the driver " + ("finds no device" if name == "driver-missing" else late)


def modules_load(kernel: Kernel, arguments: Sequence[str]) -> int:
    """systemd-modules-load: of what settings name, the modules of this driver."""
    files = {file.name: file for folder in reversed(_MODULES_LOAD) for file in (kernel.root / folder).glob("*.conf")}
    lines = [line.strip() for file in files.values() if file.is_file() for line in file.read_text().splitlines()]
    code = 0
    for name in dict.fromkeys(line for line in lines if line and not line.startswith(("#", ";"))):
        if loaded_name(name) is None:
            continue
        try:
            kernel.load(name)
        except Refused as refusal:
            sys.stderr.write(f"Failed to insert module '{name}': {str(refusal).rpartition(': ')[2]}\n")
            code = 1
    return code


TOOLS: dict[str, Callable[[Kernel, Sequence[str]], int]] = {
    "modprobe": kmod.modprobe,
    "rmmod": kmod.rmmod,
    "lsmod": kmod.lsmod,
    "modinfo": kmod.modinfo,
    "nvidia-smi": smi.nvidia_smi,
    "nvidia-modprobe": smi.nvidia_modprobe,
    "lspci": smi.lspci,
    "driver": driver,
    "modules-load": modules_load,
}
