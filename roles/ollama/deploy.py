"""Ollama alone: `from rigwright.roles.ollama.deploy import deploy`."""

from __future__ import annotations

from rigwright.roles.ollama.engine import ENGINE
from rigwright.roles.service.deploy import serve


def deploy() -> None:
    """Serve what the inventory's `rig` data wishes, with Ollama.

    Raises:
        WrongInventory: before any rig is touched.
    """
    serve(ENGINE)
