"""A simulated NVIDIA driver: a rig that answers by what is installed and loaded, without a GPU and without a kernel.

What runs in the rig is `rigwright.lab.simulated`, copied there with stand-ins for the commands of the kernel's modules.
"""

from __future__ import annotations

from pathlib import Path

from rigwright.errors import RigwrightError
from rigwright.hardware.capture import read_folder
from rigwright.hardware.values import Gpu
from rigwright.lab import hardware
from rigwright.lab.host import write_bytes, write_text
from rigwright.lab.mounts import within

FAULTS = ("driver-missing", "driver-late", "driver-mismatch", "gpu-lost")
SOURCES = Path(__file__).parent / "simulated"
PLACE = hardware.PLACE
# In place of the system's own; dpkg puts theirs elsewhere, so that no upgrade brings them back.
INSTEAD = {
    "usr/sbin/modprobe": "modprobe",
    "usr/sbin/rmmod": "rmmod",
    "usr/sbin/lsmod": "lsmod",
    "usr/bin/lsmod": "lsmod",
    "usr/sbin/modinfo": "modinfo",
    "usr/bin/lspci": "lspci",
}
TOOLS = (*dict.fromkeys(INSTEAD.values()), "nvidia-smi", "nvidia-modprobe", "driver", "modules-load")
STAND_IN = f"""#!/usr/bin/python3 -I
# This is a stand-in of `rigwright lab`, not the real tool: it answers as its simulated driver is.
import sys

sys.path.insert(0, "/{PLACE}/python")
from rigwright.lab.simulated.tools import main

sys.exit(main(sys.argv))
"""
# Units that want the driver load it as early as systemd lets them: what boots with a fault has it before.
_EARLY = (
    "DefaultDependencies=no\n"
    "Before=systemd-modules-load.service modprobe@nvidia.service modprobe@nvidia_uvm.service sysinit.target\n"
)
UNITS = {
    "lab-driver.service": (
        f"[Unit]\nDescription=Simulated NVIDIA driver of the lab\n{_EARLY}\n"
        "[Service]\nType=oneshot\nRemainAfterExit=yes\n"
        "ExecStart=sh -c 'mountpoint -q /proc/driver || mount -t tmpfs -o mode=755 tmpfs /proc/driver'\n"
        f"ExecStart=/{PLACE}/bin/driver boot\n"
    ),
    "lab-driver-late.service": (
        f"[Unit]\nDescription=Simulated NVIDIA driver of the lab that comes late\n"
        f"ConditionPathExists=/{PLACE}/driver/faults/driver-late\n\n[Service]\nExecStart=/{PLACE}/bin/driver late\n"
    ),
    # The real one asks the kernel itself.
    "systemd-modules-load.service.d/lab-driver.conf": f"[Service]\nExecStart=\nExecStart=/{PLACE}/bin/modules-load\n",
}
WANTED = {"sysinit.target": "lab-driver.service", "multi-user.target": "lab-driver-late.service"}


def refuse_machine(name: str, machine: Path | None) -> None:
    """Refuse a recorded machine that such a rig could not be.

    Raises:
        RigwrightError: there is none, or it has no lspci, or no GPU of NVIDIA's.
    """
    if machine is None:
        raise RigwrightError(f"lab: {name}: a driver needs GPUs; add --hardware 2x-rtx3090 or another recorded machine")
    _gpus(machine)


def install(root: Path, machine: Path) -> None:
    """Put the recordings and the simulated driver into a rig's `/`; no driver is installed in it."""
    # nvidia-smi comes with a package.
    hardware.install(root, machine, tools=[tool for tool in hardware.TOOLS if tool not in ("nvidia-smi", "lspci")])
    place = within(root, PLACE)
    for source in sorted(SOURCES.glob("*.py")):
        write_bytes(place / "python/rigwright/lab/simulated" / source.name, source.read_bytes())
    for tool in TOOLS:
        write_text(place / "bin" / tool, STAND_IN, mode=0o755)
    for tool in ("nvidia-smi", "lspci"):
        write_bytes(place / "recorded" / tool, hardware.STAND_IN.read_bytes(), mode=0o755)
    gpus = _gpus(machine)
    rows = [(gpu.pci_address or "", gpu.name or "", gpu.uuid or f"GPU-{at:08}") for at, gpu in enumerate(gpus)]
    write_text(place / "driver/gpus.tsv", "".join("\t".join(row) + "\n" for row in rows))
    write_text(place / "driver/recorded-version", f"{read_folder(machine).driver_version or ''}\n")
    for path, tool in INSTEAD.items():
        divert(root, path, tool)
    units = within(root, "usr/lib/systemd/system")
    for name, text in UNITS.items():
        write_text(units / name, text)
    for target, unit in WANTED.items():
        wants = units / f"{target}.wants"
        wants.mkdir(exist_ok=True)
        (wants / unit).unlink(missing_ok=True)
        (wants / unit).symlink_to(f"../{unit}")


def divert(root: Path, path: str, tool: str) -> None:
    """Put a stand-in in place of a file, whichever package owns it now or brings it later."""
    at = within(root, Path(path).parent) / Path(path).name
    hardware.divert(root, path)
    at.unlink(missing_ok=True)
    at.symlink_to(f"/{PLACE}/bin/{tool}")


def _gpus(machine: Path) -> list[Gpu]:
    listed = any(machine.glob(hardware.ALWAYS["lspci"]))
    gpus = [gpu for gpu in read_folder(machine).gpus if gpu.vendor == "NVIDIA" and gpu.pci_address]
    if not listed or not gpus:
        lacks = "GPU of NVIDIA's" if listed else "lspci.txt"
        says = f"lab: {machine.name} has no {lacks}, without which no driver is simulated"
        raise RigwrightError(f"{says}; use 2x-rtx3090, or record a machine with `rigwright hardware --record`")
    return sorted(gpus, key=lambda gpu: gpu.pci_address or "")
