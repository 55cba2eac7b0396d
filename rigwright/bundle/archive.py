"""The file of a bundle: a plain tar of `manifest.json` and of parts that are called by their sums, and nothing else."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from pydantic import ValidationError

from rigwright.bundle.manifest import Manifest
from rigwright.errors import RigwrightError
from rigwright.shown import on_a_line
from rigwright.strict import first_mistake

Say = Callable[[str], None]

_MANIFEST, _FOLDER = "manifest.json", "parts/"
_PART = re.compile(r"parts/([0-9a-f]{64})")
_LARGEST_MANIFEST, _LARGEST_BYTES = 16 << 20, 1 << 44
_CHUNK_BYTES = 1 << 20
_ANEW = "make it anew, or copy it again"


class _Plain(tarfile.TarInfo):
    """A member that is a file, and nothing that tar has learned since: no link, no sparse file, no further header."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Plain:
        found = super().frombuf(buf, encoding, errors)
        if found.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or not 0 <= found.size <= _LARGEST_BYTES:
            raise RigwrightError(f"{found.name[:80]!r} in it is no plain file")
        return found


def write(path: Path, manifest: Manifest, parts: Mapping[str, Path]) -> str:
    """Write a bundle; `parts` are files by their sums. Returns the sum of its list of contents.

    Raises:
        RigwrightError: a part has changed since it was looked at, or the disk does not take it.
    """
    listed = (manifest.model_dump_json(indent=1, exclude_defaults=True) + "\n").encode()
    scratch = path.with_name(f"{path.name}.part")
    try:
        with tarfile.open(scratch, "w:", format=tarfile.GNU_FORMAT) as tar:
            tar.addfile(_member(_MANIFEST, len(listed)), io.BytesIO(listed))
            for content in manifest.contents:
                with parts[content.sha256].open("rb") as file:
                    summing = _Summing(file)
                    tar.addfile(_member(f"{_FOLDER}{content.sha256}", content.size_bytes), summing)
                    if summing.digest.hexdigest() != content.sha256:
                        raise RigwrightError(f"{content.name}: is another file than a moment ago; run again")
        scratch.replace(path)
    except OSError as error:
        raise RigwrightError(f"{path}: cannot be written: {error.strerror or error}; free some of its disk") from None
    finally:
        scratch.unlink(missing_ok=True)
    return hashlib.sha256(listed).hexdigest()


class _Summing:
    """A file that is read, and summed up meanwhile."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.digest = file, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        data = self._file.read(size)
        self.digest.update(data)
        return data


def _member(name: str, size: int) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.size, found.mode = size, 0o644
    return found


def read_manifest(path: Path) -> tuple[Manifest, str]:
    """The list of contents of a bundle, and its sum.

    Raises:
        RigwrightError: it is no bundle.
    """
    with _opened(path) as tar:
        return _manifest(tar)


def unpack(path: Path, target: Path, say: Say) -> Manifest:
    """Write each part of a bundle into a directory, under its sum, to which it was held.

    Raises:
        RigwrightError: a part is missing, or is not as it was; or something is in it that is no part.
    """
    with _opened(path) as tar:
        manifest, _ = _manifest(tar)
        wanted = {one.sha256: one for one in manifest.contents}
        done = 0
        while member := tar.next():
            found = _PART.fullmatch(member.name)
            content = wanted.pop(found[1], None) if found else None
            if content is None or member.size != content.size_bytes:
                raise RigwrightError(f"{member.name[:80]!r} is none of what it lists")
            file = tar.extractfile(member)
            if file is None or not _copied(file, target / content.sha256, content.sha256):
                raise RigwrightError(f"{content.name} in it is damaged")
            if (done + content.size_bytes) >> 30 > done >> 30:
                say(f"{path.name}: {(done + content.size_bytes) * 100 // manifest.total_bytes} % unpacked")
            done += content.size_bytes
        if wanted:
            raise RigwrightError(f"it ends before {next(iter(wanted.values())).name}")
    return manifest


def _copied(file: IO[bytes], target: Path, sha256: str) -> bool:
    """Whether what was written has the sum."""
    digest = hashlib.sha256()
    with target.open("xb") as out:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            out.write(chunk)
    return digest.hexdigest() == sha256


def _manifest(tar: tarfile.TarFile) -> tuple[Manifest, str]:
    first = tar.next()
    file = tar.extractfile(first) if first and first.name == _MANIFEST and first.size <= _LARGEST_MANIFEST else None
    if file is None:
        raise RigwrightError("it is no bundle")
    text = file.read()
    try:
        return Manifest.model_validate_json(text), hashlib.sha256(text).hexdigest()
    except ValidationError as error:
        raise RigwrightError(f"its {_MANIFEST}: {on_a_line(str(first_mistake(error)))[:200]}") from None


@contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    """The tar, with what is wrong with it as one line."""
    try:
        with tarfile.open(path, "r:", tarinfo=_Plain) as tar:
            yield tar
    except FileNotFoundError:
        raise RigwrightError(f"{path}: does not exist; `rigwright bundle INVENTORY -o FILE` makes it") from None
    except RigwrightError as error:
        raise RigwrightError(f"{path}: {error.message}; {_ANEW}") from None
    except tarfile.TarError as error:
        raise RigwrightError(f"{path}: it is no bundle, or not whole ({error}); {_ANEW}") from None
    except (OSError, ValueError, OverflowError) as error:
        raise RigwrightError(f"{path}: cannot be unpacked: {_told(error)}; {_ANEW}") from None


def _told(error: Any) -> str:
    return getattr(error, "strerror", None) or str(error)[:200]
