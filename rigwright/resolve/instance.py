"""Instance: one replica of a service as it runs, its unit, port, environment, arguments."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rigwright.plan.service import ClusterPart, Flag, GpuRef, Replica, ServicePlan
from rigwright.plan.wish import ServiceWish
from rigwright.records import paths
from rigwright.records.reading import base_url
from rigwright.records.values import Work
from rigwright.spec.cluster import AT_THE_HEAD

# What of a record its role says, which plans do not know.
_OF_THE_ENGINE = ("health", "answer", "work")


@dataclass(frozen=True)
class Instance:
    """A replica of a planned service; `number` counts from 0. The first is called as the service, others `chat@1`."""

    wish: ServiceWish
    plan: ServicePlan
    number: int = 0

    @property
    def name(self) -> str:
        """`chat`, `chat@1`."""
        return f"{self.plan.service}@{self.number}" if self.number else self.plan.service

    @property
    def service(self) -> str:
        """The name of the service."""
        return self.plan.service

    @property
    def engine(self) -> str:
        """The name of the engine."""
        return self.plan.engine

    @property
    def unit_name(self) -> str:
        """`rigwright-chat.service`."""
        return paths.unit_name(self.name)

    @property
    def replica(self) -> Replica:
        """Its GPUs, port and environment."""
        return self.plan.replicas[self.number]

    @property
    def gpus(self) -> tuple[GpuRef, ...]:
        """Its GPUs in the engine's order."""
        return self.replica.gpus

    @property
    def port(self) -> int:
        """Its TCP port."""
        return self.replica.port

    @property
    def environment(self) -> tuple[tuple[str, str], ...]:
        """Its environment variables."""
        return self.replica.environment

    @property
    def cpus(self) -> str:
        """The CPUs on which it runs, `0-15,32-47`; empty for all."""
        return self.replica.cpus

    @property
    def flags(self) -> tuple[Flag, ...]:
        """The flags of the plan, with its own port."""
        return self.plan.flags_of(self.number)

    @property
    def argv(self) -> tuple[str, ...]:
        """Its arguments, without the program."""
        return self.plan.argv_of(self.number)

    @property
    def cluster(self) -> ClusterPart | None:
        """The rig's part where several serve it together."""
        return self.plan.cluster

    @property
    def is_follower(self) -> bool:
        """Whether another rig answers the requests that it works at."""
        return self.cluster is not None and self.cluster.rank > 0

    @property
    def host(self) -> str:
        """Where it listens; of several rigs the first does, by default at its address between them."""
        of_the_head = self.cluster is not None and (self.is_follower or self.wish.host == AT_THE_HEAD)
        return self.cluster.head.address if self.cluster and of_the_head else self.wish.host

    @property
    def url(self) -> str:
        """Where the rig itself reaches it."""
        return base_url(self.host, self.port)

    @property
    def key_path(self) -> str:
        """The file of its API keys; empty where it has none."""
        return paths.key_path(self.service) if self.wish.api_key_file else ""

    def record(
        self, *, health: str, answer: Mapping[str, str], work: Work | None = None, owner: str = "", keep: int = 1
    ) -> str:
        """The record that lies on the rig: the plan as JSON, with its own flags and number.

        Args:
            health: The path that answers 200 while the engine is healthy: `/health`.
            answer: The request that proves that it serves: path, body, and where its answer has text.
            work: Where it tells whether a request is under way; None where it does not.
            owner: The inventory that it is of; empty where that has no name.
            keep: How many older releases shall stay.
        """
        data = self._planned(owner, keep) | {"health": f"{self.url}{health}", "answer": dict(answer)}
        data |= {"work": asdict(work)} if work else {}
        return json.dumps(data, ensure_ascii=False, separators=(",", ":"))

    def is_recorded_in(self, text: str | None, *, owner: str = "", keep: int = 1) -> bool:
        """Whether a record says of the plan, and of its owner, what its own would say, word for word."""
        try:
            data = json.loads(text or "")
        except (ValueError, RecursionError):
            return False
        if not isinstance(data, dict) or not {"health", "answer"} <= data.keys():
            return False
        return {key: value for key, value in data.items() if key not in _OF_THE_ENGINE} == self._planned(owner, keep)

    def _planned(self, owner: str, keep: int) -> dict[str, Any]:
        data = self.plan.model_copy(update={"flags": self.flags}).model_dump(mode="json")
        if self.plan.source and self.plan.source.url:
            data["source"]["url"] = str(self.plan.source)  # everybody on the rig may read the record
        own = {"replica": self.number, "drain_seconds": self.wish.drain_seconds}
        # Who answers no requests is not asked for any: what is looked at there is whether it has its head.
        own |= {"watch_seconds": 0 if self.is_follower else self.wish.watch_seconds}
        own |= {"keep_releases": keep} if keep != 1 else {}  # a record of the version before stays as it is
        # Where no flag says it: an engine may read the key by itself.
        own |= {"has_key": True} if self.key_path and all(one.name != "--api-key-file" for one in self.flags) else {}
        return data | own | ({"owner": owner} if owner else {})


def instances(plans: Sequence[ServicePlan], wishes: Mapping[str, ServiceWish]) -> tuple[Instance, ...]:
    """All replicas of all services, in the order of the plan."""
    return tuple(Instance(wishes[plan.service], plan, number) for plan in plans for number in range(len(plan.replicas)))
