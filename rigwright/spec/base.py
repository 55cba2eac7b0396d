"""The key `rig.base`: what every engine needs of the system."""

from __future__ import annotations

from pydantic import Field

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
