"""Ubuntu's autoinstall, as the files of a NoCloud stick: user-data, meta-data, network-config.

Source: subiquity, doc/reference/autoinstall-reference.rst of 2026; cloud-init, NoCloud.
"""

from __future__ import annotations

import shlex
from typing import Any

import yaml

from rigwright.seed.machine import BareMachine

# No disk is called so.
_PLACEHOLDER = "rigwright-found-no-disk"
HEAD = "# Written by rigwright seed"


def ubuntu_files(machine: BareMachine) -> dict[str, str]:
    """The files by their names; who holds the stick is told no secret."""
    network = _network(machine)
    return {
        "user-data": f"#cloud-config\n{HEAD}\n{_yaml({'autoinstall': _autoinstall(machine, network)})}",
        "meta-data": f"{HEAD}\n{_yaml({'instance-id': f'rigwright-{machine.rig}'})}",
        "network-config": f"{HEAD}\n{_yaml(network)}",
    }


def _autoinstall(machine: BareMachine, network: dict[str, Any]) -> dict[str, Any]:
    wish = machine.settings
    user = {
        "name": machine.user,
        "shell": "/bin/bash",
        "groups": ["adm", "sudo"],
        "lock_passwd": True,
        "sudo": "ALL=(ALL) NOPASSWD:ALL",
        "ssh_authorized_keys": [*machine.keys],
    }
    return {
        "version": 1,
        # Its page asks for the passphrase, which is in no file.
        **({"interactive-sections": ["storage"]} if wish.encrypt else {}),
        "locale": wish.locale,
        "keyboard": {"layout": wish.keyboard},
        "timezone": wish.timezone,
        "network": network,
        "early-commands": [_find_disk(wish.disk)],
        "storage": {"layout": {"name": "lvm", "sizing-policy": "all", "match": {"path": _PLACEHOLDER}}},
        "ssh": {"install-server": True, "allow-pw": False},
        "packages": ["sudo"],
        # In place of `identity`, which wants a password.
        "user-data": {
            "hostname": machine.hostname,
            "preserve_hostname": False,
            "users": [user],
            "ssh_pwauth": False,
            "disable_root": True,
        },
    }


def _find_disk(disk: str) -> str:
    """Shell of the installer, run before it looks at disks: what the disk is called today goes into its own file.

    Where there is no such disk the installation ends here. Its `match` knows other names than these, and patterns.
    """
    path = shlex.quote(f"/dev/disk/by-id/{disk}")
    said = shlex.quote(f"there is no disk {disk}: nothing is erased")
    found = f'disk="$(readlink -f {path})"; test -b "$disk" || {{ echo {said} >&2; exit 1; }}'
    return f'{found}; sed -i "s|{_PLACEHOLDER}|$disk|" /autoinstall.yaml'


def _network(machine: BareMachine) -> dict[str, Any]:
    wish = machine.settings
    card: dict[str, Any] = {"match": {"macaddress": wish.mac} if wish.mac else {"name": "e*"}}
    if wish.address == "dhcp":
        card |= {"dhcp4": True, "optional": True}
    else:
        card |= {
            "addresses": [wish.address],
            "routes": [{"to": "default", "via": wish.gateway}],
            "nameservers": {"addresses": [*(wish.nameservers or (wish.gateway,))]},
        }
    return {"version": 2, "ethernets": {"rig": card}}


def _yaml(data: dict[str, Any]) -> str:
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=1000)
