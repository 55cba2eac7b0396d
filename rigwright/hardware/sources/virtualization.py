"""`systemd-detect-virt`: a word alone, which only the name of the file or the command before it tells apart."""

from __future__ import annotations

import re

from rigwright.hardware.reading import Reading
from rigwright.hardware.sources import cells, software_text

# Source: systemd-detect-virt(1) of systemd 257.
_KINDS = re.compile(
    r"none|qemu|kvm|amazon|zvm|vmware|microsoft|oracle|powervm|xen|bochs|uml|parallels|bhyve|qnx|acrn|apple|sre|google"
    r"|vm-other|systemd-nspawn|lxc-libvirt|lxc|openvz|docker|podman|rkt|wsl|proot|pouch|container-other"
)


def read(text: str) -> Reading:
    """The kind; nothing where other words stand beside it."""
    filled = [line.strip() for line in cells.lines(text) if line.strip()]
    starts = [number for number, line in enumerate(filled) if software_text.asked(line, "systemd-detect-virt")]
    words = filled[starts[0] + 1 : starts[0] + 2] if starts else filled
    if len(words) != 1 or not _KINDS.fullmatch(words[0]):
        return Reading()
    return software_text.answer("virtualization", virtualization=words[0])
