"""Reasons: every choice of a plan carries one."""

from __future__ import annotations

from pydantic import Field

from rigwright.strict import Strict


class Reason(Strict):
    """One choice and why: `--ctx-size 32768`, "the inventory asks for it".

    `source` names what a number rests on, where it does not come from the inventory or the rig.
    """

    choice: str = Field(description="what was chosen")
    because: str = Field(description="why")
    source: str | None = Field(None, description="what a number rests on")

    def __str__(self) -> str:
        return f"{self.choice}: {self.because}" + (f" ({self.source})" if self.source else "")
