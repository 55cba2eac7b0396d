"""The key `rig.base`: what every engine needs of the system."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from rigwright.given import COUNT
from rigwright.strict import Strict


class BaseSettings(Strict):
    """The key `rig.base`."""

    install_packages: bool = Field(
        True, description="Install what is missing with apt; False where another tool owns the packages."
    )
    tune_host: bool = Field(
        True,
        description="Set what a plan asks of the machine itself, its CPU's governor and its swappiness, until removal; "
        "False leaves both as they are.",
    )
    keep_releases: Annotated[int, Field(ge=1, le=20), COUNT] = Field(
        1,
        description="Older releases of each engine that stay on the rig: 1 is what a rollback brings back; with more, "
        "those that ran last stay too, and going back to one needs no build.",
    )
