"""GPUs as the programs that compute on them name them, line by line.

Source: Ollama's log (`msg="inference compute" id=GPU-… name="NVIDIA GeForce RTX 3060" total="12.0 GiB"`, since 0.12
with `name=CUDA0 description="…" pci_id=…`); llama.cpp on Vulkan (`ggml_vulkan: 0 = AMD Radeon RX 7900 XTX (RADV …`);
gpustat (`[0] NVIDIA …`); sycl-ls; PyTorch (`0 _CudaDeviceProperties(name='…', major=8, minor=6, total_memory=…MB`);
collect_env.py on ROCm, which names the first GPU alone.
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
# gpustat: `[0] NVIDIA GeForce RTX 3090 | 45'C,   0 % |     1 / 24576 MB |`, its MB are MiB.
_GPUSTAT = re.compile(
    r"\s*\[(?P<index>[0-9]{1,2})\] (?P<name>(?:NVIDIA|Tesla|Quadro|GeForce|TITAN)[^|]{2,60}?)\s*\|"
    r".*?/\s*(?P<memory>[0-9]{4,7}) MB\b"
)
_SYCL = re.compile(
    r"\[level_zero:gpu\]\[level_zero:(?P<index>[0-9]{1,2})\] [^,]{3,120}, (?P<name>Intel[^\[]{3,80}?Graphics)\b"
)
_ROCM_FIRST = re.compile(
    r"GPU models and configuration\s*:\s*(?P<name>(?:AMD|Radeon|Instinct)[^(]{3,60}?)\s*(?:\(gfx[^)]*\))?\s*$"
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
    found: list[Gpu] = []
    for gpu, _ in listed:
        if not any(_is_same(gpu, other) for other in found) and len(found) < _MOST:
            found.append(gpu)
    is_counted = all(is_list for _, is_list in listed)
    indexes = sorted(gpu.index for gpu in found if gpu.index is not None)
    is_named = not indexes and all(gpu.uuid for gpu in found)
    vendors = {gpu.vendor for gpu in found}
    return Reading(
        gpus=tuple(found),
        vendor=vendors.pop() if len(vendors) == 1 else None,
        is_driver_list=bool(found),
        is_whole=bool(found) and is_counted and (is_named or indexes == list(range(len(found)))),
    )


def _is_same(gpu: Gpu, other: Gpu) -> bool:
    """Whether two lines are about one GPU; a log that is there twice may have lost a word in one of them."""
    pairs = ((getattr(gpu, name), getattr(other, name)) for name in ("uuid", "pci_address", "index"))
    return any(mine is not None and mine == theirs for mine, theirs in pairs)


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
    elif found := _GPUSTAT.match(line):
        gpu = Gpu(int(found["index"]), vendor="NVIDIA", name=found["name"])
        yield _sized(gpu, int(found["memory"]) << 20), True
    elif found := _SYCL.search(line):
        name = found["name"].replace("(R)", "").replace("(TM)", "")
        yield Gpu(int(found["index"]), vendor="Intel", name=name, state="ok"), True
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
