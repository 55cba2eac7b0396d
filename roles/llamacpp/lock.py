"""Which lock file a run stands on: the one beside the inventory, or the one that the host data names."""

from __future__ import annotations

import sys
from pathlib import Path

import pyinfra
from pyinfra.api.host import Host

from rigwright.errors import WrongSpec
from rigwright.lock.file import lock_path


def lock_of(host: Host) -> Path | None:
    """The lock file of a host; None where there is none.

    `rig_lock` in the host's or the group's data, or `--data rig_lock=FILE`, names another one than that beside the
    inventory.

    Raises:
        WrongSpec: the file that is named is not there.
    """
    named = host.data.get("rig_lock")
    if named is not None:
        path = Path(str(named)).expanduser()
        if not path.is_file():
            raise WrongSpec(f"{host.name}: rig_lock: {path} does not exist; write it with `rigwright plan --write`")
        return path
    inventory = inventory_name()
    beside = lock_path(inventory) if inventory else None
    return beside if beside and beside.exists() else None


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
