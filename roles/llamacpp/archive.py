"""Source archives on the controller: fetched once, checked, cut down to the tree that is built."""

from __future__ import annotations

import hashlib
import io
import lzma
import re
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import zlib
from http.client import HTTPException
from pathlib import Path

from rigwright.errors import RigwrightError
from rigwright.plan.engines.llamacpp.archives import Archive, Prebuilt
from rigwright.roles.base.fetching import NO_PIP, Find, nowhere, pip_download
from rigwright.shown import without_secrets
from rigwright.units import format_bytes
from rigwright.weights.kept import alone, kept

_WHERE = "rig.llamacpp.archive"
# llama.cpp's own has 30 MiB; an answer without an end shall not fill the disk.
_LARGEST_BYTES = 1 << 30
# A server that sends less than 4 KiB/s on average, after the first minute, is not waited for.
_SILENCE_SECONDS, _SLOWEST_BYTES = 60, 4 << 10


def source_tree(archive: Archive, find: Find = nowhere) -> Path:
    """A gzipped tar with the llama.cpp tree at its top, made from `archive` and kept in the cache.

    Raises:
        RigwrightError: it cannot be fetched, its sum is wrong, or the tree is not in it.
    """
    cache = kept("sources")
    name = hashlib.sha256(f"{archive.sha256}/{archive.subdirectory}".encode()).hexdigest()[:16]
    tree = cache / f"{name}-2.tar.gz"  # the first ones had files with long names elsewhere
    with alone(cache / f"{name}.lock"):
        if not tree.exists():
            with tempfile.TemporaryDirectory(dir=cache) as scratch:
                original = find(archive.sha256) or fetch(archive, Path(scratch))
                check(original, archive)
                _cut(original, archive.subdirectory, Path(scratch) / "tree.tar.gz").replace(tree)
    return tree


def fetch(archive: Archive | Prebuilt, directory: Path, *, where: str = _WHERE) -> Path:
    """The file, from where it says; a local one as it lies there.

    Raises:
        RigwrightError: it cannot be had; `where` is the key that names it.
    """
    if archive.path:
        path = Path(archive.path).expanduser()
        if not path.is_file():
            raise RigwrightError(f"{where}: {path} is not there; correct path")
        return path
    if archive.url:
        return _fetch_url(archive.url, directory, where)
    return _fetch_package(archive, directory) if isinstance(archive, Archive) else directory


def _fetch_url(url: str, directory: Path, where: str) -> Path:
    target, size, shown = directory / "archive", 0, without_secrets(url)
    by_hand = "fetch it by hand, and set path"
    began = time.monotonic()
    try:
        with urllib.request.urlopen(url, timeout=_SILENCE_SECONDS) as answer, target.open("wb") as file:
            while chunk := answer.read1(1 << 20):
                size += len(chunk)
                if size > _LARGEST_BYTES:
                    raise RigwrightError(f"{where}: {shown} has more than {format_bytes(_LARGEST_BYTES)}; {by_hand}")
                if time.monotonic() - began > _SILENCE_SECONDS + size / _SLOWEST_BYTES:
                    raise RigwrightError(
                        f"{where}: {shown} sent {format_bytes(size)} in {time.monotonic() - began:.0f} s; {by_hand}"
                    )
                file.write(chunk)
    except (urllib.error.URLError, HTTPException, OSError) as error:
        raise RigwrightError(f"{where}: {shown} cannot be fetched: {error}; correct url") from None
    return target


def _fetch_package(archive: Archive, directory: Path) -> Path:
    """By pip; of the package only the source is asked for, of what its hooks want what is built."""
    package, where = str(archive.pypi), _WHERE
    name = package.partition("==")[0]
    said = pip_download(f"{package} --hash=sha256:{archive.sha256}\n", directory, "--no-binary", name)
    found = sorted(directory.glob("*.tar.gz"))
    if said or not found:
        if "No module named pip" in said:
            raise RigwrightError(f"{where}: {NO_PIP}, or set path")
        if got := re.search(r"Got\s+([0-9a-f]{64})", said):
            raise _wrong_sum(got[1], archive, where)
        reason = (said.splitlines() or ["no archive came"])[-1]
        raise RigwrightError(
            f"{where}: pip cannot download {package}: {reason}; check the network and pip's configuration"
        )
    return found[0]


def check(original: Path, archive: Archive | Prebuilt, *, where: str = _WHERE) -> None:
    """Hold a file to the sum that it was named with.

    Raises:
        RigwrightError: it has another one.
    """
    with original.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != archive.sha256:
        raise _wrong_sum(digest, archive, where)


def _wrong_sum(digest: str, archive: Archive | Prebuilt, where: str) -> RigwrightError:
    return RigwrightError(f"{where}: its sha256 is {digest}, the inventory says {archive.sha256}; correct one of them")


def _cut(original: Path, subdirectory: str, target: Path) -> Path:
    """Repack the tree below the archive's top folder; git's own files stay out."""
    where = _WHERE
    try:
        with tarfile.open(original) as source, tarfile.open(target, "w:gz", compresslevel=1) as result:
            first = source.next()
            root = f"{first.name.split('/')[0]}/{subdirectory}".rstrip("/") + "/" if first else "/"
            for member in source:
                inside = member.name.removeprefix(root)
                if inside == member.name or inside.split("/")[0] == ".git":
                    continue
                if inside.startswith("/") or ".." in inside.split("/") or member.isdev():
                    raise RigwrightError(f"{where}: its member {inside!r} is none of a tree; use another")
                member.name = inside
                # What they say of the name would be written again in place of it: of long ones it is there as well.
                member.pax_headers = {}
                content = source.extractfile(member) if member.isreg() or member.islnk() else None
                if content and member.islnk():  # what it names may not be in the tree
                    member.type, member.linkname, member.size = tarfile.REGTYPE, "", content.seek(0, io.SEEK_END)
                    content.seek(0)
                result.addfile(member, content)
            if not result.getmembers():
                raise RigwrightError(f"{where}: {subdirectory or 'its top folder'} is not in it; correct subdirectory")
    except (tarfile.TarError, KeyError, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        raise RigwrightError(f"{where}: is no tar archive that can be read: {error}; use another") from None
    return target
