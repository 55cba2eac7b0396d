"""What an inventory may say of MLX: the data of a host under `mlx`, beside `rig`."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from rigwright.given import COUNT
from rigwright.models.names import find_model
from rigwright.plan.wish import ServiceWish
from rigwright.plan.wish_words import SERVICE_NAME, THINKING, Thinking
from rigwright.strict import Line, Strict


def _listed(value: object) -> object:
    return (value,) if isinstance(value, dict) else value


class MlxService(Strict):
    """One model on one Mac. mlx_lm.server knows no API key, so it listens on 127.0.0.1 alone."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$"), SERVICE_NAME] = Field(
        description="Names the daemon, `dev.rigwright.<name>`."
    )
    model: Line = Field(description="The directory of the weights on the Mac: config.json, tokenizer, safetensors.")
    account: Line = Field(description="Whose process it is: an account of the Mac that can read the weights, not root.")
    port: Annotated[int, Field(ge=1024, le=65535), COUNT] = Field(8080, description="The TCP port on 127.0.0.1.")
    known_as: Line | None = Field(
        None, description="The model's name in the catalogue, for its sampling and the word that switches its thinking."
    )
    thinking: Annotated[Thinking, THINKING] | None = Field(
        None, description="`on`, `off`, or `per-request`, as in a service of `rig`."
    )
    max_tokens: Annotated[int, Field(ge=1), COUNT] = Field(
        8192, description="Tokens of an answer where a request says nothing; mlx_lm.server's own 512 cuts most off."
    )
    slots: Annotated[int, Field(ge=1, le=256), COUNT] = Field(4, description="Requests that are answered at once.")
    start_timeout_seconds: Annotated[int, Field(ge=5), COUNT] = Field(
        600, description="How long loading may take before the daemon before comes back."
    )

    @field_validator("model")
    @classmethod
    def _directory(cls, model: str) -> str:
        if not model.startswith("/"):
            raise ValueError(
                f"{model!r} is no absolute path; download it there: hf download REPO --local-dir DIRECTORY"
            )
        return model.rstrip("/")

    @field_validator("account")
    @classmethod
    def _ordinary(cls, account: str) -> str:
        if account in ("root", "0"):
            raise ValueError("root may do anything on the Mac, and a server needs none of that; name another account")
        return account

    @field_validator("known_as")
    @classmethod
    def _known(cls, name: str | None) -> str | None:
        if name and find_model(name) is None:
            raise ValueError(f"{name!r} is no model of the catalogue; see docs/models.md, or leave it out")
        return name

    @property
    def wish(self) -> ServiceWish:
        """The same as a service of a rig, for what plans say of modes."""
        return ServiceWish.model_validate({"name": self.name, "model": self.model, "thinking": self.thinking})


class MlxSettings(Strict):
    """The data `mlx` of a host."""

    services: Annotated[tuple[MlxService, ...], BeforeValidator(_listed)] = Field(description="What it serves.")
    python: Line = Field(
        "/Library/Frameworks/Python.framework/Versions/3.12/bin/python3",
        description="A Python 3.12 that nobody but root can change, such as python.org's; root makes the venv with it.",
    )

    @model_validator(mode="after")
    def _apart(self) -> Self:
        for what in ("name", "port"):
            seen = [getattr(one, what) for one in self.services]
            if twice := next((one for one in seen if seen.count(one) > 1), None):
                raise ValueError(f"two services have the {what} {twice}; give each its own")
        return self
