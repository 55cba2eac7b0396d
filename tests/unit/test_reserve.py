"""rig.reserve: memory of GPUs that stays free for a desktop, or for programs that are not ours."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from rigwright.errors import Refused, WrongSpec
from rigwright.hardware import Hardware
from rigwright.lock.changes import stated_settings
from rigwright.plan.service import RigPlan
from rigwright.resolve import resolve
from rigwright.spec.rig import parse_spec
from rigwright.view.plan_table import show

GIB = 1024**3
Rig = Callable[..., Hardware]


def planned(hardware: Hardware, reserve: Any = None, model: str = "qwen3.5-35b-a3b") -> RigPlan:
    spec = parse_spec("rig", {"services": [{"name": "chat", "model": model}], "reserve": reserve})
    return resolve(spec, hardware).plan


def offered(plan: RigPlan) -> list[int]:
    return [gpu.offered_bytes for gpu in plan.gpus]


@pytest.mark.parametrize(
    ("reserve", "less"),
    [("2G", (2, 2)), ({0: "2G"}, (2, 0)), ({"1": "1.5 GiB"}, (0, 1.5)), ({0: 1 << 30, 1: 0}, (1, 0))],
)
def test_reserve_leaves_less_to_the_plan(machine: Rig, reserve: Any, less: tuple[float, float]) -> None:
    """Of every GPU, or of some by index; the plan keeps to it and says so."""
    rig = machine(gpus=["RTX 3090"] * 2)
    before, after = planned(rig), planned(rig, reserve)
    assert [a - b for a, b in zip(offered(before), offered(after), strict=True)] == [int(size * GIB) for size in less]
    assert all(gpu.used_bytes <= gpu.offered_bytes for gpu in after.gpus)
    assert any(note.choice == "reserved" and "as rig.reserve says" in note.because for note in after.notes)


def test_reserve_is_reserved_in_the_bar(machine: Rig) -> None:
    """The bar shows what stays free as reserved, not as free."""

    def crosses(reserve: str | None) -> int:
        text = io.StringIO()
        rig = machine(gpus=["RTX 3090"])
        show(Console(file=text, width=120, color_system=None), "rig", rig, planned(rig, reserve, "qwen3.5-4b"))
        return next(line for line in text.getvalue().splitlines() if line.startswith("GPU 0")).count("╳")

    assert crosses("12G") > crosses(None) + 20


def test_reserve_takes_the_place_of_what_a_display_is_guessed_to_take(machine: Rig) -> None:
    """Whoever knows says it: 0 for a display that shows nothing, more for a desktop with a browser."""
    rig = machine(gpus=["RTX 3090"])
    shown = replace(rig, gpus=(replace(rig.gpus[0], has_display=True),))
    assert offered(planned(shown, {0: 0})) == offered(planned(rig))
    assert offered(planned(rig))[0] - offered(planned(shown))[0] == 768 << 20


def test_reserve_of_one_memory_is_no_ram_either(machine: Rig) -> None:
    """What a desktop keeps of a GPU in the machine's memory is not offered as RAM instead."""
    rig = machine(chip="Apple M4 Max", ram_gib=64)
    spec = {"services": [{"name": "chat", "model": "qwen3.5-9b"}]}
    plans = [resolve(parse_spec("rig", spec | more), rig, is_preview=True).plan for more in ({}, {"reserve": "8G"})]
    assert offered(plans[0])[0] - offered(plans[1])[0] == 8 * GIB
    assert plans[0].offered_ram_bytes == plans[1].offered_ram_bytes


@pytest.mark.parametrize(
    ("reserve", "said"),
    [
        (2, "rig.reserve: 2 would be bytes; write a size with its unit, like 2G"),
        (True, "rig.reserve: 'True' is no size"),
        ([1], "rig.reserve: '[1]' is no size"),
        ({"x": "2G"}, "rig.reserve: 'x' is no index of a GPU"),
        ({True: "2G"}, "rig.reserve: 'True' is no index of a GPU"),
        ({0: None}, "rig.reserve: 'None' is no size"),
        ("-3G", "rig.reserve: '-3G' is no size"),
        ({0: -1}, "rig.reserve: -1 is less than nothing"),
        ({"0\n": "a\nb"}, "rig.reserve: 'a\\nb' is no size"),
    ],
)
def test_wrong_reserve_is_one_line(reserve: Any, said: str) -> None:
    """What is no size, or no index, is refused before a rig is asked."""
    with pytest.raises(WrongSpec) as caught:
        parse_spec("rig", {"reserve": reserve})
    assert f"rig: {said}" in caught.value.message and "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("reserve", "said"),
    [
        ({5: "2G"}, "rig.reserve: there is no GPU 5; this rig has 0, 1"),
        ({0: "40G"}, "rig.reserve: GPU 0 has 23.6 GiB, so that 40.0 GiB cannot stay free; reserve less of it"),
    ],
)
def test_reserve_that_this_rig_has_not_is_refused(machine: Rig, reserve: Any, said: str) -> None:
    """A plan, and so a deploy before it touches anything, refuses a GPU that is not there and more than it has."""
    with pytest.raises(Refused, match=said.replace(".", r"\.")):
        planned(machine(gpus=["RTX 3090"] * 2), reserve)


def test_lock_knows_the_reserve() -> None:
    """A reserve that comes, changes or goes is seen by a lock."""
    spec = {"services": [{"name": "chat", "model": "qwen3.5-9b"}]}
    said = [stated_settings(parse_spec("rig", spec | more)) for more in ({}, {"reserve": "1G"}, {"reserve": {0: "1G"}})]
    assert said == [{}, {"reserve": "1073741824"}, {"reserve": "0: 1073741824"}]
