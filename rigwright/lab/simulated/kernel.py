"""The kernel side of a simulated driver: what is loaded, what holds it, what a boot does, what a fault changes.

All of it is files: below `lib/rigwright-lab/driver` what outlives a boot, below `/run/rigwright-lab/driver` the rest.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from rigwright.lab.simulated.modules import (
    NEEDS,
    TOGETHER,
    Module,
    blacklisted,
    disabled,
    loaded_name,
    on_disk,
    parse,
    plain,
)

KEPT = "usr/lib/rigwright-lab/driver"
RUN = "run/rigwright-lab/driver"
PROC = "proc/driver/nvidia"
LATE_SECONDS = 60
# Every host lets a container make this one (null); which it is matters to nobody who asks for a character device.
DEVICE = (1, 3)
_HOLDS = (
    (re.compile(r"/dev/nvidia-uvm(?:-tools)?"), "nvidia_uvm"),
    (re.compile(r"/dev/nvidia-modeset"), "nvidia_modeset"),
    (re.compile(r"/dev/nvidia(?:\d+|ctl)"), "nvidia"),
)


class Refused(Exception):
    """What the kernel, or the tool before it, answers to a request that it refuses."""


class Kernel:
    """The driver of one rig. Each call reads the state anew, since any process may have changed it."""

    def __init__(self, root: Path = Path("/"), release: str | None = None, *, is_root: bool | None = None) -> None:
        """By default the rig that this runs in, its kernel and its user."""
        self.root = root
        self.release = release or os.uname().release
        self.is_root = os.geteuid() == 0 if is_root is None else is_root
        self.kept, self.run = root / KEPT, root / RUN

    @property
    def disk(self) -> Module | None:
        """The module that would be loaded."""
        return on_disk(self.root, self.release)

    @property
    def driver(self) -> Module | None:
        """NVIDIA's module as it is loaded."""
        file = self.run / "loaded"
        return parse(file.read_text()) if file.exists() else None

    @property
    def modules(self) -> list[str]:
        """The names of what is loaded, nouveau among them."""
        file = self.run / "modules"
        return file.read_text().split() if file.exists() else []

    @property
    def gpus(self) -> list[list[str]]:
        """Address on the bus, name and UUID of each GPU that answers."""
        rows = [line.split("\t") for line in (self.kept / "gpus.tsv").read_text().splitlines()]
        return rows[:-1] if self.has_fault("gpu-lost") else rows

    def has_fault(self, name: str) -> bool:
        """Whether a fault was asked for; some bite from the next boot on."""
        return (self.kept / "faults" / name).exists()

    def load(self, name: str, *, together: bool = True) -> None:
        """modprobe: load a module and what it needs.

        Raises:
            Refused: as the kernel or modprobe would say it.
        """
        wanted = loaded_name(name)
        if wanted is None:
            raise Refused(f"modprobe: FATAL: Module {name} not found in directory /lib/modules/{self.release}")
        if wanted in self.modules:
            return
        module = None if wanted == "nouveau" else self._loadable(name)
        if not self.is_root:
            raise Refused(f"modprobe: ERROR: could not insert '{plain(name)}': Operation not permitted")
        if plain(name) in disabled(self.root):
            raise Refused(f"modprobe: ERROR: could not insert '{plain(name)}': Invalid argument")
        if module is None:
            if "nvidia" in self.modules:
                raise Refused("modprobe: ERROR: could not insert 'nouveau': No such device")
            self._set_modules([*self.modules, "nouveau"])
            return
        if "nvidia" not in self.modules:
            self._refuse_load(name)
            self._insert(module)
        self._set_modules([*self.modules, *_needed(wanted), *(TOGETHER if together else ())])

    def unload(self, name: str) -> None:
        """Take one module out.

        Raises:
            Refused: something holds it; without the tool's own beginning of the line.
        """
        if not self.is_root:
            raise Refused(f"could not remove '{name}': Operation not permitted")
        if by := self.users(name):
            raise Refused(f"Module {name} is in use by: {' '.join(by)}")
        if self.opened(name):
            raise Refused(f"Module {name} is in use")
        self._set_modules([one for one in self.modules if one != name])
        if name == "nvidia":
            (self.run / "loaded").unlink(missing_ok=True)
            for setting in (self.run / "settings").glob("*"):
                setting.unlink()
            self.publish()
        for device in self._devices(name):
            device.unlink()

    def users(self, name: str) -> list[str]:
        """The loaded modules that need this one."""
        return [one for one in self.modules if name in NEEDS.get(one, ())]

    def opened(self, name: str) -> int:
        """How many hold a device of this module open, as far as this user may see."""
        marks = {"nvidia": "in-use", "nouveau": "nouveau-in-use"}
        held = sum(
            1
            for _, at in _open_files(self.root)
            for device, module in _HOLDS
            if device.fullmatch(at) and module == name
        )
        return held + (name in marks and (self.run / marks[name]).exists())

    def computing(self) -> list[tuple[int, int]]:
        """The processes that have a GPU's device file open, and the index of that GPU, as far as this user may see."""
        found = {
            (int(pid), int(device[1]))
            for pid, at in _open_files(self.root)
            if (device := re.fullmatch(r"/dev/nvidia(\d+)", at)) and int(device[1]) < len(self.gpus)
        }
        return sorted(found)

    def make_devices(self, minors: Iterable[int] | None = None, *, gpus: bool = True, uvm: bool = False) -> None:
        """Make the device files, as root alone can; by default those of all GPUs."""
        names = ["nvidiactl"] if gpus else []
        if gpus:
            names += [f"nvidia{minor}" for minor in (range(len(self.gpus)) if minors is None else minors)]
        if uvm and "nvidia_uvm" in self.modules:
            names += ["nvidia-uvm", "nvidia-uvm-tools"]
        for name in names:
            at = self.root / "dev" / name
            if not at.exists():
                os.mknod(at, 0o666 | stat.S_IFCHR, os.makedev(*DEVICE))
                at.chmod(0o666)

    def boot(self) -> None:
        """What happens while a machine starts: nouveau comes unless settings forbid it, NVIDIA's driver otherwise."""
        self.run.mkdir(parents=True, exist_ok=True)
        (self.run / "booted").write_text(f"{time.time():.0f}\n")
        for fault in ("driver-missing", "driver-late"):
            if self.has_fault(fault):
                (self.run / fault).write_text((self.kept / "faults" / fault).read_text())
        if "nouveau" not in blacklisted(self.root):
            self._set_modules(["nouveau"])
            (self.run / "nouveau-in-use").touch()  # by the console: a card that shows text is not given back
        self.come_up(from_initramfs=True)

    def come_up(self, *, from_initramfs: bool = False) -> None:
        """Load the driver as udev does, where there is one and nothing is in its way."""
        found = self.disk
        if found is not None and found.file is not None:
            name = plain(found.file.name.partition(".ko")[0])
            if not {name, "nvidia"} & blacklisted(self.root):
                old = self.kept / "faults" / "driver-mismatch"
                with suppress(Refused):
                    self._refuse_load(name)
                    if "nvidia" not in self.modules:
                        self._insert(parse(old.read_text()) if from_initramfs and old.exists() else found)
                    self._set_modules([*self.modules, *TOGETHER])
        self.publish()

    def seconds_late(self) -> float:
        """How long the driver still keeps its users waiting, by the fault `driver-late`."""
        fault = self.run / "driver-late"
        if not fault.exists():
            return 0
        seconds = float(fault.read_text().strip() or LATE_SECONDS)
        return max(0.0, float((self.run / "booted").read_text()) + seconds - time.time())

    def publish(self) -> None:
        """Write what /proc/driver/nvidia says of the loaded module and its GPUs."""
        proc, driver = self.root / PROC, self.driver
        for file in sorted(proc.rglob("*"), reverse=True):
            file.rmdir() if file.is_dir() else file.unlink()
        if driver is None:
            with suppress(FileNotFoundError):
                proc.rmdir()
            return
        for minor, (address, name, uuid) in enumerate(self.gpus):
            (proc / "gpus" / address).mkdir(parents=True)
            rows = {"Model": name, "GPU UUID": uuid, "Bus Location": address, "Device Minor": str(minor)}
            text = "".join(f"{key + ':':<17}{value}\n" for key, value in rows.items())
            (proc / "gpus" / address / "information").write_text(text)
        proc.mkdir(parents=True, exist_ok=True)
        (proc / "version").write_text(version_text(driver))

    def _loadable(self, name: str) -> Module:
        found = self.disk
        if found is None:
            raise Refused(f"modprobe: FATAL: Module {name} not found in directory /lib/modules/{self.release}")
        return found

    def _refuse_load(self, name: str) -> None:
        says = f"modprobe: ERROR: could not insert '{plain(name)}': No such device"
        if (self.run / "driver-missing").exists() or "nouveau" in self.modules:
            raise Refused(says)
        if left := self.seconds_late():
            raise Refused(f"{says} (fault driver-late: {left:.0f} s to go)")

    def _insert(self, module: Module) -> None:
        self.run.mkdir(parents=True, exist_ok=True)
        (self.run / "loaded").write_text(module.text)
        self.publish()

    def _set_modules(self, names: list[str]) -> None:
        (self.run / "modules").write_text("".join(f"{name}\n" for name in dict.fromkeys(names)))
        if "nouveau" not in names:
            (self.run / "nouveau-in-use").unlink(missing_ok=True)

    def _devices(self, module: str) -> Iterator[Path]:
        for at in sorted((self.root / "dev").glob("nvidia*")):
            if any(device.fullmatch(f"/dev/{at.name}") and holder == module for device, holder in _HOLDS):
                yield at


def version_text(module: Module) -> str:
    """What /proc/driver/nvidia/version says. Source: recorded from both flavours of 550 and 580."""
    stamp, gcc = "Tue Sep 23 09:55:41 UTC 2025", "gcc version 14.2.0 (Debian 14.2.0-19) "
    kind = (
        f"Open Kernel Module for x86_64  {module.version}  Release Build  (dvs-builder@lab)"
        if module.is_open
        else f"x86_64 Kernel Module  {module.version}"
    )
    return f"NVRM version: NVIDIA UNIX {kind}  {stamp}\nGCC version:  {gcc}\n"


def _needed(name: str) -> list[str]:
    """A module behind all that it needs."""
    return [*(deep for one in NEEDS[name] for deep in _needed(one)), name]


def _open_files(root: Path) -> Iterator[tuple[str, str]]:
    """Each process with each file that it has open."""
    for process in (root / "proc").glob("[0-9]*"):
        with suppress(OSError):
            for handle in (process / "fd").iterdir():
                with suppress(OSError):
                    yield process.name, str(handle.readlink())
