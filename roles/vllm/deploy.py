"""vLLM alone: `from rigwright.roles.vllm.deploy import deploy`."""

from __future__ import annotations

from rigwright.roles.service.deploy import serve
from rigwright.roles.vllm.engine import ENGINE


def deploy() -> None:
    """Serve what the inventory's `rig` data wishes, with vLLM.

    Raises:
        WrongInventory: before any rig is touched.
    """
    serve(ENGINE)
