"""The key `rig.weights`: how model files come to rigs."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from rigwright.strict import Strict


class WeightsSettings(Strict):
    """The key `rig.weights`."""

    directory: Annotated[str, Field(pattern=r"^/[^\x00-\x1f\x7f%$]*[^/\x00-\x1f\x7f%$]$")] = Field(
        "/var/lib/rigwright/weights", description="Where model files live on the rig; a big disk is a good place."
    )
    hugging_face: Annotated[str, Field(pattern=r"^https?://[^\s?#@]+$")] = Field(
        "https://huggingface.co", description="The hub, or a mirror of it."
    )
    reserve_bytes: Annotated[int, Field(ge=0)] = Field(
        1 << 30, description="Disk space that must stay free after a download."
    )
