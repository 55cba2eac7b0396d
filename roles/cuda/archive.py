"""Toolkits on the controller: wheels of PyPI, fetched once by their sums, made into one archive."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import re
import struct
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from rigwright.errors import RigwrightError
from rigwright.plan.driver.wheels import Wheels
from rigwright.roles.base.fetching import NO_PIP, Find, nowhere, pip_download
from rigwright.weights.kept import alone, kept

_ROOT = re.compile(r"nvidia/(?:cu13|nccl)/")
# libnvvm and nccl_device are for programs that compile at run time, nvblas for those that know no CUDA, the rest are
# notes of the makers.
_LEFT_OUT = re.compile(r"lib/lib(?:nvvm|nvblas|nccl_device)\.|\.metadata/")
_LICENSE = re.compile(r"(?P<package>[^/]+)-[^/-]+\.dist-info/licenses/License\.txt")
_CHUNK_BYTES, _BLOCK = 1 << 20, tarfile.BLOCKSIZE


class _Member(NamedTuple):
    """A file of a wheel, where it goes in the archive, and its sha256."""

    name: str
    wheel: Path
    info: zipfile.ZipInfo
    sha256: str


def toolkit_archive(wheels: Wheels, find: Find = nowhere) -> Path:
    """A gzipped tar of a toolkit with `bin`, `lib` and `include` at its top, kept in the cache.

    `sums.txt` in it has the sum of every file, as the wheels themselves say it.

    Raises:
        RigwrightError: it cannot be fetched.
    """
    cache = kept("toolkits")
    name = f"cuda-{wheels.version}-{wheels.id}"
    archive = cache / f"{name}.tar.gz"
    with alone(cache / f"{name}.lock"):
        if not archive.exists():
            with tempfile.TemporaryDirectory(dir=cache) as scratch:
                at_hand = [path for digest in wheels.sums.values() if (path := find(digest))]
                files = at_hand if len(at_hand) == len(wheels.sums) else fetch_wheels(wheels, Path(scratch))
                _pack(files, Path(scratch) / "toolkit.tar.gz").replace(archive)
    return archive


def platforms(architecture: str) -> list[str]:
    """The tags under which wheels for such a Linux are filed, whatever this machine is."""
    return [f"manylinux_2_{minor}_{architecture}" for minor in (28, 27, 24, 17)] + [
        f"manylinux{year}_{architecture}" for year in (2014, 2010)
    ]


def is_wanted(name: str) -> bool:
    """Whether a build has a use for a file of a wheel, or its licence wants it there."""
    return _place(name) is not None


def _place(name: str) -> str | None:
    """Where a file of a wheel goes; None where it stays out."""
    if found := _LICENSE.fullmatch(name):
        return f"licenses/{found['package']}.txt"
    inside = _ROOT.sub("", name, count=1)
    return None if not _ROOT.match(name) or name.endswith("/") or _LEFT_OUT.match(inside) else inside


def fetch_wheels(wheels: Wheels, directory: Path) -> list[Path]:
    """The wheels of a toolkit in a directory.

    Raises:
        RigwrightError: they cannot be fetched, or are others than the catalogue names.
    """
    lines = "".join(f"{one} --hash=sha256:{digest}\n" for one, digest in wheels.sums.items())
    tags = [f"--platform={tag}" for tag in platforms(wheels.architecture)]
    said = pip_download(lines, directory, "--only-binary", ":all:", *tags)
    found = sorted(directory.glob("*.whl"))
    if not said and len(found) == len(wheels.sums):
        return found
    where = f"rig.cuda: CUDA {wheels.version}"
    if "No module named pip" in said:
        raise RigwrightError(f"{where}: {NO_PIP}, or set source to distro or nvidia")
    if "Got " in said and "sha256" in said:
        raise RigwrightError(
            f"{where}: the index has other files than NVIDIA published; ask PyPI itself, or its mirror"
        )
    reason = (said.splitlines() or ["a wheel is missing"])[-1]
    raise RigwrightError(
        f"{where}: pip cannot download its wheels: {reason}; check the network and pip's configuration"
    )


def _pack(wheels: Sequence[Path], target: Path) -> Path:
    """One archive of what is wanted of the wheels, in a fixed order.

    What a wheel has compressed stays so: each file becomes a stream of gzip's of its own, and those may follow one
    another. Half a gigabyte takes a second, and no two machines make different archives of it.
    """
    members = sorted(member for path in wheels for member in _members(path))
    with target.open("wb") as out:
        rest = b""  # of the block that the last file ended in
        for one in members:
            mode = 0o755 if one.info.external_attr >> 16 & 0o111 else 0o644
            out.write(_squeezed(rest + _header(one.name, size=one.info.file_size, mode=mode)))
            _copy(one, out)
            rest = bytes(-one.info.file_size % _BLOCK)
        for name, to in _links(member.name for member in members):
            rest += _header(name, link=to)
        sums = "".join(f"{one.sha256}  ./{one.name}\n" for one in members).encode()
        rest += _header("sums.txt", size=len(sums)) + sums + bytes(-len(sums) % _BLOCK)
        out.write(_squeezed(rest + bytes(2 * _BLOCK)))
    return target


def _members(path: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(path) as wheel:
        record = next(name for name in wheel.namelist() if name.endswith(".dist-info/RECORD"))
        rows = csv.reader(io.StringIO(wheel.read(record).decode()))
        sums = {name: digest.removeprefix("sha256=") for name, digest, _ in rows}
        for info in wheel.infolist():
            if place := _place(info.filename):
                digest = base64.urlsafe_b64decode(sums[info.filename] + "=").hex()
                yield _Member(place, path, info, digest)


def _links(names: Iterator[str]) -> Iterator[tuple[str, str]]:
    """`lib/libcudart.so` to `libcudart.so.13`: what a linker looks for, wheels do not have; and `lib64`, nvcc does."""
    yield "lib64", "lib"
    for name in names:
        if found := re.fullmatch(r"(lib/lib\w+\.so)\.\d+", name):
            yield found[1], name.rpartition("/")[2]


def _header(name: str, *, size: int = 0, mode: int = 0o644, link: str = "") -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, mode
    if link:
        member.type, member.linkname, member.mode = tarfile.SYMTYPE, link, 0o777
    return member.tobuf(tarfile.GNU_FORMAT)


def _squeezed(data: bytes) -> bytes:
    return gzip.compress(data, compresslevel=6, mtime=0)


def _copy(member: _Member, out: BinaryIO) -> None:
    """The compressed bytes of a file, between the head and the tail of a gzip stream."""
    info = member.info
    with member.wheel.open("rb") as file:
        file.seek(info.header_offset + 26)
        name, extra = struct.unpack("<HH", file.read(4))
        file.seek(name + extra, io.SEEK_CUR)
        if info.compress_type != zipfile.ZIP_DEFLATED:
            out.write(_squeezed(file.read(info.file_size)))
            return
        out.write(b"\x1f\x8b\x08\0\0\0\0\0\0\xff")
        left = info.compress_size
        while left:
            chunk = file.read(min(left, _CHUNK_BYTES))
            if not chunk:
                raise RigwrightError(f"{member.wheel.name}: ends too early; run again")
            out.write(chunk)
            left -= len(chunk)
        out.write(struct.pack("<II", info.CRC, info.file_size & 0xFFFFFFFF))
