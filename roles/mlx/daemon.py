"""The daemon of launchd that serves a model: its property list as text, pure.

Source: `mlx_lm.server --help` of mlx-lm 0.32.2, whose flags were run on Linux with the CPU build; launchd.plist(5).
"""

from __future__ import annotations

import hashlib
import json
import plistlib

from rigwright.errors import WrongSpec
from rigwright.models.names import find_model
from rigwright.plan.engines.modes import sampling_of, template_words, thinking_error
from rigwright.roles.mlx.settings import MlxService

VERSION = "0.32.2"
DIRECTORY = "/opt/rigwright/mlx"
DAEMONS = "/Library/LaunchDaemons"
# The name by which requests mean the one model; for any other the server would look on the Hub.
OWN_NAME = "default_model"
_SAMPLING = {"temperature": "--temp", "top_p": "--top-p", "top_k": "--top-k", "min_p": "--min-p"}


def label(service: MlxService) -> str:
    """How launchd calls it: `dev.rigwright.chat`."""
    return f"dev.rigwright.{service.name}"


def release_id(lock: str, python: str) -> str:
    """A venv of this lock and this Python."""
    return f"{VERSION}-{hashlib.sha256(f'{python} {lock}'.encode()).hexdigest()[:12]}"


def arguments(service: MlxService, release: str) -> list[str]:
    """The command line.

    Raises:
        WrongSpec: the model cannot think, or not think, as the inventory asks.
    """
    known = find_model(service.known_as) if service.known_as else None
    if error := thinking_error(service.wish, known):
        raise WrongSpec(f"mlx.services.{service.name}: {error}")
    words = template_words(service.wish, known)
    sampling = sampling_of(service.wish, known)
    return [
        f"{release}/bin/mlx_lm.server",
        "--model", service.model,
        "--host", "127.0.0.1",
        "--port", str(service.port),
        "--allowed-origins", "http://127.0.0.1",  # its default lets the pages of any site ask it
        "--max-tokens", str(service.max_tokens),
        "--decode-concurrency", str(service.slots),
        "--prompt-concurrency", str(service.slots),
        *(word for name, flag in _SAMPLING.items() if name in sampling for word in (flag, f"{sampling[name]:g}")),
        *(("--chat-template-args", json.dumps(words, separators=(",", ":"))) if words else ()),
    ]  # fmt: skip


def property_list(service: MlxService, release: str) -> str:
    """The text of the file, as launchd and plutil read it."""
    return plistlib.dumps(
        {
            "Label": label(service),
            "UserName": service.account,
            "ProgramArguments": arguments(service, release),
            "EnvironmentVariables": {
                # A request may name another model; the server would fetch it from the Hub, and run it.
                "HF_HUB_OFFLINE": "1",
                "TRANSFORMERS_OFFLINE": "1",
                "PYTHONNOUSERSITE": "1",
                "RIGWRIGHT": "1",
            },
            "WorkingDirectory": "/var/empty",
            "RunAtLoad": True,
            "KeepAlive": True,
            "ThrottleInterval": 10,
            "ProcessType": "Interactive",  # others are throttled
            "StandardOutPath": f"/var/log/{label(service)}.log",
            "StandardErrorPath": f"/var/log/{label(service)}.log",
        },
        sort_keys=False,
    ).decode()
