"""What the user asks for: one served model on a rig. The keys of `rig.services[]` in an inventory."""

from __future__ import annotations

import ipaddress
import math
import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

CacheType = Literal["f16", "bf16", "q8_0", "q4_0"]

_HUGGING_FACE = re.compile(r"hf:(?P<repo>[\w.-]+/[\w.-]+?)(?:@(?P<revision>[\w./-]+?))?:(?P<file>\S+)")
# llama-server's other ways to name what a service's own keys name.
_OWN_KEYS = frozenset(
    (
        "--alias",
        "--api-key",
        "--api-key-file",
        "--docker-repo",
        "--hf-repo",
        "--host",
        "--model",
        "--model-url",
        "--models-dir",
        "--models-preset",
        "--port",
    )
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Strict(BaseModel):
    """A frozen value that knows all its keys: what it does not know is an error, not a comment."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)


class ModelSource(Strict):
    """Where the weights come from: exactly one of `path`, `url` and `repo`.

    A plain string is short for it: `./model.gguf`, `https://host/model.gguf`, `hf:org/repo@revision:file.gguf`.
    """

    path: str | None = Field(None, description="A GGUF file on this machine (the controller); it is uploaded.")
    url: str | None = Field(None, description="An http(s) address; the rig downloads it itself.")
    repo: str | None = Field(None, description="A Hugging Face repository, `org/name`; needs `file`.")
    revision: str = Field("main", description="The commit, tag or branch of `repo`; pin a commit for a rebuilt rig.")
    file: str | None = Field(None, description="The file inside `repo`.")
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = Field(
        None, description="The checksum of the file; nothing appears under its name before it matches."
    )

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if match := _HUGGING_FACE.fullmatch(value):
            return {key: text for key, text in match.groupdict().items() if text}
        if value.startswith("hf:"):
            raise ValueError(f"{value!r} is no Hugging Face file; write hf:org/repo@revision:file.gguf")
        return {"url" if re.match(r"https?://", value) else "path": value}

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [key for key in ("path", "url", "repo") if getattr(self, key)]
        if len(given) != 1:
            raise ValueError(f"give exactly one of path, url and repo, not {' and '.join(given) or 'none'}")
        if self.repo and not self.file:
            raise ValueError("repo needs file: the name of the GGUF file inside the repository")
        if self.url and urlsplit(self.url).scheme not in ("http", "https"):
            raise ValueError(f"{self.url!r} is no http(s) address")
        if self.url and "@" in urlsplit(self.url).netloc:
            raise ValueError("the address holds a password, which shows in process lists; name one without")
        if not self.file_name or _CONTROL.search(self.file_name) or self.file_name.startswith((".", "-")):
            raise ValueError(f"{self.file_name!r} cannot be a file name on the rig")
        return self

    @property
    def file_name(self) -> str:
        """The name of the file on the rig: `model.gguf`."""
        if self.url:
            return unquote(PurePosixPath(urlsplit(self.url).path).name)
        return PurePosixPath(self.path or self.file or "").name


class ServiceWish(Strict):
    """One service: a model, served by an engine, on a port."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$")] = Field(
        description="Names the unit, `rigwright-<name>.service`: small letters, digits, dashes."
    )
    engine: Literal["llamacpp"] = Field("llamacpp", description="What serves the model.")
    model: ModelSource = Field(description="The weights: a path, an address, or hf:org/repo@revision:file.")
    host: str = Field("127.0.0.1", description="The address to listen on; anything but loopback needs `api_key_file`.")
    port: Annotated[int, Field(ge=1, le=65535)] = Field(8080, description="The TCP port of the HTTP API.")
    context: Annotated[int, Field(ge=256)] | None = Field(
        None, description="Tokens of context for each slot; by default what the model was trained for, if it fits."
    )
    slots: Annotated[int, Field(ge=1, le=256)] = Field(1, description="Requests served at once, each with `context`.")
    cache_type: CacheType = Field("f16", description="The type of the KV cache; q8_0 halves its size.")
    alias: str | None = Field(None, description="The model name in the API; by default the service's name.")
    gpu: int | Literal["auto", "none"] = Field(
        "auto", description="The GPU by nvidia-smi index, `auto` for the first that fits, `none` for the CPU."
    )
    api_key_file: str | None = Field(
        None, description="A file on this machine (mode 600) with one API key per line; never shown anywhere."
    )
    allow_from: tuple[str, ...] = Field(
        (), description="Networks that may connect when `host` is not loopback; empty means any."
    )
    flags: dict[str, str | int | float | bool | None] = Field(
        default_factory=dict, description="llama-server flags that win over the plan: {'--temp': 0.6}; None drops one."
    )
    start_timeout_seconds: Annotated[int, Field(ge=5)] = Field(
        600, description="How long loading and the first completion may take before the old release comes back."
    )

    @field_validator("flags")
    @classmethod
    def _long_flags(cls, flags: dict[str, Any]) -> dict[str, Any]:
        for flag, value in flags.items():
            if not re.fullmatch(r"--[a-z0-9][a-z0-9-]*", flag):
                raise ValueError(f"{flag!r} is no long flag; write it in full, like --temp")
            if isinstance(value, str) and _CONTROL.search(value):
                raise ValueError(f"{flag} holds a control character")
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{flag} is {value}; write a finite number")
        for flag in _OWN_KEYS & set(flags):
            raise ValueError(f"{flag} is set through the service's own keys, not through flags")
        return flags

    @field_validator("host")
    @classmethod
    def _address(cls, host: str) -> str:
        try:
            ipaddress.ip_address(host)
        except ValueError:
            raise ValueError(f"{host!r} is no IP address; write 127.0.0.1, 0.0.0.0 or the rig's own") from None
        return host

    @field_validator("alias", "api_key_file")
    @classmethod
    def _no_control(cls, text: str | None) -> str | None:
        if text is not None and _CONTROL.search(text):
            raise ValueError(f"{text!r} holds a control character")
        return text

    @model_validator(mode="after")
    def _key_when_open(self) -> Self:
        if not self.is_loopback and not self.api_key_file:
            raise ValueError(f"host {self.host} is open to others; name an api_key_file, or listen on 127.0.0.1")
        return self

    @property
    def is_loopback(self) -> bool:
        """True when only the rig itself can reach the service."""
        return ipaddress.ip_address(self.host).is_loopback

    @property
    def unit(self) -> str:
        """The name of the systemd unit."""
        return f"rigwright-{self.name}.service"
