"""ClusterSpec: what an inventory says of several rigs that serve one model together; group data under `cluster`."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, ValidationError, field_validator, model_validator

from rigwright.errors import WrongSpec
from rigwright.plan.wish import ServiceWish
from rigwright.spec.rig import RigSpec, explained, parse_spec
from rigwright.strict import Line, Strict

# Where a service says no host, it listens at the head's address between the rigs: nobody has this one (RFC 5737).
AT_THE_HEAD = "192.0.2.1"
_INTERFACE = r"^[A-Za-z0-9_.-]{1,15}$"


class ClusterSpec(Strict):
    """Several rigs that serve one model together, with vLLM: each holds a part of it.

    The same data on all of them: the group's. What passes between them is neither encrypted nor asked for a password.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$")] = Field(
        description="What the group is called; its service too, unless that has a name of its own."
    )
    service: ServiceWish = Field(
        description="The one service, with the keys of `rig.services[]`; its engine is vllm, and without `host` it "
        "listens at the head's address in the private network."
    )
    network: Line | None = Field(
        None, description="The private network between the rigs, like 10.0.0.0/24: each has one address in it."
    )
    interface: Annotated[str, Field(pattern=_INTERFACE)] | None = Field(
        None, description="Instead of `network`: the interface that joins them, called the same on each rig."
    )
    head: Line | None = Field(None, description="The rig that answers requests; by default the first of the inventory.")
    backend: Literal["auto", "mp"] = Field(
        "auto", description="How the rigs find each other: `mp`, vLLM's own way, which `auto` takes."
    )
    link: Annotated[float, Field(ge=0.1, le=1600)] = Field(
        1.0, description="What the network carries, in Gbit/s: from 25 on the rigs may share each layer."
    )
    rdma: bool = Field(
        False, description="The network is InfiniBand or RoCE, and NCCL shall use it so: past the kernel, at once."
    )
    port: Annotated[int, Field(ge=1024, le=65535)] = Field(
        29501, description="The TCP port at which the others meet the head."
    )
    public: bool = Field(False, description="Take the addresses although they are public: somebody else guards them.")

    @model_validator(mode="before")
    @classmethod
    def _whole(cls, data: Any) -> Any:
        """The service with what it has of the cluster where it says nothing."""
        if not isinstance(data, Mapping) or not isinstance(data.get("service"), Mapping):
            return data
        if not data["service"].get("api_key_file"):
            raise ValueError("service has no api_key_file, and is open to the other rigs; name a file of keys")
        service = {"name": data.get("name"), "engine": "vllm", "host": AT_THE_HEAD, **data["service"]}
        return {**data, "service": service}

    @field_validator("network")
    @classmethod
    def _is_network(cls, network: str | None) -> str | None:
        if network is None:
            return None
        try:
            return str(ipaddress.ip_network(network))
        except ValueError as error:
            raise ValueError(f"{error}; write a network like 10.0.0.0/24") from None

    @model_validator(mode="after")
    def _can_be(self) -> ClusterSpec:
        if bool(self.network) == bool(self.interface):
            raise ValueError("name either the network, like 10.0.0.0/24, or the interface that joins the rigs")
        wish = self.service
        if wish.engine not in ("auto", "vllm"):
            raise ValueError(f"service.engine is {wish.engine}; only vllm serves from several rigs, so leave it out")
        if wish.host not in (AT_THE_HEAD, "0.0.0.0", "::"):
            raise ValueError(
                f"service.host is {wish.host}; leave it out, and it is the head's address between the rigs, or write "
                "0.0.0.0 for all that the head has"
            )
        if (wish.replicas or 1) > 1:
            raise ValueError("service.replicas: a cluster serves one copy; make two clusters for two")
        if wish.gpu not in ("auto", "none"):
            raise ValueError("service.gpu names GPUs of one rig; leave it out, the plan takes equal ones of each")
        return self

    @property
    def wish(self) -> ServiceWish:
        """The service, whose engine is known."""
        return self.service.model_copy(update={"engine": "vllm"})


class Membership(NamedTuple):
    """A cluster with the names of its rigs, the head first."""

    spec: ClusterSpec
    rigs: tuple[str, ...]


def parse_cluster(rig: str, data: object) -> ClusterSpec | None:
    """The `cluster` data of the host called `rig`; None where it has none.

    Raises:
        WrongSpec: a line for each thing that is wrong: `rig1: cluster.networc: unknown key; did you mean network?`
    """
    if data is None:
        return None
    try:
        return ClusterSpec.model_validate(data)
    except ValidationError as error:
        raise explained(error, rig, "cluster", ClusterSpec) from None


def memberships(rows: Iterable[tuple[str, object]]) -> dict[str, Membership]:
    """Of each rig that is in a cluster which one, from the names and the `cluster` data of a whole inventory, in order.

    Raises:
        WrongSpec: a line for each thing that is wrong.
    """
    clusters: dict[str, list[tuple[str, ClusterSpec]]] = {}
    wrong: list[str] = []
    for rig, data in rows:
        try:
            spec = parse_cluster(rig, data)
        except WrongSpec as error:
            wrong += error.message.splitlines()
            continue
        if spec:
            clusters.setdefault(spec.name, []).append((rig, spec))
    found: dict[str, Membership] = {}
    for name, members in () if wrong else clusters.items():
        if problem := _problem(name, members):
            wrong.append(problem)
            continue
        rigs, spec = [rig for rig, _ in members], members[0][1]
        head = spec.head or rigs[0]
        ordered = (head, *(rig for rig in rigs if rig != head))
        found |= dict.fromkeys(rigs, Membership(spec, ordered))
    if wrong:
        raise WrongSpec("\n".join(dict.fromkeys(wrong)))
    return found


def _problem(name: str, members: list[tuple[str, ClusterSpec]]) -> str | None:
    (first, spec), rigs = members[0], [rig for rig, _ in members]
    if other := next((rig for rig, one in members if one != spec), None):
        keys = [key for key in ClusterSpec.model_fields if getattr(dict(members)[other], key) != getattr(spec, key)]
        return f"{other}: cluster.{keys[0]}: not the same as on {first}; give it to the group, so that all have it"
    if len(members) < 2:
        return f"{first}: cluster: {name} has this one rig; give the data to a group of two or more"
    if spec.head and spec.head not in rigs:
        return f"{first}: cluster.head: {spec.head} is no rig of {name}; its rigs are {', '.join(rigs)}"
    return None


def own_spec(rig: str, data: Mapping[str, object], inventory: str | Path | None) -> RigSpec:
    """What the host data say of a rig itself: with a cluster it need serve nothing else.

    Raises:
        WrongSpec: a line for each thing that is wrong.
    """
    own = data.get("rig")
    return parse_spec(rig, {} if own is None and data.get("cluster") else own, inventory=inventory)


def with_cluster(rig: str, spec: RigSpec, member: Membership | None) -> RigSpec:
    """What a rig serves, with the service of its cluster as the last one.

    Raises:
        WrongSpec: it has the name or the port of another one.
    """
    if member is None:
        return spec
    wish = member.spec.wish
    for key in ("name", "port"):
        if getattr(wish, key) in [getattr(one, key) for one in spec.services]:
            raise WrongSpec(
                f"{rig}: cluster.service.{key}: {getattr(wish, key)} is that of a service of this rig; "
                f"give it another {key}"
            )
    return spec.model_copy(update={"services": (*spec.services, wish)})
