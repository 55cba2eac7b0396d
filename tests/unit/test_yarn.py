"""rope: yarn stretches a model beyond the context that it was trained for, where its makers say that it can."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from rigwright.errors import RigwrightError, WrongSpec
from rigwright.hardware import Hardware
from rigwright.models.variants import model_of, variants
from rigwright.plan.rig_plan import Request, plan_rig
from rigwright.plan.service import ServicePlan
from rigwright.spec.rig import parse_spec

Rig = Callable[..., Hardware]


def planned(hardware: Hardware, model: str, **keys: Any) -> ServicePlan:
    spec = parse_spec("rig", {"services": [{"name": "chat", "model": model, **keys}]})
    asked = Request(spec.services[0], variants(model_of(model, where="test")))
    return plan_rig(hardware, [asked]).services[0]


def flags(plan: ServicePlan) -> dict[str, str | None]:
    return {flag.name: flag.value for flag in plan.flags}


@pytest.mark.parametrize(
    ("model", "context", "scale", "original"),
    [
        # The card of Qwen3: factor 4 of 32,768, though its configuration says 40,960.
        ("qwen3-8b", 131072, "4", "32768"),
        ("qwen3-8b", 65536, "2", "32768"),
        # The cards of Qwen3.5 to 3.8: of 262,144, and not more than is needed.
        ("qwen3.8-27b", 524288, "2", "262144"),
        ("qwen3.6-35b-a3b", 1010000, "3.86", "262144"),
        ("qwen3.5-9b", 300000, "1.15", "262144"),
    ],
)
def test_llama_server_gets_the_least_factor(machine: Rig, model: str, context: int, scale: str, original: str) -> None:
    """The words of the model cards, with the least factor that reaches the context; the plan counts its memory."""
    plan = planned(machine(gpus=["H100 80GB HBM3"]), model, context=context, rope="yarn", engine="llamacpp")
    found = flags(plan)
    assert (found["--rope-scaling"], found["--rope-scale"], found["--yarn-orig-ctx"]) == ("yarn", scale, original)
    assert float(scale) * int(original) >= context and int(found["--ctx-size"] or 0) >= context
    assert plan.context_tokens >= context and plan.memory and plan.memory.named("KV cache") > 0


def test_vllm_gets_all_rope_parameters(machine: Rig) -> None:
    """As the card of Qwen3.8-27B has them, under text_config; those of Qwen3 stand alone."""
    rig = machine(gpus=["H100 80GB HBM3"] * 2)
    found = planned(rig, "qwen3.8-27b", context=524288, rope="yarn", engine="vllm")
    assert json.loads(flags(found)["--hf-overrides"] or "") == {
        "text_config": {
            "rope_parameters": {
                "mrope_interleaved": True,
                "mrope_section": [11, 11, 10],
                "rope_type": "yarn",
                "rope_theta": 10000000,
                "partial_rotary_factor": 0.25,
                "factor": 2.0,
                "original_max_position_embeddings": 262144,
            }
        }
    }
    assert flags(found)["--max-model-len"] == "524288"
    assert dict(found.environment)["VLLM_ALLOW_LONG_MAX_MODEL_LEN"] == "1"
    plain = flags(planned(rig, "qwen3-8b", context=131072, rope="yarn", engine="vllm"))
    assert json.loads(plain["--hf-overrides"] or "") == {
        "rope_parameters": {
            "rope_type": "yarn", "rope_theta": 1000000, "factor": 4.0, "original_max_position_embeddings": 32768,
        }
    }  # fmt: skip


def test_nothing_is_stretched_that_nobody_asked_to_be(machine: Rig) -> None:
    """Without the key there is no flag of it, whatever the context."""
    plan = planned(machine(gpus=["H100 80GB HBM3"]), "qwen3.8-27b", context=262144)
    assert not any("rope" in name or "yarn" in name for name in flags(plan))


@pytest.mark.parametrize(
    ("model", "keys", "said"),
    [
        ("qwen3.8-27b", {"context": 131072}, "rope: yarn is not needed: Qwen3.8-27B was trained for 262144 tokens"),
        ("qwen3.8-27b", {"context": "2M"}, "YaRN takes Qwen3.8-27B to 1048576 tokens at most; lower context"),
        ("gemma-3-27b", {"context": 262144}, "the makers of gemma-3-27b-it say of no YaRN factor that it works"),
        ("gpt-oss-20b", {"context": 262144, "engine": "vllm"}, "the makers of gpt-oss-20b say of no YaRN factor"),
        ("qwen3.8-27b", {"context": 524288, "engine": "ollama"}, "rope: yarn is brought to llama.cpp and vLLM alone"),
        ("qwen3-coder-30b-a3b", {"context": 524288, "engine": "vllm"}, "wants all rope parameters"),
        ("qwen3.8-27b", {}, "rope: yarn stretches to a context; name one"),
        ("qwen3.8-27b", {"min_context": 524288}, "rope: yarn stretches to a context; name one"),
        ("qwen3.8-27b", {"context": 524288, "flags": {"--rope-scale": 4}}, "rope: yarn sets --rope-scale too"),
        ("qwen3.8-27b", {"context": 524288, "rope": "linear"}, "use yarn"),
        ("qwen3.8-27b", {"context": 524288, "rope": True}, "use yarn"),
        ("gemma-3-27b", {"context": 262144, "flags": {"--override-tensor": "a=CPU"}}, "say of no YaRN factor"),
    ],
)
def test_rope_that_does_not_suit_is_one_line(machine: Rig, model: str, keys: dict[str, Any], said: str) -> None:
    """Not needed, not made for it, too far, or said twice."""
    with pytest.raises(WrongSpec) as caught:
        planned(machine(gpus=["H100 80GB HBM3"]), model, **{"rope": "yarn", **keys})
    assert isinstance(caught.value, RigwrightError)
    assert said in caught.value.message and "\n" not in caught.value.message
