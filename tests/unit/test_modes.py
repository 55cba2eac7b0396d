"""Thinking and sampling of a service: what the wish says, as each engine and each family of models takes it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from rigwright import catalogue
from rigwright.hardware.values import Cpu
from rigwright.models.chats import chats, switch_words
from rigwright.models.variants import find_offer, known_models, model_of, variants
from rigwright.plan.choice import Choice
from rigwright.plan.engines import planners
from rigwright.plan.engines.llamacpp.capabilities import pinned_capabilities
from rigwright.plan.engines.llamacpp.render import render as llamacpp
from rigwright.plan.engines.llamacpp.spelling import spelled
from rigwright.plan.engines.modes import differences, sampling_of, template_words, thinking_error
from rigwright.plan.engines.ollama.render import render as ollama
from rigwright.plan.engines.rendered import RenderContext, Rendered
from rigwright.plan.engines.vllm.cache import VllmLoad
from rigwright.plan.engines.vllm.memory import VllmChoice, estimate_vllm
from rigwright.plan.engines.vllm.render import render as vllm
from rigwright.plan.memory import Load, Placement
from rigwright.plan.service import Layout
from rigwright.plan.wish import ServiceWish
from rigwright.units import GIB

AROUND = RenderContext(Cpu(model="cpu", physical_cores=8, logical_cores=16), "/w/m")
SAMPLING = {"--temp", "--top-p", "--top-k", "--min-p", "--presence-penalty", "--repeat-penalty"}


def rendered(engine: str, offered: str, **wish: Any) -> Rendered:
    """A service on one engine, as it would be started; `offered` is `MODEL:QUANT`."""
    variant = find_offer(offered, format="safetensors" if engine == "vllm" else "gguf")
    assert variant, offered
    keys = {"name": "chat", "model": offered.partition(":")[0], "engine": engine, **wish}
    asked = ServiceWish.model_validate(keys)
    if engine == "vllm":
        load = VllmLoad(32768)
        estimate = estimate_vllm(variant.model, load, [192 * GIB])
        own = VllmChoice(load, estimate)
        choice = Choice(asked, variant, "vllm", Layout(kind="single"), ((),), Load(32768), None, None, None, own=own)
        return vllm(choice, AROUND, "0.33.0")
    choice = Choice(asked, variant, engine, Layout(kind="cpu"), ((),), Load(32768), Placement(0), None, None)
    return llamacpp(choice, AROUND, pinned_capabilities()) if engine == "llamacpp" else ollama(choice, AROUND)


def flags(engine: str, offered: str, **wish: Any) -> dict[str, str | None]:
    return {flag.name: flag.value for flag in rendered(engine, offered, **wish).flags}


def reasons(engine: str, offered: str, **wish: Any) -> dict[str, str]:
    result = rendered(engine, offered, **wish)
    return {one.choice: one.because for one in (*(flag.reason for flag in result.flags), *result.reasons)}


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({}, (None, None)),
        ({"thinking": "on"}, ("thinking", True)),
        ({"thinking": "off"}, ("instruct", False)),
        ({"thinking": True}, ("thinking", True)),
        ({"thinking": False}, ("instruct", False)),
        ({"thinking": "per-request"}, (None, None)),
        ({"mode": "thinking-coding"}, ("thinking-coding", True)),
        ({"mode": "thinking-coding", "thinking": "on"}, ("thinking-coding", True)),
        ({"mode": "instruct-reasoning", "thinking": "off"}, ("instruct-reasoning", False)),
    ],
)
def test_mode_and_thinking_say_one_thing(wish: dict[str, Any], said: tuple[object, ...]) -> None:
    """A mode implies thinking, thinking alone stands for its plain mode; YAML's on and off are booleans."""
    asked = ServiceWish.model_validate({"name": "chat", "model": "./m.gguf", **wish})
    assert (asked.asked_mode, asked.thinks) == said


@pytest.mark.parametrize(
    ("mode", "thinking"), [("instruct", "on"), ("thinking", "off"), ("instruct", "per-request"), ("thinking", False)]
)
def test_mode_and_thinking_that_contradict_are_refused(mode: str, thinking: object) -> None:
    """In one line that names both."""
    with pytest.raises(ValidationError, match=f"mode {mode} means thinking: (on|off), and thinking is .*; drop one"):
        ServiceWish.model_validate({"name": "chat", "model": "./m.gguf", "mode": mode, "thinking": thinking})


@pytest.mark.parametrize(
    ("key", "wish", "error"),
    [
        ("qwen3-coder-next", {"thinking": "on"}, "thinking is on, but Qwen3-Coder-Next does not think; take"),
        ("qwen3-coder-next", {"mode": "thinking"}, "mode is thinking, but Qwen3-Coder-Next does not think; take"),
        ("qwen3-coder-next", {"thinking": "per-request"}, "does not think; take thinking out"),
        ("gpt-oss-20b", {"thinking": "off"}, "always thinks (reasoning_effort in a request says how long); take"),
        ("gpt-oss-20b", {"mode": "instruct"}, "mode is instruct, but gpt-oss-20b always thinks"),
        ("minimax-m2.7", {"thinking": "per-request"}, "always thinks; take thinking out"),
        ("qwen3-coder-next", {"thinking": "off"}, None),
        ("qwen3-coder-next", {"mode": "instruct"}, None),
        ("gpt-oss-20b", {"thinking": "on"}, None),
        ("gpt-oss-20b", {}, None),
        ("gemma-4-31b", {"thinking": "on"}, None),
        ("qwen3.5-27b", {"thinking": "per-request"}, None),
    ],
)  # fmt: skip
def test_model_is_not_asked_for_what_it_cannot(key: str, wish: dict[str, Any], error: str | None) -> None:
    """One that never thinks, one that always does: every engine refuses, so that `auto` looks at another model."""
    asked = ServiceWish.model_validate({"name": "chat", "model": key, **wish})
    found = thinking_error(asked, model_of(key, where="test"))
    assert (found is None) == (error is None) and (error or "") in (found or "")
    for name in ("llamacpp", "vllm", "ollama"):
        kind = "safetensors" if name == "vllm" else "gguf"
        variant = next((one for one in variants(model_of(key, where="test")) if one.format == kind), None)
        if variant and error:
            assert planners()[name].contradiction(asked, variant) == found


@pytest.mark.parametrize(
    ("offered", "wish", "reasoning", "words"),
    [
        ("qwen3.5-35b-a3b:Q4_K_M", {}, "auto", None),
        ("qwen3.5-35b-a3b:Q4_K_M", {"thinking": "on"}, "on", None),
        ("qwen3.5-35b-a3b:Q4_K_M", {"thinking": "off"}, "off", None),
        ("qwen3.5-35b-a3b:Q4_K_M", {"thinking": "per-request"}, "auto", None),
        # What llama-server does untold is to let every template think that can: /apply-template of b10068.
        ("gemma-4-31b:Q4_K_M", {}, "off", None),
        ("qwen3.5-4b:Q4_K_M", {}, "off", None),
        ("gemma-4-31b:Q4_K_M", {"thinking": "per-request"}, "auto", None),
        ("gpt-oss-20b:MXFP4", {"thinking": "on"}, "auto", None),
        ("qwen3-coder-next:Q4_K_M", {"thinking": "off"}, None, None),
        ("seed-oss-36b:Q4_K_M", {"mode": "instruct"}, "off", '{"thinking_budget":0}'),
        ("seed-oss-36b:Q4_K_M", {"thinking": "on"}, "on", '{"thinking_budget":-1}'),
        ("deepseek-v4-flash:MXFP4", {"thinking": "off"}, "off", '{"thinking":false}'),
        ("mistral-small-4-119b:Q4_K_M", {"thinking": "on"}, "on", '{"reasoning_effort":"high"}'),
    ],
)
def test_llamacpp_switches_by_the_words_of_the_template(
    offered: str, wish: dict[str, Any], reasoning: str | None, words: str | None
) -> None:
    """--reasoning tells every template enable_thinking; a family of other words is told those too."""
    found = flags("llamacpp", offered, **wish)
    assert (found.get("--reasoning"), found.get("--chat-template-kwargs")) == (reasoning, words)
    assert all(pinned_capabilities().takes(name, value) for name, value in found.items())


@pytest.mark.parametrize(
    ("offered", "wish", "words"),
    [
        ("qwen3.5-35b-a3b:FP8", {}, None),
        ("qwen3.5-35b-a3b:FP8", {"thinking": "off"}, {"enable_thinking": False}),
        ("qwen3.5-35b-a3b:FP8", {"thinking": "on"}, {"enable_thinking": True}),
        ("qwen3.5-35b-a3b:FP8", {"thinking": "per-request"}, None),
        # Whatever a template does untold: the official one of the small Qwen3.5 thinks, that of Unsloth does not.
        ("gemma-4-31b:BF16", {}, {"enable_thinking": False}),
        ("seed-oss-36b:BF16", {"mode": "instruct"}, {"thinking_budget": 0}),
        ("mistral-small-4-119b:FP8", {"thinking": "off"}, {"reasoning_effort": "none"}),
        ("gpt-oss-20b:MXFP4", {"mode": "thinking"}, None),
    ],
)
def test_vllm_switches_by_the_words_of_the_template(offered: str, wish: dict[str, Any], words: object) -> None:
    """As a default of the chat template, which a request may change."""
    said = flags("vllm", offered, **wish).get("--default-chat-template-kwargs")
    assert (json.loads(said) if said else None) == words


def test_sampling_of_requests_that_decide_is_what_both_ways_share() -> None:
    """Qwen3.5 wants another temperature and top_p to think than to answer at once; top_k and the rest are the same."""
    known = model_of("qwen3.5-35b-a3b", where="test")
    told = {(one.parameter, one.thinking, one.instruct) for one in differences(known)}
    assert told == {("temperature", 1.0, 0.7), ("top_p", 0.95, 0.8)}
    found = flags("llamacpp", "qwen3.5-35b-a3b:Q4_K_M", thinking="per-request")
    assert SAMPLING & found.keys() == SAMPLING - {"--temp", "--top-p"}
    said = reasons("llamacpp", "qwen3.5-35b-a3b:Q4_K_M", thinking="per-request")
    assert said["no --temp, --top-p"] == (
        "each request decides whether to think, and wants temperature 1 to think and 0.7 not to, top_p 0.95 to think "
        "and 0.8 not to: it should send them along; unsent, the file's own, else llama-server's defaults"
    )
    assert "chat_template_kwargs, enable_thinking" in said["--reasoning auto"]
    on_vllm = reasons("vllm", "qwen3.5-35b-a3b:FP8", thinking="per-request")
    assert "generation_config.json holds" in on_vllm["no --override-generation-config"]


def test_sampling_that_is_the_same_both_ways_is_pinned() -> None:
    """Gemma 4 is sampled alike; of Seed-OSS only one way is known, so that nothing is said for both."""
    assert flags("llamacpp", "gemma-4-31b:Q4_K_M", thinking="per-request").keys() >= SAMPLING
    assert not SAMPLING & flags("llamacpp", "seed-oss-36b:Q4_K_M", thinking="per-request").keys()


@pytest.mark.parametrize("engine", ["llamacpp", "vllm", "ollama"])
def test_thinking_brings_the_sampling_of_its_mode(engine: str) -> None:
    """`thinking: off` is sampled as instruct on every engine."""
    offered = "qwen3.5-35b-a3b:FP8" if engine == "vllm" else "qwen3.5-35b-a3b:Q4_K_M"
    wish = ServiceWish.model_validate({"name": "chat", "model": "./m.gguf", "thinking": "off"})
    assert sampling_of(wish, model_of("qwen3.5-35b-a3b", where="test"))["temperature"] == 0.7
    asked = {"thinking": "off"} if engine != "ollama" else {"mode": "instruct"}
    result = rendered(engine, offered, **asked)
    text = result.modelfile or " ".join(f"{flag.name} {flag.value}" for flag in result.flags)
    assert any(said in text for said in ("--temp 0.7", '"temperature":0.7', "PARAMETER temperature 0.7"))


def test_ollama_has_no_switch_and_says_so() -> None:
    """Untold by a request it lets every model think that can: off is refused, per-request leaves the parameters out."""
    variant = find_offer("qwen3.5-35b-a3b:Q4_K_M", format="gguf")
    assert variant
    wish = ServiceWish.model_validate({"name": "chat", "model": "./m.gguf", "engine": "ollama", "thinking": "off"})
    said = planners()["ollama"].contradiction(wish, variant)
    assert said and said.startswith("thinking is off, but Ollama has no switch for all requests; write per-request")
    text = rendered("ollama", "qwen3.5-35b-a3b:Q4_K_M", thinking="per-request").modelfile or ""
    assert "PARAMETER temperature" not in text and "PARAMETER top_k 20" in text


@pytest.mark.parametrize(
    ("offered", "speaker"),
    [
        ("qwen3.6-27b:Q4_K_M", "qwen3.5"), ("gemma-4-31b:Q4_K_M", "gemma4"), ("glm-4.7-flash:Q4_K_M", "glm-4.7"),
        ("qwen3-coder-30b-a3b:Q4_K_M", "qwen3-coder"), ("qwen3-30b-a3b:Q4_K_M", None), ("gpt-oss-20b:MXFP4", None),
    ],
)  # fmt: skip
def test_ollama_speaks_to_families_that_it_knows(offered: str, speaker: str | None) -> None:
    """RENDERER and PARSER of one name, as Ollama's own models have them; none is guessed."""
    text = rendered("ollama", offered).modelfile or ""
    assert [line for line in text.splitlines() if line.startswith(("RENDERER", "PARSER"))] == (
        [f"RENDERER {speaker}", f"PARSER {speaker}"] if speaker else []
    )


def test_every_family_is_spoken_to_in_words_that_exist() -> None:
    """Parsers are those of the recorded vLLM; who can be switched has a word for it, who always thinks has none."""
    vllm_knows = catalogue.load("vllm_flags")["0.33.0"]
    for name, chat in chats().items():
        assert chat.reasoning_parser in (None, *vllm_knows["reasoning_parsers"]), name
        assert chat.tool_call_parser in (None, *vllm_knows["tool_call_parsers"]), name
    for known in known_models():
        assert known.can_switch == (known.thinking in ("default-on", "default-off")), known.key
        assert known.thinking != "none" or known.reasoning_parser is None, known.key
    used = {row["chat"] for row in catalogue.load("models")["models"]}
    assert used == chats().keys()
    assert switch_words() == {"enable_thinking", "thinking", "thinking_budget", "reasoning_effort"}


def test_own_words_for_the_template_take_the_place_of_the_switch() -> None:
    """Those that switch replace --reasoning, others leave it."""
    own = {"--chat-template-kwargs": '{"thinking_budget":512}'}
    found = flags("llamacpp", "seed-oss-36b:Q4_K_M", thinking="on", flags=own)
    assert "--reasoning" not in found and found["--chat-template-kwargs"] == own["--chat-template-kwargs"]
    own = {"--chat-template-kwargs": '{"preserve_thinking":true}'}
    assert flags("llamacpp", "qwen3.5-35b-a3b:Q4_K_M", thinking="off", flags=own)["--reasoning"] == "off"


def test_earlier_release_is_told_once() -> None:
    """One that has no --reasoning is told by --chat-template-kwargs, which the words of a family are in already."""
    old = pinned_capabilities()
    old = replace(
        old, options={name: option for name, option in old.options.items() if name not in ("--reasoning", "-rea")}
    )
    said, _ = spelled(rendered("llamacpp", "seed-oss-36b:Q4_K_M", thinking="off").flags, old)
    assert [flag.value for flag in said if flag.name == "--chat-template-kwargs"] == ['{"thinking_budget":0}']
    # Words of the inventory's own that switch nothing say nothing of it.
    own = {"--chat-template-kwargs": '{"preserve_thinking":true}'}
    said, _ = spelled(rendered("llamacpp", "qwen3.5-35b-a3b:Q4_K_M", thinking="off", flags=own).flags, old)
    assert '{"enable_thinking":false}' in [flag.value for flag in said]


def test_model_of_no_catalogue_is_switched_by_the_usual_word() -> None:
    """What its makers recommend is unknown, and nothing is made up."""
    wish = ServiceWish.model_validate({"name": "chat", "model": "./m.gguf", "thinking": "off"})
    assert thinking_error(wish, None) is None and not sampling_of(wish, None)
    assert template_words(wish, None) == {"enable_thinking": False}
    assert template_words(ServiceWish.model_validate({"name": "chat", "model": "./m.gguf"}), None) == {}
