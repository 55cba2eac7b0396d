"""What it takes to get from a bare machine to the plan: bytes to fetch and keep, what is built, what stands still."""

from __future__ import annotations

from collections.abc import Sequence

from rigwright.hardware.values import Hardware
from rigwright.plan.service import Cost, ServicePlan
from rigwright.units import GIB

# Measured: a CPU build of llama.cpp takes 1.2 GiB of disk while it runs; CUDA's objects are larger. vLLM 0.33's
# environment takes 9.1 GB, of which 3.5 GB are fetched. Ollama's archive holds its CUDA libraries.
_BUILDS = {
    "llamacpp": (
        "llama.cpp from source: 8 minutes on 2 cores, half an hour with CUDA, seconds where it is built",
        3 * GIB,
    ),
    "vllm": ("a Python environment with vLLM: about 2 minutes and 3.5 GB to fetch", 10 * GIB),
    "ollama": ("Ollama's archive, unpacked: about 2 GB to fetch", 4 * GIB),
}


def cost_of(hardware: Hardware, services: Sequence[ServicePlan], *, is_preview: bool) -> Cost:
    """The cost on a rig that has nothing of ours yet."""
    files = {str(service.source): service.file_bytes or 0 for service in services if service.source}
    fetched = {str(service.source) for service in services if service.source and not service.source.path}
    engines = dict.fromkeys(service.engine for service in services)
    silent = is_preview and any(gpu.state is None and gpu.vendor in ("NVIDIA", None) for gpu in hardware.gpus)
    # Ollama copies each file into its own store.
    copies = sum(service.file_bytes or 0 for service in services if service.engine == "ollama")
    return Cost(
        download_bytes=sum(size for source, size in files.items() if source in fetched),
        disk_bytes=sum(files.values()) + copies + sum(_BUILDS[engine][1] for engine in engines),
        builds=tuple(_BUILDS[engine][0] for engine in engines),
        reboot="once, for the NVIDIA driver, which you install"
        if silent and any(s.uses_gpu for s in services)
        else None,
        downtime="a service that runs already stands still while its model loads; all else happens beside it",
    )
