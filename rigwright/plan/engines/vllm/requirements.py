"""Requirements that are pinned, each with its sums: what an environment of Python is made of, and nothing else."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

_PIN = re.compile(
    r"(?P<name>[A-Za-z0-9][\w.-]*?)(?P<extras>\[[\w.,\s-]*\])?\s*==\s*(?P<version>[\w.!+-]+)\s*(?:;[^#]*?)?"
    r"(?P<hashes>(?:\s+--hash=sha256:[0-9a-f]{64})+)"
)
_HASH = re.compile(r"sha256:([0-9a-f]{64})")
_WHEEL = re.compile(r"(?P<name>[A-Za-z0-9][\w.]*)-(?P<version>[\w.!+]+)(?:-\d\w*)?-[\w.]+-[\w.]+-[\w.]+\.whl")


class Pin(NamedTuple):
    """One package: its plain name, its version, the sha256 of each file that may be taken, and how it was written.

    file: the name of the only one, where that is known.
    """

    name: str
    version: str
    sums: frozenset[str]
    line: str
    file: str = ""

    def __str__(self) -> str:
        """`torch==2.14.0`."""
        return f"{self.name}=={self.version}"


def plain_name(name: str) -> str:
    """A package as indexes file it. Source: PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins_of(text: str) -> tuple[Pin, ...]:
    """The pins of a file in the form of pip's requirements.

    Raises:
        ValueError: something in it is not pinned, has no sum, or says where files come from.
    """
    found = tuple(_pins(text))
    if not found:
        raise ValueError("it pins no package; make it with uv pip compile --generate-hashes")
    return found


def _pins(text: str) -> Iterator[Pin]:
    for line in re.sub(r"\\\r?\n", " ", text).splitlines():
        line = " ".join(re.sub(r"(^|\s)#.*", "", line).split())
        if not line:
            continue
        pin = _PIN.fullmatch(line)
        if pin is None:
            raise ValueError(f"{line[:80]!r} is no pin with its sums; make it with uv pip compile --generate-hashes")
        yield Pin(plain_name(pin["name"]), pin["version"], frozenset(_HASH.findall(pin["hashes"])), line)


def wheel_pin(file: str, digest: str) -> Pin:
    """The pin of one wheel, by the name of its file.

    Raises:
        ValueError: it is none of a wheel.
    """
    name, version = named(file)
    return Pin(name, version, frozenset((digest,)), f"{name}=={version} --hash=sha256:{digest}", file)


def named(file: str) -> tuple[str, str]:
    """Package and version of a wheel, `torch`, `2.13.0+cpu`.

    Raises:
        ValueError: it is no name of a wheel.
    """
    found = _WHEEL.fullmatch(file)
    if found is None:
        raise ValueError(f"{file[:80]!r} is no name of a wheel")
    return plain_name(found["name"]), found["version"]


def wheel_pins(wheels: Mapping[str, str]) -> tuple[Pin, ...]:
    """The pins of wheels by their files' names, in order of the packages."""
    return tuple(sorted(wheel_pin(file, digest) for file, digest in wheels.items()))


def sum_of(pins: Iterable[Pin]) -> str:
    """The sha256 over what is pinned."""
    return hashlib.sha256("\n".join(sorted(f"{pin} {' '.join(sorted(pin.sums))}" for pin in pins)).encode()).hexdigest()
