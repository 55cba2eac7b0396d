"""The rigs of an inventory as testinfra hosts."""

from __future__ import annotations

import os
import shlex
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rigwright.errors import RigwrightError
from rigwright.inventory.rows import read_rows
from rigwright.spec.rig import RigSpec, parse_spec
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
    return [
        Target(
            row["name"],
            tuple(row["groups"]),
            row["data"],
            parse_spec(row["name"], row["data"].get("rig")),
            _locked(inventory, row["name"], row["data"].get("rig_lock")),
        )
        for row in read_rows(inventory, limit=limit)
    ]


def _locked(inventory: str, rig: str, named: str | None) -> dict[str, Any] | None:
    """The rig's entry in the lock file that its data names, or in the one beside the inventory."""
    path = Path(named).expanduser() if named else Path(inventory).with_suffix(".lock.yml")
    if not path.is_file():
        return None
    try:
        data = load_yaml(path.read_text("utf-8"))
        found: dict[str, Any] | None = data["rigs"].get(rig)
    except (OSError, yaml.YAMLError, ValueError, RecursionError, TypeError, KeyError, AttributeError):
        raise RigwrightError(f"{path}: is no lock file; restore it from git, or write it anew") from None
    return found


def backend(target: Target) -> tuple[str, dict[str, object]]:
    """The testinfra address of a rig and its options; SSH connections are shared by all checks of a rig."""
    data = target.data
    options: dict[str, object] = {"sudo": bool(data.get("_sudo"))}
    if target.name.startswith("@"):
        connector, _, rest = target.name[1:].partition("/")
        return (f"{connector}://{rest}" if rest else "local://"), options
    user = f"{data['ssh_user']}@" if data.get("ssh_user") else ""
    port = f":{data['ssh_port']}" if data.get("ssh_port") else ""
    extra = ["-o", "BatchMode=yes", "-o", "ConnectTimeout=20"]
    if known := data.get("ssh_known_hosts_file"):
        extra += ["-o", f"UserKnownHostsFile={known}"]
    if strict := data.get("ssh_strict_host_key_checking"):
        extra += ["-o", f"StrictHostKeyChecking={strict}"]
    options |= {"ssh_extra_args": shlex.join(extra), "controlpath": f"{_socket_directory()}/%%C", "controlpersist": 60}
    if key := data.get("ssh_key"):
        options["ssh_identity_file"] = str(key)
    if config := data.get("ssh_config_file"):
        options["ssh_config"] = str(config)
    return f"ssh://{user}{data.get('ssh_hostname') or target.name}{port}", options


def _socket_directory() -> Path:
    """A short path of our own: a UNIX socket's name may have 108 characters."""
    path = Path(tempfile.gettempdir()) / f"rigwright-{os.getuid()}"
    path.mkdir(mode=0o700, exist_ok=True)
    if path.stat().st_uid != os.getuid():
        raise RigwrightError(f"{path}: belongs to somebody else; remove it")
    return path
