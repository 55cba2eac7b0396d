"""The rigs of an inventory, as checks want them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rigwright.errors import RigwrightError
from rigwright.inventory.rows import read_rows
from rigwright.spec.cluster import memberships, own_spec, with_cluster
from rigwright.spec.rig import RigSpec
from rigwright.spec.text import load_yaml


@dataclass(frozen=True)
class Target:
    """One rig of an inventory: how to reach it, what it shall serve, and what a lock file says of it."""

    name: str
    groups: tuple[str, ...]
    data: dict[str, Any]
    spec: RigSpec
    locked: dict[str, Any] | None = None


def read_inventory(inventory: str, *, limit: tuple[str, ...] = ()) -> list[Target]:
    """The rigs of an inventory file, those that `limit` (group names, or patterns of rig names) selects.

    Raises:
        RigwrightError: pyinfra cannot read it, a rig's data is wrong, or nothing is left.
    """
    rows = read_rows(inventory, limit=limit)
    whole = read_rows(inventory) if limit and any(row["data"].get("cluster") for row in rows) else rows
    members = memberships((row["name"], row["data"].get("cluster")) for row in whole)
    return [
        Target(
            row["name"],
            tuple(row["groups"]),
            row["data"],
            with_cluster(row["name"], own_spec(row["name"], row["data"], inventory), members.get(row["name"])),
            _locked(inventory, row["name"], row["data"].get("rig_lock")),
        )
        for row in rows
    ]


def _locked(inventory: str, rig: str, named: object) -> dict[str, Any] | None:
    """The rig's entry in the lock file that its data names, or in the one beside the inventory."""
    path = Path(str(named)).expanduser() if named is not None else Path(inventory).with_suffix(".lock.yml")
    if not path.is_file():
        if named is not None:
            raise RigwrightError(f"{rig}: rig_lock: {path} does not exist; write it with `rigwright plan --write`")
        return None
    try:
        data = load_yaml(path.read_text("utf-8"))
        found: dict[str, Any] | None = data["rigs"].get(rig)
    except (OSError, yaml.YAMLError, ValueError, RecursionError, TypeError, KeyError, AttributeError):
        raise RigwrightError(f"{path}: is no lock file; restore it from git, or write it anew") from None
    return found
