"""Numbers and names of devices: `/proc/devices`, a CDI specification, `/dev/infiniband`.

Source: nvidia-container-toolkit 1.14 to 1.19 for the specification; proc_devices(5).
"""

from __future__ import annotations

import re
from typing import Any

from rigwright.hardware.reading import Reading
from rigwright.hardware.sources import cells, software_text

_HEADER = re.compile(r"\s*(?:Character|Block) devices:\s*")
_MAJOR = re.compile(r"\s*(?P<major>[0-9]{1,4}) nvidia-uvm\s*")
_NVIDIA = re.compile(r"\s*[0-9]{1,4} nvidia[\w-]*\s*")
_CDI = re.compile(
    r"""^\s*(?:-\s+)?cdiVersion\s*:|^\s*(?:-\s+)?(?:containerEdits|hostPath|containerPath)\s*:"""
    r"""|"(?:cdiVersion|containerEdits|hostPath)"\s*:""",
    re.MULTILINE,
)
_CDI_PATH = re.compile(r"""(?:path|hostPath)"?\s*:\s*"?/dev/nvidia-uvm"?\s*(?:[,}]|$)""", re.MULTILINE)
_CDI_MAJOR = re.compile(r"""major"?\s*:\s*"?(?P<major>[0-9]{1,4})\b""")
_DRIVERS = (
    r"/lib(?:cuda|nvidia-[a-z]+|(?:EGL|GLX|GLES\w*)_nvidia)\.so\.(?P<version>[0-9]{3}\.[0-9]{1,4}(?:\.[0-9]{1,4})?)\b"
)
_CDI_LIBRARY = re.compile(rf"""(?:hostPath|containerPath)"?\s*:\s*"?\S*{_DRIVERS}""")
# What crun, runc and Docker say of a file that the specification names and the disk no longer has.
_NOT_MOUNTED = re.compile(
    rf"(?:cannot stat|mount request|error mounting|failed to stat)\b.{{0,120}}?{_DRIVERS}.*[Nn]o such file"
)
_CDI_ITEM = re.compile(r"(?:^|\s)-\s+(?=\w+:)|[{}]", re.MULTILINE)
# A listing, short or long: what a sentence says of a device is not its presence.
_NODE = r"(?:/dev/infiniband/)?(?:umad|uverbs|issm|rdma_cm|by-path|by-ibdev)[0-9]{0,3}"
_INFINIBAND = re.compile(rf"(?:[cd][rwx-]{{9}}\S?\s.{{1,80}}\s)?{_NODE}(?:\s+{_NODE})*")
_UMAD = re.compile(r"\bumad[0-9]")
_NO_INFINIBAND = re.compile(
    r".*/dev/infiniband(?:/umad\S*?)?'?:? (?:No such file or directory|not found|is missing|does not exist|absent).*"
)


def is_cdi(text: str) -> bool:
    """Whether a text is a CDI specification, or a part of one, which names files that may be gone."""
    return bool(_CDI.search(text))


def read(text: str) -> Reading:
    """Numbers and libraries of CDI, the number of nvidia-uvm in the kernel, and whether the fabric can be managed."""
    lines = cells.lines(text)
    values: dict[str, Any] = {
        "uvm_major": _kernels(lines),
        "cdi_uvm_major": _cdi("\n".join(lines)),
        "cdi_version": _cdi_version(lines, text),
        "has_umad": _umad(lines, text),
    }
    answered = [name for name, value in values.items() if value is not None]
    if any(_HEADER.fullmatch(line) for line in lines) or any(_NVIDIA.fullmatch(line) for line in lines):
        answered.append("uvm_major")
    return software_text.answer(*answered, **values) if answered else Reading()


def _kernels(lines: list[str]) -> int | None:
    return next((int(found["major"]) for line in lines if (found := _MAJOR.fullmatch(line))), None)


def _cdi(text: str) -> int | None:
    """The number in the item that names the device; whichever of its keys is first."""
    if not _CDI.search(text) and not _CDI_PATH.search(text):
        return None
    for item in _CDI_ITEM.split(text):
        if _CDI_PATH.search(item) and (found := _CDI_MAJOR.search(item)):
            return int(found["major"])
    return None


def _cdi_version(lines: list[str], text: str) -> str | None:
    """Of the libraries in a specification, or of those that a container does not start for."""
    patterns = (_CDI_LIBRARY,) if is_cdi(text) else (_NOT_MOUNTED,)
    return next((found["version"] for line in lines for one in patterns if (found := one.search(line))), None)


def _umad(lines: list[str], text: str) -> bool | None:
    if any(_UMAD.search(line) for line in lines if _INFINIBAND.fullmatch(line.strip())):
        return True
    is_asked = not text.strip() or any(
        _NO_INFINIBAND.fullmatch(line.strip()) or _INFINIBAND.fullmatch(line.strip()) for line in lines
    )
    return False if is_asked else None
