"""`dkms status`: modules, the kernels that they are built for, and how far.

Source: printed by dkms 2.8 (`nvidia, 510.47.03, 5.4.0-109-generic, x86_64: installed`), 3.0.10 and 3.2.2
(`nvidia/510.47.03, 5.15.0-27-generic, x86_64: installed`), with warnings in brackets behind it.
"""

from __future__ import annotations

import re

from rigwright.hardware.reading import Reading
from rigwright.hardware.software import DkmsModule
from rigwright.hardware.sources import cells, software_text

_LINE = re.compile(
    r"\s*(?P<name>[A-Za-z0-9][\w.+-]*)(?:/|, ?)(?P<version>[\w.+~:-]+)(?:, (?P<kernel>[\w.+~-]+), (?P<arch>\w+))?"
    r": ?(?P<state>added|built|installed|broken)(?P<rest>\b.*)?"
)
# "Diff between built and installed module" is said of sound modules too (dkms#290): it breaks nothing.
_MISSING = re.compile(r"WARNING! Missing|bad-dkms-conf")
_NO_SOURCE = re.compile(
    r"File: /var/lib/dkms/(?P<name>[\w.+-]+)/(?P<version>[\w.+~-]+)/source/dkms\.conf does not exist"
)
_NO_DKMS = re.compile(r"(?:.*[: ])?dkms: (?:command )?not found|.*[Cc]ommand '?dkms'? not found.*")
_ASKED = r"(?:/usr/s?bin/)?dkms status"


def read(text: str) -> Reading:
    """The modules of dkms; an empty file of that name has none, and a machine without dkms has none either.

    A module that lost its source or some of its files is `broken`.
    """
    lines = cells.lines(text)
    modules = [module for line in lines if (module := _module(line))]
    command = software_text.asked(text, _ASKED)
    is_answer = modules or not text.strip() or command or any(_NO_DKMS.fullmatch(line.strip()) for line in lines)
    if not is_answer:
        return Reading()
    return software_text.answer(
        "dkms", partial=["dkms"] if software_text.has_filter(command) else [], dkms=tuple(dict.fromkeys(modules))
    )


def _module(line: str) -> DkmsModule | None:
    if found := _LINE.fullmatch(line):
        is_broken = _MISSING.search(found["rest"] or "")
        return DkmsModule(
            found["name"], found["version"], "broken" if is_broken else found["state"], found["kernel"] or ""
        )
    lost = _NO_SOURCE.search(line)
    return DkmsModule(lost["name"], lost["version"], "broken") if lost else None
