"""llama.cpp alone: `from rigwright.roles.llamacpp.deploy import deploy`."""

from __future__ import annotations

from rigwright.roles.llamacpp.engine import ENGINE
from rigwright.roles.service.deploy import serve


def deploy() -> None:
    """Serve what the inventory's `rig` data wishes, with llama.cpp.

    Raises:
        WrongInventory: before any rig is touched.
    """
    serve(ENGINE)
