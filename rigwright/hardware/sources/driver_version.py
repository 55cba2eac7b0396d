"""`/proc/driver/nvidia/version` or `/sys/module/nvidia/version`: which kernel module is loaded.

Source: recorded files: `NVRM version: NVIDIA UNIX x86_64 Kernel Module  595.71.05  Tue …`, open modules
`NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build …`; the other holds the number alone.
"""

from __future__ import annotations

import re

from rigwright.hardware.reading import Reading
from rigwright.hardware.software import Flavour, KernelModule
from rigwright.hardware.sources import cells, software_text

_VERSION = re.compile(r"(?<![\w.])[0-9]{2,4}\.[0-9]{1,4}(?:\.[0-9]{1,4})?(?![\w.-]*[0-9])")


def read(text: str) -> Reading:
    """The loaded kernel module: its version, and where the driver names itself its flavour."""
    lines = [line.strip() for line in cells.lines(text) if line.strip()]
    messages = [line.partition("NVRM version:")[2][:300] for line in lines if "NVRM version:" in line]
    alone = lines if len(lines) == 1 and _VERSION.fullmatch(lines[0]) else []
    found = next((match[0] for line in [*messages, *alone] if (match := _VERSION.search(line))), None)
    if not found:
        return Reading()
    flavour: Flavour = "open" if any("Open Kernel Module" in line for line in messages) else "proprietary"
    module = KernelModule(found, flavour if messages else None)
    return Reading(kernel_module_version=found, software=software_text.answer("loaded", loaded=module).software)
