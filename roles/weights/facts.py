"""Which model files a rig holds, and what is known of their content."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath

from rigwright.roles.base.facts import RemoteFile, Rig
from rigwright.roles.base.probe import Probe
from rigwright.units import whole_number

FOUND = "found"
_LISTING, _KEPT, _WHOLE = "weights", "kept", "whole"
# All that is there: each may be the file that the plan chooses, once the answer tells the hardware.
_LIST = """for f in {directory}/*.gguf {directory}/*.gguf.part {directory}/*/*.gguf {directory}/*/*.gguf.part; do
  [ ! -f "$f" ] || stat -Lc '%s|%Y|%n' -- "$f"
done
for f in {directory}/.*.gguf.rigwright {directory}/*/.*.gguf.rigwright; do
  [ ! -f "$f" ] || printf 'stamp|%s|%s\\n' "$(head -n1 -- "$f")" "$f"
done"""
# The files of whole repositories, up to some hundreds each: asked by the directory, in two processes.
_LIST_WHOLE = """stat -Lc '%s|%Y|%n' -- {directory}/*--*/*/[!.]* 2>/dev/null || :
grep -H . {directory}/*--*/*/.*.rigwright /dev/null 2>/dev/null |
  sed 's/^\\(.*\\.rigwright\\):\\(.*\\)$/stamp|\\2|\\1/'"""
# What waits for a switch, or is kept for the way back: `place.sh`.
_LIST_KEPT = """at={directory}
for f in "$at"/.rigwright/.*.rigwright "$at"/*/.rigwright/.*.rigwright "$at"/*--*/*/.rigwright/.*.rigwright; do
  at=${{f##*/.}}
  at=${{f%/*}}/${{at%.rigwright}}
  [ ! -f "$at" ] || printf '%s|%s|%s\\n' "$(head -n1 -- "$f")" "$(stat -c '%s %Y' -- "$at")" "$at"
done"""


@dataclass(frozen=True)
class Stamp:
    """What was checked once: `sha256 size mtime origin`. While size and mtime hold, the file is not hashed again.

    `origin` is a digest of the address, `upload`, or `found` for a file that was the user's own before us.
    """

    sha256: str
    size_bytes: int
    modified: int
    origin: str

    def satisfies(self, sha256: str | None, origin: str) -> bool:
        """Whether this is the wanted file: by its sum, or by where it came from when no sum is known."""
        return self.sha256 == sha256 if sha256 else self.origin in (origin, FOUND)


def stamp_path(path: str) -> str:
    """Where the stamp of a model file lives: `.model.gguf.rigwright` beside it."""
    file = PurePosixPath(path)
    return str(file.with_name(f".{file.name}.rigwright"))


def weights_probe(paths: tuple[str, ...], directory: str, *, is_open: bool = False, has_whole: bool = False) -> Probe:
    """What the weights role asks; `is_open` while the plan has yet to choose files: then all that are there.

    `has_whole`: some of them are of whole repositories.
    """
    parts = tuple(f"{path}.part" for path in paths)
    stats, files = paths + parts, tuple(stamp_path(path) for path in paths)
    listings = [(_KEPT, _LIST_KEPT)]
    listings += [(_LISTING, _LIST)] if is_open else []
    listings += [(_WHOLE, _LIST_WHOLE)] if is_open or has_whole else []
    scripts = tuple((name, text.format(directory=shlex.quote(directory))) for name, text in listings)
    return Probe(stats=stats, files=files, disks=(directory,), scripts=scripts)


def weights_file(rig: Rig, path: str) -> RemoteFile | None:
    """A model file, its stamp, or what arrived of it; None where there is none."""
    if path in rig.files:
        return rig.files[path]
    return _listed((*rig.sections.get(_LISTING, []), *rig.sections.get(_WHOLE, []))).get(path)


@lru_cache(maxsize=64)
def _listed(lines: tuple[str, ...]) -> dict[str, RemoteFile]:
    """The listings by path: of a repository in hundreds of files each is asked for many times."""
    found = {}
    for line in lines:
        first, _, rest = line.partition("|")
        second, _, path = rest.partition("|")
        size, modified = whole_number(first), whole_number(second)
        if first == "stamp":
            found[path] = RemoteFile("file", second)
        elif size is not None and modified is not None:
            found[path] = RemoteFile("file", size_bytes=size, modified=modified)
    return found


def kept_path(path: str, sha256: str) -> str:
    """Where a content of a model file lies that has not its name, or no longer."""
    folder, _, name = path.rpartition("/")
    return f"{folder}/.rigwright/{sha256[:8]}-{name}"


def waiting(rig: Rig, sums: Mapping[str, str]) -> list[tuple[str, str]]:
    """Of these contents by their paths those that have yet to get their name: where each lies, and its path."""
    now = {path: verified_stamp(rig, path) for path in sums}
    kept = {path: {stamp.sha256 for stamp in kept_stamps(rig, path)} for path in sums}
    return [
        (kept_path(path, sha256), path)
        for path, sha256 in sums.items()
        if sha256 in kept[path] and getattr(now[path], "sha256", None) != sha256
    ]


def kept_stamps(rig: Rig, path: str) -> tuple[Stamp, ...]:
    """The stamps of other contents of a model file, which a switch would give its name to."""
    found = []
    for line in rig.sections.get(_KEPT, []):
        text, _, rest = line.partition("|")
        state, _, at = rest.partition("|")
        words = text.split()
        size, modified = (whole_number(word) for word in words[1:3]) if len(words) == 4 else (None, None)
        if size is None or modified is None or " ".join(words[1:3]) != state or at != kept_path(path, words[0]):
            continue
        found.append(Stamp(words[0], size, modified, words[3]))
    return tuple(found)


def wanted_stamp(rig: Rig, path: str, *, sha256: str | None, origin: str) -> Stamp | None:
    """The stamp of the wanted content, under its name or waiting beside it; None where it is not on the rig."""
    stamps = filter(None, (verified_stamp(rig, path), *kept_stamps(rig, path)))
    return next((one for one in stamps if one.satisfies(sha256, origin)), None)


def verified_stamp(rig: Rig, path: str) -> Stamp | None:
    """The stamp of `path`, None where there is none or the file changed since."""
    stamp_file, file = weights_file(rig, stamp_path(path)), weights_file(rig, path)
    words = ((stamp_file.content if stamp_file else None) or "").split()
    if file is None or len(words) != 4 or words[1:3] != [str(file.size_bytes), str(file.modified)]:
        return None
    return Stamp(words[0], file.size_bytes, file.modified, words[3])
