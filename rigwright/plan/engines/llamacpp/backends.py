"""The backends of llama.cpp that are built: whose GPUs each serves from, and what it calls them."""

from __future__ import annotations

from typing import Annotated, Literal

from rigwright.given import word
from rigwright.plan.speed.kinds import Backend as Pace

_BACKENDS = ("auto", "cuda", "vulkan", "hip", "cpu")
_OTHERS = {"rocm": "llama.cpp calls it hip; use that, or vulkan, which wants no ROCm"} | dict.fromkeys(
    ("metal", "sycl", "opencl", "musa"),
    "rigwright has llama.cpp for CUDA, Vulkan, HIP and the CPU; use cuda, vulkan, hip, cpu or auto",
)
Backend = Annotated[Literal["auto", "cuda", "vulkan", "hip", "cpu"], word(_BACKENDS, _OTHERS)]
# Those for GPUs of AMD's, by what the pace of a card calls them.
FOR_AMD: dict[str, Pace] = {"vulkan": "vulkan", "hip": "rocm"}
# HIP of before has another interface. Source: ggml/src/ggml-hip/CMakeLists.txt of b11434.
OLDEST_ROCM = "6.1"
ROCM = "/opt/rocm"
