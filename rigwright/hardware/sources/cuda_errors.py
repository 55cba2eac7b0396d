"""What CUDA answers when a program starts: cuInit, cudaGetDeviceCount, torch, engines.

Source: cuda.h and driver_types.h of CUDA 13.5, `cudaGetErrorString`.
"""

from __future__ import annotations

import re

from rigwright.hardware.reading import Reading
from rigwright.hardware.sources import cells, software_text

_CALLS = r"(?:cuInit|cudaGetDeviceCount|cuDeviceGetCount|cudaSetDevice|cudaFree|cudaDeviceSynchronize)"
_NUMBERED = re.compile(
    # Behind a sign a number is the answer of cuInit, and a count of any other.
    rf"(?:cuInit(?:\(.{{0,20}}\))? ?(?:=|->|:)|{_CALLS}(?:\(.{{0,20}}\))? (?:returned|failed|gave|error|status))"
    r"[^0-9\n]{0,40}?(?P<number>[0-9]{1,3})(?![\w.])"
    r"|(?:CUDA|cuda|Unexpected|runtime) .{0,80}?[Ee]rror (?P<runtime>[0-9]{2,3}): "
    r"|\b(?i:cuda init\w* fail\w*)[^0-9\n]{0,40}(?P<failed>[0-9]{1,3})(?![\w.])"
    r"|\bError (?P<error>[0-9]{3}): (?=[a-z])"
    # Ollama's.
    r"|(?:cuda driver library|cudart) init failure: (?P<ollama>[0-9]{1,3})(?![\w.])",
)
# By the names of the driver API, and the words of the runtime.
_WORDS = (
    (802, r"CUDA_ERROR_SYSTEM_NOT_READY|cudaErrorSystemNotReady|system not yet initialized"),
    (803, r"CUDA_ERROR_SYSTEM_DRIVER_MISMATCH|cudaErrorSystemDriverMismatch"
          r"|system has unsupported display driver ?/ ?cuda driver combination"),
    (804, r"CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE|forward compatibility was attempted on non supported HW"),
    (35, r"cudaErrorInsufficientDriver|CUDA driver version is insufficient for CUDA runtime version"),
    (100, r"CUDA_ERROR_NO_DEVICE|cudaErrorNoDevice|no CUDA-capable device is detected|No CUDA GPUs are available"),
    (222, r"CUDA_ERROR_UNSUPPORTED_PTX_VERSION|PTX was compiled with an unsupported toolchain"),
    (209, r"CUDA_ERROR_NO_BINARY_FOR_GPU|cudaErrorNoKernelImageForDevice|no kernel image is available for execution"),
    (200, r"CUDA_ERROR_INVALID_IMAGE|cudaErrorInvalidKernelImage|device kernel image is invalid"),
    (304, r"CUDA_ERROR_OPERATING_SYSTEM|OS call failed or operation not supported on this OS"),
    (3, r"CUDA_ERROR_NOT_INITIALIZED|cudaErrorInitializationError|CUDA driver initialization failed, you might"),
    (34, r"CUDA_ERROR_STUB_LIBRARY|cudaErrorStubLibrary|CUDA driver is a stub library"),
    (999, r"CUDA_ERROR_UNKNOWN|cudaErrorUnknown|CUDA unknown error"),
)  # fmt: skip
_PATTERNS = tuple((number, re.compile(words)) for number, words in _WORDS)
_WELL = re.compile(
    rf"{_CALLS}(?:\(.{{0,20}}\))?(?: (?:returned|status))?(?: ?[=:>-]+)? ?(?:0\b|CUDA_SUCCESS|cudaSuccess)"
    rf"|\bResult = PASS\b"
)


def read(text: str) -> Reading:
    """The number that CUDA gave; an error counts before a success beside it."""
    joined = "\n".join(cells.lines(text))
    numbers = [int(next(filter(None, found.groups()))) for found in _NUMBERED.finditer(joined)]
    numbers += [number for number, pattern in _PATTERNS if pattern.search(joined)]
    failed = next((number for number in numbers if number), None)
    if failed is None and not _WELL.search(joined):
        return Reading()
    return software_text.answer("cuda_error", cuda_error=failed or 0)
