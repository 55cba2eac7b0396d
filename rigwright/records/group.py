"""Group: the rigs that serve one model together, as the record of one of them says."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Group:
    """The place of a rig in it, all addresses, and the port at which the others meet the first, which is the head.

    rigs: the names that they had in the inventory, empty where the record does not say.
    """

    rank: int
    addresses: tuple[str, ...]
    port: int
    rigs: tuple[str, ...] = ()

    def rig(self, rank: int) -> str:
        """The name of one of them, or its address."""
        return self.rigs[rank] if self.rigs else self.addresses[rank]

    @property
    def head(self) -> str:
        """The address of the one that answers requests."""
        return self.addresses[0]

    @property
    def others(self) -> tuple[str, ...]:
        """Whom a rig must be joined with: the head with all, each other one with the head."""
        return (self.head,) if self.rank else self.addresses[1:]


def group_of(value: Any) -> Group | None:
    """The group of the key `cluster` of a record; None where it says of none, or nothing that can be used."""
    if not isinstance(value, dict) or not isinstance(value.get("members"), list):
        return None
    rank, port, members = value.get("rank"), value.get("port"), value["members"]
    if type(rank) is not int or type(port) is not int:
        return None
    try:
        addresses = tuple(str(ipaddress.ip_address(one["address"])) for one in members)
    except (ValueError, TypeError, KeyError):
        return None
    rigs = tuple(str(one.get("rig", "")) for one in members)
    return (
        Group(rank, addresses, port, rigs if all(rigs) else ())
        if 0 <= rank < len(addresses) and 0 < port < 65536
        else None
    )
