"""`cc --version`, `gcc --version`, `ldd --version`: the default compiler, and the C library.

Source: printed by gcc 8 to 15, clang 14 to 20; ldd of glibc 2.28 to 2.42.
"""

from __future__ import annotations

import re

from rigwright.hardware.reading import Reading
from rigwright.hardware.sources import cells, software_text

_GCC = re.compile(
    r"\s*(?P<called>(?:\S*/)?(?:cc|gcc|[a-z0-9_]+-linux-gnu-gcc|c\+\+|g\+\+)(?:\.[a-z]+)?) \((?P<of>(?:[^()]"
    r"|\([^()]*\)){1,120})\) "
    r"(?P<version>[0-9]+\.[0-9]+(?:\.[0-9]+)?)(?: .*)?"
)
_CLANG = re.compile(r"\s*(?:[\w-]{1,20} )?clang version (?P<version>[0-9]+\.[0-9]+(?:\.[0-9]+)?).*")
_NONE = re.compile(r"(?:.*[: ])?(?P<called>cc|gcc): (?:command )?not found|.*[Cc]ommand '?(?:cc|gcc)'? not found.*")
_LDD = re.compile(r"\s*(?:ldd|getconf) \(.*\) (?P<version>[0-9]+\.[0-9]+)\s*|\s*glibc (?P<own>[0-9]+\.[0-9]+)\s*")


def read(text: str) -> Reading:
    """`gcc 12.2.0` as `cc` is, else as `gcc` is; a compiler that is called by its version is no default."""
    found: dict[str, str] = {}
    glibc: str | None = None
    is_missing = False
    for line in cells.lines(text):
        if gcc := _GCC.fullmatch(line):
            found.setdefault(gcc["called"].rpartition("/")[2], f"gcc {gcc['version']}")
        elif clang := _CLANG.fullmatch(line):
            found.setdefault("clang", f"clang {clang['version']}")
        elif ldd := _LDD.fullmatch(line):
            glibc = glibc or ldd["version"] or ldd["own"]
        is_missing = is_missing or bool(_NONE.fullmatch(line.strip()))
    compiler = found.get("cc") or found.get("gcc") or next(iter(found.values()), None)
    answered = [
        name for name, is_there in (("compiler", compiler or is_missing), ("glibc", glibc)) if is_there
    ]  # fmt: skip
    return software_text.answer(*answered, compiler=compiler, glibc=glibc) if answered else Reading()
