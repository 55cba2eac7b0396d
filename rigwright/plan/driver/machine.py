"""A machine as a driver sees it: its GPUs with their limits, its release and kernel, and what is installed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from rigwright.hardware import models
from rigwright.hardware.software import CONTAINERS, Flavour, Package, Software
from rigwright.hardware.sources.software_text import origin
from rigwright.hardware.values import Gpu, Hardware
from rigwright.plan.driver import kernels
from rigwright.plan.driver.gpus import DrivenGpu, driven
from rigwright.plan.driver.tables import System, branch_of, plain, release_of, system_of, version_of
from rigwright.plan.driver.values import Source

# A GPU of which a hypervisor gives a guest a part: `GRID A100-4C`, `NVIDIA L40S-12Q`.
_VGPU = re.compile(r"\bGRID\b|-\d{1,3}[ABCQ]\b")
# Azure gives its A10 as parts alone, the whole card too (NVadsA10 v5). Source: canonical/ubuntu-drivers-common#92.
_AZURES_PARTS = ("10de:2236",)
# `580-open`: a branch with modules that dkms compiles. `580` has modules for some kernels alone.
_STREAM = re.compile(r"(\d{3})-(?:open|dkms)")
# Packages whose version is that of the driver's libraries.
_USERLAND = re.compile(
    r"^(?:libcuda1|libnvidia-compute(?:-\d+(?:-server)?)?|nvidia-driver-(?:cuda|libs|cuda-libs)|libnvidia-ml1?"
    r"|nvidia-utils-\d+(?:-server)?|nvidia-smi|xorg-x11-drv-nvidia-cuda(?:-libs)?|nvidia-compute-G\d\d)$"
)
_MODULES = re.compile(r"^(?:nvidia-(?:open-)?kernel(?:-open)?-dkms|nvidia-dkms(?:-\d+)?(?:-server)?(?:-open)?"
                      r"|a?kmod-nvidia.*|nvidia(?:-open)?-kmod|linux-modules-nvidia-.*|nvidia-kernel-(?:open-)?dkms"
                      r"|nvidia-(?:open-)?driver-G\d\d-.*kmp-.*)$")  # fmt: skip
_FACTORY = re.compile(r"-(?:tegra|nvidia(?:-64k)?)$")


@dataclass(frozen=True)
class Machine:
    """What is asked of a machine again and again."""

    hardware: Hardware

    @property
    def software(self) -> Software:
        """What stands around the driver."""
        return self.hardware.software

    @cached_property
    def gpus(self) -> tuple[DrivenGpu, ...]:
        """NVIDIA's, without those that virtual machines have."""
        mine = (gpu for gpu in self.hardware.gpus if gpu.vendor == "NVIDIA")
        return tuple(driven(gpu) for gpu in mine if gpu.pci_address not in self.passed_through)

    @property
    def passed_through(self) -> frozenset[str]:
        """The addresses of cards that vfio-pci keeps for virtual machines."""
        return frozenset(one.where for one in self.hardware.problems if one.code == "gpu_passed_through")

    @cached_property
    def system(self) -> System | None:
        """Its release."""
        return system_of(self.hardware)

    @property
    def kernel(self) -> str:
        """The release of the running kernel; '' where nobody asked."""
        return self.hardware.kernel

    @cached_property
    def next_kernel(self) -> str:
        """The release of the kernel that boots next: the newest that is installed, else the running one."""
        return max(self.software.kernels, key=release_of, default="") or self.kernel

    @property
    def is_compiled(self) -> bool:
        """Whether dkms has compiled a module for the running kernel, whatever compiler that one was built by."""
        return any(one.kernel == self.kernel and one.state == "installed" for one in self.software.dkms)

    @property
    def has_module(self) -> bool:
        """Whether a module of NVIDIA's is on disk for the running kernel; so it is taken to be where nobody asked."""
        is_asked = self.software.knows("on_disk") or self.software.knows("dkms")
        on_disk = any(one.kernel in ("", self.kernel) for one in self.software.on_disk)
        return not is_asked or on_disk or self.is_compiled

    @property
    def built_kernels(self) -> tuple[str, ...]:
        """The kernels that modules are compiled for: the running one and the one that boots next.

        The running one is left out where it is about to be replaced and its headers can no longer be had.
        """
        found = dict.fromkeys(filter(None, (self.kernel, self.next_kernel)))
        return tuple(kernel for kernel in found if self.has_headers(self.headers(kernel)) is not False)

    def headers(self, kernel: str) -> str:
        """The package with the headers of a kernel."""
        return kernels.headers(kernel, self.hardware.os_id)

    def is_offered(self, name: str) -> bool | None:
        """Whether a package of NVIDIA's repository can be had; None where that was not asked."""
        if not self.has_nvidias_repository:
            return None
        return any(one.name == name for one in self.software.offers)

    def has_headers(self, name: str) -> bool | None:
        """Whether headers of a kernel are here or offered; None where nobody asked for any."""
        if self.software.installed(name) or any(one.name == name for one in self.software.offers):
            return True
        was_asked = any(one.name.startswith(name.partition("headers-")[0] + "headers-") for one in self.software.offers)
        return False if "offers" in self.software.answered and was_asked else None

    @property
    def is_container(self) -> bool:
        """Whether its kernel is that of a host, which loads the modules."""
        return self.software.virtualization in CONTAINERS

    @property
    def is_wsl(self) -> bool:
        """Whether the driver is that of Windows."""
        return self.software.virtualization == "wsl" or "microsoft" in self.kernel.lower()

    @property
    def vgpu(self) -> Gpu | None:
        """The first GPU that is a part of one, which wants the hypervisor's own driver."""
        is_told = any(one.code == "vgpu_guest_incompatible" for one in self.hardware.problems)
        parts = _AZURES_PARTS if self.kernel.endswith("-azure") else ()
        found = (one.gpu for one in self.gpus if is_told or _VGPU.search(one.gpu.name or "") or one.gpu.pci_id in parts)
        return next(found, None)

    @property
    def factory(self) -> str | None:
        """A machine whose driver its maker keeps: DGX Spark, Jetson."""
        names = " ".join(one.gpu.name or "" for one in self.gpus)
        if any(one.capability == "12.1" for one in self.gpus) or "GB10" in names:
            return "DGX Spark"
        if self.kernel.endswith("-tegra") or re.search(r"\b(?:Orin|Thor|Xavier|Tegra)\b", names):
            return "Jetson"
        return None

    @property
    def has_nvlink5(self) -> bool:
        """Whether its GPUs are joined by switches of NVLink 5, which are no devices of the PCI bus.

        Those of a GB200 or GB300 are in other machines, and managed there.
        """
        found = (models.find(one.gpu.name, one.gpu.pci_id) for one in self.gpus)
        boards = [one for one in found if one and one.nvlink_is_switched and one.architecture == "Blackwell"]
        return sum(not one.name.startswith("NVIDIA GB") for one in boards) > 1

    @property
    def packages(self) -> tuple[Package, ...]:
        """Those that are there, be it half."""
        return tuple(one for one in self.software.packages if one.state != "removed")

    @cached_property
    def module_packages(self) -> tuple[Package, ...]:
        """Those that bring NVIDIA's modules."""
        return tuple(one for one in self.packages if _MODULES.match(one.name))

    @cached_property
    def driver_packages(self) -> tuple[Package, ...]:
        """Those of the driver: modules and libraries."""
        return tuple(one for one in self.packages if _USERLAND.match(one.name) or _MODULES.match(one.name))

    @property
    def replaced(self) -> tuple[str, ...]:
        """The packages of a whole driver, its modules too: what there is a way back to; () where none is whole."""
        whole = tuple(one.name for one in self.driver_packages if one.state == "installed")
        has_modules = any(one.state == "installed" for one in self.module_packages)
        return whole if has_modules and self.userland else ()

    @property
    def userland(self) -> str | None:
        """The version of the driver's libraries on disk."""
        if self.software.userland_version:
            return self.software.userland_version
        found = next((one for one in self.packages if _USERLAND.match(one.name) and one.state == "installed"), None)
        if found:
            return plain(found.version)
        return self.hardware.driver_version if not self.software.loaded else None

    @property
    def loaded(self) -> str | None:
        """The version of NVIDIA's module that runs; by what nvidia-smi says where nobody asked the kernel."""
        return self.software.loaded.version if self.software.loaded else self.hardware.driver_version

    @property
    def flavour(self) -> Flavour | None:
        """That of the module that runs, or is on disk, or whose packages are there; None where nobody says."""
        mine = (one for one in self.software.on_disk if one.kernel in ("", self.kernel))
        known = [one.flavour for one in (self.software.loaded, *mine) if one and one.flavour]
        if known:
            return known[0]
        names = [one.name for one in self.module_packages if one.state == "installed"]
        # akmods compile whichever the machine's settings say.
        if not names or any(name.startswith("akmod-") for name in names):
            return None
        return "open" if any("open" in name for name in names) else "proprietary"

    @property
    def installed_branch(self) -> int | None:
        """Of the driver that is there, be it not loaded."""
        return branch_of(self.userland) or branch_of(self.loaded)

    @property
    def installed_source(self) -> Source:
        """Where the driver that is there came from."""
        whole = [one for one in self.driver_packages if one.state == "installed"]
        for one in whole:
            if one.origin:
                return "nvidia" if is_nvidias(one.origin) else "distro"
        if self.software.runfile:
            return "none"
        names = [one.name for one in whole]
        if any(name.startswith(("akmod-", "xorg-x11-drv-nvidia")) for name in names):
            return "distro"
        if any(
            re.match(r"nvidia-driver-cuda|nvidia-driver-libs|nvidia-kernel-open-dkms|kmod-nvidia", one) for one in names
        ):
            return "nvidia"
        own = self.system.distro.get("branch") if self.system else None
        if own and names and self.installed_branch not in (None, own):
            return "nvidia"
        return "distro" if names else "none"

    @property
    def has_nouveau(self) -> bool | None:
        """Whether the kernel's own driver, nouveau or nova, holds the GPUs; None where nobody asked."""
        if self.software.loaded or self.hardware.driver_version:
            return False
        if any(problem.code == "nouveau_loaded" for problem in self.hardware.problems):
            return True
        held = any(name in self.software.loaded_modules for name in ("nouveau", "nova_core"))
        return held if self.software.knows("loaded_modules") else None

    @property
    def lacks_components(self) -> bool:
        """Whether Debian's repositories are set up without the component that drivers lie in: a deploy adds it."""
        mine = [one for one in self.software.repositories if one.is_enabled and origin(one.url) == "Debian"]
        return any(one.components for one in mine) and not any("non-free" in one.components for one in mine)

    @property
    def has_nvidias_repository(self) -> bool:
        """Whether NVIDIA's repository was asked what it has, be it nothing."""
        mine = [one for one in self.software.repositories if one.is_enabled and is_nvidias(origin(one.url, one.suite))]
        return bool(mine) and "offers" in self.software.answered

    @property
    def is_driven(self) -> bool:
        """Whether a driver answers for at least one GPU."""
        return bool(self.loaded) and any(one.gpu.state == "ok" for one in self.gpus)

    def offered_branches(self, source: Literal["nvidia", "distro"], names: re.Pattern[str]) -> dict[int, str] | None:
        """What the repositories of this machine have of some packages today: the newest version of each branch.

        None where nobody asked, or no repository of that source is set up. Of a stream that is not enabled dnf lists no
        packages: its branch is there, in a version that nobody said.
        """
        mine = [one for one in self.software.offers if is_nvidias(one.origin) == (source == "nvidia")]
        was_asked = source == "distro" and "offers" in self.software.answered and not self.lacks_components
        if not mine and not was_asked and not (source == "nvidia" and self.has_nvidias_repository):
            return None
        found: dict[int, str] = {}
        for one in mine:
            if one.name == "module:nvidia-driver" and (stream := _STREAM.fullmatch(one.version)):
                found.setdefault(int(stream[1]), "")
            branch, version = branch_of(one.version), plain(one.version)
            if branch and names.match(one.name) and version_of(version) > version_of(found.get(branch, "")):
                found[branch] = version
        return found


def is_nvidias(origin: str) -> bool:
    """Whether packages come from NVIDIA's own repository."""
    return "developer.download.nvidia" in origin or origin.lower() in ("nvidia", "nvidia cuda", "cuda")


def is_factory_kernel(kernel: str) -> bool:
    """Whether the kernel is one that NVIDIA builds for its machines."""
    return bool(_FACTORY.search(kernel))
