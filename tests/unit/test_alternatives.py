"""What else was possible, as its reader weighs it: what is worse, what is better, and nothing twice."""

from __future__ import annotations

import re
from functools import cache

import pytest

from rigwright.inventory.described import described
from rigwright.plan.service import Alternative, ServicePlan
from rigwright.resolve import resolve
from rigwright.spec.rig import parse_spec
from rigwright.units import GIB

CASES = [
    (cards, model, users)
    for cards in ("4x3090", "5080", "7900 XTX")
    for model in ("qwen3.5-35b-a3b", "qwen3.5-27b")
    for users in (1, 4)
]
FASTER = re.compile(r"\d % faster|times as fast")
MORE_CONTEXT = re.compile(r"\d % more context|times the context")


@cache
def planned(cards: str, model: str, users: int) -> ServicePlan:
    wish = {"services": [{"name": "chat", "model": model, "users": users}]}
    hardware = described((cards,), ram_bytes=64 * GIB).hardware
    return resolve(parse_spec("rig", wish), hardware, is_preview=True, alternatives=8).plan.services[0]


def rows(cards: str, model: str, users: int) -> list[Alternative]:
    return [one for one in planned(cards, model, users).alternatives if one.tokens_per_second]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_no_two_ways_look_the_same(case):
    """Layers in RAM and the type of the KV cache are told; what fits in one way is not short in the same."""
    found = [(one.engine, one.layout, one.quant) for one in planned(*case).alternatives]
    assert len(found) == len(set(found))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_figures_of_a_row_are_not_said_twice(case):
    """Speed and context have columns; `why not` compares them."""
    for one in rows(*case):
        assert " instead of " not in one.why_not
        assert f"{one.context_tokens:,}" not in one.why_not
        assert ("for all users" in one.why_not) <= (case[2] >= 3)


@pytest.mark.parametrize("case", [case for case in CASES if case[2] < 3], ids=str)
def test_what_is_better_is_told_too(case):
    """Who sees a row that is faster, or has more context, reads that it is known, and what it costs."""
    chosen = planned(*case)
    assert chosen.speed
    for one in rows(*case):
        assert one.tokens_per_second and one.context_tokens and one.why_not
        assert bool(FASTER.search(one.why_not)) == (one.tokens_per_second * 0.95 > chosen.speed.expected), one
        assert bool(MORE_CONTEXT.search(one.why_not)) == (one.context_tokens > chosen.context_tokens), one
        assert not one.why_not.startswith("but"), one


def test_way_that_another_service_needs_says_so():
    """It is better at all that counts; its own price is not the reason."""
    wish = {
        "services": [
            {"name": "chat", "model": "qwen3.5-35b-a3b"},
            {"name": "coder", "model": "qwen3.5-27b", "port": 8081},
        ]
    }
    hardware = described(("5090 + 4090",), ram_bytes=128 * GIB).hardware
    coder = resolve(parse_spec("rig", wish), hardware, is_preview=True, alternatives=8).plan.services[1]
    better = [one for one in coder.alternatives if "another needs that GPU" in one.why_not]
    assert better and coder.speed and any((one.tokens_per_second or 0) > coder.speed.expected for one in better)
