"""A bundle as runs use it: unpacked in the controller's cache, once, each part held to its sum."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING

from rigwright.errors import RigwrightError, WrongSpec
from rigwright.given import at_home
from rigwright.hardware import Hardware
from rigwright.spec.bundle import BundleSettings
from rigwright.spec.rig import RigSpec
from rigwright.units import format_bytes
from rigwright.weights.kept import alone, kept
from rigwright.weights.offline import by_source

if TYPE_CHECKING:
    from rigwright.bundle.archive import Say
    from rigwright.bundle.manifest import Content, Manifest, System

_SPARE_BYTES = 1 << 28
# What no run has used for a day goes when another one is unpacked: it may be as large as the disk.
_KEPT_SECONDS = 86400


@dataclass(frozen=True)
class Bundle:
    """One that is open: `path` as the inventory names it, `directory` where its parts lie under their sums."""

    path: str
    directory: Path
    manifest: Manifest

    def __repr__(self) -> str:
        """Short: pyinfra prints the arguments of an operation."""
        return f"Bundle({self.path})"

    def find(self, sha256: str) -> Path | None:
        """A part."""
        return self.directory / sha256 if any(one.sha256 == sha256 for one in self.manifest.contents) else None

    def tree(self, git: str, ref: str) -> Content | None:
        """The source that a tag or commit of a repository was."""
        trees = (one for one in self.manifest.contents if one.tree)
        return next((one for one in trees if one.tree and (one.tree.git, one.tree.ref) == (git, ref)), None)

    def system(self, hardware: Hardware) -> System | None:
        """The packages for a rig's distribution and architecture."""
        wanted = hardware.os_id, hardware.os_version, hardware.architecture
        known = self.manifest.systems
        return next((one for one in known if (one.os_id, one.os_version, one.architecture) == wanted), None)

    def lacks(self, what: Collection[str], inventory: str) -> str:
        """The line that says what is not in it."""
        return (
            f"{self.path} lacks {'; '.join(what)}, which this rig needs; make another one with `rigwright bundle "
            f"{inventory} -o {self.path}` where the internet is"
        )


def with_bundle(spec: RigSpec, rig: str, say: Say) -> tuple[RigSpec, Bundle | None]:
    """A spec whose model files and commits are those of its bundle, and that; as it was where it names none.

    Raises:
        WrongSpec: the file is no bundle, or not a whole one.
    """
    if spec.bundle is None:
        return spec, None
    if spec.weights.offline:
        raise WrongSpec(f"{rig}: rig.weights.offline: model files come from rig.bundle; leave one of them out")
    try:
        bundle = open_bundle(spec.bundle, say)
    except RigwrightError as error:
        raise WrongSpec(f"{rig}: rig.bundle: {error.message}") from None
    changes: dict[str, object] = {
        "weights": spec.weights.model_copy(update={"offline": str(bundle.directory)}),
    }
    contents = bundle.manifest.contents
    trees = {(one.tree.git, one.tree.ref): one.tree.commit for one in contents if one.tree}
    sums = {one.name: one.sha256 for one in contents if one.kind == "binaries"}
    changes |= {name: own.bundled(trees, sums) for name, own in spec.engines.items()}
    return spec.model_copy(update=changes), bundle


def open_bundle(settings: BundleSettings, say: Say) -> Bundle:
    """The bundle, unpacked.

    Raises:
        RigwrightError: it is none, or is damaged, or the disk cannot hold it.
    """
    path = at_home(settings.path)
    try:
        status = path.stat()
    except OSError as error:
        advice = "`rigwright bundle INVENTORY -o FILE` makes it"
        raise RigwrightError(f"{path}: cannot be read: {error.strerror}; {advice}") from None
    if not S_ISREG(status.st_mode):
        raise RigwrightError(f"{path}: is no file; name the one that `rigwright bundle` wrote")
    found, digest = _open(path, (status.st_ino, status.st_size, status.st_mtime_ns), say)
    if settings.sha256 not in (None, digest):
        said = f"the inventory says {settings.sha256}"
        raise RigwrightError(f"{path}: its sha256 is {digest}, {said}; correct one of them")
    return Bundle(settings.path, *found)


@cache
def _open(path: Path, _: tuple[int, ...], say: Say) -> tuple[tuple[Path, Manifest], str]:
    """Once for all rigs of a run."""
    from rigwright.bundle.archive import read_manifest  # tar, which few runs need

    manifest, digest = read_manifest(path)
    folder = kept("bundles")
    target = folder / digest
    try:
        with alone(folder / "lock"):
            if not _is_whole(target, manifest):
                _unpack(path, target, manifest, say)
            os.utime(target)
    except OSError as error:
        raise RigwrightError(f"{folder}: {error.strerror}; mend it, or set XDG_CACHE_HOME") from None
    return (target, manifest), digest


def _is_whole(target: Path, manifest: Manifest) -> bool:
    """Whether all parts lie there: a folder of that name had each held to its sum, but may have been cleaned since."""
    with suppress(OSError):
        return target.is_dir() and all(
            (target / one.sha256).stat().st_size == one.size_bytes for one in manifest.contents
        )
    return False


def _unpack(path: Path, target: Path, manifest: Manifest, say: Say) -> None:
    from rigwright.bundle.archive import unpack

    for old in target.parent.iterdir():
        if old.is_dir() and (old == target or time.time() - old.stat().st_mtime > _KEPT_SECONDS):
            shutil.rmtree(old)
    free = shutil.disk_usage(target.parent).free
    needed = manifest.total_bytes + _SPARE_BYTES
    if free < needed:
        raise RigwrightError(
            f"{path}: unpacking it needs {format_bytes(needed)} in {target.parent}, the disk has {format_bytes(free)}; "
            f"free some, or set XDG_CACHE_HOME"
        )
    say(f"unpacking {path}: {format_bytes(manifest.total_bytes)}")
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        stage = Path(scratch) / "parts"
        stage.mkdir()
        manifest = unpack(path, stage, say)
        for content in manifest.contents:
            for total in content.sources:
                by_source(stage, total).hardlink_to(stage / content.sha256)
        stage.rename(target)
