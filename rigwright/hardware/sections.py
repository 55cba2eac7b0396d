"""What a rig has, from one section among others of a deploy's question: read as recorded machines are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from rigwright.hardware import Disk, Hardware, capture, collection

SECTIONS: tuple[tuple[str, str], ...] = (("hardware", collection.script()),)


def read_hardware(sections: Mapping[str, Sequence[str]], disks: tuple[Disk, ...] = ()) -> Hardware:
    """The answers to SECTIONS as Hardware; what is missing is None or zero."""
    return replace(capture.read_files(collection.files(sections)), disks=disks)
