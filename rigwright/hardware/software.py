"""What stands around the GPU driver of a machine, as frozen values: packages, repositories, modules, compilers.

None, or an empty tuple beside a name that is not in `answered`, is what nobody asked. A plan goes by what is there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Literal

PackageState = Literal["installed", "half", "removed"]
Flavour = Literal["open", "proprietary"]

# What systemd-detect-virt calls a system whose kernel is that of a host.
CONTAINERS = ("lxc", "lxc-libvirt", "docker", "podman", "systemd-nspawn", "openvz", "rkt", "container-other")


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
    """A version of a package that a repository of this machine has today, as `apt-cache madison` and dnf list it.

    A package that has one has all its versions here. A stream of a module (EL 8 and 9) is `module:nvidia-driver` with
    the stream as its version, `580-open`; one that is enabled is a package of that name.
    """

    name: str
    version: str
    origin: str = ""


@dataclass(frozen=True)
class Repository:
    """A source of packages. `file` holds it, `url` has no credentials, `suite` is `trixie`, or `/` of a flat one.

    `signed_by` is the file of its key, `a key` where that stands in the entry itself, '' where the entry names none.
    """

    url: str
    suite: str = ""
    components: tuple[str, ...] = ()
    file: str = ""
    name: str = ""
    is_enabled: bool = True
    has_module_hotfixes: bool = False
    signed_by: str = ""


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
    """A CUDA toolkit: its nvcc, the version that this one tells (`12.4.131`), and the GPUs that it compiles for.

    `path` is empty where only its answer is known: it is the first in PATH. `targets` are `sm_75`, `compute_120`.
    """

    path: str
    version: str = ""
    targets: tuple[str, ...] = ()


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
    barred: packages that apt's preferences keep away, though the distribution has them.
    loaded_modules: names of loaded kernel modules, `nvidia`, `nouveau`.
    loaded: NVIDIA's module that runs; None where none does, or nobody asked.
    on_disk: NVIDIA's modules by kernel. in_initramfs: those that an initramfs loads before the disk is there.
    userland_version: of libnvidia-ml or libcuda on disk.
    kernels: installed kernels, by release (`6.12.117+deb13-amd64`).
    kernel_compiler: `gcc 12.2.0`, which built the running kernel; compiler: what `cc` is here, as `gcc 11.4.0`.
    secure_boot: whether the firmware refuses unsigned modules; mok_enrolled: whether the key of dkms is trusted.
    runfile: files of an installation by NVIDIA's own installer, which no package owns.
    toolkits: every nvcc that is found, the first in PATH first.
    virtualization: as systemd-detect-virt says it: `none`, `kvm`, `lxc`, `docker`, `systemd-nspawn`.
    uvm_major, cdi_uvm_major: the number of nvidia-uvm's devices in the kernel, and in the CDI specification.
    cdi_version: of the driver's libraries that the CDI specification gives to containers.
    units: states of services by name, `nvidia-persistenced` `failed`.
    cuda_error: what cuInit answered: 0 is well, None is not asked.
    psu_watts: what the power supplies can give together.
    users: who has a GPU open: `nvidia_uvm 4` are four uses of that module which no other module makes.
    """

    answered: frozenset[str] = frozenset()
    is_partial: frozenset[str] = frozenset()
    packages: tuple[Package, ...] = ()
    offers: tuple[Offer, ...] = ()
    repositories: tuple[Repository, ...] = ()
    holds: tuple[str, ...] = ()
    barred: tuple[str, ...] = ()
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
    cdi_version: str | None = None
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
    """How much is told: values, and of lists each entry with what is known of it; less where a list is not whole."""
    values = (getattr(software, each.name) for each in fields(software) if each.name != "is_partial")
    return sum(map(_size, values)) - len(software.is_partial)


def _size(value: object) -> int:
    if isinstance(value, (tuple, frozenset)):
        return sum(map(_size, value))
    if is_dataclass(value):
        return sum(_size(own) for each in fields(value) if (own := getattr(value, each.name)) not in (each.default, ""))
    return int(value is not None)


def joined(parts: tuple[Software, ...]) -> Software:
    """What several sources say together: lists in their order without doubles, of single values the first known.

    A list is partial where no source has it whole.
    """
    values: dict[str, object] = {}
    for each in fields(Software):
        found = [getattr(part, each.name) for part in parts]
        if isinstance(each.default, (tuple, frozenset)):
            values[each.name] = type(each.default)(dict.fromkeys(one for several in found for one in several))
        else:
            values[each.name] = next((one for one in found if one is not None), None)
    told: set[str] = set().union(*(part.answered - part.is_partial for part in parts))
    whole = Software(**values)  # type: ignore[arg-type]  # each value is of its field
    return replace(
        whole,
        is_partial=whole.is_partial - told,
        packages=tuple(_packages(whole.packages)),
        on_disk=tuple(_modules(whole.on_disk)),
        toolkits=tuple(_toolkits(whole.toolkits)),
        failures=tuple(_failures(whole.failures)),
    )


def _packages(found: tuple[Package, ...]) -> Iterator[Package]:
    """Each package once: one source knows its version, another that it is half there, a third its origin."""
    versions: dict[str, list[Package]] = {}
    for package in found:
        versions.setdefault(package.name, []).append(package)
    for several in versions.values():
        # rpm leaves out the epoch that dnf names.
        known = {_plain(package.version): "" for package in several if package.version} or {"": ""}
        for plain in known:
            of_it = [package for package in several if _plain(package.version) in (plain, "")]
            version = max((package.version for package in of_it), key=len)
            states = [package.state for package in of_it]
            state = next(one for one in _STATES if one in states)
            origin = next((package.origin for package in of_it if package.origin), "")
            yield Package(several[0].name, version, state, origin)


def _plain(version: str) -> str:
    return version.rpartition(":")[2]


_STATES: tuple[PackageState, ...] = ("half", "removed", "installed")


def _modules(found: tuple[KernelModule, ...]) -> Iterator[KernelModule]:
    """Each module once: of one whose file alone was seen nothing is told where another source read it."""
    read = {module.kernel for module in found if module.version}
    return (module for module in found if module.version or module.kernel not in read)


def _failures(found: tuple[Failure, ...]) -> Iterator[Failure]:
    """Each code once, with all that is named; of what several logs said, the compiler's own word before a summary."""
    by_code: dict[str, list[Failure]] = {}
    for failure in found:
        by_code.setdefault(failure.code, []).append(failure)
    for code, several in by_code.items():
        said = next((one.said for one in several if " error: " in one.said), several[0].said)
        yield Failure(code, said, tuple(dict.fromkeys(name for one in several for name in one.names)))


def _toolkits(found: tuple[Toolkit, ...]) -> Iterator[Toolkit]:
    """Each toolkit once; what nvcc said without a path, the first in PATH said."""
    paths: dict[str, Toolkit] = {}
    for one in found:
        known = paths.get(one.path, one)
        paths[one.path] = Toolkit(one.path, known.version or one.version, known.targets or one.targets)
    bare = paths.pop("", None) if len(paths) > 1 else None
    for number, one in enumerate(paths.values()):
        if bare and not number and one.version in ("", bare.version):
            one = Toolkit(one.path, bare.version or one.version, one.targets or bare.targets)
        yield one
