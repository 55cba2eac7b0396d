"""Parsed catalogues, kept as JSON beside Python's own kept files: YAML takes a hundred times as long to read.

What is kept is data, never code, and only taken where nobody could have written it who could not have written the
catalogue itself. Whatever is wrong with it, the catalogue is read anew.
"""

from __future__ import annotations

import json
import os
import stat
import sys
import tempfile
import zlib
from contextlib import suppress
from importlib.util import cache_from_source
from pathlib import Path
from typing import Any

# A sum of what follows, the bytes and the time of the catalogue that it was read from, and the catalogue.
_FORM = "rigwright 1"
# What is no file is not followed, nor waited for.
_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_WRITE_OF_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def held(source: Path) -> dict[str, Any] | None:
    """What is kept of a catalogue as it is now."""
    try:
        place, of = _place(source), source.stat()
        if not _is_safe(place.parent.lstat(), of, stat.S_IFDIR):
            return None
        with os.fdopen(os.open(place, _FLAGS), "rb") as file:
            if not _is_safe(os.fstat(file.fileno()), of, stat.S_IFREG):
                return None
            mark, _, body = file.read().partition(b"\n")
        data: dict[str, Any] | None = json.loads(body) if mark == _mark(body, of) else None
    except (OSError, ValueError, RecursionError):
        return None
    return data


def hold(source: Path, data: dict[str, Any], of: os.stat_result) -> None:
    """Keep a catalogue, read from a file in that state, where Python may keep its own and the folder lets us."""
    if sys.dont_write_bytecode:
        return
    with suppress(OSError, TypeError, ValueError):
        body = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()
        if json.loads(body) != data:
            return
        place = _place(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(_mark(body, of) + b"\n" + body)
                os.fchmod(file.fileno(), stat.S_IMODE(of.st_mode) & 0o644)
            Path(name).replace(place)
        except OSError:
            Path(name).unlink(missing_ok=True)


def _place(source: Path) -> Path:
    """Where it is kept: beside what Python keeps of a module in that folder."""
    return Path(cache_from_source(str(source))).with_name(f"{source.name}.json")


def _mark(body: bytes, of: os.stat_result) -> bytes:
    """Its first line."""
    return f"{_FORM} {zlib.crc32(body)} {of.st_size} {of.st_mtime_ns}".encode()


def _is_safe(one: os.stat_result, of: os.stat_result, kind: int) -> bool:
    """Whether only those can write it who can write the catalogue: its owner, we, root, and whom its mode lets."""
    others = one.st_mode & _WRITE_OF_OTHERS & ~of.st_mode
    is_ours = one.st_uid in (of.st_uid, os.geteuid(), 0) and (one.st_gid == of.st_gid or not one.st_mode & stat.S_IWGRP)
    return stat.S_IFMT(one.st_mode) == kind and is_ours and not others
