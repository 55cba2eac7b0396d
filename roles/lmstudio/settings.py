"""What an inventory may say of LM Studio: the data of a host under `lmstudio`, beside `rig`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from rigwright.given import COUNT, TOKENS
from rigwright.strict import Strict

# A word of a command line in a unit: neither systemd nor a shell makes anything else of it.
Plain = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9@._/+-]*$", max_length=200)]


class LmStudioSettings(Strict):
    """One model, served by the llmster of one account. It knows no API key, so it listens on 127.0.0.1 alone."""

    model: Plain = Field(description="The model's key, as `lms ls` shows it: openai/gpt-oss-20b.")
    account: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_-]{0,31}$")] = Field(
        description="In whose home LM Studio is installed; not root."
    )
    context: Annotated[int, Field(ge=256), TOKENS] = Field(32768, description="Tokens of context.")
    alias: Plain = Field("chat", description="The model name in the API.")
    port: Annotated[int, Field(ge=1024, le=65535), COUNT] = Field(1234, description="The TCP port on 127.0.0.1.")
    start_timeout_seconds: Annotated[int, Field(ge=30), COUNT] = Field(
        600, description="How long loading may take before the unit before comes back."
    )
