"""What a rig has, as values: its tools are asked by collect.sh and read as recorded machines are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from rigwright.hardware import Disk, Hardware, capture, collection

SECTIONS: tuple[tuple[str, str], ...] = (
    ("hardware", collection.script()),
    (
        "cuda",
        "for n in nvcc /usr/local/cuda/bin/nvcc; do command -v $n >/dev/null || continue;"
        ' echo "nvcc=$n"; $n --version | grep release; break; done',
    ),
)


def read_hardware(sections: Mapping[str, Sequence[str]], disks: tuple[Disk, ...] = ()) -> Hardware:
    """The answers to SECTIONS as Hardware; what is missing is None or zero."""
    return replace(capture.read_files(collection.files(sections)), disks=disks)


def cuda_version(sections: Mapping[str, Sequence[str]]) -> str | None:
    """The release of nvcc, like `12.4`, None without one."""
    for line in sections.get("cuda", []):
        if "release " in line:
            return line.split("release ")[1].split(",")[0].strip()
    return None
