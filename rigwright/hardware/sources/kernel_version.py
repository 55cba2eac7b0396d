"""`/proc/version`, `uname -a`, `uname -r`: the kernel that runs, and what built it.

Source: proc_version(5), with the compilers of Debian 11 to 13, Ubuntu 20.04 to 26.04, EL 8 to 10, Fedora, Arch.
"""

from __future__ import annotations

import re
from itertools import pairwise

from rigwright.hardware.reading import Reading
from rigwright.hardware.sources import cells, software_text

RELEASE = r"[0-9]{1,2}\.[0-9]{1,3}(?:\.[0-9]{1,4})?(?:[-+._~][\w.+~-]{1,60})?"
_PROC = re.compile(rf"Linux version (?P<release>{RELEASE}) (?P<builder>\([^)\s]*\) )?(?P<rest>.{{0,400}})")
_UNAME = re.compile(rf"Linux \S{{1,80}} (?P<release>{RELEASE}) #?(?P<rest>.{{1,200}})")
_BARE = re.compile(rf"{RELEASE}")
_ARCHITECTURE = re.compile(r"\b(?P<arch>x86_64|aarch64|ppc64le|armv7l|i686|s390x|riscv64)\b")
# (gcc-12 (Debian 12.2.0-14) 12.2.0, GNU ld …) · (gcc version 11.4.0 (Ubuntu …)) · (clang version 18.1.8 (…), LLD …)
_COMPILER = re.compile(
    r"\(?(?:[\w-]{1,40} )?(?:[a-z0-9_]+-(?:[a-z0-9_]+-){0,3})?(?P<name>gcc|clang)(?:-[0-9.]+)?"
    r"(?: version (?P<version>[0-9]+(?:\.[0-9]+)*)| \((?:[^()]|\([^()]*\)){0,120}\) (?P<plain>[0-9]+(?:\.[0-9]+)*))"
)
_ASKED = r"uname -"


def read(text: str) -> Reading:
    """Kernel, architecture and the compiler of the kernel; a release alone is what `uname -r` prints."""
    os: dict[str, str] = {}
    compiler: str | None = None
    lines = cells.lines(text)
    for line in lines:
        if found := _PROC.search(line):
            os.setdefault("KERNEL", found["release"])
            built = _COMPILER.search(found["rest"])
            compiler = compiler or (f"{built['name']} {built['version'] or built['plain']}" if built else None)
        elif found := _UNAME.fullmatch(line.strip()):
            os.setdefault("KERNEL", found["release"])
            if arch := _ARCHITECTURE.search(found["rest"]):
                os.setdefault("ARCHITECTURE", arch["arch"])
    if not os and (release := _release(text, lines)):
        os["KERNEL"] = release
    if not compiler:
        return Reading(os=os)
    reading = software_text.answer("kernel_compiler", kernel_compiler=compiler)
    return Reading(os=os, software=reading.software)


def _release(text: str, lines: list[str]) -> str | None:
    """What stands alone, or below the command in a session."""
    filled = [line.strip() for line in lines if line.strip()]
    if len(filled) == 1 and _BARE.fullmatch(filled[0]):
        return filled[0]
    for line, after in pairwise(filled):
        if software_text.asked(line, _ASKED) and _BARE.fullmatch(after):
            return after
    return None
