"""The wheels of a release on the controller: in a directory, in a bundle, or uv's own from where pip gets it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from rigwright.catalogue import load
from rigwright.errors import RigwrightError
from rigwright.given import at_home
from rigwright.plan.engines.vllm.release import Release
from rigwright.plan.engines.vllm.requirements import Pin, named
from rigwright.roles.base.fetching import NO_PIP, Find, pip_download
from rigwright.weights.kept import alone, kept
from rigwright.weights.local import file_sha256

_WHERE = "rig.vllm.wheels"
# What vLLM and all that it needs are filed under; pip asks for each by its name.
_TAGS = (*(f"manylinux_2_{minor}" for minor in range(34, 4, -1)), "manylinux2014", "manylinux2010", "linux")


class Wheel(NamedTuple):
    """A file to send, under the name that it has as a wheel, and its sha256."""

    path: Path
    name: str
    sha256: str


def uv_sum(machine: str) -> str:
    """The sha256 of the wheel of uv for a machine."""
    return str(load("engines")["vllm"]["uv"]["wheels"][machine])


def uv_wheel(machine: str, find: Find, directory: str | None) -> Path:
    """The wheel of uv: in a bundle, in the directory of wheels, in the cache, or fetched once by pip.

    Raises:
        RigwrightError: it cannot be had, or is another one than the catalogue names.
    """
    digest, version = uv_sum(machine), str(load("engines")["vllm"]["uv"]["version"])
    if found := find(digest):
        return found
    for path in at_home(directory).glob(f"uv-{version}-*.whl") if directory else ():
        if file_sha256(path) == digest:
            return path
    cache = kept("wheels")
    wheel = cache / f"uv-{version}-{digest[:12]}.whl"
    with alone(cache / "uv.lock"):
        if not wheel.exists():
            with tempfile.TemporaryDirectory(dir=cache) as scratch:
                _fetch_uv(version, machine, digest, Path(scratch)).replace(wheel)
    return wheel


def _fetch_uv(version: str, machine: str, digest: str, directory: Path) -> Path:
    tags = [f"--platform={tag}_{machine}" for tag in _TAGS]
    line = f"uv=={version} --hash=sha256:{digest}\n"
    said = pip_download(line, directory, "--only-binary", ":all:", *tags)
    found = sorted(directory.glob("*.whl"))
    if found and not said:
        return found[0]
    where = f"rig.vllm: uv {version}, which installs vLLM,"
    if "No module named pip" in said:
        raise RigwrightError(f"{where} cannot be fetched: {NO_PIP}, or put its wheel into {_WHERE}")
    reason = (said.splitlines() or ["no wheel came"])[-1]
    raise RigwrightError(
        f"{where} cannot be fetched by pip: {reason}; check the network and pip's configuration, or put its wheel into "
        f"{_WHERE}"
    )


def bundled_wheels(release: Release, find: Find, names: Mapping[str, str]) -> list[Wheel] | None:
    """All wheels of a release from what is at hand by their sums; None where that is not all of them.

    `names` are those of files that lie under their sums.
    """
    found = [_bundled(pin, find, names) for pin in release.pins]
    return [one for one in found if one] if all(found) else None


def _bundled(pin: Pin, find: Find, names: Mapping[str, str]) -> Wheel | None:
    for digest in sorted(pin.sums):
        name = pin.file or names.get(digest, "")
        if (path := find(digest)) and name.endswith(".whl"):
            return Wheel(path, name, digest)
    return None


def fetch_wheel(pin: Pin, release: Release, directory: Path) -> Path:
    """The wheel of a pin in a directory, by pip.

    Raises:
        RigwrightError: it cannot be fetched.
    """
    tags = [f"--platform={tag}_{release.machine}" for tag in _TAGS]
    options = "--only-binary", ":all:", "--python-version", release.python, *tags
    said = pip_download(f"{pin.line}\n", directory, *options)
    found = sorted(directory.glob("*.whl"))
    if said or not found:
        reason = NO_PIP if "No module named pip" in said else (said.splitlines() or ["no wheel came"])[-1]
        raise RigwrightError(
            f"rig.vllm: pip cannot download {pin}: {reason}; check the network and pip's configuration"
        )
    return found[0]


def wheels_in(directory: str, release: Release) -> list[Wheel]:
    """The wheels of a release in a directory, each with one of the sums that its pin names.

    Raises:
        RigwrightError: one is not there, or is not the one that is pinned.
    """
    folder = at_home(directory)
    if not folder.is_dir():
        raise RigwrightError(f"{_WHERE}: {folder} is no directory on this machine; name the one with the wheels")
    there: dict[tuple[str, str], list[Path]] = {}
    for path in sorted(folder.glob("*.whl")):
        try:
            there.setdefault(named(path.name), []).append(path)
        except ValueError:
            continue
    found, lacking = [], []
    for pin in release.pins:
        files = [Wheel(path, path.name, file_sha256(path)) for path in there.get((pin.name, pin.version), ())]
        good = [one for one in files if one.sha256 in pin.sums]
        if files and not good:
            said = f"{files[0].path} has the sha256 {files[0].sha256}, which is none of those that {pin} is pinned to"
            raise RigwrightError(f"{_WHERE}: {said}; fetch it again, or correct rig.vllm.lock")
        found += good
        lacking += [] if good else [str(pin)]
    if lacking:
        more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
        raise RigwrightError(f"{_WHERE}: {folder} lacks {', '.join(lacking[:3])}{more}; {_how(release)}")
    return found


def _how(release: Release) -> str:
    tags = f"--python-version {release.python} --platform manylinux_2_28_{release.machine}"
    return f"fetch all with pip download --no-deps --only-binary :all: {tags} -r LOCK -d DIRECTORY"


def sums(wheels: Iterable[Wheel]) -> str:
    """In the form of sha256sum."""
    return "\n".join(f"{one.sha256}  {one.name}" for one in wheels)


def total_bytes(wheels: Iterable[Wheel]) -> int:
    """What is sent."""
    return sum(_sizes(wheels))


def _sizes(wheels: Iterable[Wheel]) -> Iterator[int]:
    for one in wheels:
        yield one.path.stat().st_size
