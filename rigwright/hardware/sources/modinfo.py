"""`modinfo nvidia`: the module on disk for a kernel, its version, flavour and signer.

Source: printed by kmod 30 and 34; licenses as NVIDIA's modules have them: `NVIDIA`, `Dual MIT/GPL`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from rigwright.hardware.reading import Reading
from rigwright.hardware.software import Flavour, KernelModule
from rigwright.hardware.sources import cells, software_text

_FIELD = re.compile(r"\s*(?P<key>filename|version|license|vermagic|signer|name):\s+(?P<value>\S.*?)\s*")
_FILE = re.compile(r"(?:.*/)?nvidia(?:-current|-[0-9]{3})?(?:-open)?\.ko(?:\.(?:xz|zst|gz))?")
_KERNEL = re.compile(r"/lib/modules/(?P<kernel>[^/\s]+)/")
_VERSION = re.compile(r"[0-9]{2,4}\.[0-9]{1,4}(?:\.[0-9]{1,4})?")
_NONE = re.compile(r"modinfo: ERROR: Module (?P<name>nvidia[\w-]*) not found")
_LICENSES: dict[str, Flavour] = {"nvidia": "proprietary", "dual mit/gpl": "open", "mit": "open", "gpl v2": "open"}


def read(text: str) -> Reading:
    """NVIDIA's modules by kernel. Debian's is called nvidia-current: that there is no `nvidia` does not say it all."""
    lines = cells.lines(text)
    modules = [module for block in _blocks(lines) if (module := _module(block))]
    missing = {found["name"] for line in lines if (found := _NONE.search(line))}
    bare = [line.strip() for line in lines if line.strip()]
    if not modules and len(bare) == 1 and _VERSION.fullmatch(bare[0]):
        modules = [KernelModule(bare[0])]
    if not modules and not missing and text.strip():
        return Reading()
    is_partial = not modules and missing and not any("current" in name for name in missing)
    return software_text.answer(
        "on_disk", partial=["on_disk"] if is_partial else [], on_disk=tuple(dict.fromkeys(modules))
    )


def _blocks(lines: list[str]) -> Iterator[Mapping[str, str]]:
    """The fields of each module; `filename` is the first of one, in a text that has any."""
    block: dict[str, str] = {}
    for line in lines:
        found = _FIELD.fullmatch(line)
        if not found:
            continue
        if found["key"] == "filename" and block:
            yield block
            block = {}
        block.setdefault(found["key"], found["value"])
    if block:
        yield block


def _module(block: Mapping[str, str]) -> KernelModule | None:
    version = _VERSION.fullmatch(block.get("version", ""))
    file = block.get("filename", "")
    if not version or (file and not _FILE.fullmatch(file)) or (not file and block.get("name", "nvidia") != "nvidia"):
        return None
    flavour = _LICENSES.get(block.get("license", "").lower())
    return KernelModule(version[0], flavour, _kernel(file, block.get("vermagic", "")), block.get("signer", ""))


def _kernel(file: str, magic: str) -> str:
    """The kernel that takes the module: that of its folder, or the one it was compiled for.

    In `weak-updates` lie modules of another kernel. One whose symbols have versions is taken by any kernel that has
    them, as RHEL's; else the kernel asks for its very own release.
    """
    folder, compiled_for = _KERNEL.search(file), magic.split(" ")[0]
    if folder and (not compiled_for or "modversions" in magic):
        return folder["kernel"]
    return compiled_for or ""
