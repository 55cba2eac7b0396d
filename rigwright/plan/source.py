"""A model source: where the weights of a service come from, as the user names it. The key `model` of a service."""

from __future__ import annotations

import posixpath
import re
from typing import Annotated, Any, Self
from urllib.parse import unquote, urlsplit

from pydantic import Field, PrivateAttr, ValidationInfo, model_validator

from rigwright.models.file_names import file_name_problem
from rigwright.models.written import is_pattern, read_source
from rigwright.shown import without_secrets
from rigwright.strict import Line, Strict

_WHERE = ("path", "path_on_rig", "url", "repo", "name")
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


class ModelSource(Strict):
    """Where the weights come from: exactly one of `path`, `path_on_rig`, `url`, `repo` and `name`.

    A plain string is short for it: `./model.gguf`, `https://host/model.gguf`, `hf:org/repo@revision:file.gguf`,
    `org/repo:Q4_K_M`, `qwen3.5-35b-a3b` or `qwen3.5-35b-a3b:Q4_K_M` of the catalogue, `auto`, and whatever else people
    have in their clipboard: docs/models.md.
    """

    path: Line | None = Field(
        None,
        description="A GGUF file, or a directory of safetensors, on this machine (the controller); it is uploaded.",
    )
    path_on_rig: Annotated[str, Field(pattern=r"^/[^\x00-\x1f\x7f%$]*$")] | None = Field(
        None, description="A GGUF file that lies on the rig already; it is checked, and stays as and where it is."
    )
    url: Line | None = Field(None, description="An http(s) address; the rig downloads it itself.")
    repo: Line | None = Field(None, description="A Hugging Face repository, `org/name`; needs `file`.")
    revision: Line = Field("main", description="The commit, tag or branch of `repo`; pin a commit for a rebuilt rig.")
    file: Line | None = Field(
        None, description="The file inside `repo`, or a pattern that fits one; a repository of safetensors needs none."
    )
    name: Line | None = Field(
        None, description="A model of the catalogue (docs/models.md); `auto` chooses one for this rig."
    )
    quant: Line | None = Field(None, description="With `name` or `repo`: this quant; by default the plan chooses one.")
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = Field(
        None, description="The checksum of the file; nothing appears under its name before it matches."
    )

    _rig: str = PrivateAttr("")

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if value is None or isinstance(value, int | float | list | tuple):
            raise ValueError(f"{value!r} names no model; write one, like qwen3.5-35b-a3b, hf:org/repo:Q4_K_M or auto")
        return read_source(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_source(self, info: ValidationInfo) -> Self:
        given = [key for key in _WHERE if getattr(self, key)]
        if len(given) != 1:
            raise ValueError(
                f"give exactly one of {', '.join(_WHERE[:-1])} and {_WHERE[-1]}, not {' and '.join(given) or 'none'}"
            )
        if self.quant and (self.file or not (self.name or self.repo)):
            raise ValueError("quant chooses among the files of a model; name a repo or a name, without file")
        if self.url and urlsplit(self.url).scheme not in ("http", "https"):
            raise ValueError(f"{without_secrets(self.url)!r} is no http(s) address")
        if self.url and "@" in urlsplit(self.url).netloc:
            raise ValueError("the address holds a password, which shows in process lists; name one without")
        if self.url and re.search(r"[\x00-\x20\x7f]", self.url):
            raise ValueError("the address holds a blank or a control character; write a blank as %20")
        if self.repo and not _REPOSITORY.fullmatch(self.repo):
            raise ValueError(f"{self.repo!r} is no Hugging Face repository; write org/name")
        if self.path_on_rig and self.path_on_rig != (plain := posixpath.normpath(self.path_on_rig)):
            raise ValueError(f"path_on_rig {self.path_on_rig!r} is written in a roundabout way; write {plain}")
        for key, text in (("repo", self.repo), ("revision", self.revision), ("file", self.file)):
            if self.repo and {".", "..", ""} & set((text or "-").split("/")):
                raise ValueError(f"{key} {text!r} is no path inside a repository; name its parts one by one")
        if not self.names_file:
            return self
        if self.file_name.lower().startswith("mmproj") and not info.context:  # a lock names it beside its model
            raise ValueError(f"{self.file_name!r} is a projector; name the file of the model, and set vision: true")
        if problem := file_name_problem(self.file_name):
            raise ValueError(f"{self.file_name!r} cannot be a file name on the rig: it {problem}")
        return self

    def on(self, rig: str) -> Self:
        """The source as a rig has it: a path on one rig is another file on the next."""
        own = self.model_copy()
        own._rig = rig
        return own

    @property
    def rig(self) -> str:
        """The rig that a path of it is on."""
        return self._rig

    @property
    def is_at_hand(self) -> bool:
        """True for a file on this machine or on the rig: nothing is downloaded."""
        return bool(self.path or self.path_on_rig)

    @property
    def names_file(self) -> bool:
        """True when it names one file; a name of the catalogue and a repository leave that to the plan."""
        return self.name is None and not (self.repo and (not self.file or is_pattern(self.file)))

    def __str__(self) -> str:
        """As it may be shown: the query of an address may be a secret, and is left out."""
        return without_secrets(self.url) if self.url else self.identity

    @property
    def identity(self) -> str:
        """Where it lies, in full, to tell it from others: never shown."""
        if self.repo:
            return f"hf:{self.repo}@{self.revision}" + (
                f":{self.file or self.quant}" if self.file or self.quant else ""
            )
        on_rig = f"{self.path_on_rig} of {self._rig or 'the rig'}" if self.path_on_rig else None
        return self.url or self.path or on_rig or ":".join(filter(None, (self.name, self.quant)))

    @property
    def place(self) -> str:
        """Where the file lies in the directory of model files: those of a repository by themselves, `org--repo/f.gguf`.

        Repositories call their files alike: ten models of the catalogue have a projector `mmproj-F16.gguf`.
        """
        if self.path_on_rig:
            return self.path_on_rig
        folder = f"{self.repo.replace('/', '--')}/" if self.repo else ""
        return f"{folder}{self.file_name}"

    @property
    def file_name(self) -> str:
        """The name of the file on the rig: `model.gguf`; empty while the plan has not chosen one."""
        own = (self.path or "").rstrip("/")  # it may be a directory
        place = unquote(urlsplit(self.url).path) if self.url else own or self.path_on_rig or self.file or ""
        return place.rpartition("/")[2]
