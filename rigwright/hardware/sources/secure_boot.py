"""`mokutil --sb-state`, `--test-key`, the kernel's own words: whether unsigned modules are refused.

Source: mokutil 0.6 and 0.7; the kernel's log of 5.4 to 6.12.
"""

from __future__ import annotations

import re
from typing import Any

from rigwright.hardware.reading import Reading
from rigwright.hardware.sources import cells, software_text

_OFF = re.compile(
    r"SecureBoot disabled|EFI variables are not supported on this system|(?:does ?n[o']t|not) support Secure ?Boot"
    r"|SecureBoot validation is disabled in shim|[Ss]ecure ?boot: Secure boot (?:disabled|could not be determined)"
    r"|Secure Boot: disabled"
)
_ON = re.compile(
    r"SecureBoot enabled|[Ss]ecureboot: Secure boot enabled|locked down from EFI Secure Boot|Secure Boot: enabled"
)
_ENROLLED = re.compile(r"\bis already enrolled")
_NOT_ENROLLED = re.compile(r"\bis (?:not enrolled|already in the enrollment request|already in MokListX)")


# The variable as od prints it: four bytes of attributes, then 0 or 1.
_BYTES = re.compile(r"^\s*(?:0{6,8}\s+)?0*6(?:\s+0{1,3}){3}\s+0*(?P<value>[01])\s*$", re.MULTILINE)


def read(text: str) -> Reading:
    """Secure Boot, and whether the key of dkms is trusted; shim's own switch overrules the firmware's."""
    text = "\n".join(cells.lines(text))
    value = _BYTES.search(text)
    is_on = False if _OFF.search(text) else True if _ON.search(text) else value["value"] == "1" if value else None
    enrolled = True if _ENROLLED.search(text) else False if _NOT_ENROLLED.search(text) else None
    values: dict[str, Any] = {"secure_boot": is_on, "mok_enrolled": enrolled}
    answered = [name for name, value in values.items() if value is not None]
    return software_text.answer(*answered, **values) if answered else Reading()
