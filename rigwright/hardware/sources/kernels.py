"""`ls /lib/modules`, `ls /boot`: the kernels that are installed."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rigwright.hardware.reading import Reading
from rigwright.hardware.sources import cells, software_text
from rigwright.hardware.sources.kernel_version import RELEASE

_BARE = re.compile(rf"(?:/(?:usr/)?lib/modules/)?(?P<release>{RELEASE})/?")
_IMAGE = re.compile(rf"(?:^|[\s/])(?:vmlinuz|vmlinux|Image)-(?P<release>{RELEASE})(?=\s|$)")
_LONG = re.compile(r"[dl][rwxsStT-]{9}[.+@]?\s+\S+\s+\S+\s+\S+\s+\S+\s+\S+\s+\S+\s+\S+\s+(?P<rest>\S+)(?: -> \S+)?")
_ASKED = r"ls (?:-\S+ )*(?:/usr)?/(?:lib/modules|boot)\b"


def read(text: str) -> Reading:
    """Releases, in their order; those of /boot by their images."""
    lines = cells.lines(text)
    images = [found["release"] for line in lines for found in _IMAGE.finditer(line)]
    releases = list(dict.fromkeys(images or _folders(text, lines)))
    if not releases:
        return Reading()
    is_filtered = software_text.has_filter(software_text.asked(text, _ASKED))
    return software_text.answer("kernels", partial=["kernels"] if is_filtered else [], kernels=tuple(releases))


def _folders(text: str, lines: list[str]) -> Iterator[str]:
    """The folders of /lib/modules: each line holds nothing but releases; in a session those below the command."""
    inside = not software_text.commands(text)
    for line in lines:
        if software_text.is_prompt(line):
            inside = bool(software_text.asked(line, _ASKED))
        elif inside:
            long = _LONG.fullmatch(line.strip())
            words = [long["rest"]] if long else line.split()
            found = [_BARE.fullmatch(word) for word in words]
            yield from (match["release"] for match in found if match and all(found))
