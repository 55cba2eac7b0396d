"""Which model files a rig holds, and what is known of their content."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import PurePosixPath

from rigwright.roles.base.facts import RemoteFile, Rig
from rigwright.roles.base.probe import Probe
from rigwright.units import whole_number

FOUND = "found"
_LISTING = "weights"
# All that is there: each may be the file that the plan chooses, once the answer tells the hardware.
_LIST = """(cd {directory} 2>/dev/null || exit 0
for f in *.gguf *.gguf.part; do [ -f "$f" ] && stat -Lc '%s|%Y|%n' -- "$f"; done
for f in .*.gguf.rigwright; do [ -f "$f" ] && printf 'stamp|%s|%s\\n' "$(head -n1 -- "$f")" "$f"; done
:)"""


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


def weights_probe(paths: tuple[str, ...], directory: str, *, is_open: bool = False) -> Probe:
    """What the weights role asks; `is_open` while the plan has yet to choose files: then all that are there."""
    parts = tuple(f"{path}.part" for path in paths)
    stats, files = paths + parts, tuple(stamp_path(path) for path in paths)
    scripts = ((_LISTING, _LIST.format(directory=shlex.quote(directory))),) if is_open else ()
    return Probe(stats=stats, files=files, disks=(directory,), scripts=scripts)


def weights_file(rig: Rig, path: str) -> RemoteFile | None:
    """A model file, its stamp, or what arrived of it; None where there is none."""
    if path in rig.files:
        return rig.files[path]
    name = path.rpartition("/")[2]
    for line in rig.sections.get(_LISTING, []):
        first, _, rest = line.partition("|")
        second, _, found = rest.rpartition("|")
        if found == name and first == "stamp":
            return RemoteFile("file", second)
        size, modified = whole_number(first), whole_number(second)
        if found == name and size is not None and modified is not None:
            return RemoteFile("file", size_bytes=size, modified=modified)
    return None


def verified_stamp(rig: Rig, path: str) -> Stamp | None:
    """The stamp of `path`, None where there is none or the file changed since."""
    stamp_file, file = weights_file(rig, stamp_path(path)), weights_file(rig, path)
    words = ((stamp_file.content if stamp_file else None) or "").split()
    if file is None or len(words) != 4 or words[1:3] != [str(file.size_bytes), str(file.modified)]:
        return None
    return Stamp(words[0], file.size_bytes, file.modified, words[3])
