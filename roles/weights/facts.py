"""Which model files a rig holds, and what is known of their content."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from rigwright.plan.wish import ModelSource
from rigwright.roles.base.facts import Rig
from rigwright.roles.base.probe import Probe
from rigwright.roles.weights.settings import WeightsSettings

FOUND = "found"


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


def weights_path(source: ModelSource, settings: WeightsSettings) -> str:
    """Where the file lives on the rig."""
    return f"{settings.directory}/{source.file_name}"


def stamp_path(path: str) -> str:
    """Where the stamp of a model file lives: `.model.gguf.rigwright` beside it."""
    file = PurePosixPath(path)
    return str(file.with_name(f".{file.name}.rigwright"))


def weights_probe(paths: tuple[str, ...], directory: str) -> Probe:
    """What the weights role asks."""
    parts = tuple(f"{path}.part" for path in paths)
    return Probe(stats=paths + parts, files=tuple(stamp_path(path) for path in paths), disks=(directory,))


def verified_stamp(rig: Rig, path: str) -> Stamp | None:
    """The stamp of `path`, None where there is none or the file changed since."""
    words = (rig.content(stamp_path(path)) or "").split()
    file = rig.files.get(path)
    if file is None or len(words) != 4 or not (words[1].isdecimal() and words[2].isdecimal()):
        return None
    stamp = Stamp(words[0], int(words[1]), int(words[2]), words[3])
    return stamp if (stamp.size_bytes, stamp.modified) == (file.size_bytes, file.modified) else None
