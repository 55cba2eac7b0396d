"""Plans for deploys: of the engines that a role serves with, and what another would do."""

from __future__ import annotations

from typing import Any

import pytest

from rigwright.plan.engines.vllm.planner import VllmPlanner
from rigwright.resolve.resolve import Resolved, resolve
from rigwright.spec.rig import parse_spec


def resolved(hardware: Any, *, is_preview: bool = False, **service: Any) -> Resolved:
    wished = {"name": "chat", "model": "qwen3.6-35b-a3b"} | service
    return resolve(parse_spec("rig", {"services": [wished]}), hardware, is_preview=is_preview)


@pytest.fixture
def no_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with an engine that has no role yet."""
    monkeypatch.setattr(VllmPlanner, "is_deployed", False)


def test_deploy_takes_the_engine_that_is_best(machine: Any) -> None:
    """Two RTX 3090 on NVLink: a deploy and a preview plan vLLM, which both bring."""
    hardware = machine(gpus=["RTX 3090"] * 2, links="NV4")
    for is_preview in (True, False):
        (served,) = resolved(hardware, is_preview=is_preview).plan.services
        assert (served.engine, served.not_deployed) == ("vllm", None)


def test_deploy_takes_an_engine_that_is_deployed(machine: Any, no_vllm: None) -> None:
    """A preview of two RTX 3090 on NVLink plans vLLM; a deploy brings llama.cpp and says what vLLM would reach."""
    hardware = machine(gpus=["RTX 3090"] * 2, links="NV4")
    preview = resolved(hardware, is_preview=True).plan
    assert (preview.services[0].engine, bool(preview.services[0].not_deployed)) == ("vllm", True)
    plan = resolved(hardware).plan
    (served,) = plan.services
    assert (served.engine, served.not_deployed) == ("llamacpp", None)
    assert preview.services[0].speed and served.speed
    expected = f"about {preview.services[0].speed.expected:.0f} tokens/s instead of {served.speed.expected:.0f}, with "
    [reason] = [one for one in served.reasons if one.choice == "vLLM would be faster"]
    assert reason.because.startswith(expected) and reason.because.endswith("no role serves with it yet")
    assert f"chat: {reason.because}" in [note.because for note in plan.notes]


def test_deploy_keeps_the_engine_that_is_named(machine: Any, no_vllm: None) -> None:
    """Who names vLLM gets a plan of it, which says that nothing deploys it; another service is not drawn along."""
    (served,) = resolved(machine(gpus=["RTX 3090"] * 2, links="NV4"), engine="vllm").plan.services
    assert served.engine == "vllm" and served.not_deployed
    wished = [
        {"name": "chat", "model": "qwen3.6-35b-a3b", "engine": "vllm", "gpu": [0, 1]},
        {"name": "other", "model": "qwen3.6-35b-a3b", "gpu": [2, 3], "port": 9000},
    ]
    both = resolve(parse_spec("rig", {"services": wished}), machine(gpus=["RTX 3090"] * 4, links="NV4")).plan
    assert [one.engine for one in both.services] == ["vllm", "llamacpp"]


@pytest.mark.parametrize("users", [1, 16])
def test_nothing_is_faster_where_the_same_is_planned(machine: Any, users: int) -> None:
    """On a card of Pascal, which vLLM does not run on, a deploy and a preview are one plan."""
    plan = resolved(machine(gpus=["Tesla P40"]), model="qwen3.5-9b", users=users).plan
    assert plan.services[0].engine == "llamacpp"
    assert not [note for note in plan.notes if "would be faster" in note.choice]
