"""`apt-mark showhold`: names alone, one a line. Which list it is, only the name of the file tells."""

from __future__ import annotations

import re

from rigwright.hardware.reading import Reading
from rigwright.hardware.sources import cells, software_text

_NAME = re.compile(r"(?P<name>[a-z0-9][a-z0-9+.-]+)(?::[a-z0-9]+)?")
_SET = re.compile(r"(?P<name>[a-z0-9][a-z0-9+.-]+)(?::[a-z0-9]+)? (?:set on hold|was already set on hold)\.")
_ASKED = r"apt-mark showhold"


def read(text: str) -> Reading:
    """The packages that are held; an empty list is one. In a session the names below the command."""
    lines = cells.lines(text)
    held = [found["name"] for line in lines if (found := _SET.fullmatch(line.strip()))]
    starts = [number for number, line in enumerate(lines) if software_text.asked(line, _ASKED)]
    listed = lines[starts[0] + 1 :] if starts else lines
    if starts:
        listed = listed[: next((at for at, line in enumerate(listed) if software_text.is_prompt(line)), len(listed))]
    filled = [line.strip() for line in listed if line.strip()]
    names = [found["name"] for line in filled if (found := _NAME.fullmatch(line))]
    if not held and len(names) < len(filled):
        return Reading()
    holds = tuple(dict.fromkeys(held or names))
    is_filtered = software_text.has_filter(software_text.asked(text, _ASKED))
    return software_text.answer("holds", partial=["holds"] if held or is_filtered else [], holds=holds)
