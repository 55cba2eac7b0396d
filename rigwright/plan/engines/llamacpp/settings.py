"""The settings of llama.cpp in an inventory: `rig.llamacpp`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, model_validator

from rigwright.catalogue import load
from rigwright.errors import Refused
from rigwright.given import COUNT, OneOrMore, word
from rigwright.plan.engines.settings import EngineSettings
from rigwright.plan.wish import ServiceWish
from rigwright.shown import without_secrets
from rigwright.strict import Line, Strict

_COMMIT = re.compile(r"[0-9a-f]{40}")
# What builds faster or reaches another mirror makes no other rig.
_BUILD_KEYS = ("backend", "cpu", "cuda_architectures", "cmake_options", "git", "ref")


LATEST = "latest"


def _no_branch(ref: str) -> str:
    """A rig finds out what is a branch; these are ones everywhere."""
    if ref.lower() == LATEST:
        return LATEST
    if ref.lower() in ("master", "main", "head", "develop", "nightly"):
        raise ValueError(f"{ref} is a branch, and branches move; name a tag or a full commit")
    return ref


Ref = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$"), AfterValidator(_no_branch)]


_OTHER_BACKENDS = dict.fromkeys(
    ("vulkan", "rocm", "hip", "metal", "sycl", "opencl", "musa"),
    "rigwright builds for CUDA and the CPU so far; use cuda, cpu or auto",
)


def _capability(value: object) -> object:
    """`86` of `8.6`, `sm_86` and `compute_86`."""
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    found = re.fullmatch(r"(?:sm_?|compute_?)?(\d{1,2})\.?(\d)([af]?)", text)
    if not found:
        raise ValueError(f"{text[:40]!r} is no compute capability; write it like 86 or 8.6")
    return "".join(found.groups())


def _without_password(git: str) -> str:
    parts = urlsplit(git)
    if parts.scheme.startswith("http") and ("@" in parts.netloc or parts.query):
        raise ValueError("git holds a password, which shows in process lists; use an archive, or ssh://")
    return git


class _Fetched(Strict):
    """A file that the controller fetches once and checks: where it comes from."""

    path: Line | None = Field(None, description="A tar archive on this machine.")
    url: Annotated[str, Field(pattern=r"^https?://[^\s\x00-\x1f]+$")] | None = Field(
        None, description="An http(s) address that this machine reaches."
    )
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] = Field(description="The checksum of the archive.")
    origins: ClassVar[tuple[str, ...]] = ("path", "url")

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        given = [key for key in self.origins if getattr(self, key)]
        if len(given) != 1:
            wanted = " and ".join((", ".join(self.origins[:-1]), self.origins[-1]))
            raise ValueError(f"give exactly one of {wanted}, not {' and '.join(given) or 'none'}")
        return self


class Archive(_Fetched):
    """A source archive, fetched once by the controller and checked: exactly one of `path`, `url` and `pypi`."""

    pypi: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9][A-Za-z0-9._!+-]*$")] | None = Field(
        None, description="A source distribution on PyPI, `name==version`."
    )
    subdirectory: Line = Field("", description="Where in the archive the llama.cpp tree is, below its top folder.")
    origins: ClassVar[tuple[str, ...]] = ("path", "url", "pypi")

    @property
    def is_pinned(self) -> bool:
        """True for the archive of the catalogue."""
        return self == Archive(**load("engines")["llamacpp"]["archive"])


class Prebuilt(_Fetched):
    """An archive of binaries, as upstream's releases have them: exactly one of `path` and `url`."""


Git = Annotated[str, Field(pattern=r"^(https?|ssh|git|file)://[^\s'\"\\]+$"), AfterValidator(_without_password)]


class _Source(Strict):
    """What a lock keeps of where a release comes from."""

    git: Git
    ref: Ref
    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = None
    archive: Archive | None = None
    prebuilt: tuple[Prebuilt, ...] = ()


class LlamacppSettings(EngineSettings):
    """The key `rig.llamacpp`: by default upstream's git at the release that this version of rigwright pins."""

    engine: ClassVar[str] = "llamacpp"
    about: ClassVar[str] = "How llama.cpp is built."

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
    backend: Annotated[Literal["auto", "cuda", "cpu"], word(("auto", "cuda", "cpu"), _OTHER_BACKENDS)] = Field(
        "auto", description="`auto` builds for CUDA where a driver answers for a GPU, otherwise for the CPU."
    )
    cuda_architectures: OneOrMore[Annotated[str, Field(pattern=r"^\d{2,3}[af]?$"), BeforeValidator(_capability)]] = (
        Field((), description="Compute capabilities to build for, like 86; by default those of the rig's own GPUs.")
    )
    cmake_options: dict[
        Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")],
        Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]*$")],
    ] = Field(default_factory=dict, description="Further -D options of the build; they win over ours.")
    cpu: Literal["auto", "native", "portable"] = Field(
        "auto",
        description="`native` builds for the rig's own processor, `portable` for all of its architecture; auto takes "
        "portable for CUDA, where the GPUs do the work.",
    )
    share: bool = Field(
        True,
        description="Take a release that another rig of this inventory has built, or this one earlier; False builds "
        "each rig's own.",
    )
    jobs: Annotated[int, Field(ge=1), COUNT] | None = Field(
        None, description="Compiler processes; by default one per CPU."
    )

    _commit: str | None = PrivateAttr(None)  # what a lock says that the tag is

    @model_validator(mode="before")
    @classmethod
    def _pinned_archive(cls, value: Any) -> Any:
        """`archive: pinned` is short for the archive of the catalogue, one archive of binaries for a list of it."""
        if isinstance(value, dict) and value.get("archive") == "pinned":
            value = {**value, "archive": load("engines")["llamacpp"]["archive"]}
        if isinstance(value, dict) and isinstance(value.get("prebuilt"), dict):
            value = {**value, "prebuilt": [value["prebuilt"]]}
        return value

    @property
    def is_pinned(self) -> bool:
        """True for the release that this version of rigwright pins, by whatever way it comes."""
        if self.prebuilt:
            return False
        return self.archive.is_pinned if self.archive else self.ref == _pinned_ref()

    @property
    def version(self) -> str:
        """The ref, or the checksum of other archives than the pinned one."""
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
            raise Refused(f"services.{wish.name}: gpu {wish.gpu} needs a CUDA build; set rig.llamacpp.backend to cuda")
        return wish.model_copy(update={"gpu": "none"})

    def narrowed(self, wishes: Sequence[ServiceWish]) -> Self:
        """One for the CPU where no service may have a GPU."""
        ours = [wish for wish in wishes if wish.engine in ("auto", self.engine)]
        if self.backend != "auto" or not ours or any(wish.gpu != "none" for wish in ours):
            return self
        return self.model_copy(update={"backend": "cpu"})

    def stated(self) -> dict[str, Any]:
        """What the inventory itself says on the build."""
        given = self.model_dump(mode="json", exclude_unset=True)
        said = {key: given[key] for key in _BUILD_KEYS if key in given}
        if self.archive:
            said["archive"] = "pinned" if self.archive.is_pinned else self.archive.sha256
        if self.prebuilt:
            said["prebuilt"] = [one.sha256 for one in self.prebuilt]
        return said

    @property
    def ref_key(self) -> str:
        """The name under which a rig remembers the commit of a tag: sixteen hex digits over git and ref."""
        return hashlib.sha256(f"{self.git} {self.ref}".encode()).hexdigest()[:16]

    def commit(self, commits: Mapping[str, str]) -> str | None:
        """The commit to build from git, where it is known: given, locked, or by `ref_key` of what a rig found."""
        if _COMMIT.fullmatch(self.ref):
            return self.ref
        return self._commit or commits.get(self.ref_key)

    def source(self, commits: Mapping[str, str]) -> dict[str, Any]:
        """Git, ref, the commit that a tag was found to be where git is what is built, and archives."""
        found: dict[str, Any] = {"ref": self.ref, "git": self.git}
        if self.archive:
            found["archive"] = _told(self.archive)
        if self.prebuilt:
            found["prebuilt"] = [_told(one) for one in self.prebuilt]
        commit = None if len(found) > 2 or _COMMIT.fullmatch(self.ref) else self.commit(commits)
        return found | ({"commit": commit} if commit else {})

    @classmethod
    def check_source(cls, locked: Mapping[str, Any]) -> None:
        """Hold a locked source to what an inventory may say.

        Raises:
            ValueError: it is none that these settings could hold.
        """
        if locked:
            _Source.model_validate(locked)

    def with_source(self, locked: Mapping[str, Any]) -> Self:
        """The settings with a locked source in place of what this version of rigwright pins."""
        if not locked:
            return self
        source = _Source.model_validate(locked)
        # Its address may have a query, which no lock holds.
        is_same = source.archive and self.archive and source.archive.sha256 == self.archive.sha256
        archive = self.archive if is_same else source.archive
        known = {one.sha256: one for one in self.prebuilt}
        prebuilt = tuple(known.get(one.sha256, one) for one in source.prebuilt)
        own = self.model_copy(update={"ref": source.ref, "git": source.git, "archive": archive, "prebuilt": prebuilt})
        own._commit = source.commit
        return own


def _told(archive: _Fetched) -> dict[str, Any]:
    """An archive as a lock keeps it: the query of an address may be a secret."""
    found = archive.model_dump(mode="json", exclude_none=True)
    return found | ({"url": without_secrets(found["url"])} if "url" in found else {})


def _pinned_ref() -> str:
    return str(load("engines")["llamacpp"]["ref"])
