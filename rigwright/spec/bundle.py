"""The key `rig.bundle`: all that a rig without internet needs, in one file on the controller."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from rigwright.strict import Line, Strict


class BundleSettings(Strict):
    """The key `rig.bundle`; a plain string is short for its `path`."""

    path: Line = Field(description="What `rigwright bundle` wrote, on this machine (the controller).")
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = Field(
        None, description="What that command printed of it: another bundle of this name is refused."
    )

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value
