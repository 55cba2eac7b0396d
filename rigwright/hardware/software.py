"""What stands around the GPU driver of a machine, as frozen values: packages, repositories, modules, compilers.

None, or an empty tuple beside a name that is not in `answered`, is what nobody asked. A plan goes by what is there.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

PackageState = Literal["installed", "half", "removed"]
Flavour = Literal["open", "proprietary"]


@dataclass(frozen=True)
class Package:
    """A package that is, or was, installed: `nvidia-kernel-dkms` `550.163.01-2`.

    `state` is `half` where dpkg was interrupted or its script failed, `removed` where only its settings are left.
    `origin` is the repository that it came from: `developer.download.nvidia.com/compute/cuda/repos/debian13`, `Debian`.
    """

    name: str
    version: str = ""
    state: PackageState = "installed"
    origin: str = ""


@dataclass(frozen=True)
class Offer:
    """A version of a package that a repository of this machine has today, as `apt-cache madison` and dnf list it."""

    name: str
    version: str
    origin: str = ""


@dataclass(frozen=True)
class Repository:
    """A source of packages. `file` holds it, `url` has no credentials, `suite` is `trixie`, or `/` of a flat one."""

    url: str
    suite: str = ""
    components: tuple[str, ...] = ()
    file: str = ""
    name: str = ""
    is_enabled: bool = True
    has_module_hotfixes: bool = False


@dataclass(frozen=True)
class DkmsModule:
    """A line of `dkms status`: `added` (without a kernel), `built`, `installed` or `broken`."""

    name: str
    version: str
    state: str
    kernel: str = ""


@dataclass(frozen=True)
class KernelModule:
    """NVIDIA's module as it is on disk for a kernel (modinfo), in its initramfs, or loaded."""

    version: str
    flavour: Flavour | None = None
    kernel: str = ""
    signer: str = ""


@dataclass(frozen=True)
class Toolkit:
    """A CUDA toolkit: its nvcc, and the version that this one tells."""

    path: str
    version: str = ""


@dataclass(frozen=True)
class Failure:
    """A sentence of apt, dnf, dkms or CUDA that stops an installation, by a stable code, with what it names."""

    code: str
    said: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Software:
    """What a driver plan asks of a machine beside its GPUs.

    answered: which of the questions were answered, by the name of the field: an empty answer is one too.
    is_partial: the fields whose list was filtered, so that what is not in it may be there all the same.
    packages: those of drivers, CUDA, kernels, headers, dkms and compilers.
    holds: packages that apt or dnf must not change.
    loaded_modules: names of loaded kernel modules, `nvidia`, `nouveau`.
    loaded: NVIDIA's module that runs; None where none does, or nobody asked.
    on_disk: NVIDIA's modules by kernel. in_initramfs: those that an initramfs loads before the disk is there.
    userland_version: of libnvidia-ml or libcuda on disk.
    kernels: installed kernels, by release (`6.12.117+deb13-amd64`).
    kernel_compiler: `gcc-12` or `gcc 12.2`, which built the running kernel; compiler: what `cc` is here.
    secure_boot: whether the firmware refuses unsigned modules; mok_enrolled: whether the key of dkms is trusted.
    runfile: files of an installation by NVIDIA's own installer, which no package owns.
    toolkits: every nvcc that is found, the first in PATH first.
    virtualization: as systemd-detect-virt says it: `none`, `kvm`, `lxc`, `docker`, `systemd-nspawn`.
    uvm_major, cdi_uvm_major: the number of nvidia-uvm's devices in the kernel, and in the CDI specification.
    units: states of services by name, `nvidia-persistenced` `failed`.
    cuda_error: what cuInit answered: 0 is well, None is not asked.
    psu_watts: what the power supplies can give together.
    users: processes that have a GPU open.
    """

    answered: frozenset[str] = frozenset()
    is_partial: frozenset[str] = frozenset()
    packages: tuple[Package, ...] = ()
    offers: tuple[Offer, ...] = ()
    repositories: tuple[Repository, ...] = ()
    holds: tuple[str, ...] = ()
    dkms: tuple[DkmsModule, ...] = ()
    loaded_modules: tuple[str, ...] = ()
    loaded: KernelModule | None = None
    on_disk: tuple[KernelModule, ...] = ()
    in_initramfs: tuple[KernelModule, ...] = ()
    userland_version: str | None = None
    kernels: tuple[str, ...] = ()
    kernel_compiler: str | None = None
    compiler: str | None = None
    glibc: str | None = None
    secure_boot: bool | None = None
    mok_enrolled: bool | None = None
    runfile: tuple[str, ...] = ()
    toolkits: tuple[Toolkit, ...] = ()
    virtualization: str | None = None
    has_nvswitch: bool | None = None
    has_umad: bool | None = None
    uvm_major: int | None = None
    cdi_uvm_major: int | None = None
    units: tuple[tuple[str, str], ...] = ()
    cuda_error: int | None = None
    psu_watts: int | None = None
    root_free_bytes: int | None = None
    boot_free_bytes: int | None = None
    users: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()

    def knows(self, name: str) -> bool:
        """Whether a question was answered, be it with nothing."""
        return name in self.answered or bool(getattr(self, name))

    def unit(self, name: str) -> str | None:
        """The state of a service, None where nobody asked."""
        return dict(self.units).get(name)

    def installed(self, name: str) -> Package | None:
        """A package by name, where it is there, be it half."""
        return next((one for one in self.packages if one.name == name and one.state != "removed"), None)


NOBODY_ASKED = Software()


def known_answers(software: Software) -> int:
    """How much is told: values, and entries of lists."""
    values = (getattr(software, each.name) for each in fields(software) if each.name != "is_partial")
    return sum(len(value) if isinstance(value, (tuple, frozenset)) else value is not None for value in values)


def joined(parts: tuple[Software, ...]) -> Software:
    """What several sources say together: lists in their order without doubles, of single values the first known."""
    values: dict[str, object] = {}
    for each in fields(Software):
        found = [getattr(part, each.name) for part in parts]
        if isinstance(each.default, (tuple, frozenset)):
            values[each.name] = type(each.default)(dict.fromkeys(one for several in found for one in several))
        else:
            values[each.name] = next((one for one in found if one is not None), None)
    return Software(**values)  # type: ignore[arg-type]
