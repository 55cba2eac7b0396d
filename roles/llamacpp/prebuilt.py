"""Binaries of llama.cpp on the controller: fetched once, checked, laid out as a release."""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import re
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from rigwright.errors import RigwrightError
from rigwright.plan.engines.llamacpp.archives import Prebuilt
from rigwright.plan.engines.llamacpp.release import Release
from rigwright.roles.llamacpp.archive import check, fetch
from rigwright.roles.service.kept_releases import LARGEST_BYTES
from rigwright.units import format_bytes
from rigwright.weights.kept import alone, kept

_WHERE = "rig.llamacpp.prebuilt"
_PROGRAM = "llama-server"
_NAME = re.compile(r"[A-Za-z0-9][\w.+-]{0,99}")
_LIBRARY = re.compile(r".*\.so(\.\d+)*")


# What reading a damaged archive raises; a zip that is encrypted, or compressed in a way of its own, is a RuntimeError.
_UNREADABLE = (
    *(tarfile.TarError, zipfile.BadZipFile, KeyError, EOFError, OSError, zlib.error, lzma.LZMAError),
    *(RuntimeError, ValueError),
)


class _Member(NamedTuple):
    """A file of an archive, or a link where it leads somewhere."""

    name: str
    size: int
    leads_to: str
    read: Callable[[], IO[bytes]]


def prebuilt_release(wanted: Callable[[], Sequence[Prebuilt]], release: Release) -> tuple[Path, str]:
    """An archive in the form of a release, and its sha256; kept in the cache. `wanted` is asked where it is not there.

    Raises:
        RigwrightError: one cannot be fetched, its sum is wrong, or there is no llama-server in them.
    """
    cache = kept("prebuilt")
    archive = cache / f"{release.id}.tar.gz"
    with alone(cache / f"{release.id}.lock"):
        if not archive.exists():
            with tempfile.TemporaryDirectory(dir=cache) as scratch:
                files = _unpacked(wanted(), Path(scratch))
                _pack(files, release, Path(scratch) / "release.tar.gz").replace(archive)
        return archive, _digest(archive)


def is_kept(release: Release) -> bool:
    """Whether the archive of a release is in the cache."""
    return (kept("prebuilt") / f"{release.id}.tar.gz").exists()


def _unpacked(wanted: Sequence[Prebuilt], scratch: Path) -> dict[str, Path | str]:
    """The files of `bin/` by name: where each was unpacked to, or the name that a link leads to."""
    found: dict[str, Path | str] = {}
    total = 0
    for number, one in enumerate(wanted):
        place = scratch / f"{number}"
        place.mkdir()
        archive = fetch(one, place, where=_WHERE)
        check(archive, one, where=_WHERE)
        try:
            with _opened(archive) as members:
                programs = [member.name for member in members if member.name.rpartition("/")[2] == _PROGRAM]
                at = programs[0].rpartition("/")[0] if programs else None
                for at_member, member in enumerate(members):
                    folder, _, name = member.name.rpartition("/")
                    if (folder != at) if at is not None else not _LIBRARY.fullmatch(name):
                        continue
                    if not _NAME.fullmatch(name):
                        raise RigwrightError(f"{_WHERE}: {name[:60]!r} in it is no name of a program; use another")
                    if member.leads_to:
                        if "/" not in member.leads_to:
                            found[name] = member.leads_to
                        continue
                    total += member.size
                    if total > LARGEST_BYTES:
                        raise RigwrightError(f"{_WHERE}: more than {format_bytes(LARGEST_BYTES)} is in it; use another")
                    with member.read() as content, (place / f"file-{at_member}").open("wb") as file:
                        while chunk := content.read(1 << 20):
                            file.write(chunk)
                    found[name] = Path(file.name)
        except _UNREADABLE as error:
            why = (str(error).splitlines() or ["it is damaged"])[0].rstrip(":")
            raise RigwrightError(f"{_WHERE}: is no tar or zip archive that can be read: {why}; use another") from None
    if not isinstance(found.get(_PROGRAM), Path):
        raise RigwrightError(f"{_WHERE}: there is no {_PROGRAM} in it; name an archive of llama.cpp's programs")
    return found


@contextmanager
def _opened(archive: Path) -> Iterator[list[_Member]]:
    """What is in an archive: a tar, or a zip, as wheels are."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as whole:
            yield [_of_zip(whole, one) for one in whole.infolist() if not one.is_dir()]
        return
    with tarfile.open(archive) as tar:
        yield [_of_tar(tar, one) for one in tar.getmembers() if one.isreg() or one.issym()]


def _of_zip(whole: zipfile.ZipFile, one: zipfile.ZipInfo) -> _Member:
    return _Member(one.filename, one.file_size, "", lambda: whole.open(one))


def _of_tar(tar: tarfile.TarFile, one: tarfile.TarInfo) -> _Member:
    def read() -> IO[bytes]:
        content = tar.extractfile(one)
        if content is None:
            raise EOFError(f"{one.name} has no content")
        return content

    return _Member(one.name, one.size, one.linkname if one.issym() else "", read)


def _pack(files: dict[str, Path | str], release: Release, target: Path) -> Path:
    """The archive; a link that leads to nothing in it stays out, and a file that is there twice is a link to the first.

    A wheel cannot have links: each library is in it under three names.
    """
    receipt = json.dumps({"host": "somebody else", "identity": release.identity}, indent=1) + "\n"
    texts = {"release.json": release.manifest() + "\n", "receipt.json": receipt}
    digests = {name: _digest(leads_to) for name in files if (leads_to := _file(files, name))}
    sums = [f"{digest}  ./bin/{name}\n" for name, digest in digests.items()]
    sums += [f"{hashlib.sha256(text.encode()).hexdigest()}  ./{name}\n" for name, text in texts.items()]
    first: dict[str, str] = {}
    with tarfile.open(target, "w:gz", compresslevel=1) as tar:
        for name in sorted(digests):
            member, path = tarfile.TarInfo(f"{release.id}/bin/{name}"), files[name]
            if isinstance(path, Path) and first.setdefault(digests[name], name) != name:
                path = first[digests[name]]
            member.mode = 0o755
            if isinstance(path, str):
                member.type, member.linkname = tarfile.SYMTYPE, path
                tar.addfile(member)
                continue
            member.size = path.stat().st_size
            with path.open("rb") as file:
                tar.addfile(member, file)
        for name, text in (texts | {"sums.txt": "".join(sums)}).items():
            member = tarfile.TarInfo(f"{release.id}/{name}")
            member.size, member.mode = len(text.encode()), 0o644
            tar.addfile(member, io.BytesIO(text.encode()))
    return target


def _file(files: dict[str, Path | str], name: str) -> Path | None:
    """The file that a name leads to; None where it leads to none, or in a circle."""
    for _ in files:
        found = files.get(name)
        if not isinstance(found, str):
            return found
        name = found
    return None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
