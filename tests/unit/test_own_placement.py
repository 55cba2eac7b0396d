"""The inventory's own placement over several GPUs: the service has all of them, and memory is shared as it says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rigwright.errors import Refused, RigwrightError, WrongSpec
from rigwright.hardware import Hardware
from rigwright.models.variants import model_of, variants
from rigwright.plan.recommend import name_models
from rigwright.plan.rig_plan import Request, plan_rig
from rigwright.plan.service import RigPlan
from rigwright.plan.wish import ServiceWish
from rigwright.view.bars import Colours, Share, bar

Rig = Callable[..., Hardware]


def planned(machine: Rig, count: int, flags: dict[str, Any], **keys: Any) -> RigPlan:
    """A plan of the 27B on so many RTX 3090."""
    wish = {"name": "chat", "model": "qwen3.8-27b:UD-Q4_K_M", "context": 32768, "draft": 0, "flags": flags, **keys}
    files = [one for one in variants(model_of("qwen3.8-27b", where="test")) if one.quant == "UD-Q4_K_M"]
    return plan_rig(machine(gpus=["RTX 3090"] * count), [Request(ServiceWish.model_validate(wish), tuple(files))])


def gpus(plan: RigPlan) -> list[list[int | None]]:
    return [[gpu.index for gpu in replica.gpus] for replica in plan.services[0].replicas]


def used(plan: RigPlan) -> list[float]:
    return [gpu.used_bytes / 1e9 for gpu in plan.gpus]


@pytest.mark.parametrize(
    ("count", "keys", "flags", "expected"),
    [
        # The words of the review, and the same on four cards.
        (2, {"gpu": [0, 1]}, {"--split-mode": "tensor", "--device": "CUDA0,CUDA1", "--tensor-split": "1,1"}, [[0, 1]]),
        (4, {"gpu": [0, 1, 2, 3]}, {"--split-mode": "tensor"}, [[0, 1, 2, 3]]),
        (2, {"gpu": [0, 1]}, {"--override-tensor": "exps=CPU"}, [[0, 1]]),
        (4, {"gpu": [2, 3]}, {"--tensor-split": "3,1"}, [[2, 3]]),
        # What --device names is fewer than what the service may use.
        (4, {"gpu": [1, 2, 3]}, {"--device": "CUDA0,CUDA1"}, [[1, 2]]),
        (4, {}, {"--device": "CUDA0,CUDA1"}, [[0, 1]]),
        (4, {}, {"--tensor-split": "1,1,1"}, [[0, 1, 2]]),
        (4, {}, {"--split-mode": "layer"}, [[0, 1, 2, 3]]),
        # Nothing says that it wants more than one.
        (4, {}, {"--override-tensor": "exps=CPU"}, [[0]]),
        (4, {}, {"--split-mode": "none"}, [[0]]),
        (4, {"gpu": [0, 1, 2, 3], "replicas": 2}, {"--split-mode": "layer"}, [[0, 1], [2, 3]]),
        (2, {"gpu": [0, 1]}, {"--device": "none"}, [[]]),
    ],
)
def test_own_placement_keeps_its_gpus(
    machine: Rig, count: int, keys: dict[str, Any], flags: dict[str, Any], expected: list[list[int]]
) -> None:
    """All that `gpu` names, or as many as the flags name, and the process sees just those."""
    plan = planned(machine, count, flags, **keys)
    assert gpus(plan) == expected
    for replica in plan.services[0].replicas:
        seen = dict(replica.environment).get("CUDA_VISIBLE_DEVICES", "")
        assert len([one for one in seen.split(",") if one]) == len(replica.gpus)
    (service,) = plan.services
    own = {flag.name: flag.value for flag in service.flags}
    assert {name: own[name] for name in flags} == flags
    named = own["--device"] or ""
    assert named == "none" or len(named.split(",")) == len(expected[0])


def test_memory_is_shared_as_given(machine: Rig) -> None:
    """Evenly by 1,1 with each layer on both, three quarters of the layers by 3,1; without a word by free memory."""
    halves = used(planned(machine, 2, {"--split-mode": "tensor", "--tensor-split": "1,1"}, gpu=[0, 1]))
    assert abs(halves[0] - halves[1]) < 0.3 and halves[0] > 8
    first, second = used(planned(machine, 2, {"--tensor-split": "3,1"}, gpu=[0, 1]))
    # 64 layers and the output: 49 of 65 on the first, whose last sixteen are on the other beside the output.
    assert first > 2 * second
    even = used(planned(machine, 2, {"--split-mode": "layer"}, gpu=[0, 1]))
    assert abs(even[0] - even[1]) < 1.5
    one = used(planned(machine, 2, {"--device": "CUDA0"}, gpu=[0, 1]))
    assert one[1] == 0 and one[0] > 16


def test_what_is_not_computed_is_not_guessed(machine: Rig) -> None:
    """Tensors that move by patterns, and rows: the plan says that nothing says it fits."""
    for flags in ({"--override-tensor": "exps=CPU"}, {"--split-mode": "row"}, {"--device": "CUDA1,CUDA0"}):
        (service,) = planned(machine, 2, flags, gpu=[0, 1]).services
        assert service.memory is None
        assert any(reason.choice == "memory not checked" for reason in service.reasons)


def test_overfull_card_of_own_flags_is_said(machine: Rig) -> None:
    """A share that a card cannot hold stands above the plan, and is a field of its JSON."""
    plan = planned(machine, 2, {"--tensor-split": "9,1"}, gpu=[0, 1], context=262144)
    assert plan.gpus[0].overflow_bytes > 0 and plan.gpus[1].overflow_bytes == 0
    assert any(note.choice == "LIKELY TO RUN OUT OF MEMORY" and "GPU 0" in note.because for note in plan.notes)


@pytest.mark.parametrize(
    ("flags", "keys", "said"),
    [
        ({"--device": "CUDA2,CUDA3"}, {"gpu": [0, 1]}, "numbers the 2 GPUs that it may use from 0"),
        ({"--device": "CUDA0,CUDA0"}, {"gpu": [0, 1]}, "numbers the 2 GPUs"),
        ({"--tensor-split": "1,1,1"}, {"gpu": [0, 1]}, "names 3 GPUs, and the service may use 2"),
        ({"--tensor-split": "a,b"}, {}, "give a share of each GPU, like 3,1"),
        ({"--tensor-split": "1e999,1"}, {}, "give a share of each GPU"),
        ({"--tensor-split": "-1,1"}, {}, "give a share of each GPU"),
        ({"--tensor-split": "0,0"}, {}, "give a share of each GPU"),
        ({"--split-mode": "layer"}, {"replicas": 3}, "3 copies need as many GPUs, and it may use 2"),
    ],
)
def test_wrong_placement_is_one_line(machine: Rig, flags: dict[str, Any], keys: dict[str, Any], said: str) -> None:
    """What llama-server would fail on after minutes, or take otherwise than meant."""
    with pytest.raises((WrongSpec, Refused)) as caught:
        planned(machine, 2, flags, **keys)
    assert isinstance(caught.value, RigwrightError)
    assert said in caught.value.message and "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("layout", "flags", "said"),
    [
        ("tensor", {"--split-mode": "layer"}, "lay the model out as layers"),
        ("layers", {"--split-mode": "tensor"}, "lay the model out as tensor"),
        ("single", {"--tensor-split": "1,1"}, "lay the model out as layers"),
        ("tensor", {"--fit": "on"}, "lay the model out as single"),
    ],
)
def test_layout_beside_flags_of_another_is_refused(machine: Rig, layout: str, flags: dict[str, Any], said: str) -> None:
    """Neither of both wins in silence."""
    with pytest.raises(WrongSpec, match=said):
        planned(machine, 2, flags, layout=layout)


@pytest.mark.parametrize(("keys", "is_told"), [({}, False), ({"cache_type": "q8_0"}, True)])
def test_own_sharing_that_llamacpp_refuses_is_told(machine: Rig, keys: dict[str, Any], is_told: bool) -> None:
    """The inventory's word wins, and the plan says what llama-server will say."""
    reasons = planned(machine, 2, {"--split-mode": "tensor"}, **keys).services[0].reasons
    assert any("cuts no KV cache in q8_0" in one.because for one in reasons) == is_told


def test_wrong_flags_of_an_open_model_name_their_place_once(machine: Rig) -> None:
    wish = ServiceWish.model_validate({"name": "chat", "model": "auto", "flags": {"--tensor-split": "1,1,1"}})
    with pytest.raises(RigwrightError, match=r"^services\.chat\.flags: --tensor-split names 3 GPUs"):
        name_models(machine(gpus=["RTX 3090"] * 2), [Request(wish, ())], is_preview=True)


@pytest.mark.parametrize("layers", [0, 1])
@pytest.mark.parametrize("count", [1, 2])
def test_no_layer_on_a_gpu_is_a_placement_too(machine: Rig, layers: int, count: int) -> None:
    """--n-gpu-layers 0: the weights are in RAM, and the GPU has what each process takes."""
    found = planned(machine, count, {"--n-gpu-layers": layers}).services[0]
    assert found.memory and found.memory.on(0) < 3e9 < found.memory.ram_bytes


def test_bar_shows_what_does_not_fit_in_red() -> None:
    """Beyond what is offered each column is a red mark, in letters too; what fits has none."""
    for is_ascii in (False, True):
        colours = Colours(["chat"], is_ascii=is_ascii)
        rows = [bar([Share("chat", "weights", size)], total_bytes=24, offered_bytes=22, width=40, colours=colours)
                for size in (20, 40)]  # fmt: skip
        assert "!" not in rows[0].plain and len(rows[1].plain) == 40
        assert rows[1].plain.endswith("!" * 18) and rows[1].plain.count("!") == 18
        assert any(str(span.style) == "bold red" and span.end == 40 for span in rows[1].spans)
