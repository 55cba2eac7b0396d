"""The keys `rig.nvidia` and `rig.cuda`: what an inventory says of the driver and of the toolkit."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator

from rigwright.strict import Strict


class NvidiaSettings(Strict):
    """The key `rig.nvidia`: by default the plan chooses, for all GPUs of the rig together (`rigwright driver`)."""

    branch: Literal["auto"] | int = Field(
        "auto", description="The branch of the driver, like 580; `auto` is the one with long support."
    )
    modules: Literal["auto", "open", "proprietary"] = Field(
        "auto", description="The kernel modules; Blackwell takes open ones alone, Pascal and Volta proprietary ones."
    )
    source: Literal["auto", "nvidia", "distro"] = Field(
        "auto", description="Packages of NVIDIA's repository or of the distribution."
    )
    hold: bool = Field(True, description="Keep the driver's packages as they are between deploys.")
    replace_runfile: bool = Field(
        False, description="Take away a driver that NVIDIA's own installer put there; without it such a rig is refused."
    )

    @field_validator("branch", mode="before")
    @classmethod
    def _as_branch(cls, branch: object) -> object:
        """`580`, `"580"`, `R580`; a whole version is more than a branch."""
        text = str(branch).strip().lower().removeprefix("r")
        if text == "auto":
            return text
        if isinstance(branch, bool) or not text.isdecimal() or not 300 <= int(text) <= 999:
            raise ValueError(f"{branch!r} is no branch of the driver; write auto, or a number like 580")
        return int(text)


class CudaSettings(Strict):
    """The key `rig.cuda`: the toolkit, which only builds want; what serves brings its libraries."""

    source: Literal["auto", "nvidia", "distro", "pypi", "none"] = Field(
        "auto", description="`pypi` is nvcc 13 from wheels, in a folder of the build; `none` installs no toolkit."
    )
    version: str = Field("auto", description="A version like 12.8.")

    @field_validator("version", mode="before")
    @classmethod
    def _as_version(cls, version: object) -> object:
        """YAML reads 12.8 as a number."""
        text = str(version).strip().lower()
        if text != "auto" and not re.fullmatch(r"\d{2}\.\d", text):
            raise ValueError(f"{version!r} is no version of CUDA; write auto, or one like 12.8")
        return text
