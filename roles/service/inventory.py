"""Which inventory a run was started with: a lock file lies beside it, and messages name it."""

from __future__ import annotations

import sys

import pyinfra


def inventory_name() -> str | None:
    """The inventory that pyinfra was started with; None where it was not started from its command line.

    pyinfra 3.10 tells deploys nothing of it, so its own parser reads the command line once more.
    """
    if not getattr(pyinfra, "is_cli", False):
        return None
    from pyinfra_cli.cli import cli  # type: ignore[import-untyped]  # it comes without types

    context = cli.make_context("pyinfra", sys.argv[1:], resilient_parsing=True)
    found: str | None = context.params.get("inventory")
    return found
