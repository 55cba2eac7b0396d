"""The settings of Ollama in an inventory: `rig.ollama`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self
from urllib.parse import urlsplit

from pydantic import Field, PrivateAttr, model_validator

from rigwright.catalogue import load
from rigwright.given import OneOrMore
from rigwright.plan.engines.llamacpp.archives import Prebuilt, Sums, told
from rigwright.plan.engines.settings import EngineSettings
from rigwright.strict import Strict

Version = Annotated[str, Field(pattern=r"^[0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4}(-rc[0-9]{1,3})?$")]
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Source(Strict):
    """What a lock keeps of where a release comes from."""

    ref: Version
    binaries: Sums = Field(default_factory=dict)
    prebuilt: tuple[Prebuilt, ...] = ()


class OllamaSettings(EngineSettings):
    """The key `rig.ollama`: by default upstream's archive of the version that this version of rigwright pins."""

    engine: ClassVar[str] = "ollama"
    about: ClassVar[str] = "How Ollama gets onto a rig."

    version: Version = Field(
        default_factory=lambda: str(load("engines")["ollama"]["version"]),
        description="The version, like 0.34.1. Another one is installed beside it, and services are switched to it.",
    )
    archive: OneOrMore[Prebuilt] = Field(
        (),
        description="Take this archive, of the form of upstream's ollama-linux-amd64.tar.zst, with its sha256; "
        "several, as with the one for ROCm, are unpacked in their order. A path is sent by this machine, an address "
        "is fetched by the rig.",
    )
    sums: Sums = Field(
        default_factory=dict,
        description="sha256 of upstream's archives, by their names; one that is not here is what the release's "
        "sha256sum.txt says at the first deploy, and kept.",
    )
    rocm: bool = Field(
        False,
        description="Serve from GPUs of AMD's: upstream's archive for ROCm comes too, which needs the kernel's driver.",
    )
    mirror: Annotated[str, Field(pattern=r"^https?://[^\s?#@'\"\\]+$")] = Field(
        default_factory=lambda: str(load("engines")["ollama"]["releases"]),
        description="Where upstream's releases are, each in a folder of its tag; or a mirror of it.",
    )

    _locked: dict[str, str] = PrivateAttr(default_factory=dict)  # what a lock or a bundle has of upstream's archives

    @model_validator(mode="before")
    @classmethod
    def _one_archive(cls, value: Any) -> Any:
        """One archive is short for a list of it."""
        if isinstance(value, dict) and isinstance(value.get("archive"), dict):
            value = {**value, "archive": [value["archive"]]}
        return value

    @model_validator(mode="after")
    def _believed(self) -> Self:
        """What sha256sum.txt says first is believed, so that it must come by https."""
        parts = urlsplit(self.mirror)
        if parts.scheme != "https" and parts.hostname not in _LOOPBACK and not self.sums:
            raise ValueError(
                f"mirror {self.mirror[:80]!r} is no https address: name the sha256 of its archives in sums"
            )
        return self

    def sum_key(self, name: str) -> str:
        """The name under which a rig remembers the sum of one of upstream's archives: sixteen hex digits."""
        return hashlib.sha256(f"{self.mirror.rstrip('/')} v{self.version} {name}".encode()).hexdigest()[:16]

    def address(self, name: str) -> str:
        """Where a file of the release lies."""
        return f"{self.mirror.rstrip('/')}/v{self.version}/{name}"

    def known_sums(self, names: Sequence[str], known: Mapping[str, str]) -> dict[str, str]:
        """The sums of upstream's archives as far as they are known: given, locked, or kept by a rig."""
        own = self._locked | self.sums
        found = {name: own.get(name) or known.get(self.sum_key(name), "") for name in names}
        return {name: digest for name, digest in found.items() if digest}

    def stated(self) -> dict[str, Any]:
        """What the inventory itself says on the release."""
        said: dict[str, Any] = {
            key: getattr(self, key) for key in ("version", "mirror", "rocm") if key in self.model_fields_set
        }
        return said | ({"archive": [one.sha256 for one in self.archive]} if self.archive else {})

    def locked_source(self, commits: Mapping[str, str]) -> dict[str, Any]:
        """The version, and the archives with their sums; `commits` are also the sums that the rig keeps."""
        if self.archive:
            return {"ref": self.version, "prebuilt": [told(one) for one in self.archive]}
        names = [name for name in load("engines")["ollama"]["archives"].values() if isinstance(name, str)]
        sums = self.known_sums(names, commits)
        return {"ref": self.version} | ({"binaries": sums} if sums else {})

    @classmethod
    def check_source(cls, locked: Mapping[str, Any]) -> None:
        """Hold a locked source to what an inventory may say.

        Raises:
            ValueError: it is none that these settings could hold.
        """
        if locked:
            Source.model_validate(locked)

    def with_source(self, locked: Mapping[str, Any]) -> Self:
        """The settings with a locked source in place of what this version of rigwright pins."""
        if not locked:
            return self
        source = Source.model_validate(locked)
        known = {one.sha256: one for one in self.archive}  # its address may have a query, which no lock holds
        own = self.model_copy(
            update={"version": source.ref, "archive": tuple(known.get(one.sha256, one) for one in source.prebuilt)}
        )
        own._locked = {**source.binaries}
        return own

    def bundled(self, trees: Mapping[tuple[str, str], str], sums: Mapping[str, str]) -> Self:
        """The settings with what a bundle knows: the sums of archives by name."""
        own = self.model_copy()
        own._locked = {**sums, **self._locked}
        return own
