"""Releases of Ollama as values: which archives a rig needs, and where what they hold is installed. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import NamedTuple

from rigwright.catalogue import load
from rigwright.errors import Refused
from rigwright.hardware import Hardware
from rigwright.plan.engines.ollama.settings import OllamaSettings

PREFIX = "/opt/rigwright/ollama/releases"


class Archive(NamedTuple):
    """One archive as a rig gets it: its name, its sum, where it is fetched, or where on the controller it lies."""

    name: str
    sha256: str
    url: str = ""
    path: str = ""


class Release(NamedTuple):
    """A version out of archives. Another version, or other archives, is another release."""

    version: str
    archives: tuple[Archive, ...]

    @property
    def identity(self) -> str:
        """A sum over the sums of its archives."""
        return hashlib.sha256(" ".join(one.sha256 for one in self.archives).encode()).hexdigest()

    @property
    def id(self) -> str:
        """The version, and eight hex digits of its identity."""
        return f"{self.version}-{self.identity[:8]}"

    @property
    def directory(self) -> str:
        """Where it is installed."""
        return f"{PREFIX}/{self.id}"

    def manifest(self) -> str:
        """The release as JSON, kept beside it."""
        return json.dumps({"id": self.id, "identity": self.identity, "version": self.version}, indent=1)


def archives_for(settings: OllamaSettings, hardware: Hardware) -> tuple[str, ...]:
    """The names of upstream's archives for a rig: that of its processor, and where it is asked for that for ROCm.

    Raises:
        Refused: there are none.
    """
    names = load("engines")["ollama"]["archives"]
    machine = hardware.architecture or "x86_64"
    if machine not in names:
        raise Refused(
            f"Ollama has no archive for {machine}, only for x86_64 and aarch64; name one in rig.ollama.archive"
        )
    found = [str(names[machine])]
    if settings.rocm and machine != "x86_64":
        raise Refused(f"Ollama has no archive of ROCm for {machine}; set rig.ollama.rocm to false")
    if settings.rocm:
        found.append(str(names["rocm"]))
    return tuple(found)


def release_of(settings: OllamaSettings, hardware: Hardware, known: Mapping[str, str]) -> Release | None:
    """The release that this rig needs; None while a sum of its archives is not known.

    Raises:
        Refused: there is none for it.
    """
    if settings.archive:
        given = [(one, (one.path or one.url or "").rpartition("/")[2].partition("?")[0]) for one in settings.archive]
        own = [Archive(name, one.sha256, one.url or "", one.path or "") for one, name in given]
        return Release(settings.version, tuple(own))
    names = archives_for(settings, hardware)
    sums = settings.known_sums(names, known)
    if len(sums) < len(names):
        return None
    return Release(settings.version, tuple(Archive(name, sums[name], settings.address(name)) for name in names))
