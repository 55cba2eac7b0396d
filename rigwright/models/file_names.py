"""The names that model files may have on a rig: one rule, whoever gave them."""

from __future__ import annotations

import re

# C0, DEL and C1; separators that end a line; what turns the direction of writing; halves of characters.
_UNREADABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
# What lies beside a model file while it comes and after it has come.
_OWN_ENDINGS = (".part", ".part.of", ".rigwright", ".rigwright-new")
# 255 bytes is what file systems take; the longest that lies beside it is `.NAME.rigwright.rigwright-new`.
_LONGEST_BYTES = 220


def file_name_problem(name: str) -> str | None:
    """Why a file on a rig cannot be called so; None where it can.

    A name comes from an inventory, an address or a repository, and ends up behind a directory's, as root writes it.
    """
    if name in ("", ".", ".."):
        return "names no file"
    if "/" in name:
        return "is a path, no name"
    if _UNREADABLE.search(name):
        return "holds a control character"
    if name.startswith((".", "-")):
        return f"starts with {name[0]!r}"
    if name.lower().endswith(_OWN_ENDINGS):
        return "ends like the files that lie beside a model file"
    if len(name.encode()) > _LONGEST_BYTES:
        return f"is longer than {_LONGEST_BYTES} bytes"
    return None
