"""Reasons against published advice: the KV cache of 8 bit, the speed of a full context, two files of one name."""

from __future__ import annotations

import re
from functools import cache

import pytest

from rigwright.inventory.described import described
from rigwright.plan.service import ServicePlan
from rigwright.resolve import resolve
from rigwright.spec.rig import parse_spec
from rigwright.units import GIB


@cache
def planned(cards: str, **wish: object) -> ServicePlan:
    hardware = described((cards,), ram_bytes=64 * GIB).hardware
    return resolve(
        parse_spec("rig", {"services": [{"name": "chat", **wish}]}), hardware, is_preview=True
    ).plan.services[0]


def reason(plan: ServicePlan, choice: str) -> str:
    """What is said of a choice; empty where nothing is."""
    return next((one.because for one in plan.reasons if re.fullmatch(choice, one.choice)), "")


@pytest.mark.parametrize(
    ("cards", "model", "context"),
    [
        ("3090", "qwen3.5-35b-a3b:UD-Q3_K_XL", 131072),
        ("3090", "qwen3.5-27b:Q3_K_M", 65536),
        ("5080", "qwen3.5-35b-a3b:Q8_0", 65536),
    ],
)
def test_gain_of_an_8_bit_cache_is_that_of_its_own_plan(cards, model, context):
    """What `--why` promises of q8_0 is what the plan with q8_0 comes to, where nothing else changes with it."""
    whole = planned(cards, model=model, context=context, draft=0)
    half = planned(cards, model=model, context=context, draft=0, cache_type="q8_0")
    said = re.search(r"(\d+) % faster at 4,096 tokens, (\d+) % at ([\d,]+)", reason(whole, "KV cache f16"))
    assert said and whole.speed and half.speed
    assert said[3] == f"{whole.context_tokens:,}"
    assert (whole.in_ram, whole.layout) == (half.in_ram, half.layout)
    gains = [new / old - 1 for new, old in zip(speeds(half), speeds(whole), strict=True)]
    assert [int(said[1]), int(said[2])] == pytest.approx([100 * gain for gain in gains], abs=1)


def speeds(plan: ServicePlan) -> tuple[float, float]:
    """After a short prompt, and with a full context."""
    assert plan.speed and plan.speed.full_context
    return plan.speed.expected, plan.speed.full_context


def test_8_bit_that_was_taken_or_asked_for_needs_no_excuse():
    """A cache of 8 bit has its own reason, a wish has none, and vLLM's types are others."""
    asked = planned("3090", model="qwen3.5-35b-a3b:Q4_K_M", context=65536, cache_type="f16")
    assert reason(asked, "KV cache .*") == ""
    assert reason(planned("2x3090", model="qwen3.5-35b-a3b", engine="vllm"), "KV cache f16") == ""


def test_gpus_that_share_layers_have_no_choice():
    """llama.cpp cuts no cache of 8 bit, so that nothing is promised of one."""
    shared = planned("2x3090", model="qwen3.5-122b-a10b:UD-IQ2_M", context=65536, layout="tensor")
    assert shared.layout.kind == "tensor"
    assert reason(shared, "KV cache f16") == "GPUs that share each layer take no cache of 8 bit"


def test_short_context_is_never_called_full():
    """Where the context is no longer than an ordinary prompt there is one speed."""
    assert reason(planned("3090", model="qwen3.5-35b-a3b:Q4_K_M", context=4096), ".* when it is full") == ""


@pytest.mark.parametrize(
    ("wish", "is_told"),
    [
        ({"model": "qwen3.5-35b-a3b:UD-Q4_K_XL"}, True),
        ({"model": "qwen3.5-35b-a3b"}, True),
        ({"model": "qwen3.5-35b-a3b:Q4_K_M"}, False),
        ({"model": "qwen3.5-35b-a3b", "quants": ["UD-IQ4_XS", "UD-Q4_K_L"]}, False),
        ({"model": "qwen3.5-35b-a3b", "engine": "vllm"}, False),
        ({"model": "qwen3.5-27b"}, False),
    ],
    ids=str,
)
def test_two_files_of_a_name_are_told_where_it_is_on_offer(wish, is_told):
    """Who reads that UD-Q4_K_XL is 9.7 % worse, or the best, learns that both are true, of different files."""
    model = wish | {"quants": tuple(wish["quants"])} if "quants" in wish else wish
    said = reason(planned("2x3090" if "engine" in wish else "3090", **model), "UD-Q4_K_XL")
    assert ("two files have this name" in said and "9.7 %" in said) == is_told
