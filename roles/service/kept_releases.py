"""Archives of releases that rigs have built, kept on the controller for others, and for the same rig built anew."""

from __future__ import annotations

import hashlib
import os
import re
import tarfile
import time
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rigwright.errors import RigwrightError
from rigwright.shown import printable
from rigwright.units import format_bytes
from rigwright.weights.kept import kept

# A release for CUDA has 1.5 GB with cuBLAS, half of that in its archive.
LARGEST_BYTES = 8 << 30
# Another run may be about to send what it found within this time.
_MOST_KEPT, _SPARED_SECONDS = 6, 3600
_LARGEST_SUMS, _LONGEST_NAME, _MOST_MEMBERS = 1 << 20, 1 << 12, 10_000
# Of the lines that sha256sum understands the one kind that a build writes: others name what they like.
_SUM = re.compile(r"([0-9a-f]{64})  \./([^\\\r\n]+)")
_PLAIN = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE)
_LONG_NAMES = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)


@dataclass(frozen=True)
class Kept:
    """Where the archive of one release is kept. What rigs of one inventory built goes to no rig of another.

    Its sum is part of its name: two runs may keep what they fetched at the same moment.
    """

    directory: Path
    name: str

    @classmethod
    def of(cls, inventory: str, name: str) -> Kept:
        """By the inventory's path and the release's id.

        Raises:
            RigwrightError: the cache cannot be made.
        """
        whose = hashlib.sha256(str(Path(inventory).absolute()).encode()).hexdigest()[:12]
        return cls(kept(f"releases/{whose}"), name)

    @property
    def part(self) -> Path:
        """What arrives."""
        return self.directory / f"{self.name}.part"

    @property
    def lock(self) -> Path:
        """Held by who fetches it."""
        return self.directory / f"{self.name}.lock"

    def find(self) -> tuple[Path, str] | None:
        """The archive and its sha256; None where there is none, or a damaged one, which goes."""
        for archive in self.directory.glob(f"{self.name}-*.tar.gz"):
            with suppress(OSError):
                digest = _digest(archive)
                if archive.name == self._called(digest):
                    os.utime(archive)
                    return archive, digest
                archive.unlink()
        return None

    def keep(self, part: Path) -> None:
        """Keep what arrived, and of all others those that were used last."""
        part.replace(self.directory / self._called(_digest(part)))
        ages = {path: time.time() - path.stat().st_mtime for path in self.directory.glob("*.tar.gz")}
        for old in sorted(ages, key=lambda path: ages[path])[_MOST_KEPT:]:
            if ages[old] > _SPARED_SECONDS:
                old.unlink(missing_ok=True)

    def _called(self, digest: str) -> str:
        return f"{self.name}-{digest}.tar.gz"


class _Plain(tarfile.TarInfo):
    """A member that tar on a rig writes for a file, a folder or a link.

    All others are refused by their first block: what describes sparse files and long headers is read into memory whole,
    and may have any size.
    """

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Plain:
        found = super().frombuf(buf, encoding, errors)
        is_name = found.type in _LONG_NAMES and found.size <= _LONGEST_NAME
        if not is_name and (found.type not in _PLAIN or not 0 <= found.size <= LARGEST_BYTES):
            raise RigwrightError(f"{_quoted(found.name)} is neither a file nor a link within it")
        return found


def check_release(archive: Path, name: str) -> None:
    """Hold an archive to what a release is: files below its name, each with its sum in `sums.txt`, none that leads out.

    Raises:
        RigwrightError: it is none.
    """
    sums: dict[str, str] = {}
    found: dict[str, str] = {}
    links = set()
    total = count = 0
    try:
        with tarfile.open(archive, "r|gz", tarinfo=_Plain) as tar:
            for member in tar:
                inside = member.name.removeprefix(f"{name}/")
                is_top = member.name == name and member.isdir()
                if not is_top and (inside == member.name or not _is_within(inside)):
                    raise RigwrightError(f"{_quoted(member.name)} lies outside of it")
                total, count = total + member.size, count + 1
                if total > LARGEST_BYTES or count > _MOST_MEMBERS:
                    raise RigwrightError(
                        f"it has more than {format_bytes(LARGEST_BYTES)}, or more than {_MOST_MEMBERS} files"
                    )
                if member.issym() and "/" not in member.linkname and member.linkname not in ("", ".", ".."):
                    links.add(inside)
                elif inside == "sums.txt" and (content := tar.extractfile(member)):
                    sums = _sums(content.read(_LARGEST_SUMS).decode())
                elif member.isreg() and (content := tar.extractfile(member)):
                    found[inside] = hashlib.file_digest(content, "sha256").hexdigest()  # type: ignore[arg-type]  # tar's reads as files do
                elif not member.isdir():
                    raise RigwrightError(f"{_quoted(inside)} is neither a file nor a link within it")
    # One long name after another is a call within a call.
    except (tarfile.TarError, EOFError, OSError, UnicodeDecodeError, zlib.error, RecursionError) as error:
        raise RigwrightError(f"it did not arrive whole: {printable(str(error)[:200])}") from None
    wrong = [path for path in {**found, **sums} if path not in links and found.get(path, "") != sums.get(path)]
    if wrong or not found:
        raise RigwrightError(f"{_quoted(wrong[0]) if wrong else 'all of it'} is not as it was built")


def _is_within(path: str) -> bool:
    """Whether a name leads where it seems to, in tar and in a line of sums."""
    return not {"", ".", ".."} & set(path.split("/")) and not re.search(r"[\\\x00-\x1f\x7f]", path)


def _sums(text: str) -> dict[str, str]:
    lines = [_SUM.fullmatch(line) for line in text.removesuffix("\n").split("\n") if text]
    if not all(lines):
        raise RigwrightError("'sums.txt' is not as it was built")
    return {line[2]: line[1] for line in lines if line}


def _quoted(name: str) -> str:
    return repr(name[:80])


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
