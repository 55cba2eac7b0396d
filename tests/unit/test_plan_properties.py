"""What holds for every plan, whatever the rig and the wish."""

from __future__ import annotations

import cProfile
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rigwright.errors import DoesNotFit, RigwrightError
from rigwright.hardware import Cpu, Gpu, Hardware, Link
from rigwright.hardware.capture import read_folder
from rigwright.hardware.models import find
from rigwright.models.variants import model_of, variants
from rigwright.plan.candidates import find_candidates
from rigwright.plan.devices import named
from rigwright.plan.engines import planners
from rigwright.plan.ranking import Score, goal_of
from rigwright.plan.rig_plan import Request, plan_rig, search_space
from rigwright.plan.search import Budget, choose
from rigwright.plan.search_space import Candidate, pareto_front
from rigwright.plan.service import RigPlan
from rigwright.plan.wish import ServiceWish

# Hundreds of plans.
pytestmark = pytest.mark.patience

GIB = 1024**3
CAPTURES = Path(__file__).parents[1] / "captures"
MODELS = ("qwen3.5-9b", "qwen3.5-27b", "qwen3.5-35b-a3b", "gpt-oss-20b", "llama-3.3-70b", "gemma-3-27b")
LINKS = ("SYS", "PHB", "PIX", "NV4")
QUICK = settings(max_examples=30, deadline=None)


def card(index: int, gib: float, state: str = "ok") -> Gpu:
    # No catalogue knows this card, so that its size changes nothing but its size.
    vram = int(gib * GIB)
    return Gpu(
        index,
        f"GPU-{index}",
        vendor="NVIDIA",
        name="Some Card",
        vram_bytes=vram,
        compute_capability="8.6",
        state=state,
        mig=False,
    )  # type: ignore[arg-type]  # a literal


def machine(sizes: Sequence[float], links: str = "PHB", ram: int = 128, lost: Sequence[int] = ()) -> Hardware:
    gpus = tuple(card(index, size, "lost" if index in lost else "ok") for index, size in enumerate(sizes))
    pairs = [(a, b) for a in range(len(sizes)) for b in range(a + 1, len(sizes))]
    found = tuple(Link(a, b, links if (a, b) in ((0, 1), (2, 3)) else "PHB") for a, b in pairs)
    return Hardware(
        cpu=Cpu("cpu", 16, 32),
        ram_bytes=ram * GIB,
        vendor="NVIDIA",
        gpu_count=len(gpus),
        gpus=gpus,
        links=found,
        driver_version="580.95.05",
    )


def request(name: str = "chat", *, model: str, **keys: Any) -> Request:
    wish = ServiceWish(**{"name": name, "model": model, **keys})
    return Request(wish, variants(model_of(model, where="test")))


def worth(hardware: Hardware, asked: Request) -> float | None:
    """The score of the best way, None where nothing fits."""
    space, usable = search_space(hardware, [], is_preview=False, engines=planners())
    found = find_candidates(asked.wish, asked.variants, space, planners())
    best = choose([found.candidates], Budget({one.ordinal: one.offered_bytes for one in usable}, space.ram_bytes))
    return best[0].score.total if best else None


wishes = st.fixed_dictionaries(
    {
        "model": st.sampled_from(MODELS),
        "users": st.sampled_from([1, 2, 8]),
        "goal": st.sampled_from([None, "latency", "throughput", "context", "quality"]),
        "context": st.sampled_from([None, 8192, 32768]),
    }
)
rigs = st.tuples(
    st.lists(st.sampled_from([8, 12, 16, 24, 32, 80]), max_size=4), st.sampled_from(LINKS), st.sampled_from([32, 128])
)


@QUICK
@given(keys=wishes, rig=rigs, place=st.integers(0, 3), more=st.sampled_from([1, 4, 16]))
def test_more_vram_is_never_worse(
    keys: dict[str, Any], rig: tuple[list[float], str, int], place: int, more: int
) -> None:
    """The same rig with a larger GPU serves the same wish at least as well, by what the wish itself counts.

    The slots are named: where they are not and do not fit, the plan asks for fewer, which is another wish.
    """
    sizes, links, ram = rig
    if not sizes:
        return
    larger = [size + more * (index == place % len(sizes)) for index, size in enumerate(sizes)]
    asked = request(**keys, slots=keys["users"])
    before, after = (worth(machine(each, links, ram), asked) for each in (sizes, larger))
    # Unequal cards are no tensor-parallel group any more: only what works without one can be compared.
    if before is not None and len(set(sizes)) == len(sizes):
        assert after is not None and after >= before - 1e-9


@QUICK
@given(keys=wishes, rig=rigs, second=st.sampled_from([None, "qwen3.5-9b"]))
def test_plan_never_exceeds_a_device(
    keys: dict[str, Any], rig: tuple[list[float], str, int], second: str | None
) -> None:
    """Whatever is planned together fits into what each GPU and RAM offer, and names no GPU twice in a copy."""
    asked = [request(**keys)] + ([request("other", model=second, port=9000)] if second else [])
    try:
        plan = plan_rig(machine(rig[0], rig[1], rig[2]), asked)
    except DoesNotFit:
        return
    for budget in plan.gpus:
        assert budget.used_bytes <= budget.offered_bytes <= budget.vram_bytes
    ram = sum(service.memory.ram_bytes * len(service.replicas) for service in plan.services if service.memory)
    assert ram <= plan.offered_ram_bytes <= plan.ram_bytes
    for service in plan.services:
        indexes = [gpu.index for gpu in service.gpus]
        assert len(indexes) == len(set(indexes))


@QUICK
@given(
    keys=wishes,
    sizes=st.lists(st.sampled_from([8.0, 12.0, 16.0, 24.0, 32.0]), min_size=2, max_size=4, unique=True),
    data=st.data(),
)
def test_permuted_gpus_permute_the_plan(keys: dict[str, Any], sizes: list[float], data: st.DataObject) -> None:
    """The order in which GPUs are numbered changes their numbers in the plan and nothing else."""
    order = data.draw(st.permutations(range(len(sizes))))
    found = [_places(machine(each), keys) for each in (sizes, [sizes[place] for place in order])]
    assert found[0] == found[1]


def _places(hardware: Hardware, keys: dict[str, Any]) -> Any:
    """What runs where, with GPUs named by their size."""
    try:
        service = plan_rig(hardware, [request(**keys)]).services[0]
    except DoesNotFit:
        return None
    size = {gpu.index: gpu.vram_bytes for gpu in hardware.gpus}
    # Layers over several GPUs follow the order of the GPUs: the set stays.
    where = [frozenset(size[gpu.index] for gpu in replica.gpus) for replica in service.replicas]
    return service.engine, service.quant, service.context_tokens, str(service.layout), where


@QUICK
@given(keys=wishes, rig=rigs)
def test_same_input_same_bytes(keys: dict[str, Any], rig: tuple[list[float], str, int]) -> None:
    """A plan is a function of its arguments, to the byte."""
    assert _text(keys, rig) == _text(keys, rig)


def _text(keys: dict[str, Any], rig: tuple[list[float], str, int]) -> str:
    try:
        return plan_rig(machine(rig[0], rig[1], rig[2]), [request(**keys)]).model_dump_json()
    except RigwrightError as error:
        return error.message


@QUICK
@given(keys=wishes, sizes=st.lists(st.sampled_from([16.0, 24.0]), min_size=2, max_size=4), lost=st.integers(0, 3))
def test_lost_gpu_is_in_no_plan(keys: dict[str, Any], sizes: list[float], lost: int) -> None:
    """A GPU that no longer answers serves nothing, and the plan says so."""
    gone = lost % len(sizes)
    try:
        plan = plan_rig(machine(sizes, lost=[gone]), [request(**keys)])
    except DoesNotFit:
        return
    assert gone not in {gpu.index for service in plan.services for gpu in service.gpus}
    assert any("no longer answers" in note.because for note in plan.notes)


@QUICK
@given(
    model=st.sampled_from(["llama-3.3-70b", "qwen3.5-122b-a10b"]),
    size=st.sampled_from([0, 4, 8]),
    users=st.sampled_from([1, 8]),
)
def test_what_does_not_fit_names_the_nearest_miss(model: str, size: float, users: int) -> None:
    """The error names a file, what it needs, what is offered, and by how many bytes that is short."""
    hardware = replace(machine([size] if size else []), ram_bytes=8 * GIB)
    with pytest.raises(DoesNotFit) as error:
        plan_rig(hardware, [request(model=model, users=users)])
    assert re.search(r"needs [\d.]+ GiB at \d+ tokens × \d+ slot", error.value.message)
    assert re.search(r"[\d.]+ [GM]iB short; ", error.value.message)


def eight_gpus_three_services() -> tuple[Hardware, list[Request]]:
    asked = [
        request("a", model="qwen3.5-35b-a3b", users=8),
        request("b", model="qwen3.5-27b", port=9000),
        request("c", model="qwen3.5-122b-a10b", port=9100),
    ]
    return machine([24] * 8, "NV4", ram=256), asked


def test_eight_gpus_three_services_all_quants_in_200_ms() -> None:
    """Searching all layouts and quants for three services on eight GPUs is instant."""
    hardware, asked = eight_gpus_three_services()
    plan = plan_rig(hardware, asked)
    assert [service.service for service in plan.services] == ["a", "b", "c"]
    # A machine that others share may be half as fast for seconds: one try has to show it.
    assert any(_seconds(hardware, asked) < 0.2 for _ in range(40))


def test_eight_gpus_three_services_all_quants_in_750_000_calls() -> None:
    """The same as work, which no neighbour on the machine changes; on Python 3.11 it was 690,000 calls of functions."""
    hardware, asked = eight_gpus_three_services()
    plan_rig(hardware, asked)
    profile = cProfile.Profile()
    profile.runcall(plan_rig, hardware, asked)
    calls = sum(row.callcount for row in profile.getstats())
    assert calls < 750_000


def _seconds(hardware: Hardware, asked: list[Request]) -> float:
    # Of this process alone: what else the machine does shall not decide.
    time.sleep(0.1)
    start = time.process_time()
    plan_rig(hardware, asked)
    return time.process_time() - start


def test_goal_follows_the_users() -> None:
    """One or two users want latency, three throughput; a goal that is named stands."""
    found = [goal_of(request(model="qwen3.5-9b", users=users).wish) for users in (1, 2, 3)]
    assert found == ["latency", "latency", "throughput"]
    assert goal_of(request(model="qwen3.5-9b", users=8, goal="quality").wish) == "quality"


def _unused(plan: RigPlan) -> list[int | None]:
    return [budget.gpu.index for budget in plan.gpus if not budget.uses]


def test_services_get_gpus_of_their_own() -> None:
    """Two services on two equal GPUs do not share one."""
    plan = plan_rig(machine([24, 24]), [request("a", model="qwen3.5-9b"), request("b", model="qwen3.5-9b", port=9000)])
    assert _unused(plan) == []


TAKES = st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))


@given(rows=st.lists(TAKES, max_size=30), step=st.sampled_from((1.0, 1.5)))
def test_pareto_front_keeps_what_no_better_one_beats(rows: list[tuple[int, int, int]], step: float) -> None:
    """The same as comparing each with all that were kept before it."""
    candidates = [
        Candidate(cast(Any, None), Score(-worth, 0, 0, 0), {0: gpus}, ram, cast(Any, None)) for worth, gpus, ram in rows
    ]
    kept: list[Candidate] = []
    for one in sorted(candidates, key=lambda one: (-one.score.total, one.gpu_bytes[0])):
        if not any(
            other.gpu_bytes[0] * step <= one.gpu_bytes[0] and other.ram_bytes * step <= one.ram_bytes for other in kept
        ):
            kept.append(one)
    assert pareto_front(candidates, step=step) == kept


def test_fifty_recorded_rigs_in_five_seconds() -> None:
    """Reading and planning fifty recorded machines takes less than five seconds of the processor."""
    folders = sorted(path.parent for path in CAPTURES.glob("*/meta.json"))[:50]
    known = find("NVIDIA GeForce RTX 3090")
    assert known and len(folders) == 50
    start, planned = time.process_time(), 0
    for folder in folders:
        hardware = named(read_folder(folder), dict.fromkeys(range(16), known))
        with suppress(DoesNotFit):
            plan_rig(hardware, [request(model="qwen3.5-35b-a3b", users=4)], is_preview=True)
            planned += 1
    assert planned > 40 and time.process_time() - start < 5
