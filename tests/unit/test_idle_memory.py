"""Memory that would lie idle is put to use: a better model, a finer file, the trained context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest

from rigwright.hardware import Cpu, Gpu, Hardware, Link
from rigwright.hardware.models import find
from rigwright.models.standing import CLASSES, GENERAL, class_of, index_of
from rigwright.models.variants import model_of, variants
from rigwright.plan import devices
from rigwright.plan.devices import with_gpu
from rigwright.plan.recommend import name_models
from rigwright.plan.rig_plan import Request, plan_rig
from rigwright.plan.service import ServicePlan
from rigwright.plan.wish import ServiceWish

GIB = 1024**3
SIZES = (8, 12, 16, 24, 32, 48, 80, 96)
# The cards of these sizes that most people have.
CARDS = ("RTX 4060", "RTX 3060", "RTX 5080", "RTX 4090", "RTX 5090", "L40S", "A100-SXM4-80GB", "RTX PRO 6000")


def cards(gib: float, count: int, *, ram: int = 64) -> Hardware:
    """A rig of a card that no catalogue knows: its size changes nothing but its size."""
    some = Gpu(0, "GPU-0", vendor="NVIDIA", name="Some Card", vram_bytes=int(gib * GIB), state="ok", mig=False)
    some = replace(some, compute_capability="8.6")
    gpus = tuple(replace(some, index=index, uuid=f"GPU-{index}") for index in range(count))
    links = tuple(Link(a, b, "PHB") for a in range(count) for b in range(a + 1, count))
    return Hardware(
        cpu=Cpu("cpu", 16, 32), ram_bytes=ram * GIB, vendor="NVIDIA", gpu_count=count, gpus=gpus, links=links
    )


def known(*names: str, ram: int = 64) -> Hardware:
    hardware = replace(cards(8, 0), ram_bytes=ram * GIB)
    for name in names:
        model = find(name, None)
        assert model, name
        hardware = with_gpu(hardware, model)
    return hardware


def planned(hardware: Hardware, model: str = "auto", **keys: object) -> ServicePlan:
    wish = ServiceWish.model_validate({"name": "chat", "model": model, **keys})
    asked = [Request(wish, () if model == "auto" else variants(model_of(model, where="test")))]
    asked = name_models(hardware, asked, is_preview=True)
    return plan_rig(hardware, asked, is_preview=True, alternatives_count=0).services[0]


def standing(plan: ServicePlan) -> tuple[int, float]:
    """The class of its model, 0 for the best, and its benchmarks, the worse the larger."""
    model = model_of(plan.model, where="test")
    return CLASSES.index(class_of(model)), -(index_of(model, GENERAL) or 0.0)


def falls(values: Sequence[float]) -> bool:
    return any(later > before + 1e-9 for before, later in pairwise(values))


@pytest.mark.patience
@pytest.mark.parametrize(("pace", "count"), ((300.0, 1), (936.0, 1), (1790.0, 1), (936.0, 2), (936.0, 4)))
def test_more_memory_never_gives_the_lesser_model(pace: float, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With model: auto the class never falls as cards grow, whatever their pace, nor as there are more of them."""
    monkeypatch.setattr(devices, "_SLOW", pace)
    assert not falls([standing(planned(cards(gib, count)))[0] for gib in SIZES])


@pytest.mark.patience
@pytest.mark.parametrize("gib", (8, 12, 24))
def test_more_cards_never_give_the_lesser_model(gib: int) -> None:
    """Nor as a rig has more cards of one size, with much RAM or little."""
    for ram in (16, 128):
        assert not falls([standing(planned(cards(gib, count, ram=ram)))[0] for count in (1, 2, 4)])


@pytest.mark.patience
def test_larger_cards_of_the_shops_never_give_the_lesser_model() -> None:
    """From an RTX 4060 to an RTX PRO 6000 neither the class nor the benchmarks of the model fall."""
    plans = [planned(known(name)) for name in CARDS]
    assert [standing(plan) for plan in plans] == sorted((standing(plan) for plan in plans), reverse=True)


@pytest.mark.parametrize("model", ("qwen3.6-35b-a3b", "qwen3.8-27b", "qwen3.5-9b", "gemma-4-31b"))
@pytest.mark.parametrize("count", (1, 2))
def test_more_memory_never_gives_the_lesser_file(model: str, count: int) -> None:
    """Of a model that is named, the files that GPUs hold whole get no coarser as the cards grow."""
    plans = [planned(cards(gib, count), model) for gib in SIZES]
    whole = [plan.loss_percent or 0.0 for plan in plans if not plan.in_ram and plan.uses_gpu]
    assert len(whole) >= 5 and not falls(whole)


def test_ninety_six_gigabytes_are_no_twenty_four() -> None:
    """A card of 96 GB gets 8 bit and the context that the model was trained for, at reading speed; 24 GB the 4 bit."""
    small, large = (planned(known(name)) for name in ("RTX 4090", "RTX PRO 6000"))
    assert (small.loss_percent or 0) > 0.2 and small.context_tokens < 131072
    assert large.loss_percent == 0 and large.context_tokens == 262144
    assert large.speed and large.speed.expected >= 40 and large.file_bytes and large.file_bytes > 28e9
    assert standing(large) <= standing(small)


def test_what_vllm_takes_for_its_cache_is_idle_memory_too() -> None:
    """A file of 20 GB is no plan for 80 GB where one of 8 bit is a seventh slower, though vLLM fills any card."""
    plan = planned(known("NVIDIA H100 80GB HBM3"), "qwen3.6-35b-a3b", engine="vllm")
    coarse = planned(known("NVIDIA H100 80GB HBM3"), "qwen3.6-35b-a3b", engine="vllm", quants=["INT4"])
    assert plan.quant == "FP8" and plan.speed and coarse.speed
    assert plan.speed.expected >= 0.8 * coarse.speed.expected and plan.context_tokens == coarse.context_tokens


def test_context_that_a_thought_fills_is_no_plan() -> None:
    """gpt-oss-120b fits two cards of 32 GB with 8,192 tokens, or with twice as many and some experts in RAM."""
    plan = planned(known("RTX 5090", "RTX 5090", ram=128), "gpt-oss-120b")
    assert plan.context_tokens >= 32768 and plan.in_ram and plan.speed and plan.speed.expected > 80


@pytest.mark.parametrize(
    ("card", "model", "quant"),
    (
        # Most of the card would lie idle: a fifth slower, where 8 bit would cost more than a third.
        ("RTX PRO 6000", "qwen3.8-27b", "UD-Q6_K"),
        ("RTX PRO 6000", "qwen3.6-35b-a3b", "Q8_0"),
        # What the public sweep of drafts runs on this card, with the longest context that it holds.
        ("RTX 5090", "qwen3.8-27b", "UD-Q4_K_M"),
        ("RTX 4090", "qwen3.8-27b", "UD-Q4_K_M"),
        # Two cards that share the layers are full of the trained context: a sixth of the speed is not given up.
        ("RTX 3090, RTX 3090", "qwen3.8-27b", "UD-Q4_K_M"),
    ),
)
def test_named_model_takes_the_finest_file_that_costs_little(card: str, model: str, quant: str) -> None:
    """Of a model that is named a finer file costs a tenth of the speed, a third at most, and no context."""
    cards = card.split(", ")
    plan = planned(known(*cards), model)
    coarse = planned(known(*cards), model, quants=["UD-Q4_K_M"])
    assert plan.quant == quant and plan.speed and coarse.speed
    assert plan.speed.expected >= max(0.65 * coarse.speed.expected, min(40.0, coarse.speed.expected))
    assert plan.context_tokens >= coarse.context_tokens
    assert bool(quant != coarse.quant) == any(one.choice == "finer than UD-Q4_K_M" for one in plan.reasons)


def test_idle_memory_of_other_services_is_not_taken() -> None:
    """What another service is planned for stays its own; files get finer in what both leave."""
    hardware = known("RTX 4090")

    def asked(name: str, model: str, port: int) -> Request:
        keys = {"name": name, "model": model, "port": port, "context": 16384}
        return Request(ServiceWish.model_validate(keys), variants(model_of(model, where="test")))

    plan = plan_rig(hardware, [asked("a", "qwen3.5-9b", 8080), asked("b", "qwen3.5-4b", 8081)], is_preview=True)
    assert all(budget.used_bytes <= budget.offered_bytes for budget in plan.gpus)
    assert [service.quant for service in plan.services] == ["Q8_0", "Q8_0"]


@pytest.mark.parametrize("goal", ("throughput", "quality", "context"))
def test_other_goals_weigh_quality_themselves(goal: str) -> None:
    """A finer file for idle memory's sake is for latency alone."""
    plan = planned(known("RTX PRO 6000"), "qwen3.6-35b-a3b", goal=goal)
    assert not any(one.choice.startswith("finer than") for one in plan.reasons)


def test_ram_alone_is_not_filled_with_context() -> None:
    """RAM is the machine's, and a CPU reads a quarter of a million tokens for hours."""
    plan = planned(replace(cards(8, 0), gpu_count=0), "qwen3.6-35b-a3b")
    assert not plan.uses_gpu and plan.context_tokens == 131072


def test_a_finer_file_joins_no_other_service_on_its_gpus() -> None:
    """Each of three has GPUs of its own among sixteen, and keeps them: what is finer does not wait for another."""
    models = ("qwen3.8-27b", "qwen3.5-35b-a3b", "gemma-4-31b")
    wishes = [ServiceWish(name=f"s{n}", model=model, port=8080 + n) for n, model in enumerate(models)]
    asked = [Request(wish, variants(model_of(model, where="test"))) for wish, model in zip(wishes, models, strict=True)]
    found = plan_rig(known(*["RTX 3090"] * 16, ram=128), asked, is_preview=True, alternatives_count=0).services
    gpus = [index for service in found for index in service.gpus]
    assert len(gpus) == len(set(gpus))
