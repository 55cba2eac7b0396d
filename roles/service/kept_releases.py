"""Archives of releases that rigs have built, kept on the controller for others, and for the same rig built anew."""

from __future__ import annotations

import hashlib
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from rigwright.errors import RigwrightError
from rigwright.roles.base.fetching import kept

# A release for CUDA has half a gigabyte.
_MOST_KEPT = 6
_LARGEST_SUMS = 1 << 20


@dataclass(frozen=True)
class Kept:
    """Where the archive of one release is kept. What rigs of one inventory built goes to no rig of another."""

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
    def archive(self) -> Path:
        """The archive."""
        return self.directory / f"{self.name}.tar.gz"

    @property
    def part(self) -> Path:
        """What arrives."""
        return self.directory / f"{self.name}.part"

    @property
    def lock(self) -> Path:
        """Held by who fetches it."""
        return self.directory / f"{self.name}.lock"

    @property
    def _sum(self) -> Path:
        return self.directory / f"{self.name}.sha256"

    def find(self) -> tuple[Path, str] | None:
        """The archive and its sha256; None where there is none, or a damaged one, which goes."""
        try:
            wanted = self._sum.read_text().strip()
            found = _digest(self.archive)
        except OSError:
            return None
        if found == wanted:
            return self.archive, found
        self.archive.unlink(missing_ok=True)
        return None

    def keep(self, part: Path) -> None:
        """Keep what arrived, and of all others those that came last."""
        self.archive.unlink(missing_ok=True)
        self._sum.write_text(_digest(part))
        part.replace(self.archive)
        others = sorted(self.directory.glob("*.tar.gz"), key=lambda path: path.stat().st_mtime, reverse=True)
        for old in others[_MOST_KEPT:]:
            old.unlink(missing_ok=True)
            old.with_name(old.name.replace(".tar.gz", ".sha256")).unlink(missing_ok=True)


def check_release(archive: Path, name: str) -> None:
    """Hold an archive to what a release is: files below its name, each with its sum in `sums.txt`, none that leads out.

    Raises:
        RigwrightError: it is none.
    """
    sums: dict[str, str] = {}
    found: dict[str, str] = {}
    links = set()
    try:
        with tarfile.open(archive, "r|gz") as tar:
            for member in tar:
                inside = member.name.removeprefix(f"{name}/")
                if member.name != name and (inside == member.name or ".." in inside.split("/") or "\n" in inside):
                    raise RigwrightError(f"{member.name[:80]!r} lies outside of it")
                if member.issym() and "/" not in member.linkname:
                    links.add(inside)
                elif inside == "sums.txt" and (content := tar.extractfile(member)):
                    lines = (line.partition("  ") for line in content.read(_LARGEST_SUMS).decode().splitlines())
                    sums = {path.removeprefix("./"): digest for digest, _, path in lines}
                elif member.isreg() and (content := tar.extractfile(member)):
                    found[inside] = hashlib.file_digest(content, "sha256").hexdigest()  # type: ignore[arg-type]
                elif not member.isdir():
                    raise RigwrightError(f"{inside[:80]!r} is neither a file nor a link within it")
    except (tarfile.TarError, EOFError, OSError, UnicodeDecodeError, zlib.error) as error:
        raise RigwrightError(f"it did not arrive whole: {error}") from None
    wrong = [path for path in {**found, **sums} if path not in links and found.get(path, "") != sums.get(path)]
    if wrong or not found:
        raise RigwrightError(f"{wrong[0] if wrong else 'all of it'} is not as it was built")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
