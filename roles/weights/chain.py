"""The chain of rigs that want one model file in a run: who is before a rig, and who behind it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from pyinfra.api.host import Host
from pyinfra.api.state import State

from rigwright.roles.base.facts import Rig
from rigwright.roles.base.probe import Probe
from rigwright.roles.base.pyinfra_private import hosts_of
from rigwright.roles.weights.facts import verified_stamp
from rigwright.spec.weights import WeightsSettings
from rigwright.weights.local import LocalModel

PORT = 9479
# A rig that dies is gone round, by the one behind it.
_REACH = 2
_SECTION = "addresses"


@dataclass(frozen=True)
class Link:
    """A rig in the chain of a file: where it hands on, to whom, and who hands on to it, the nearest first.

    `others` counts the rigs of the run that have yet to get the file, this one not among them.
    """

    address: str | None = None
    before: tuple[str, ...] = ()
    behind: tuple[str, ...] = ()
    others: int = 0

    def variables(self) -> dict[str, str]:
        """What the scripts are told."""
        at = _listener(self.address) if self.address and self.behind else ""
        return {
            "SHARE_AT": at,
            "BEHIND": " ".join(self.behind),
            "NEAR": " ".join(_listener(one) for one in self.before if self.address),
        }


@dataclass(frozen=True)
class _Member:
    has: bool
    turn: int
    network: str | None
    address: str | None


_chains: WeakKeyDictionary[State, dict[str, dict[Host, _Member]]] = WeakKeyDictionary()


def address_probe(settings: WeightsSettings) -> Probe:
    """Which addresses a rig has, where that matters."""
    return Probe(scripts=((_SECTION, "ip -o address show 2>/dev/null"),)) if settings.share_within else Probe()


def own_address(rig: Rig, settings: WeightsSettings) -> str | None:
    """The rig's address in the network in which files are handed on; None without one."""
    if not settings.share_within:
        return None
    network = ipaddress.ip_network(settings.share_within)
    # `2: eth0    inet 10.0.0.5/24 brd 10.0.0.255 scope global eth0 …`
    rows = [line.split() for line in rig.sections.get(_SECTION, [])]
    return next((str(one) for one in _addresses(rows) if one in network), None)


def _addresses(rows: list[list[str]]) -> Iterator[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    for row in rows:
        if len(row) > 3 and row[2] in ("inet", "inet6"):
            try:
                yield ipaddress.ip_interface(row[3]).ip
            except ValueError:
                continue


def join(host: Host, rig: Rig, files: list[tuple[str, LocalModel]], settings: WeightsSettings) -> None:
    """Take a rig into the chains of its files, before any rig of the run gets one."""
    address = own_address(rig, settings)
    chains = _chains.setdefault(host.state, {})
    for turn, (path, file) in enumerate(files):
        stamp = verified_stamp(rig, path)
        has = stamp is not None and stamp.satisfies(file.sha256, file.origin)
        if file.url:
            chains.setdefault(_key(file), {})[host] = _Member(has, turn, settings.share_within, address)


def link(host: Host, file: LocalModel) -> Link:
    """A rig's place in the chain of a file: those that have it are first, then those that get it first."""
    members = _chains.get(host.state, {}).get(_key(file), {})
    own = members.get(host)
    failed = host.state.failed_hosts
    if own is None:
        return Link()
    others = sum(not one.has for other, one in members.items() if other is not host and other not in failed)
    if own.address is None:
        return Link(others=others)
    order = {one: number for number, one in enumerate(hosts_of(host.state))}
    chain = sorted(
        (one for one in members if one not in failed and members[one].network == own.network and members[one].address),
        key=lambda one: (not members[one].has, members[one].turn, order.get(one, 0)),
    )
    at = chain.index(host)
    before = [str(members[one].address) for one in reversed(chain[:at])][:_REACH]
    behind = [str(members[one].address) for one in chain[at + 1 :][:_REACH] if not members[one].has]
    return Link(own.address, () if own.has else tuple(before), tuple(behind), others)


def _key(file: LocalModel) -> str:
    return file.sha256 or file.url or ""


def _listener(address: str) -> str:
    return f"[{address}]:{PORT}" if ":" in address else f"{address}:{PORT}"
