"""Packages of a bundle as they travel: their files and apt's list of them, in one tar."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from rigwright.bundle.opened import Bundle
from rigwright.hardware import Hardware

_INDEX = "Packages"


@dataclass(frozen=True)
class Sent:
    """What installing some packages may take: the sums of their files, and apt's list of them.

    It is made once in the bundle's folder, and sent by its id, which is over the sums.
    """

    bundle: Bundle
    files: tuple[str, ...]
    index: str
    size_bytes: int

    @property
    def sums(self) -> str:
        """A line for each file, as sha256sum reads them."""
        index = hashlib.sha256(self.index.encode()).hexdigest()
        return "\n".join([f"{index}  ./{_INDEX}", *(f"{digest}  ./{digest}.deb" for digest in self.files)])

    @property
    def id(self) -> str:
        """Twelve hex digits over what is in it."""
        return hashlib.sha256(self.sums.encode()).hexdigest()[:12]

    def archive(self) -> Path:
        """The tar."""
        path = self.bundle.directory / f"packages-{self.id}.tar"
        if path.exists():
            return path
        import tarfile  # which few runs need

        scratch = path.with_suffix(f".{os.getpid()}")
        with tarfile.open(scratch, "w:", format=tarfile.GNU_FORMAT) as tar:
            listed = self.index.encode()
            member = tarfile.TarInfo(_INDEX)
            member.size = len(listed)
            tar.addfile(member, io.BytesIO(listed))
            for digest in self.files:
                part = self.bundle.directory / digest
                member = tarfile.TarInfo(f"{digest}.deb")
                member.size = part.stat().st_size
                with part.open("rb") as file:
                    tar.addfile(member, file)
        return scratch.replace(path)


def sent_packages(bundle: Bundle, hardware: Hardware, names: Collection[str]) -> Sent | None:
    """What a rig that lacks these packages is sent; None where the bundle has none for it."""
    system = bundle.system(hardware)
    sums = system.files(names) if system else None
    if system is None or sums is None:
        return None
    sizes = {one.sha256: one.size_bytes for one in bundle.manifest.contents}
    index = "".join(
        f"{system.index[digest]}\nFilename: ./{digest}.deb\nSize: {sizes[digest]}\nSHA256: {digest}\n\n"
        for digest in sums
    )
    return Sent(bundle, sums, index, sum(sizes[digest] for digest in sums))
