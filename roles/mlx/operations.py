"""Have a model served by mlx_lm.server on a Mac."""

from __future__ import annotations

import hashlib

from pyinfra.api import operation

from rigwright.resources import role_text, script
from rigwright.roles.base.channel import Script
from rigwright.roles.base.operations import Commands
from rigwright.roles.base.pyinfra_private import current_host
from rigwright.roles.mlx.daemon import DAEMONS, DIRECTORY, OWN_NAME, VERSION, label, property_list, release_id
from rigwright.roles.mlx.facts import Daemons
from rigwright.roles.mlx.settings import MlxService


@operation()
def daemon(service: MlxService, labels: list[str], python: str) -> Commands:
    """Have its daemon run as planned; nothing where launchd has the very same loaded.

    The venv is made anew for each lock, beside those that run. Where the model does not answer in time the daemon
    that ran before comes back.

    + service: what is served
    + labels: those of all services of the run, which are asked for at once
    + python: what makes the venv
    """
    release = release_id(role_text("mlx", "requirements.txt"), python)
    text = property_list(service, f"{DIRECTORY}/releases/{release}")
    found = current_host().get_fact(Daemons, labels=labels, directory=DAEMONS)
    if found.get(label(service)) == (hashlib.sha256(text.encode()).hexdigest(), True):
        return
    yield Script(serve(service, release=release, python=python, text=text))


def serve(
    service: MlxService, *, release: str, python: str, text: str, directory: str = DIRECTORY, daemons: str = DAEMONS
) -> str:
    """The script that brings venv and daemon."""
    return script(
        "mlx",
        "serve.sh",
        LABEL=label(service),
        NAME=service.name,
        ACCOUNT=service.account,
        MODEL=service.model,
        PORT=service.port,
        OWN_NAME=OWN_NAME,
        SECONDS_TO_START=service.start_timeout_seconds,
        VERSION=VERSION,
        PYTHON=python,
        BASE=directory,
        DAEMONS=daemons,
        RELEASE_ID=release,
        LOCK=role_text("mlx", "requirements.txt"),
        PLIST=text,
    )
