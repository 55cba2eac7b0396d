"""Builds of llama.cpp as values: what makes one different from another; no rig is asked here."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from rigwright.errors import Refused
from rigwright.hardware import Hardware
from rigwright.plan.driver.wheels import Wheels, directory_of, nccl_wheels
from rigwright.plan.engines.llamacpp.asked import NCCL
from rigwright.plan.engines.llamacpp.backends import ROCM
from rigwright.plan.engines.llamacpp.settings import LlamacppSettings

PREFIX = "/opt/rigwright/llamacpp/releases"
TARGETS = ("llama-server", "llama-bench", "llama-fit-params")


# Seen: 680 MB for two compilers of C++, 900 MB for one nvcc at the largest kernels.
_JOB_BYTES, _CUDA_JOB_BYTES = 512 << 20, 1 << 30
_HIP_TARGETS = "CMAKE_HIP_ARCHITECTURES"
_TARGET = re.compile(r"gfx[0-9a-f]{3,5}")
_PORTABLE = {"GGML_NATIVE": "OFF", "GGML_BACKEND_DL": "ON", "GGML_CPU_ALL_VARIANTS": "ON"}


def source_identity(settings: LlamacppSettings, commits: Mapping[str, str]) -> str | None:
    """What is to be built: a commit, or a sum over the archive; None while a tag is not resolved to a commit yet.

    `commits` are those that tags were found to be, and sums of packages, by `ref_key` of the settings, and sums of
    upstream's archives, by `sum_key`.
    """
    if settings.prebuilt:
        return hashlib.sha256(" ".join(one.sha256 for one in settings.prebuilt).encode()).hexdigest()
    if settings.taken:
        sums = settings.sums(commits)
        is_known = len(sums) == len(settings.taken)
        return hashlib.sha256(" ".join(sums.values()).encode()).hexdigest() if is_known else None
    if settings.archive:
        where = settings.archive.subdirectory
        return hashlib.sha256(f"{settings.archive.sha256}/{where}".encode()).hexdigest()
    return settings.commit(commits)


@dataclass(frozen=True)
class Release:
    """A build: `identity` is the commit or the archive's sha256, `options` the -D arguments of cmake."""

    identity: str
    options: tuple[str, ...]
    platform: tuple[str, ...]

    @property
    def id(self) -> str:
        """Twelve hex digits over everything that changes the result."""
        text = json.dumps([self.identity, self.options, self.platform, TARGETS])
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def directory(self) -> str:
        """Where the build is installed."""
        return f"{PREFIX}/{self.id}"

    @property
    def machine_code(self) -> tuple[str, ...]:
        """The architectures that its CUDA library must have machine code for: `86`; empty where it has none."""
        given = next((one for one in self.options if one.startswith("-DCMAKE_CUDA_ARCHITECTURES=")), "")
        if "-DGGML_CUDA=ON" not in self.options:
            return ()
        found = (re.fullmatch(r"(\d+)[af]?(-real)?", name) for name in given.partition("=")[2].split(";"))
        return tuple(dict.fromkeys(one[1] for one in found if one))

    def manifest(self) -> str:
        """The build as JSON, kept beside it."""
        return json.dumps(
            {"id": self.id, "identity": self.identity, "options": self.options, "platform": self.platform}, indent=1
        )


def plan_release(
    settings: LlamacppSettings,
    hardware: Hardware,
    *,
    identity: str,
    cuda_version: str | None,
    nvcc: str = "nvcc",
    no_toolkit: str = "",
) -> Release:
    """The build that this rig needs. `no_toolkit` says why no compiler for CUDA is there, nor can come.

    Raises:
        Refused: CUDA is wanted and the rig has no toolkit or no GPU to build for.
    """
    if settings.is_prebuilt:
        return Release(identity, ("distro" if settings.is_distro else "prebuilt",), (hardware.architecture,))
    options = {
        "CMAKE_BUILD_TYPE": "Release",
        "LLAMA_BUILD_TESTS": "OFF",
        "LLAMA_BUILD_EXAMPLES": "OFF",
        # The web UI is fetched from a hub while building; a build must not depend on that.
        "LLAMA_BUILD_UI": "OFF",
        "LLAMA_USE_PREBUILT_UI": "OFF",
        # Upstream's install target wants every tool (0.5.0-dev); the build's own bin directory moves as it is instead.
        "CMAKE_INSTALL_RPATH": "$ORIGIN",
        "CMAKE_BUILD_WITH_INSTALL_RPATH": "ON",
        # A shallow clone counts one commit: the number says nothing, the commit is what identifies a build.
        "LLAMA_BUILD_NUMBER": "1",
        "LLAMA_BUILD_COMMIT": identity[:9],
    }
    portable = is_portable(settings, hardware)
    options |= _PORTABLE if portable else {"GGML_NATIVE": "ON"}
    if uses_cuda(settings, hardware):
        if cuda_version is None:
            why = no_toolkit or "install the CUDA toolkit"
            raise Refused(f"GPUs answer, but nvcc is not installed; {why}, or set rig.llamacpp.backend to cpu")
        options |= _cuda_options(settings, hardware, nvcc) | settings.asked_options
    elif settings.is_for_amd:
        options |= _amd_options(settings, hardware)
    nccl = nccl_of(settings, hardware, cuda_version)
    if settings.asked_options and not nccl:
        options.pop(NCCL, None)
    options |= settings.cmake_options
    processor = "" if portable else hardware.cpu.model
    system = hardware.os_id, hardware.os_version, hardware.architecture
    platform = (*system, processor, cuda_version or "", *(nccl.sums if nccl else ()))
    return Release(identity, tuple(f"-D{key}={value}" for key, value in sorted(options.items())), platform)


def nccl_of(settings: LlamacppSettings, hardware: Hardware, cuda_version: str | None) -> Wheels | None:
    """The NCCL that a build takes along, where a service wants it; None where none does, or there is none for its CUDA.

    Where the inventory itself says something of it, that of the rig is for it to bring.
    """
    is_asked = NCCL in settings.asked_options and NCCL not in settings.cmake_options
    if not is_asked or not cuda_version or not compiles_for_cuda(settings, hardware):
        return None
    return nccl_wheels(cuda_version, hardware.architecture or "x86_64")


def compiles_for_cuda(settings: LlamacppSettings, hardware: Hardware) -> bool:
    """Whether a toolkit is wanted."""
    return not settings.is_prebuilt and uses_cuda(settings, hardware)


def uses_cuda(settings: LlamacppSettings, hardware: Hardware) -> bool:
    """Whether the release is for CUDA."""
    return settings.backend == "cuda" or (settings.backend == "auto" and bool(hardware.usable_gpus))


def uses_gpus(settings: LlamacppSettings, hardware: Hardware) -> bool:
    """Whether the release is for GPUs of any kind."""
    return settings.is_for_amd or uses_cuda(settings, hardware)


def is_portable(settings: LlamacppSettings, hardware: Hardware) -> bool:
    """Whether the build has code for every processor of its architecture, and takes what a rig has when it starts.

    That makes fourteen libraries of one: little beside the kernels for GPUs, half an hour on two cores without them.
    """
    return settings.cpu == "portable" or (settings.cpu == "auto" and uses_gpus(settings, hardware))


def jobs(settings: LlamacppSettings, hardware: Hardware) -> int:
    """How many compilers run at once: one for each CPU, as long as each has the memory that the largest file takes."""
    most = hardware.cpu.logical_cores or 1
    if not hardware.ram_bytes:
        return most
    each = _CUDA_JOB_BYTES if uses_gpus(settings, hardware) else _JOB_BYTES
    return max(1, min(most, hardware.ram_bytes // each))


def build_bytes(settings: LlamacppSettings, hardware: Hardware) -> int:
    """Disk space that a build needs while it runs: 0.7 GiB were seen for the CPU; CUDA's objects are far larger."""
    if settings.is_prebuilt:
        return 0
    if settings.backend == "vulkan":
        return 2 << 30
    return (8 if uses_gpus(settings, hardware) else 1) << 30


def installed_bytes(settings: LlamacppSettings, hardware: Hardware) -> int:
    """Disk space that an installed release needs: 19 MiB were seen for the CPU; CUDA's kernels are far larger."""
    if settings.backend == "vulkan":
        return 512 << 20
    with_nccl = 512 if NCCL in settings.asked_options and not settings.is_prebuilt else 0
    return (2048 + with_nccl if uses_gpus(settings, hardware) else 128) << 20


def received_bytes(settings: LlamacppSettings, hardware: Hardware) -> int:
    """Disk space that an archive of a release takes while it is unpacked: half of what is in it, by those for CUDA."""
    return installed_bytes(settings, hardware) // 2


def capabilities(hardware: Hardware) -> tuple[str, ...]:
    """The compute capabilities of the GPUs that answer: `86`."""
    found = {gpu.compute_capability.replace(".", "") for gpu in hardware.usable_gpus if gpu.compute_capability}
    return tuple(sorted(found))


def _cuda_options(settings: LlamacppSettings, hardware: Hardware, nvcc: str) -> dict[str, str]:
    own = capabilities(hardware)
    architectures = settings.cuda_architectures or own
    if not architectures:
        raise Refused("no GPU tells its compute capability; set rig.llamacpp.cuda_architectures")
    for capability in own:
        if not any(runs_on(name, capability) for name in architectures):
            raise Refused(
                f"rig.llamacpp.cuda_architectures: {', '.join(architectures)} make no code for a GPU of compute "
                f"capability {capability[:-1]}.{capability[-1]}; add {capability}, or leave it to the rig's own GPUs"
            )
    root = directory_of(nvcc)
    # Never left to cmake: without a visible GPU it builds for sm_52 and says so only in a warning.
    return ({"CUDAToolkit_ROOT": root} if root else {}) | {
        "GGML_CUDA": "ON",
        # Where there is no driver the kernels are left alone; linked in, they would keep the server from starting.
        "GGML_BACKEND_DL": "ON",
        "CMAKE_CUDA_ARCHITECTURES": ";".join(f"{name}-real" for name in architectures),
        "CMAKE_CUDA_COMPILER": nvcc,
    }


def _amd_options(settings: LlamacppSettings, hardware: Hardware) -> dict[str, str]:
    # Without Vulkan, or ROCm, the kernels are left alone; linked in, they would keep the server from starting.
    if settings.backend == "vulkan":
        return {"GGML_VULKAN": "ON", "GGML_BACKEND_DL": "ON"}
    # Each is a line of cmake's, and was printed by a tool of the rig.
    own = sorted({one for gpu in hardware.gpus if _TARGET.fullmatch(one := gpu.architecture or "")})
    if not own and _HIP_TARGETS not in settings.cmake_options:
        raise Refused(
            f"nothing tells for which GPUs HIP shall make code: amd-smi is to answer, or name it, like gfx1100, in "
            f"rig.llamacpp.cmake_options: {{'{_HIP_TARGETS}': 'gfx1100'}}; rocminfo prints it"
        )
    return {
        "GGML_HIP": "ON",
        "GGML_BACKEND_DL": "ON",
        _HIP_TARGETS: ";".join(own),
        "CMAKE_HIP_COMPILER": f"{ROCM}/llvm/bin/clang++",
    }


def runs_on(architecture: str, capability: str) -> bool:
    """Whether machine code runs on a GPU: within a generation on later ones too, unless it is for one alone (`120a`).

    Source: CUDA C++ Programming Guide, "Binary Compatibility"; "Family-Specific Architecture Features".
    """
    number = architecture.rstrip("af")
    if architecture.endswith("a"):
        return number == capability
    return number[:-1] == capability[:-1] and number[-1] <= capability[-1]
