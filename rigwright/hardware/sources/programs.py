"""GPUs as the programs that compute on them name them, line by line.

Source: Ollama's log (`msg="inference compute" id=GPU-… name="NVIDIA GeForce RTX 3060" total="12.0 GiB"`, since 0.12
with `name=CUDA0 description="…" pci_id=…`); llama.cpp on Vulkan (`ggml_vulkan: 0 = AMD Radeon RX 7900 XTX (RADV …`);
PyTorch (`0 _CudaDeviceProperties(name='…', major=8, minor=6, total_memory=24253MB`); collect_env.py on ROCm, which
names the first GPU alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from rigwright.hardware.models import find
from rigwright.hardware.reading import Reading
from rigwright.hardware.sources import cells
from rigwright.hardware.values import Gpu, Vendor

_OLLAMA = re.compile(r'msg="inference compute"\s(?P<fields>.{10,800})')
_FIELD = re.compile(
    r'\b(?P<key>id|library|compute|name|description|pci_id|total|type)=(?:"(?P<quoted>[^"]*)"|(?P<bare>\S*))'
)
_NUMBERED = re.compile(r"(?:CUDA|ROCm|Vulkan)(?P<index>[0-9]{1,2})")
_VULKAN = re.compile(r"ggml_vulkan: (?P<index>[0-9]{1,2}) = (?P<name>[^|]{3,100}?)(?: \([^|]*)?\s*\|")
_TORCH = re.compile(
    r"(?:^|\D)(?:(?P<index>[0-9]{1,2}):?,? {1,4})?_Cuda(?:Device)?Properties\(name='(?P<name>[^']{3,80})', "
    r"major=(?P<major>[0-9]{1,2}), minor=(?P<minor>[0-9]), total_memory=(?P<memory>[0-9]{3,7})MB"
)
_ROCM_FIRST = re.compile(
    r"GPU models and configuration:\s*(?P<name>(?:AMD|Radeon|Instinct)[^(]{3,60}?)\s*(?:\(gfx[^)]*\))?\s*$"
)
_VENDORS: tuple[tuple[re.Pattern[str], Vendor], ...] = (
    (re.compile(r"NVIDIA|GeForce|Tesla|Quadro|RTX|GTX"), "NVIDIA"),
    (re.compile(r"AMD|Radeon|Instinct"), "AMD"),
    (re.compile(r"Intel"), "Intel"),
)
_MOST = 64


def read(text: str) -> Reading:
    """The GPUs that a program lists, each once; whole where they are numbered from 0 or named by their UUIDs."""
    listed = [found for line in cells.lines(text) for found in _named(line)]
    gpus: dict[object, Gpu] = {}
    for gpu, _ in listed:
        key = gpu.index if gpu.index is not None else gpu.uuid or gpu.pci_address
        gpus.setdefault(key, gpu)
    is_counted = all(is_list for _, is_list in listed)
    indexes = sorted(gpu.index for gpu in gpus.values() if gpu.index is not None)
    is_named = not indexes and all(gpu.uuid for gpu in gpus.values())
    vendors = {gpu.vendor for gpu in gpus.values()}
    found = list(gpus.values()) if len(gpus) <= _MOST else []
    return Reading(
        gpus=tuple(found),
        vendor=vendors.pop() if len(vendors) == 1 else None,
        is_driver_list=bool(found),
        is_whole=bool(found) and is_counted and (is_named or indexes == list(range(len(found)))),
    )


def _named(line: str) -> Iterator[tuple[Gpu, bool]]:
    """The GPU of a line, and whether such lines stand for all GPUs."""
    if found := _OLLAMA.search(line):
        gpu = _of_ollama({match["key"]: match["quoted"] or match["bare"] or "" for match in _FIELD.finditer(found[1])})
        yield from [(gpu, True)] if gpu else []
    elif (found := _VULKAN.search(line)) and (vendor := _vendor(found["name"])):
        yield Gpu(index=int(found["index"]), vendor=vendor, name=found["name"].strip(), state="ok"), True
    elif found := _TORCH.search(line):
        if found["index"] is not None and (vendor := _vendor(found["name"])):
            capability = f"{found['major']}.{found['minor']}" if vendor == "NVIDIA" else None
            size = int(found["memory"]) << 20
            yield (
                _sized(
                    Gpu(int(found["index"]), vendor=vendor, name=found["name"], compute_capability=capability), size
                ),
                True,
            )
    elif found := _ROCM_FIRST.search(line):
        yield Gpu(index=0, vendor="AMD", name=found["name"], state="ok"), False


def _of_ollama(fields: dict[str, str]) -> Gpu | None:
    """One GPU of Ollama's log; None for a CPU, or where nothing tells it from another."""
    number = _NUMBERED.fullmatch(fields.get("name", ""))
    name = fields.get("description" if number else "name", "")
    vendor, uuid = _vendor(name), cells.uuid(fields.get("id", ""))
    if not vendor or (not number and not uuid):
        return None
    gpu = Gpu(
        index=int(number["index"]) if number else None,
        uuid=uuid,
        pci_address=cells.pci_address(fields.get("pci_id", "")),
        vendor=vendor,
        name=name,
        compute_capability=fields.get("compute") if vendor == "NVIDIA" else None,
        state="ok",
    )
    # Rounded to a tenth: the model's own size, where it fits, is closer.
    return gpu if find(name) else _sized(gpu, cells.size_bytes(fields.get("total", "")) or 0)


def _sized(gpu: Gpu, size: int) -> Gpu:
    return Gpu(**{**vars(gpu), "vram_bytes": size if size and find(gpu.name, None, size) else None, "state": "ok"})


def _vendor(name: str) -> Vendor | None:
    return next((vendor for pattern, vendor in _VENDORS if pattern.search(name)), None)
