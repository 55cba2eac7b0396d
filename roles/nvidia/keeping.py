"""What keeps a driver as it is, as files and holds: desired states, compared with what is read of the rig."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rigwright.plan.driver import DriverPlan
from rigwright.records import paths
from rigwright.resources import template
from rigwright.roles.base.facts import Rig
from rigwright.roles.base.operations import INSTALLED_LIST
from rigwright.spec.driver import NvidiaSettings

MODPROBE = "/etc/modprobe.d/rigwright-nvidia.conf"
UNATTENDED = "/etc/apt/apt.conf.d/52rigwright-nvidia"
DEVICES = f"/etc/systemd/system/{paths.DEVICES_UNIT}"
FILES = (MODPROBE, UNATTENDED, DEVICES)
_HEAD = "# Written by rigwright: {}.\n"
_NOUVEAU = "blacklist nouveau\noptions nouveau modeset=0\n"
# Its successor, which Ubuntu 26.04's first kernels have and which holds cards without driving them.
_NOVA = "blacklist nova_core\nblacklist nova_drm\n"
# Regular expressions of Python, matched where a name begins.
_UPGRADES = ("nvidia-", "libnvidia-", "libcuda1$", "cuda-drivers", "linux-modules-nvidia-", "xserver-xorg-video-nvidia")
_KERNELS = ("linux-image-", "linux-headers-", "linux-generic", "linux-modules-")
_DRIVER = re.compile(r"nvidia|^libcuda1|^libcudadebugger|^cuda-drivers|fabric-?manager|^nvlsm$")
# Metas, which a new kernel comes with: `linux-image-generic-hwe-24.04`, `linux-generic`; not what is of one kernel.
_KERNEL = re.compile(
    r"linux-(?!.*\d\.\d+\.\d)(?:image-|headers-|modules-extra-)?(?!modules-|firmware)[a-z][a-z0-9.-]*$"
)
_HMM = "options nvidia_uvm uvm_disable_hmm=1\n"


@dataclass(frozen=True)
class Kept:
    """What shall lie on the rig: texts by path, an empty one where no file is wanted; and names that are held."""

    files: dict[str, str]
    held: tuple[str, ...]

    def differs(self, rig: Rig) -> bool:
        """Whether the rig is otherwise."""
        if any((rig.content(path) or "") != text for path, text in self.files.items()):
            return True
        return not set(self.held) <= set(rig.hardware.software.holds)


def kept(rig: Rig, plan: DriverPlan, settings: NvidiaSettings) -> Kept:
    """What keeps the driver of a rig; of one that its owner brought nothing is held."""
    kinds = {step.kind for step in plan.steps}
    there = rig.content(MODPROBE) or ""
    brought = _brought(rig)
    modprobe = _NOUVEAU + _NOVA if brought or "nouveau" in kinds or _NOUVEAU in there else ""
    modprobe += _HMM if "module options" in kinds or _HMM in there else ""
    held = _held(rig) if settings.hold else ()
    is_apt = rig.hardware.os_id in ("debian", "ubuntu")
    files = {
        MODPROBE: _HEAD.format("NVIDIA's driver takes the place of nouveau") + modprobe if modprobe else "",
        UNATTENDED: _unattended(held) if held and is_apt else "",
    }
    if brought:
        files[DEVICES] = template("devices.service")
    return Kept(files, held)


def _brought(rig: Rig) -> tuple[str, ...]:
    """The packages of a driver that came with us and are there."""
    names = {line.split()[0] for line in (rig.content(INSTALLED_LIST) or "").splitlines() if line.split()}
    there = (one.name for one in rig.hardware.software.packages if one.state == "installed")
    return tuple(sorted(name for name in there if name in names and _DRIVER.search(name)))


def _held(rig: Rig) -> tuple[str, ...]:
    """Those, and with modules that came compiled the kernel that they are for: a newer one would have none."""
    brought = _brought(rig)
    if not any(name.startswith("linux-modules-nvidia-") for name in brought):
        return brought
    kernels = (
        one.name for one in rig.hardware.software.packages if one.state == "installed" and _KERNEL.match(one.name)
    )
    return tuple(sorted({*brought, *kernels}))


def _unattended(held: tuple[str, ...]) -> str:
    kernels = _KERNELS if any(_KERNEL.match(name) for name in held) else ()
    rows = "".join(f'  "^{name}";\n' for name in (*_UPGRADES, *kernels))
    head = "# Written by rigwright: the driver changes with a deploy alone, or what serves loses its GPUs.\n"
    return f"{head}Unattended-Upgrade::Package-Blacklist {{\n{rows}}};\n"
