"""The settings of llama.cpp in an inventory: `rig.llamacpp`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, PrivateAttr, model_validator

from rigwright.catalogue import load
from rigwright.errors import Refused
from rigwright.given import COUNT, OneOrMore, word
from rigwright.plan.engines.llamacpp.archives import Archive, Git, Prebuilt, Ref, Releases, Source, Sums, told
from rigwright.plan.engines.llamacpp.asked import asked_options
from rigwright.plan.engines.llamacpp.backends import FOR_AMD, Backend
from rigwright.plan.engines.llamacpp.words import BUILD_KEYS, OF_OTHERS, OTHER_SOURCES, SOURCES, Capability
from rigwright.plan.engines.settings import EngineSettings
from rigwright.plan.wish import ServiceWish

_COMMIT = re.compile(r"[0-9a-f]{40}")


class LlamacppSettings(EngineSettings):
    """The key `rig.llamacpp`: by default upstream's git at the release that this version of rigwright pins."""

    engine: ClassVar[str] = "llamacpp"
    about: ClassVar[str] = "How llama.cpp is built."

    source: Annotated[Literal["auto", "prebuilt", "build", "distro"], word(SOURCES, OTHER_SOURCES)] = Field(
        "auto",
        description="`prebuilt` takes upstream's own binaries, `build` none; auto takes those for CUDA where they "
        "fit the rig and its services, and says why where not. `distro` takes the packages of Debian or Ubuntu.",
    )
    distro_version: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+:~-]{0,99}$")] | None = Field(
        None,
        description="The version of the distribution's llama.cpp, for source distro; by default what the rig's own "
        "sources have on the day when it first asks, and kept.",
    )
    git: Git = Field(default_factory=lambda: str(load("engines")["llamacpp"]["git"]), description="The git repository.")
    ref: Ref = Field(
        default_factory=lambda: _pinned_ref(),
        description="The tag or full commit to build, or `latest`: the newest release on the day when the rig first "
        "asks. What a tag is is asked once, and kept. Branches move and are refused.",
    )
    archive: Archive | None = Field(
        None, description="Build this archive instead of git; `pinned` is the same tree from PyPI."
    )
    prebuilt: OneOrMore[Prebuilt] = Field(
        (),
        description="Take these binaries and build nothing: an archive with llama-server, and what else it needs, like "
        "upstream's archive of CUDA's libraries.",
    )
    binaries: Sums = Field(
        default_factory=dict,
        description="sha256 of upstream's archives, by their names; one that is not here is what upstream's release "
        "says at the first deploy, and kept.",
    )
    releases: Releases = Field(
        default_factory=lambda: str(load("engines")["llamacpp"]["binaries"]["api"]),
        description="Where upstream's releases are asked for: a repository in GitHub's API, or a mirror of it.",
    )
    backend: Backend = Field(
        "auto",
        description="`auto` is CUDA where NVIDIA's driver answers for a GPU, otherwise the CPU. AMD's GPUs are served "
        "by `vulkan`, with packages of the distribution alone, or by `hip`, with the rig's own ROCm, 6.1 or later.",
    )
    cuda_architectures: OneOrMore[Capability] = Field(
        (), description="Compute capabilities to build for, like 86; by default those of the rig's own GPUs."
    )
    cmake_options: dict[
        Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")],
        Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]*$")],
    ] = Field(default_factory=dict, description="Further -D options of the build; they win over ours.")
    cpu: Literal["auto", "native", "portable"] = Field(
        "auto",
        description="`native` builds for the rig's own processor, `portable` for all of its architecture; auto takes "
        "portable for GPUs, which do the work.",
    )
    share: bool = Field(
        True,
        description="Take a release that another rig of this inventory has built, or this one earlier; False builds "
        "each rig's own.",
    )
    jobs: Annotated[int, Field(ge=1), COUNT] | None = Field(
        None, description="Compiler processes; by default one per CPU."
    )

    _commit: str | None = PrivateAttr(None)  # what a lock says that the tag is, or the sum of packages
    _sums: dict[str, str] = PrivateAttr(default_factory=dict)  # what a bundle has of upstream's archives
    _taken: tuple[str, ...] = PrivateAttr(())  # upstream's archives that a plan takes
    _packages: tuple[str, ...] = PrivateAttr(())  # the distribution's that a plan takes
    _asked: dict[str, str] = PrivateAttr(default_factory=dict)  # options of a build that the services want

    @model_validator(mode="before")
    @classmethod
    def _pinned_archive(cls, value: Any) -> Any:
        """`archive: pinned` is short for the archive of the catalogue, one archive of binaries for a list of it."""
        if isinstance(value, dict) and value.get("archive") == "pinned":
            value = {**value, "archive": load("engines")["llamacpp"]["archive"]}
        if isinstance(value, dict) and isinstance(value.get("prebuilt"), dict):
            value = {**value, "prebuilt": [value["prebuilt"]]}
        return value

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [key for key in ("archive", "prebuilt") if getattr(self, key)]
        if self.source == "prebuilt" and "archive" in given:
            raise ValueError("source prebuilt builds nothing, and archive is a source to build; leave one of them out")
        if self.source == "build" and "prebuilt" in given:
            raise ValueError("source build takes no binaries, and prebuilt names some; leave one of them out")
        own = next((key for key in OF_OTHERS if key in self.model_fields_set and getattr(self, key)), None)
        if self.is_distro and (own or self.cpu == "native"):
            raise ValueError(f"source distro takes packages as they are; leave out {own or 'cpu: native'}")
        if self.distro_version and not self.is_distro:
            raise ValueError("distro_version is for packages of the distribution; set source to distro")
        return self

    @property
    def is_distro(self) -> bool:
        """True where the distribution's own packages are taken."""
        return self.source == "distro"

    @property
    def packages(self) -> tuple[str, ...]:
        """The names of the packages that a rig shall ask for."""
        return self._packages

    @property
    def is_prebuilt(self) -> bool:
        """True where binaries are taken: of the inventory, upstream's, or the distribution's."""
        return bool(self.prebuilt or self._taken or self.is_distro)

    @property
    def is_for_amd(self) -> bool:
        """True where it serves from GPUs of AMD's."""
        return self.backend in FOR_AMD

    @property
    def wants_no_build(self) -> bool:
        """True where the inventory itself says that nothing is built."""
        return self.source in ("prebuilt", "distro") or bool(self.prebuilt)

    @property
    def taken(self) -> tuple[str, ...]:
        """The names of upstream's archives that a plan takes, the one with llama-server first."""
        return self._taken

    def taking(self, names: Sequence[str]) -> Self:
        """The settings where a plan takes these archives of upstream's."""
        own = self.model_copy()
        own._taken = tuple(names)
        return own

    def packaged(self, names: Sequence[str]) -> Self:
        """The settings where a plan takes these packages of the distribution."""
        own = self.model_copy()
        own._packages = tuple(names)
        return own

    def sum_key(self, name: str) -> str:
        """The name under which a rig remembers the sum of one of upstream's archives: sixteen hex digits."""
        return hashlib.sha256(f"{self.releases} {self.ref} {name}".encode()).hexdigest()[:16]

    def sums(self, known: Mapping[str, str]) -> dict[str, str]:
        """The sums of the archives that are taken, as far as they are known: given, locked, or kept by a rig."""
        own = self._sums | self.binaries
        found = {name: own.get(name) or known.get(self.sum_key(name)) for name in self._taken}
        return {name: digest for name, digest in found.items() if digest}

    @property
    def asked_options(self) -> dict[str, str]:
        """The options of a build for CUDA that the services ask for; those of the inventory win over them."""
        return self._asked

    @property
    def is_pinned(self) -> bool:
        """True for the release that this version of rigwright pins, by whatever way it comes."""
        if self.prebuilt or self.is_distro:
            return False
        return self.archive.is_pinned if self.archive else self.ref == _pinned_ref()

    @property
    def version(self) -> str:
        """The ref, the checksum of other archives than the pinned one, or the version of packages."""
        if self.is_distro:
            return self.distro_version or "of the distribution"
        if self.prebuilt:
            return f"sha256:{self.prebuilt[0].sha256}"
        return f"sha256:{self.archive.sha256}" if self.archive and not self.archive.is_pinned else self.ref

    def adapted(self, wish: ServiceWish) -> ServiceWish:
        """One for the CPU serves from the CPU.

        Raises:
            Refused: the wish names GPUs that the build cannot use.
        """
        if self.backend != "cpu" or wish.gpu == "none" or wish.engine not in ("auto", self.engine):
            return wish
        if wish.gpu != "auto":
            raise Refused(f"services.{wish.name}: gpu {wish.gpu} needs llama.cpp for GPUs; set rig.llamacpp.backend")
        return wish.model_copy(update={"gpu": "none"})

    def narrowed(self, wishes: Sequence[ServiceWish]) -> Self:
        """One for the CPU where no service may have a GPU; else with the options that services want of CUDA's code."""
        ours = [wish for wish in wishes if wish.engine in ("auto", self.engine)]
        on_gpus = [wish for wish in ours if wish.gpu != "none"]
        if self.backend == "auto" and ours and not on_gpus:
            return self.model_copy(update={"backend": "cpu"})
        if not (asked := asked_options(on_gpus)):
            return self
        own = self.model_copy()
        own._asked = asked
        return own

    def stated(self) -> dict[str, Any]:
        """What the inventory itself says on the build."""
        given = self.model_dump(mode="json", exclude_unset=True)
        said = {key: given[key] for key in BUILD_KEYS if key in given}
        if self.archive:
            said["archive"] = "pinned" if self.archive.is_pinned else self.archive.sha256
        if self.prebuilt:
            said["prebuilt"] = [one.sha256 for one in self.prebuilt]
        return said

    @property
    def ref_key(self) -> str:
        """The name under which a rig remembers the commit of a tag, or the sum of packages: sixteen hex digits."""
        asked = ("distro", self.distro_version or "", *self._packages) if self.is_distro else (self.git, self.ref)
        return hashlib.sha256(" ".join(asked).encode()).hexdigest()[:16]

    def commit(self, commits: Mapping[str, str]) -> str | None:
        """The commit to build from git, where it is known: given, locked, or by `ref_key` of what a rig found.

        Of packages their sum.
        """
        if _COMMIT.fullmatch(self.ref) and not self.is_distro:
            return self.ref
        return self._commit or commits.get(self.ref_key)

    def locked_source(self, commits: Mapping[str, str]) -> dict[str, Any]:
        """Git, ref, the commit that a tag was found to be where git is what is built, and archives with their sums.

        `commits` are also the sums of upstream's archives that the rig keeps.
        """
        found: dict[str, Any] = {"ref": self.ref, "git": self.git}
        if self.is_distro:
            return found | ({"packages": known} if (known := self.commit(commits)) else {})
        if self.archive:
            found["archive"] = told(self.archive)
        if self.prebuilt:
            found["prebuilt"] = [told(one) for one in self.prebuilt]
        if self._taken and len(sums := self.sums(commits)) == len(self._taken):
            found["binaries"] = sums
        commit = None if self._taken or len(found) > 2 or _COMMIT.fullmatch(self.ref) else self.commit(commits)
        return found | ({"commit": commit} if commit else {})

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
        # Its address may have a query, which no lock holds.
        is_same = source.archive and self.archive and source.archive.sha256 == self.archive.sha256
        archive = self.archive if is_same else source.archive
        known = {one.sha256: one for one in self.prebuilt}
        prebuilt = tuple(known.get(one.sha256, one) for one in source.prebuilt)
        changes: dict[str, Any] = {"ref": source.ref, "git": source.git, "archive": archive, "prebuilt": prebuilt}
        if source.binaries:
            changes |= {"binaries": source.binaries, "source": "prebuilt"}
        elif source.packages:
            changes |= {"source": "distro"}
        elif source.commit:
            changes |= {"source": "build"}
        own = self.model_copy(update=changes)
        own._commit = source.packages or source.commit or self._commit
        return own

    def bundled(self, trees: Mapping[tuple[str, str], str], sums: Mapping[str, str]) -> Self:
        """The settings with what a bundle knows: commits by git and tag, sums of upstream's archives by name."""
        own = self.model_copy()
        own._commit = own._commit or (None if self.is_distro else trees.get((self.git, self.ref)))
        own._sums = {**sums}
        return own


def _pinned_ref() -> str:
    return str(load("engines")["llamacpp"]["ref"])
