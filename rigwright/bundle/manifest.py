"""Manifest: what a bundle holds, each part with its sum; and for which rigs it was made."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from rigwright.strict import Line, Strict

# Of a part, 16 TiB; of a name, what a file may be called.
_LARGEST_BYTES, _LONGEST_NAME = 1 << 44, 255

# Where a file lies and what it must be is said by its part alone.
_NOT_ITS_OWN = re.compile(r"^(?:$|\s+$|(?:Filename|Size|MD5sum|SHA\d+):)", re.IGNORECASE | re.MULTILINE)


def _stanza(text: str) -> str:
    if _NOT_ITS_OWN.search(text):
        raise ValueError("a package says of itself what only its part can say")
    return text


Sum = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[Line, Field(min_length=1, max_length=_LONGEST_NAME)]
Kind = Literal["model file", "source", "binaries", "wheel", "package"]


class Tree(Strict):
    """A commit of a git repository, and what it was asked for by."""

    git: Line = Field(description="The address of the repository.")
    ref: Line = Field(description="The tag or commit that the inventory names.")
    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] = Field(description="What that was when it was fetched.")


class Content(Strict):
    """One part of a bundle. Its name is for people: it lies there by its sum."""

    kind: Kind = Field(description="What it is for.")
    name: Name = Field(description="What it is called elsewhere.")
    sha256: Sum = Field(description="The sum of its bytes.")
    size_bytes: Annotated[int, Field(ge=0, le=_LARGEST_BYTES)] = Field(description="Its size.")
    sources: tuple[Sum, ...] = Field(
        (), description="Of a model file: sums over what inventories call it, by which it is found."
    )
    tree: Tree | None = Field(None, description="Of a source that comes from git: which commit it is.")


class PackageSet(Strict):
    """What apt wants to install these names on a system that has nothing."""

    names: tuple[Name, ...] = Field(description="The packages that a deploy asks for.")
    files: tuple[Sum, ...] = Field(description="Their files, and those of all that they depend on.")


class System(Strict):
    """The packages for one distribution and architecture."""

    os_id: Name = Field(description="The distribution, as os-release names it.")
    os_version: Annotated[Line, Field(max_length=_LONGEST_NAME)] = Field(description="Its version.")
    architecture: Name = Field(description="The processor, as uname names it.")
    index: dict[Sum, Annotated[str, Field(max_length=1 << 16), AfterValidator(_stanza)]] = Field(
        description="Of each file, what it says of itself, in the form of apt's list of packages."
    )
    sets: tuple[PackageSet, ...] = Field(description="The files by what asks for them.")

    def __str__(self) -> str:
        """`debian 13 x86_64`."""
        return " ".join(filter(None, (self.os_id, self.os_version, self.architecture)))

    def files(self, names: Collection[str]) -> tuple[str, ...] | None:
        """The files that installing these may take; None where they are not all there."""
        fits = [one.files for one in self.sets if set(names) <= set(one.names)]
        return min(fits, key=len) if fits else None


class Manifest(Strict):
    """The list of contents, `manifest.json`, the first file in a bundle."""

    version: Literal[1] = Field(1, description="The form of this file.")
    rigwright: Line = Field(description="The version that wrote it.")
    inventory: Line = Field(description="The inventory that it was made for.")
    rigs: dict[str, Line] = Field(description="What each rig of it was, by name: `debian 13 x86_64`.")
    lock: str = Field("", description="What was planned, as a lock file of that inventory.")
    contents: tuple[Content, ...] = Field(description="The parts.")
    systems: tuple[System, ...] = Field((), description="Packages of distributions.")

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        sums = [one.sha256 for one in self.contents]
        if len(set(sums)) < len(sums):
            raise ValueError("a part is listed twice")
        sources = [one for content in self.contents for one in content.sources]
        if len(set(sources)) < len(sources):
            raise ValueError("two model files are called alike")
        packages = {one.sha256 for one in self.contents if one.kind == "package"}
        for system in self.systems:
            if {file for one in system.sets for file in one.files} - (packages & system.index.keys()):
                raise ValueError(f"packages of {system} are not all there")
        return self

    @property
    def total_bytes(self) -> int:
        """The size of all parts."""
        return sum(one.size_bytes for one in self.contents)
