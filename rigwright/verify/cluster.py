"""A rig's part in a service that several serve together, as its record says."""

from __future__ import annotations

import ipaddress
import json
from typing import NamedTuple

from rigwright.spec.cluster import AT_THE_HEAD


class Part(NamedTuple):
    """The place of a rig, those it must be joined with by name and address, the head's address and port."""

    rank: int
    others: tuple[tuple[str, str], ...]
    head: str
    port: int


def part_of(record: str | None) -> Part | None:
    """The part that the text of a record tells of; None where it tells of none."""
    try:
        said = json.loads(record or "{}")["cluster"]
        rows = [(str(one["rig"]), str(one["address"])) for one in said["members"]]
        others = rows[:1] if said["rank"] else rows[1:]
        return Part(int(said["rank"]), tuple(others), rows[0][1], int(said["port"]))
    except (ValueError, TypeError, KeyError, IndexError):
        return None


def listens_at(host: str, part: Part | None) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Where a service listens that is wished at `host`; of several rigs the first does."""
    of_the_head = part is not None and (part.rank or host == AT_THE_HEAD)
    return ipaddress.ip_address(part.head if part and of_the_head else host)
