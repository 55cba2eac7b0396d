"""The engine's own flags in a wish: what would be a secret for all to see, or name what a key of the service names."""

from __future__ import annotations

import math
import re
from typing import Any

from rigwright.shown import NOT_IN_A_LINE, holds_secret

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
# Programs show their arguments to every user of the machine, and a unit and its plan are readable for all.
_SECRET = re.compile(r"--(?:hf-token|.*(?:password|passphrase|secret|api-token|auth-token))")
_SECRETS_ELSEWHERE = {"--hf-token": "files of a gated repository are fetched with the HF_TOKEN of this machine"}


# What stretches a model beyond the context that it was trained for.
STRETCHING = frozenset(
    ("--hf-overrides", "--rope-freq-base", "--rope-freq-scale", "--rope-scale", "--rope-scaling", "--yarn-orig-ctx")
)


def checked_flags(flags: dict[str, Any]) -> dict[str, Any]:
    """The flags as they are.

    Raises:
        ValueError: one is none that may stand there.
    """
    for flag, value in flags.items():
        if not re.fullmatch(r"--[a-z0-9][a-z0-9-]*", flag):
            raise ValueError(f"{flag!r} is no long flag; write it in full, like --temp")
        if isinstance(value, str) and NOT_IN_A_LINE.search(value):
            raise ValueError(f"{flag} holds a control character")
        if isinstance(value, str) and holds_secret(value):
            raise ValueError(
                f"{flag} holds an address with a secret, which the unit and process lists would show; "
                "bring the file to the rig, and name its path"
            )
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{flag} is {value}; write a finite number")
    for flag in _OWN_KEYS & set(flags):
        raise ValueError(f"{flag} is set through the service's own keys, not through flags")
    for flag in flags:
        if _SECRET.fullmatch(flag):
            instead = _SECRETS_ELSEWHERE.get(flag, "keys of the API go into api_key_file")
            raise ValueError(f"{flag} would show a secret in the unit and in process lists; {instead}")
    return flags
