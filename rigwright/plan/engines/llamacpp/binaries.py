"""Upstream's own binaries of llama.cpp: which archives there are, and whether they fit a rig and its services."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

from rigwright.catalogue import load
from rigwright.hardware.values import Hardware
from rigwright.plan.driver.tables import branch_of, system_of, version_of
from rigwright.plan.engines.llamacpp.archives import LATEST
from rigwright.plan.engines.llamacpp.asked import unusual_pairs
from rigwright.plan.engines.llamacpp.newest import RELEASE
from rigwright.plan.engines.llamacpp.overrides import is_tensor_split
from rigwright.plan.engines.llamacpp.release import capabilities, runs_on, uses_cuda
from rigwright.plan.engines.llamacpp.settings import LlamacppSettings
from rigwright.plan.wish import ServiceWish


class Binaries(NamedTuple):
    """Archives of one kind: for which machine, from which glibc on, for which GPUs by which drivers.

    backend: `vulkan` of those for Vulkan.
    code: the GPUs that it has machine code for; ptx: those whose driver compiles it, from the branch `ptx_driver` on.
    """

    name: str
    machine: str
    glibc: str
    backend: str = ""
    cuda: str = ""
    driver: int = 0
    ptx_driver: int | None = None
    code: tuple[str, ...] = ()
    ptx: tuple[int, ...] = ()

    @property
    def kind(self) -> str:
        """The backend that they are for."""
        return "cuda" if self.cuda else self.backend or "cpu"

    @property
    def label(self) -> str:
        """What they run on, where that is not CUDA."""
        return "Vulkan" if self.backend else "any processor"

    def archives(self, ref: str) -> tuple[str, ...]:
        """The names of a release's archives, the one with llama-server first."""
        program = f"llama-{ref}-bin-{self.name}.tar.gz"
        return (program, f"cudart-{program}") if self.cuda else (program,)

    def has_code(self, capability: str) -> bool:
        """Whether there is machine code for a GPU of a compute capability, `86`."""
        return any(runs_on(one, capability) for one in self.code)

    def misfit(self, capability: str, branch: int, *, is_asked: bool) -> str | None:
        """Why a GPU cannot run it by a driver of a branch; None where it can."""
        if branch < self.driver:
            return f"CUDA {self.cuda} wants driver {self.driver} or newer, {branch} is here"
        if self.has_code(capability):
            return None
        if not any(one <= int(capability) for one in self.ptx):
            return f"those for CUDA {self.cuda} have no code for sm_{capability}"
        if is_asked and self.ptx_driver and branch >= self.ptx_driver:
            return None
        what = f"those for CUDA {self.cuda} have no machine code for sm_{capability}"
        if is_asked and self.ptx_driver:
            return f"{what}, and to compile theirs takes driver {self.ptx_driver} or newer, {branch} is here"
        return f"{what}, which a driver would compile at each start"


@cache
def known_binaries() -> tuple[Binaries, ...]:
    """All that the catalogue knows, in the order in which they are tried."""
    rows = load("engines")["llamacpp"]["binaries"]["archives"]
    return tuple(
        Binaries(**{**row, "code": tuple(row.get("code", ())), "ptx": tuple(row.get("ptx", ()))}) for row in rows
    )


def fitting(
    settings: LlamacppSettings, hardware: Hardware, wishes: Sequence[ServiceWish], *, is_asked: bool
) -> Binaries | str:
    """The binaries that fit, or why none do.

    Where they are asked for, a driver may compile them at each start; and where nothing says which glibc a rig has, it
    tries them itself before they become a release.
    """
    kind = "cuda" if uses_cuda(settings, hardware) else settings.backend if settings.is_for_amd else "cpu"
    if why := _asks_for_more(settings) or (kind == "cuda" and serves_more(wishes)):
        return why
    machine = hardware.architecture or "x86_64"
    own = [one for one in known_binaries() if one.machine == machine and one.kind == kind]
    system = system_of(hardware)
    glibc = hardware.software.glibc or (system.glibc if system else "")
    least = min((one.glibc for one in own), key=version_of, default="")
    if not own:
        return f"there are none for {'HIP' if kind == 'hip' else machine}"
    if not glibc and not is_asked:
        return f"they want glibc {least}, and which one the rig has is not known"
    if glibc and version_of(glibc) < version_of(least):
        return f"they want glibc {least}, {system.title if system else 'the rig'} has {glibc}"
    own = [one for one in own if not glibc or version_of(one.glibc) <= version_of(glibc)]
    if kind != "cuda":
        return own[0]
    branch, gpus = branch_of(hardware.driver_version), capabilities(hardware)
    if branch is None or not gpus:
        return "no driver tells what the GPUs are"
    whys = {one: [one.misfit(gpu, branch, is_asked=is_asked) for gpu in gpus] for one in own}
    for one, found in whys.items():
        if not any(found):
            return one
    return next(filter(None, whys[own[0]]))


def _asks_for_more(settings: LlamacppSettings) -> str | None:
    """What the inventory says of the build that no binaries of others have."""
    row, found = load("engines")["llamacpp"], RELEASE.fullmatch(settings.ref)
    if settings.archive:
        return "the inventory names an archive to build"
    if settings.git != row["git"]:
        return "the inventory names a git of its own"
    # What is the newest one now has them, until its host says otherwise.
    if settings.ref != LATEST and (not found or int(found[1]) < row["binaries"]["first"]):
        return (
            f"upstream has them for its releases from b{row['binaries']['first']} on, {settings.ref} is none of these"
        )
    own = {"cmake_options": settings.cmake_options, "cuda_architectures": settings.cuda_architectures}
    if key := next((key for key, value in own.items() if value), None):
        return f"the inventory asks for {key} of a build"
    return "the inventory asks for code for the rig's own processor" if settings.cpu == "native" else None


def serves_more(wishes: Sequence[ServiceWish]) -> str | None:
    """What a service asks of CUDA's code that they have not."""
    return next((why for wish in wishes if wish.gpu != "none" for why in _lacking(wish)), None)


def _lacking(wish: ServiceWish) -> Iterator[str]:
    if is_tensor_split(wish):
        yield f"{wish.name} wants --split-mode tensor, which is for NCCL, and they have none"
    for first, second in unusual_pairs(wish):
        yield f"{wish.name} wants K in {first} with V in {second}, and they have no attention kernels for that"
