"""The rigs of the current lab as pyinfra hosts."""

from __future__ import annotations

from rigwright.errors import RigwrightError
from rigwright.lab.lab import Lab
from rigwright.lab.wish import Rig


def lab_hosts() -> list[tuple[str, dict[str, object]]]:
    """The hosts of an inventory, e.g. `rigs = lab_hosts()`.

    Raises:
        RigwrightError: no rig is up.
    """
    rigs = Lab().rigs()
    if not rigs:
        raise RigwrightError("lab: no rig is up; run `rigwright lab up`")
    return [(rig.name, host_data(rig)) for rig in rigs]


def host_data(rig: Rig) -> dict[str, object]:
    """How pyinfra logs in to a rig: with the lab's key, and only to the host key that the lab gave it."""
    data: dict[str, object] = {
        "ssh_hostname": rig.address,
        "ssh_port": rig.ssh_port,
        "ssh_user": rig.ssh_user,
        "ssh_key": str(rig.ssh_key),
        "ssh_known_hosts_file": str(rig.ssh_known_hosts),
        "ssh_strict_host_key_checking": "yes",
    }
    return data if rig.ssh_user == "root" else {**data, "_sudo": True}
