"""One model over several rigs in plans: the layout that all have room for, what each runs, what the network costs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rigwright.errors import DoesNotFit, Refused, WrongSpec
from rigwright.models.variants import model_of, variants
from rigwright.plan.cluster import Cluster, Member, plan_cluster
from rigwright.plan.engines import planners
from rigwright.plan.network import Network
from rigwright.plan.rig_plan import Request
from rigwright.plan.service import ServicePlan
from rigwright.plan.source import ModelSource
from rigwright.plan.wish import ServiceWish

GIB = 1024**3


def rigs(machine: Any, *cards: list[str], vram_gib: int = 24, links: str = "NV4", **network: Any) -> Cluster:
    """A cluster of such rigs, rig1 and so on, at 10.0.0.1 and so on."""
    members = []
    for number, names in enumerate(cards, 1):
        found = machine(gpus=names, **({"links": links} if len(names) > 1 else {}))
        sized = tuple(replace(gpu, vram_bytes=vram_gib * GIB) for gpu in found.gpus)
        members.append(Member(f"rig{number}", f"10.0.0.{number}", f"en{number}", replace(found, gpus=sized)))
    joined = Network(rigs=len(members), **({"gbits_per_second": 10.0} | network))
    return Cluster("big", tuple(members), joined)


def served(cluster: Cluster, model: str, **wish: Any) -> tuple[ServicePlan, ...]:
    asked = ServiceWish(name="big", engine="vllm", model=ModelSource(name=model), **wish)
    request = Request(asked, variants(model_of(model, where="test")))
    return plan_cluster(cluster, request, planners()["vllm"])


def words(plan: ServicePlan) -> str:
    return " ".join(plan.argv)


def test_rigs_of_one_gpu_hold_layers_of_their_own(machine: Any) -> None:
    """Over 10 Gbit/s each of two rigs with an RTX 3090 holds half of the layers: what both share is one hop a token."""
    head, worker = served(rigs(machine, ["RTX 3090"], ["RTX 3090"]), "qwen3.6-27b", context=32768)
    assert (head.layout.tensor_parallel, head.layout.pipeline_parallel) == (1, 2)
    group = "--distributed-executor-backend mp --nnodes 2 --node-rank {} --master-addr 10.0.0.1 --master-port 29501"
    assert group.format(0) in words(head) and "--headless" not in words(head)
    assert f"{group.format(1)} --headless" in words(worker)
    assert "--port" in words(head) and "--port " not in words(worker) and "--host " not in words(worker)
    assert dict(worker.environment) | {
        "VLLM_HOST_IP": "10.0.0.2",
        "NCCL_SOCKET_IFNAME": "=en2",
        "GLOO_SOCKET_IFNAME": "en2",
        "NCCL_IB_DISABLE": "1",
    } == dict(worker.environment)


def test_rigs_of_pairs_share_layers_within_each(machine: Any) -> None:
    """TP within a rig, PP across: neighbouring ranks are the linked GPUs of one rig."""
    both = served(rigs(machine, ["RTX 3090"] * 2, ["RTX 3090"] * 2), "gemma-4-31b", context=16384)
    assert [(one.layout.tensor_parallel, one.layout.pipeline_parallel) for one in both] == [(2, 2)] * 2
    assert [len(one.gpus) for one in both] == [2, 2]
    assert "--tensor-parallel-size 2 --pipeline-parallel-size 2 --distributed-executor-backend mp" in words(both[1])


def test_a_fast_network_carries_shared_layers(machine: Any) -> None:
    """From 25 Gbit/s on, and where the inventory says so, GPUs of both rigs share each layer."""
    slow, fast = (
        served(rigs(machine, ["RTX 3090"], ["RTX 3090"], gbits_per_second=speed), "qwen3.6-27b", layout="tensor")
        for speed in (1.0, 100.0)
    )
    assert [one[0].layout.tensor_parallel for one in (slow, fast)] == [2, 2]
    assert slow[0].speed and fast[0].speed and slow[0].speed.expected < fast[0].speed.expected
    quick = served(rigs(machine, ["RTX 3090"], ["RTX 3090"], gbits_per_second=400.0, has_rdma=True), "qwen3.6-27b")
    assert "NCCL_IB_DISABLE" not in dict(quick[0].environment)


def test_each_rig_gets_an_equal_part(machine: Any) -> None:
    """Four GPUs beside two: two of each rig serve, and the plan says which lie idle."""
    both = served(rigs(machine, ["RTX 3090"] * 4, ["RTX 3090"] * 2), "gemma-4-31b", context=16384)
    assert [len(one.gpus) for one in both] == [2, 2]
    [why] = [one.because for one in both[0].reasons if one.choice == "2 GPUs of each rig"]
    assert "2 of rig1 left" in why


def test_memory_is_that_of_the_rigs_own_gpus(machine: Any) -> None:
    """The parts of all rigs together are those of one rig with as many GPUs; each is numbered as that rig has them."""
    both = served(rigs(machine, ["RTX 3090"] * 2, ["RTX 3090"] * 2), "gemma-4-31b", context=16384)
    for one in both:
        assert one.memory and {part.device for part in one.memory.parts} == {0, 1}


def test_the_plan_says_what_the_network_costs(machine: Any) -> None:
    """1 Gbit/s and 100 µs for a message: 5120 values of 2 bytes take 82 µs, so 0.2 ms for the one hop of a token."""
    head, _ = served(rigs(machine, ["RTX 3090"], ["RTX 3090"], gbits_per_second=1.0), "qwen3.6-27b")
    assert pytest.approx(0.18e-3, abs=0.01e-3) == 100e-6 + 5120 * 2 / 125e6
    [why] = [one.because for one in head.reasons if one.choice == "2 rigs, 1 Gbit/s between them"]
    assert why.startswith("a token crosses it once by TCP: 0.2 ms")


def test_what_does_not_fit_says_by_how_much(machine: Any) -> None:
    """Two RTX 3060 hold no 70B model of 8 bit; what would is said."""
    with pytest.raises(DoesNotFit, match=r"cluster big: .* over its rigs needs .* of a GPU, which offers"):
        served(rigs(machine, ["RTX 3060"], ["RTX 3060"], vram_gib=12), "llama-3.3-70b", context=8192)


def test_rigs_without_gpus_and_foreign_flags_are_refused(machine: Any) -> None:
    """A line for each: where, what, what to do."""
    with pytest.raises(Refused, match="cluster big: rig2 has no GPU that may serve; take it out of the cluster"):
        served(rigs(machine, ["RTX 3090"], []), "qwen3.6-27b")
    with pytest.raises(WrongSpec, match=r"cluster\.service\.flags: --nnodes is not set through flags"):
        served(rigs(machine, ["RTX 3090"], ["RTX 3090"]), "qwen3.6-27b", flags={"--nnodes": 3})
