"""The last line of `recommend`: a plan takes it, and comes to what was recommended."""

from __future__ import annotations

import json

import pytest
import yaml
from rich.console import Console

from rigwright.errors import RigwrightError
from rigwright.inventory.described import described
from rigwright.models.variants import known_models, variants
from rigwright.plan.recommend import PURPOSES, Purpose, goal_for, recommend
from rigwright.plan.source import ModelSource
from rigwright.resolve import resolve
from rigwright.spec.rig import parse_spec
from rigwright.units import GIB
from rigwright.view.recommend_table import service_of, show_closing
from rigwright.weights.variants import offers_for


def test_every_model_with_every_quant_can_be_written() -> None:
    """`key:QUANT`, as the answers of `recommend` have it, comes to the files of that quant alone."""
    wrong = []
    for known in known_models():
        for quant in {one.quant for one in variants(known)}:
            found = offers_for(ModelSource.model_validate(f"{known.key}:{quant}"))
            if {(one.known, one.quant) for one in found} != {(known, quant)}:
                wrong.append(f"{known.key}:{quant}")
    assert wrong == []


@pytest.mark.patience
@pytest.mark.parametrize("purpose", PURPOSES)
def test_every_model_and_quant_is_planned_as_it_is_named(purpose: Purpose) -> None:
    """For every purpose: what `recommend` would write comes to that model in that quant, where everything fits."""
    hardware = described(["8x H200 SXM"], ram_bytes=2048 * GIB).hardware
    wrong = []
    for known in known_models():
        for quant in dict.fromkeys(one.quant for one in variants(known)):
            service = {"name": "chat", "model": f"{known.key}:{quant}", "goal": goal_for(purpose)}
            try:
                plan = resolve(parse_spec("rig1", {"services": [service]}), hardware, is_preview=True).plan.services[0]
            except RigwrightError as error:
                wrong.append(f"{known.key}:{quant}: {error.message}")
                continue
            if (plan.model, plan.quant) != (known.name, quant):
                wrong.append(f"{known.key}:{quant}: planned as {plan.model} {plan.quant}")
    assert wrong == []


@pytest.mark.patience
@pytest.mark.parametrize("purpose", PURPOSES)
@pytest.mark.parametrize(
    ("cards", "users", "context"),
    [("3090", 1, None), ("4x3090:nvlink", 4, None), ("5060 Ti 16GB", 1, 32768), ("m4 max", 1, None), ("none", 1, None)],
)
def test_closing_line_plans_what_was_recommended(cards: str, users: int, context: int | None, purpose: Purpose) -> None:
    """The same in an inventory of Python and in a file of YAML: model, quant, users and context."""
    hardware = described([cards], ram_bytes=96 * GIB).hardware
    first = recommend(hardware, purpose, users=users, context=context).fitting[0]
    service = service_of(first, users=users, context=context)
    console = Console(width=40, record=True, file=None, quiet=False, force_terminal=False)
    with console.capture() as shown:
        show_closing(console, service, "nothing")
    line = next(one.strip() for one in shown.get().splitlines() if '"services"' in one)
    assert yaml.safe_load(line) == json.loads("{" + line + "}") == eval("{" + line + "}") == {"services": [service]}
    spec = parse_spec("rig1", yaml.safe_load(line))
    plan = resolve(spec, hardware, is_preview=True).plan.services[0]
    same = first.plan
    assert (plan.model, plan.quant, plan.engine) == (first.model, same.quant, same.engine)
    assert (plan.context_tokens, plan.slots, plan.layout) == (same.context_tokens, same.slots, same.layout)
    assert [gpu.index for gpu in plan.gpus] == [gpu.index for gpu in same.gpus]
    assert spec.services[0].users == users and plan.context_tokens >= (context or 0)
