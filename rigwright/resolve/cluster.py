"""The shares of a cluster: where its rigs reach each other, that they are alike, and what each runs of the plan."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rigwright.errors import Refused
from rigwright.hardware.values import Hardware
from rigwright.plan.cluster import Cluster, Member, plan_cluster
from rigwright.plan.network import Network
from rigwright.plan.planned import Request
from rigwright.plan.service import Cost, RigPlan, ServicePlan
from rigwright.records.values import NO_RECORDS, RigRecords
from rigwright.resolve.beside import occupants_of
from rigwright.resolve.chosen import settled
from rigwright.resolve.engines import engines_for
from rigwright.resolve.resolve import named_files, request_of
from rigwright.resolve.share import Share
from rigwright.spec.cluster import AT_THE_HEAD, ClusterSpec, Membership
from rigwright.spec.rig import RigSpec
from rigwright.weights.lookup import Lookup

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class ClusterRig:
    """A rig of a cluster: what the inventory wishes of it, the cluster's service among that, and what it has."""

    spec: RigSpec
    hardware: Hardware
    records: RigRecords = NO_RECORDS


def shares(membership: Membership, rigs: Mapping[str, ClusterRig], lookup: Lookup) -> dict[str, Share]:
    """What each rig of a cluster runs of its service, by the name of the rig.

    Raises:
        Refused: a rig is missing, has no address there, or is unlike the others; or the service fits nowhere.
        RigwrightError: its model is not there.
    """
    spec, names = membership.spec, membership.rigs
    if missing := [name for name in names if name not in rigs]:
        raise Refused(
            f"cluster {spec.name}: {', '.join(missing)} gave no answer, and is planned and deployed with all its rigs "
            f"alone; name {', '.join(names)} in --limit, or no --limit"
        )
    places = {name: place_of(name, spec, rigs[name].records.addresses) for name in names}
    _check_distinct(spec, places)
    _check_alike(spec, names, rigs)
    head = rigs[names[0]]
    host = places[names[0]][1] if spec.wish.host == AT_THE_HEAD else spec.wish.host
    wish = spec.wish.model_copy(update={"host": host})
    own = head.spec.model_copy(update={"services": (wish,)})
    engine = engines_for(own, [wish], head.hardware, head.records, None)[wish.engine]
    members = tuple(
        Member(name, places[name][1], places[name][0], one.hardware, tuple(occupants_of(one.spec, one.records)))
        for name, one in ((name, rigs[name]) for name in names)
    )
    cluster = Cluster(spec.name, members, Network(len(names), spec.link, spec.rdma), spec.port)
    found: list[ServicePlan] = []

    def plan(requests: Sequence[Request]) -> RigPlan:
        found[:] = plan_cluster(cluster, requests[0], engine)
        none = Cost(download_bytes=0, disk_bytes=0)
        return RigPlan(services=(found[0],), gpus=(), ram_bytes=0, offered_ram_bytes=0, cost=none)

    models, _ = named_files(own, None, lookup)
    request = request_of(wish, own, {engine.name: engine}, models, lookup, held=None)
    _, chosen = settled(plan, [request], models, own, records=head.records, lookup=lookup)
    return {name: Share(spec.wish, one, chosen.get(wish.name)) for name, one in zip(names, found, strict=True)}


def place_of(rig: str, spec: ClusterSpec, addresses: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """The interface of a rig that joins it with the others, and its address there.

    Raises:
        Refused: it has none, or a public one.
    """
    rows = [(name, found) for name, text in addresses if (found := _address(text)) and not _is_of_no_use(found)]
    if spec.network:
        network = ipaddress.ip_network(spec.network)
        mine = [one for one in rows if one[1] in network]
    else:
        mine = [one for one in rows if one[0] == spec.interface]
    if not mine:
        has = ", ".join(f"{name} {address}" for name, address in rows) or "none"
        key, value = ("network", f"in {spec.network}") if spec.network else ("interface", f"on {spec.interface}")
        raise Refused(f"{rig}: cluster.{key}: no address {value}; its own are {has}")
    name, address = min(mine, key=lambda one: one[1].version)
    if address.is_global and not spec.public:
        raise Refused(
            f"{rig}: cluster: {address} of {name} is public, and what passes between the rigs is open to whoever "
            "reaches it; join them by a private network, or set public where a firewall stands before it"
        )
    return name, str(address)


def _address(text: str) -> _Address | None:
    try:
        return ipaddress.ip_interface(text).ip
    except ValueError:
        return None


def _is_of_no_use(address: _Address) -> bool:
    return address.is_loopback or address.is_link_local or address.is_multicast


def _check_distinct(spec: ClusterSpec, places: Mapping[str, tuple[str, str]]) -> None:
    seen: dict[str, str] = {}
    for name, (_, address) in places.items():
        other = seen.setdefault(address, name)
        if other != name:
            raise Refused(f"cluster {spec.name}: {other} and {name} both have {address}; give each its own address")


def _check_alike(spec: ClusterSpec, names: Sequence[str], rigs: Mapping[str, ClusterRig]) -> None:
    """The same release, from the same path, of the same files: rigs that differ there hang when they meet."""
    first = rigs[names[0]].spec
    for name in names[1:]:
        other = rigs[name].spec
        if other.engines.get("vllm") != first.engines.get("vllm"):
            raise Refused(f"{name}: rig.vllm: not the same as on {names[0]}; all rigs of {spec.name} run one release")
        if other.weights.directory != first.weights.directory:
            raise Refused(
                f"{name}: rig.weights.directory: {other.weights.directory}, on {names[0]} {first.weights.directory}; "
                f"the model has one path on all rigs of {spec.name}"
            )
