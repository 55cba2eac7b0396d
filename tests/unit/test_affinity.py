"""CPUs near the GPUs: on machines with several NUMA nodes a copy keeps to that of its GPUs, where it gains by it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from rigwright.hardware import Hardware
from rigwright.plan.affinity import with_affinity
from rigwright.plan.engines import planners
from rigwright.plan.service import ServicePlan
from rigwright.records.values import Deployed
from rigwright.resolve import resolve
from rigwright.resolve.instance import Instance
from rigwright.resolve.running import instance_changes
from rigwright.resolve.unit import cpus_in, render_unit, sandbox
from rigwright.spec.rig import parse_spec

# By topo.txt and lscpu.txt of the capture: GPUs 0 and 1 on node 0, 2 and 3 on node 1, 24 cores each.
NODES = ("0-23,48-71", "24-47,72-95")


@pytest.fixture
def dual(machine: Callable[..., Hardware]) -> Hardware:
    """A machine of two sockets, recorded, with four cards."""
    return machine(capture="4x-a30-pairs-01-23-nic", gpu="A30", ram_gib=256, cores=48)


def planned(hardware: Hardware, **wish: Any) -> ServicePlan:
    service = {"name": "chat", "model": "qwen3.5-27b", "engine": "llamacpp", "users": 1, "gpu": 2, **wish}
    return resolve(parse_spec("rig", {"services": [service]}), hardware, is_preview=True).plan.services[0]


def why(plan: ServicePlan) -> str:
    return next((str(one) for one in plan.reasons if "CPUs" in one.choice), "")


def test_cpus_are_those_of_the_node_of_its_gpu(dual: Hardware) -> None:
    """With the reason, and in the unit, whose dry run keeps to them too."""
    plan = planned(dual)
    assert [one.cpus for one in plan.replicas] == [NODES[1]]
    assert why(plan).startswith(f"CPUs {NODES[1]}: NUMA node 1, on which GPU 2 hangs")
    wish = parse_spec("rig", {"services": [{"name": "chat", "model": "m.gguf", "context": 512}]}).services[0]
    text = unit_of(plan, wish)
    assert cpus_in(text) == NODES[1] and f"AllowedCPUs={NODES[1]}" in sandbox(text)


def unit_of(plan: ServicePlan, wish: Any) -> str:
    return render_unit(Instance(wish, plan), planners()["llamacpp"], weights={})


def test_copies_keep_to_a_node_each(dual: Hardware) -> None:
    """A copy for each card runs beside it."""
    plan = planned(dual, gpu="auto", replicas=4, users=8)
    assert [one.cpus for one in plan.replicas] == [NODES[one.gpus[0].index // 2] for one in plan.replicas]
    assert {one.cpus for one in plan.replicas} == {*NODES}


@pytest.mark.parametrize(
    ("wish", "because"),
    [
        ({"gpu": [1, 2], "context": 65536, "quants": ["Q8_0"]}, "GPUs 1, 2 hang on NUMA nodes 0, 1"),
        ({"model": "qwen3.5-122b-a10b"}, "stay in RAM, and are read with the memory of all NUMA nodes"),
        ({"flags": {"--numa": "distribute"}}, "the inventory places its threads itself, by --numa"),
        ({"flags": {"--threads": 32}}, "32 threads are more than the 24 cores of NUMA node 1, that of GPU 2"),
    ],
)
def test_what_needs_more_than_a_node_keeps_all(dual: Hardware, wish: dict[str, Any], because: str) -> None:
    """And the plan says why."""
    plan = planned(dual, **wish)
    assert [one.cpus for one in plan.replicas] == [""]
    assert because in why(plan)


def test_one_node_changes_nothing(dual: Hardware) -> None:
    """No reason, no line in the unit, so no restart: one node, none that was recorded, a node that is memory alone."""
    first, second = dual.numa
    for numa in ((), (first,), (first, replace(second, cpus=()))):
        plan = planned(replace(dual, numa=numa), gpu=0)
        assert (why(plan), plan.replicas[0].cpus) == ("", "")
    on_cpu = planned(dual, gpu="none", model="qwen3.5-9b")
    assert (why(on_cpu), on_cpu.replicas[0].cpus) == ("", "")


def test_node_that_nobody_tells_keeps_all(dual: Hardware) -> None:
    """As firmware does that names none, and a node without CPUs."""
    plan = planned(dual)
    bare = plan.model_copy(update={"reasons": (), "replicas": (plan.replicas[0].model_copy(update={"cpus": ""}),)})
    for node, words in ((None, "nobody tells the NUMA node of GPU 2"), (7, "node 7, on which GPU 2 hangs, has no CPU")):
        gpus = tuple(replace(one, numa_node=node) for one in dual.gpus)
        found = with_affinity(bare, replace(dual, gpus=gpus))
        assert found.replicas[0].cpus == "" and words in why(found)


def test_change_of_cpus_is_told(dual: Hardware) -> None:
    """A plan over a running service names it: all CPUs before, those of the node now."""
    plan = planned(dual)
    wish = parse_spec("rig", {"services": [{"name": "chat", "model": "m.gguf", "context": 512}]}).services[0]
    before = plan.model_copy(update={"replicas": (plan.replicas[0].model_copy(update={"cpus": ""}),)})
    deployed = Deployed("chat", unit=unit_of(before, wish), unit_kind="file", unit_mode="644", unit_owner="root")
    changes = instance_changes(Instance(wish, plan), deployed, unit=unit_of(plan, wish), release=None)
    assert f"~ chat CPUs: all -> {NODES[1]}" in [str(one) for one in changes]
