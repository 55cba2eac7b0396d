"""Repositories of a driver plan: which NVIDIA's is, by which key, what apt prefers, and which names come and go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rigwright.catalogue import load
from rigwright.hardware.values import Hardware
from rigwright.plan.driver.tables import System, system_of
from rigwright.plan.driver.values import DriverPlan

_COMPONENTS = "contrib non-free non-free-firmware"
# Packages that are of the driver and of no toolkit.
_DRIVERS = (
    "nvidia-* libnvidia-* libcuda1 libcuda1-* libcudadebugger1 cuda-drivers* xserver-xorg-video-nvidia* libnvcuvid1 "
    "libnvoptix1 libxnvctrl* firmware-nvidia-*"
)


@dataclass(frozen=True)
class Repositories:
    """What a plan wants of repositories.

    url: the folder of this release in NVIDIA's repositories, empty where it is not wanted. key: the name of its key
    there. fingerprint: which key alone is taken. components: those of Debian that are wanted. preferences: the text of
    apt's preferences. names: what is installed, in its order; leaving: what goes for it. stream: that of a module of
    dnf. wants_epel: whether dkms, which EPEL has, comes too.
    """

    url: str = ""
    key: str = ""
    fingerprint: str = ""
    components: str = ""
    preferences: str = ""
    names: tuple[str, ...] = ()
    leaving: tuple[str, ...] = ()
    stream: str = ""
    wants_epel: bool = False

    @property
    def variables(self) -> dict[str, str]:
        """As the scripts of the role take them."""
        return {
            "REPO": self.url,
            "KEY": self.key,
            "FINGERPRINT": self.fingerprint,
            "COMPONENTS": self.components,
            "PREFERENCES": self.preferences,
            "STREAM": self.stream,
            "EPEL": "yes" if self.wants_epel else "",
        }

    @classmethod
    def of(
        cls, hardware: Hardware, plan: DriverPlan, mirror: str = "", fingerprint: str = "", *, asks_all: bool = False
    ) -> Repositories:
        """Those of a plan. Of a refused one, and with `asks_all`, every one that might have a better driver."""
        system = system_of(hardware)
        if system is None:
            return cls()
        is_open = asks_all or plan.verdict == "refuse"
        source, branch = plan.driver.source, plan.driver.branch
        own = _key_of(system)
        is_nvidias = source == "nvidia" or plan.cuda.source == "nvidia" or is_open
        is_distros = source == "distro" or (plan.cuda.source == "distro" and bool(plan.cuda.packages))
        base = mirror or str(load("drivers")["repositories"]["url"])
        architecture = {"aarch64": "sbsa"}.get(hardware.architecture, "x86_64")
        wanted = [name for kind in _INSTALLED for step in plan.steps if step.kind == kind for name in step.packages]
        streams = [name for name in wanted if ":" in name]
        return cls(
            url=f"{base}/{system.repository}/{architecture}" if is_nvidias else "",
            key=str(own["file"]) if is_nvidias else "",
            fingerprint=(fingerprint or str(own["fingerprint"])) if is_nvidias else "",
            components=_COMPONENTS if system.family == "debian" and (is_distros or is_open) else "",
            preferences=_preferences(source, branch) if system.family in ("debian", "ubuntu") else "",
            names=tuple(name for name in wanted if name not in streams),
            leaving=tuple(name for step in plan.steps if step.kind == "remove" for name in step.packages),
            stream=streams[0] if streams else "",
            wants_epel=system.family == "el" and "dkms" in wanted,
        )


_INSTALLED = ("pin", "headers", "install", "fabric")


def _key_of(system: System) -> dict[str, Any]:
    keys = load("drivers")["repositories"]["keys"]
    found: dict[str, Any] = keys.get(system.key) or keys[system.family]
    return found


def _preferences(source: str, branch: int | None) -> str:
    """The branch, before anything is installed: NVIDIA's packages ask for `this version or newer` of each other.

    Where the driver is the distribution's, that of NVIDIA's repository, which may be here for a toolkit, stays away.
    """
    head = "# Written by rigwright: the driver keeps to what was planned.\n"
    if source == "nvidia" and branch:
        return f"{head}Package: {_DRIVERS}\nPin: version {branch}.*\nPin-Priority: 1000\n"
    if source == "distro":
        pin = "Pin: release l=NVIDIA CUDA"
        return f"{head}Package: {_DRIVERS}\n{pin}\nPin-Priority: -1\n"
    return ""
