"""Paths of module and library files: `lsinitramfs`, `lsinitrd`, `find /lib/modules`, `ls /usr/lib/…/libnvidia-ml*`.

In an initramfs paths have no slash before them: what is there is loaded before the disk is.
"""

from __future__ import annotations

import re

from rigwright.hardware.reading import Reading
from rigwright.hardware.software import KernelModule
from rigwright.hardware.sources import cells, device_nodes, software_text

_MODULE = re.compile(
    r"(?P<root>/)?(?:usr/)?lib/modules/(?P<kernel>[^/\s]+)/(?:\S*/)?nvidia(?:-current|-[0-9]{3})?(?:-open)?\.ko\b"
)
_ANY_FILE = re.compile(r"(?:\S+\s+){0,9}(?:usr/|etc/|bin$|lib/modules/\S+\.ko)")
# One of cuda-compat is not the driver's own.
_LIBRARY = re.compile(
    r"(?<!/compat)/lib(?:nvidia-ml|cuda)\.so\.(?P<version>[0-9]{3}\.[0-9]{1,4}(?:\.[0-9]{1,4})?)(?![\w.])"
)
_ABSENT = re.compile(r"[Nn]o such file|cannot (?:stat|access)|not found|does not exist")
_ASKED = r"(?:\S*/)?(?:lsinitramfs|lsinitrd|unmkinitramfs)\b"


def read(text: str) -> Reading:
    """NVIDIA's module in initramfs and on disk (of no known version), and the version of the driver's libraries."""
    lines = cells.lines(text)
    # modinfo's own, which says more: the kernel that takes the module may be another than that of its folder.
    files = (line for line in lines if not line.lstrip().startswith("filename:"))
    modules = {(bool(found["root"]), found["kernel"]) for line in files if (found := _MODULE.search(line))}
    early = tuple(KernelModule("", kernel=kernel) for is_on_disk, kernel in sorted(modules) if not is_on_disk)
    late = tuple(KernelModule("", kernel=kernel) for is_on_disk, kernel in sorted(modules) if is_on_disk)
    # A CDI specification names what was there when it was made, an error what is not.
    present = [] if device_nodes.is_cdi(text) else [line for line in lines if not _ABSENT.search(line)]
    version = next((found["version"] for line in present if (found := _LIBRARY.search(line))), None)
    command = software_text.asked(text, _ASKED)
    is_listing = early or command or not text.strip() or any(_ANY_FILE.match(line.strip()) for line in lines)
    answered = [
        name for name, is_there in (
            ("in_initramfs", is_listing and not late and not version), ("on_disk", late), ("userland_version", version),
        ) if is_there
    ]  # fmt: skip
    if not answered:
        return Reading()
    return software_text.answer(
        *answered,
        partial=["on_disk"] if late else [],
        in_initramfs=early,
        on_disk=late,
        userland_version=version,
    )
