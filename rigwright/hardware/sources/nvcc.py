"""`which -a nvcc`, `nvcc --version`, `nvcc --list-gpu-code`: the CUDA toolkits that are found.

Source: printed by nvcc 11.5 to 13.5.
"""

from __future__ import annotations

import re

from rigwright.hardware.reading import Reading
from rigwright.hardware.software import Toolkit
from rigwright.hardware.sources import cells, software_text

_PATH = re.compile(r"(?:nvcc(?: is|:) )?(?P<path>/\S*/nvcc)(?: --?\S+)?:?")
_VERSION = re.compile(r"Cuda compilation tools, release (?P<release>[0-9]+\.[0-9]+)(?:, V(?P<version>[0-9.]+))?")
_CODE = re.compile(r"(?:sm|compute)_[0-9]{2,3}[a-z]?")
_NONE = re.compile(r"(?:.*[: ])?nvcc: (?:command )?not found|(?:which: )?no nvcc in \(.*|nvcc not found")


def read(text: str) -> Reading:
    """Each nvcc with its version and the GPUs that it compiles for.

    Below one path stand its answers; below a list of paths, those of the first: that one runs.
    """
    lines = cells.lines(text)
    versions: dict[str, str] = {}
    targets: dict[str, list[str]] = {}
    at, is_list = "", False
    for line in lines:
        command = software_text.commands(line)
        words = re.split(r"[,\s]+", line.strip())
        if found := _PATH.fullmatch((command[0] if command else line).strip()):
            at = at if is_list else found["path"]
            versions.setdefault(found["path"], "")
        elif version := _VERSION.search(line):
            versions[at] = versions.get(at) or version["version"] or version["release"]
        elif all(map(_CODE.fullmatch, words)):
            versions.setdefault(at, "")
            targets.setdefault(at, []).extend(words)
        is_list = bool(found)
    if not versions and text.strip() and not any(_NONE.fullmatch(line.strip()) for line in lines):
        return Reading()
    toolkits = (Toolkit(path, version, tuple(targets.get(path, ()))) for path, version in versions.items())
    return software_text.answer("toolkits", toolkits=tuple(toolkits))
