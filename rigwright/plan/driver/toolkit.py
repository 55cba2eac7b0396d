"""The CUDA toolkit that builds on a rig want: a version for all its GPUs, its C library and its driver; where from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rigwright.hardware.values import Problem
from rigwright.plan.driver.gpus import DrivenGpu
from rigwright.plan.driver.machine import Machine
from rigwright.plan.driver.packages import toolkit_packages
from rigwright.plan.driver.tables import (
    Toolkit,
    least_cuda_for_glibc,
    preferred_cuda,
    toolkits,
    version_of,
)
from rigwright.plan.driver.values import Cuda, CudaSource, DriverWish, Step
from rigwright.plan.driver.wheels import PREFIX, wheels

# In words.
SOURCES = {
    "nvidia": "NVIDIA's repository",
    "distro": "the distribution",
    "pypi": "wheels of PyPI, in a folder of its own",
    "none": "nowhere",
}


def plan_toolkit(machine: Machine, wish: DriverWish, branch: int | None) -> tuple[Cuda, tuple[Problem, ...]]:
    """The toolkit, none where nothing is built here; and why there is none where one is wanted."""
    is_wanted = wish.cuda_version or wish.cuda_source not in (None, "none") or any(n.is_built for n in wish.needs)
    if not is_wanted or wish.cuda_source == "none" or not machine.gpus:
        return Cuda(), ()
    numbers = sorted({_number(one) for one in machine.gpus} - {0})
    targets = tuple(str(number) for number in numbers)
    fitting, reasons = _fitting(machine, wish, branch, numbers)
    for path, version in _there(machine, fitting, wish):
        return Cuda(version, _source_of(path), (), targets, path), tuple(_others(machine, numbers, path))
    for version in _ordered(machine, fitting, wish, branch):
        for source in _sources(machine, version, wish):
            notes = tuple(_others(machine, numbers, None))
            return Cuda(version, source, toolkit_packages(source, version, architecture_of(machine)), targets), notes
    return Cuda(targets=targets), (_none(machine, wish, branch, reasons),)


def compiler_of(cuda: Cuda, architecture: str) -> str | None:
    """The nvcc of a toolkit, there or to come; None where there is none."""
    if cuda.path or not cuda.version:
        return cuda.path
    made = wheels(cuda.version, architecture) if cuda.source == "pypi" else None
    places = {"distro": "/usr/bin/nvcc", "nvidia": f"/usr/local/cuda-{cuda.version}/bin/nvcc"}
    return made.nvcc if made else places.get(cuda.source)


def architecture_of(machine: Machine) -> str:
    """That of the processor; the common one where nobody asked."""
    return machine.hardware.architecture or "x86_64"


def toolkit_steps(cuda: Cuda) -> list[Step]:
    """What brings a toolkit; nothing where it is there, or none is wanted."""
    return [Step("toolkit", f"CUDA {cuda.version} from {SOURCES[cuda.source]}", cuda.packages)] if cuda.packages else []


def _number(one: DrivenGpu) -> int:
    """`86` of `8.6`."""
    digits = version_of(one.capability or "")
    return digits[0] * 10 + digits[1] if len(digits) > 1 else 0


def _fitting(
    machine: Machine, wish: DriverWish, branch: int | None, numbers: Sequence[int]
) -> tuple[list[Toolkit], list[str]]:
    """Toolkits that make code for all GPUs, go with the C library and run on the driver; what speaks against others."""
    system = machine.system
    glibc = machine.software.glibc or (system.glibc if system else "")
    least = least_cuda_for_glibc(glibc)
    found, reasons = [], []
    for one in toolkits().values():
        lacking = [number for number in numbers if number not in one.targets]
        # Debian mends the headers of its own.
        is_mended = system is not None and system.family == "debian" and one.version == system.distro_cuda
        if lacking:
            reasons.append(f"CUDA {one.version} makes no code for sm_{lacking[0]}")
        elif least and version_of(one.version) < version_of(least) and not is_mended:
            reasons.append(f"CUDA {one.version} does not compile with glibc {glibc}, which wants {least} or newer")
        elif branch and branch < one.driver:
            reasons.append(f"CUDA {one.version} wants driver {one.driver} or newer")
        elif any(need.cuda and version_of(one.version) < version_of(need.cuda) for need in wish.needs):
            reasons.append(f"an engine wants CUDA newer than {one.version}")
        elif not wish.cuda_version or version_of(wish.cuda_version)[:2] == version_of(one.version)[:2]:
            found.append(one)
    return found, reasons


def _there(machine: Machine, fitting: Sequence[Toolkit], wish: DriverWish) -> Iterator[tuple[str, str]]:
    """Toolkits that are installed and fit, from where the inventory wants one: first ours, as it is made today."""
    fit = {one.version for one in fitting}
    for one in sorted(machine.software.toolkits, key=lambda one: not one.path.startswith(PREFIX)):
        version, row = ".".join(map(str, version_of(one.version)[:2])), row_of(one.version)
        made = wheels(version, architecture_of(machine)) if one.path.startswith(PREFIX) else None
        is_current = not one.path.startswith(PREFIX) or (made is not None and made.nvcc == one.path)
        if row and row.version in fit and is_current and wish.cuda_source in (None, _source_of(one.path)):
            yield one.path, version


def row_of(version: str) -> Toolkit | None:
    """What is known of a version: its own row, else that of the one before it of the same generation; None without."""
    number = version_of(version)[:2]
    older = [one for one in toolkits().values() if number[:1] <= version_of(one.version) <= number]
    return max(older, key=lambda one: version_of(one.version), default=None)


def _ordered(machine: Machine, fitting: Sequence[Toolkit], wish: DriverWish, branch: int | None) -> list[str]:
    """The best first: those that the driver knows whole, in the order of preference; others where one asks for them."""
    order = list(preferred_cuda())
    own = machine.system.distro_cuda if machine.system and wish.cuda_source == "distro" else None
    known = [one for one in fitting if one.version in (*order, own) or wish.cuda_version]
    return [
        one.version
        for one in sorted(
            known,
            key=lambda one: (
                branch is not None and one.bundled > branch,
                order.index(one.version) if one.version in order else len(order),
            ),
        )
    ]


def _sources(machine: Machine, version: str, wish: DriverWish) -> list[CudaSource]:
    """Where a version comes from, the lightest first."""
    system = machine.system
    found: list[CudaSource] = ["pypi"] if wheels(version, architecture_of(machine)) else []
    if system and version == system.distro_cuda:
        found.append("distro")
    if system:
        found.append("nvidia")
    return [one for one in found if wish.cuda_source in (None, one)]


def _source_of(path: str) -> CudaSource:
    if path.startswith(f"{PREFIX}/"):
        return "pypi"
    return "distro" if path.startswith("/usr/bin/") else "nvidia"


def _others(machine: Machine, numbers: Sequence[int], chosen: str | None) -> Iterator[Problem]:
    """An nvcc that comes first in PATH and cannot make code for these GPUs: builds name theirs, others may not."""
    first = next(iter(machine.software.toolkits), None)
    if not first or first.path == chosen:
        return
    known = next(
        (one for one in toolkits().values() if one.version == ".".join(map(str, version_of(first.version)[:2]))), None
    )
    lacking = [number for number in numbers if known and number not in known.targets]
    if known and lacking:
        what = f"{first.path} is CUDA {first.version}, which makes no code for sm_{lacking[0]}, and comes first in PATH"
        do = "builds of rigwright name their own nvcc; for others remove nvidia-cuda-toolkit, or put the new one first"
        yield Problem("toolkit_lacks_targets", first.path, what, do)


def _none(machine: Machine, wish: DriverWish, branch: int | None, reasons: Sequence[str]) -> Problem:
    asked = f"CUDA {wish.cuda_version}" if wish.cuda_version else "a toolkit"
    names = ", ".join(dict.fromkeys(one.label for one in machine.gpus))
    why = "; ".join(dict.fromkeys(reasons)) or f"{wish.cuda_source} has none"
    do = "write cuda: {source: none} and take a release that is built elsewhere, or other GPUs, or another system"
    return Problem("no_toolkit_fits", "cuda", f"{asked} for {names} cannot be had: {why}", do)
