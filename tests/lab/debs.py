"""Debian packages and repositories of them, made for tests: real files that a real apt takes, or refuses, for real."""

from __future__ import annotations

import gzip
import hashlib
import os
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path

from .signing import Key

Content = str | bytes


@dataclass(frozen=True)
class Deb:
    """A package. Fields are those of its control file, e.g. {"Depends": "libcuda1 (>= 580)"}; files by their paths.

    A file that begins with `#!` can be run, and so can a program in a folder `bin`.
    """

    name: str
    version: str
    fields: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Content] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    scripts: Mapping[str, str] = field(default_factory=dict)

    @property
    def file(self) -> str:
        """The name of its file, without an epoch, as Debian writes it."""
        return f"{self.name}_{self.version.partition(':')[2] or self.version}_{self._control['Architecture']}.deb"

    @property
    def _control(self) -> dict[str, str]:
        size = sum(len(text) for text in self.files.values())
        given = {"Package": self.name, "Version": self.version, "Architecture": "amd64"}
        given |= {"Maintainer": "Tests <tests@rigwright.example>", "Installed-Size": str(1 + size // 1024)}
        return {**given, **self.fields, "Description": f"{self.name}, a stand-in for tests"}

    def stanza(self, **more: str) -> str:
        """Its control file, or with more fields its entry in a list of packages."""
        return "".join(f"{key}: {value}\n" for key, value in {**self._control, **more}.items() if value)

    def build(self, pool: Path) -> Path:
        """Its file in the pool; one that is there already stays."""
        target = pool / self.file
        if target.exists():
            return target
        with tempfile.TemporaryDirectory(dir=pool) as folder:
            root = Path(folder)
            root.chmod(0o755)
            for path, content in self.files.items():
                _write(root / path, content)
            for path, to in self.links.items():
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).symlink_to(to)
            _write(root / "DEBIAN/control", self.stanza())
            for name, text in self.scripts.items():
                _write(root / "DEBIAN" / name, text)
            command = ["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", folder, f"{target}.part"]
            subprocess.run(command, check=True, capture_output=True)
        Path(f"{target}.part").rename(target)
        return target


def _write(path: Path, content: Content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(data)
    is_program = data.startswith(b"#!") or (data.startswith(b"\x7fELF") and path.parent.name == "bin")
    path.chmod(0o755 if is_program else 0o644)


def build(debs: Iterable[Deb], pool: Path) -> None:
    """The files of packages, in the pool."""
    pool.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor() as several:
        list(several.map(lambda deb: deb.build(pool), debs))


def write_flat(folder: Path, debs: Iterable[Deb], pool: Path, *, release: Mapping[str, str], key: Key | None) -> None:
    """A repository without suites, as NVIDIA's are: all lies beside its lists."""
    folder.mkdir(parents=True)
    lists = {"Packages": "\n".join(_place(deb, pool, folder, ".") for deb in debs)}
    _write_lists(folder, lists, release, key)


def write_suite(
    root: Path, suite: str, components: Mapping[str, Iterable[Deb]], pool: Path, *, release: Mapping[str, str], key: Key
) -> None:
    """A suite of a distribution, with its components."""
    lists = {}
    for component, debs in components.items():
        place = root / "pool" / component
        place.mkdir(parents=True, exist_ok=True)
        listed = "\n".join(_place(deb, pool, place, f"pool/{component}") for deb in debs)
        lists[f"{component}/binary-amd64/Packages"] = listed
    fields = {"Suite": suite, "Codename": suite, "Architectures": "amd64", "Components": " ".join(components)}
    _write_lists(root / "dists" / suite, lists, {**release, **fields}, key)


def _place(deb: Deb, pool: Path, folder: Path, path: str) -> str:
    """The package in a folder that is served, and its entry."""
    data = (pool / deb.file).read_bytes()
    target = folder / deb.file
    if not target.exists():
        os.link(pool / deb.file, target)
    sum_ = hashlib.sha256(data).hexdigest()
    return deb.stanza(Filename=f"{path}/{deb.file}", Size=str(len(data)), SHA256=sum_)


def _write_lists(folder: Path, lists: Mapping[str, str], release: Mapping[str, str], key: Key | None) -> None:
    """The lists of packages, and over their sums the signed Release."""
    files = {path: text.encode() for path, text in lists.items()}
    files |= {f"{path}.gz": gzip.compress(text, 1, mtime=0) for path, text in files.items()}
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    sums = "".join(f" {hashlib.sha256(data).hexdigest()} {len(data)} {path}\n" for path, data in files.items())
    head = {**release, "Date": formatdate(usegmt=True)}
    text = "".join(f"{name}: {value}\n" for name, value in head.items()) + f"SHA256:\n{sums}"
    (folder / "Release").write_text(text)
    if key:
        (folder / "InRelease").write_bytes(key.clearsign(text))
        (folder / "Release.gpg").write_bytes(key.sign(text))
