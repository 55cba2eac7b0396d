"""The JSON answer of `rigwright weights`."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from rigwright.view.answers.answer import Answer

State = Literal["used", "kept", "spare", "young", "open", "shared", "changed", "found"]


class User(Answer):
    """A service on the rig."""

    name: str = Field(description="the instance: chat, or chat@1")
    owner: str = Field(description="the inventory that deployed it; empty where nothing says so")


class ModelFile(Answer):
    """A file that rigwright brought, or that a service of its runs on."""

    path: str = Field(description="where it lies")
    size_bytes: int = Field(description="its size")
    state: State = Field(
        description="used by services; kept for the way back of services; spare: --prune removes it; young: nobody "
        "names it, and it came within a day; open: a process has it; shared: it lies on a network's disk; changed "
        "since it was brought; found: it was there before rigwright"
    )
    services: tuple[User, ...] = Field(description="the services that run on it or would go back to it")


class Weights(Answer):
    """What `rigwright weights --json` prints of each rig, by its name. All sizes are whole bytes."""

    model_config = ConfigDict(title="rigwright weights")

    files: tuple[ModelFile, ...] = Field(description="the model files, the spare ones first")
    size_bytes: int = Field(description="all of them")
    spare_bytes: int = Field(description="those that --prune removes")


def weights_answer(files: list[dict[str, object]]) -> Weights:
    """The answer of one rig, from what it says of its files."""
    found = [ModelFile.model_validate(one) for one in files]
    found.sort(key=lambda one: (one.state != "spare", one.path))
    spare = sum(one.size_bytes for one in found if one.state == "spare")
    return Weights(files=tuple(found), size_bytes=sum(one.size_bytes for one in found), spare_bytes=spare)
