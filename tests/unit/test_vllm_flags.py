"""A choice becomes a command line that vLLM takes, on GPUs that belong together, with the inventory's flags on top."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from rigwright.errors import WrongSpec
from rigwright.hardware.values import Cpu, Gpu, Hardware, Link
from rigwright.models.variants import find_offer
from rigwright.plan.choice import Choice
from rigwright.plan.devices import devices
from rigwright.plan.engines.rendered import RenderContext, Rendered
from rigwright.plan.engines.vllm import render as vllm
from rigwright.plan.engines.vllm.cache import VllmLoad
from rigwright.plan.engines.vllm.memory import VllmChoice, estimate_vllm
from rigwright.plan.engines.vllm.overrides import known_flags
from rigwright.plan.memory import Load
from rigwright.plan.service import Layout
from rigwright.plan.wish import ServiceWish
from rigwright.units import GIB

AROUND = RenderContext(Cpu(), "/srv/weights/qwen")
ALONE = Layout(kind="single")
PAIR = Layout(kind="tensor", tensor_parallel=2, link="NV4")
TWO_PAIRS = Layout(kind="pipeline", tensor_parallel=2, pipeline_parallel=2, link="NV4")
UUID = "GPU-1a2b3c4d-5e6f-7a8b-9c0d-1e2f3a4b5c{:02x}"


def rig(count: int, *, name: str = "NVIDIA GeForce RTX 3090", capability: str = "8.6", uuid: str = UUID) -> Hardware:
    gpu = Gpu(vendor="NVIDIA", name=name, vram_bytes=24 * GIB, compute_capability=capability, state="ok", mig=False)
    return Hardware(gpus=tuple(replace(gpu, index=index, uuid=uuid.format(index)) for index in range(count)))


def choose(
    layout: Layout = ALONE,
    groups: tuple[tuple[int, ...], ...] = ((0,),),
    *,
    hardware: Hardware | None = None,
    offered: str = "qwen3.5-35b-a3b:GPTQ-Int4",
    load: dict[str, Any] | None = None,
    cache: str = "auto",
    **wish: Any,
) -> Choice:
    """A choice of the GPUs in `groups`, by index, as the search would make it."""
    found = devices(hardware or rig(4))
    variant = find_offer(offered, format="safetensors")
    assert variant
    asked = VllmLoad(32768, tensor_parallel=layout.tensor_parallel, pipeline_parallel=layout.pipeline_parallel)
    asked = asked._replace(**(load or {}))
    estimate = estimate_vllm(variant.model, asked, [24 * GIB] * len(groups[0]))
    return Choice(
        ServiceWish(name="chat", model="qwen3.5-35b-a3b", engine="vllm", **wish),
        variant,
        "vllm",
        layout,
        tuple(tuple(found[index] for index in group) for group in groups),
        Load(32768, 4, cache, cache),
        None,
        estimate.memory,
        None,
        own=VllmChoice(asked, estimate),
    )


def render(choice: Choice, version: str = "0.33.0", **more: Any) -> Rendered:
    return vllm.render(choice, AROUND, version, **more)


def value(rendered: Rendered, name: str) -> str | None:
    [flag] = [flag for flag in rendered.flags if flag.name == name]
    return flag.value


def names(rendered: Rendered) -> list[str]:
    return [flag.name for flag in rendered.flags]


def every_way() -> Iterator[Choice]:
    yield choose()
    yield choose(PAIR, ((0, 2), (1, 3)), mode="instruct")
    yield choose(TWO_PAIRS, ((0, 2, 1, 3),), mode="thinking-coding", vision=True)
    yield choose(replace_link(PAIR, "PHB"), ((0, 1),), draft=2, cache="int8_per_token_head", alias="qwen")
    yield choose(load={"has_cuda_graphs": False, "utilization": 0.61}, context=8192)


def replace_link(layout: Layout, link: str | None) -> Layout:
    return layout.model_copy(update={"link": link})


@pytest.mark.parametrize("choice", list(every_way()), ids=lambda choice: str(choice.layout))
def test_vllm_flags_are_those_of_the_version(choice: Choice) -> None:
    """Every flag has its full name, a value if and only if it takes one, and a reason."""
    known = known_flags("0.33.0")
    assert known
    model, *flags = render(choice).flags
    assert (model.name, model.value) == ("/srv/weights/qwen", None)
    for flag in flags:
        assert flag.name in (known.bare if flag.value is None else known.valued), flag
        assert flag.value in known.choices.get(flag.name, (flag.value,)), flag
        assert flag.reason.because


def test_vllm_catalogue_agrees_with_the_help() -> None:
    """Names as `vllm serve --help=all` of 0.33.0 prints them; what older versions had is gone."""
    known = known_flags("0.33.0")
    assert known
    assert {"--enforce-eager", "--language-model-only", "--headless", "--enable-prefix-caching"} <= known.bare
    assert {"--max-model-len", "--kv-cache-memory-bytes", "--shutdown-timeout", "--api-server-count"} <= known.valued
    assert {"--default-chat-template-kwargs", "--speculative-config"} <= known.json
    assert known.same["--device-memory-utilization"] == "--gpu-memory-utilization"
    assert known.same["--disable-prefix-caching"] == "--enable-prefix-caching"
    assert not {"--swap-space", "--use-v2-block-manager", "--enable-reasoning", "--task"} & set(known.names)
    assert "int8_per_token_head" in known.choices["--kv-cache-dtype"]
    assert known.choices["--performance-mode"] == ["balanced", "interactivity", "throughput"]
    assert "qwen3" in known.choices["--reasoning-parser"] and "qwen3_coder" in known.choices["--tool-call-parser"]


def test_vllm_puts_nvlink_pairs_side_by_side() -> None:
    """Ranks are laid out PP × TP over the visible GPUs: bridges 0-2 and 1-3 need the order 0, 2, 1, 3."""
    masked = choose(TWO_PAIRS, ((0, 2, 1, 3),), hardware=rig(4, uuid="GPU-00000000-0000-0000-0000-000000000000"))
    environment = dict(render(masked).environments[0])
    assert environment["CUDA_VISIBLE_DEVICES"] == "0,2,1,3"
    assert environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert value(render(masked), "--tensor-parallel-size") == value(render(masked), "--pipeline-parallel-size") == "2"


def test_vllm_names_gpus_by_uuid_where_it_can() -> None:
    """UUIDs stay when a card is lost; releases before 0.33 end on them, so those get indexes."""
    pair = choose(PAIR, ((2, 0),))
    assert dict(render(pair).environments[0])["CUDA_VISIBLE_DEVICES"] == f"{UUID.format(2)},{UUID.format(0)}"
    assert dict(render(pair, "0.20.1").environments[0])["CUDA_VISIBLE_DEVICES"] == "2,0"


def test_vllm_gives_each_copy_its_gpus() -> None:
    """Copies differ in the GPUs that they see, in nothing else."""
    first, second = render(choose(PAIR, ((0, 2), (1, 3))), "0.20.1").environments
    assert [dict(one)["CUDA_VISIBLE_DEVICES"] for one in (first, second)] == ["0,2", "1,3"]
    assert {name for name, text in first if dict(second)[name] != text} == {"CUDA_VISIBLE_DEVICES"}


def test_vllm_says_why_for_each_variable() -> None:
    """No variable without a reason."""
    rendered = render(choose(PAIR, ((0, 2),)))
    said = " ".join(reason.choice for reason in rendered.reasons)
    assert all(name in said for name, _ in rendered.environments[0])


@pytest.mark.parametrize(
    ("name", "kind", "p2p", "expected"),
    [
        ("NVIDIA GeForce RTX 3090", "NV4", None, ("NCCL_P2P_LEVEL", "NVL")),
        ("NVIDIA GeForce RTX 3090", "PHB", None, ("NCCL_P2P_DISABLE", "1")),
        ("NVIDIA GeForce RTX 4090", "PHB", "OK", None),
        ("NVIDIA A40", "PHB", "CNS", ("NCCL_P2P_DISABLE", "1")),
        ("NVIDIA A40", "PHB", "OK", None),
        ("NVIDIA A40", "PHB", None, None),
    ],
)
def test_vllm_lets_nccl_go_direct_only_where_it_works(
    name: str, kind: str, p2p: str | None, expected: tuple[str, str] | None
) -> None:
    """NVLink is used; a way that the driver refuses is not tried, as it may hang; the rest is NCCL's to find out."""
    choice = choose(replace_link(PAIR, kind), ((0, 1),), hardware=rig(2, name=name))
    rendered = render(choice, links=(Link(0, 1, kind, p2p),))
    assert [pair for pair in rendered.environments[0] if pair[0].startswith("NCCL")] == ([expected] if expected else [])
    assert ("--disable-custom-all-reduce" in names(rendered)) is (kind != "NV4")


def test_vllm_takes_two_bridges_for_no_mesh() -> None:
    """Four GPUs joined in pairs are not joined each with each: tensor parallel over all four is not linked."""
    four = Layout(kind="tensor", tensor_parallel=4, link="NV4")
    links = (Link(0, 2, "NV4"), Link(1, 3, "NV4"), Link(0, 1, "PHB"))
    assert "--disable-custom-all-reduce" in names(render(choose(four, ((0, 2, 1, 3),)), links=links))
    mesh = tuple(Link(one, other, "NV12") for one in range(4) for other in range(one + 1, 4))
    assert "--disable-custom-all-reduce" not in names(render(choose(four, ((0, 1, 2, 3),)), links=mesh))


def test_vllm_needs_nothing_of_many_on_one_gpu() -> None:
    """One GPU has no executor, no pipeline and no NCCL to set."""
    rendered = render(choose())
    assert value(rendered, "--tensor-parallel-size") == "1"
    assert not {"--pipeline-parallel-size", "--distributed-executor-backend"} & set(names(rendered))
    assert not any(name.startswith("NCCL") for name, _ in rendered.environments[0])


def test_vllm_answers_in_the_mode_of_the_wish() -> None:
    """Instruct switches thinking off for all requests and brings its sampling; without a mode the model's own holds."""
    instruct = render(choose(mode="instruct"))
    assert value(instruct, "--default-chat-template-kwargs") == '{"enable_thinking":false}'
    sampling = json.loads(value(instruct, "--override-generation-config") or "")
    assert (sampling["temperature"], sampling["top_p"], sampling["presence_penalty"]) == (0.7, 0.8, 1.5)
    assert sampling["repetition_penalty"] == 1.0
    coding = render(choose(mode="thinking-coding"))
    assert json.loads(value(coding, "--override-generation-config") or "")["temperature"] == 0.6
    assert value(coding, "--default-chat-template-kwargs") == '{"enable_thinking":true}'
    assert not {"--default-chat-template-kwargs", "--override-generation-config"} & set(names(render(choose())))


def test_vllm_drafts_sees_and_fits_as_asked() -> None:
    """Drafts, images, and a start without CUDA graphs each have their flag."""
    asked = render(choose(draft=2, vision=True, load={"has_cuda_graphs": False, "utilization": 0.61}))
    assert json.loads(value(asked, "--speculative-config") or "") == {"method": "mtp", "num_speculative_tokens": 2}
    assert "--language-model-only" not in names(asked)
    assert "--enforce-eager" in names(asked)
    assert value(asked, "--gpu-memory-utilization") == "0.61"
    plain = names(render(choose()))
    assert "--language-model-only" in plain
    assert not {"--speculative-config", "--enforce-eager"} & set(plain)


def test_vllm_computes_at_least_one_block_at_once() -> None:
    """A block of the 8 bit cache of Qwen3.5-35B-A3B has 2096 tokens: 2048 at once would never start a long prompt."""
    load = {"max_batched_tokens": 2048, "kv_bytes": 1}
    small = render(choose(PAIR, ((0, 2),), load=load, cache="fp8"))
    assert value(small, "--max-num-batched-tokens") == "2304"


def test_vllm_never_shows_the_key() -> None:
    """Process lists show a command line: no --api-key, and neither the key nor its file in any variable."""
    rendered = vllm.render(choose(), AROUND._replace(api_key_path="/etc/rigwright/chat.key"), "0.33.0")
    shown = [*names(rendered), *(text for pair in rendered.environments[0] for text in pair)]
    assert not any("key" in text.lower() for text in shown)
    assert any(reason.choice == "no --api-key" for reason in rendered.reasons)


def test_vllm_pins_the_revision_of_a_repository() -> None:
    """Weights that lie on the rig need no revision and no network; a repository's name needs both."""
    offline = render(choose())
    assert "--revision" not in names(offline)
    assert ("HF_HUB_OFFLINE", "1") in offline.environments[0]
    choice = choose()
    pinned = replace(choice, variant=replace(choice.variant, revision="33dd1a7"))
    fetched = vllm.render(pinned, RenderContext(Cpu(), "Qwen/Qwen3.5-35B-A3B-GPTQ-Int4"), "0.33.0")
    assert value(fetched, "--revision") == "33dd1a7"
    moving = vllm.render(choice, RenderContext(Cpu(), "Qwen/Qwen3.5-35B-A3B-GPTQ-Int4"), "0.33.0")
    [flag] = [flag for flag in moving.flags if flag.name == "--revision"]
    assert (flag.value, "may move" in flag.reason.because) == ("main", True)
    assert "HF_HUB_OFFLINE" not in dict(fetched.environments[0])


def test_vllm_flags_of_the_inventory_win() -> None:
    """The inventory's value stands, its reason says what it replaced; None drops a flag, other names replace too."""
    own: dict[str, Any] = {
        "--max-num-seqs": 32,
        "--kv-cache-dtype": None,
        "--device-memory-utilization": 0.8,
        "--disable-prefix-caching": True,
        "--language-model-only": False,
    }
    rendered = render(choose(flags=own))
    assert value(rendered, "--max-num-seqs") == "32"
    [seqs] = [flag for flag in rendered.flags if flag.name == "--max-num-seqs"]
    assert seqs.reason.because == "the inventory says so instead of --max-num-seqs 4"
    assert value(rendered, "--device-memory-utilization") == "0.8"
    assert value(rendered, "--disable-prefix-caching") is None
    assert not {"--kv-cache-dtype", "--gpu-memory-utilization", "--language-model-only"} & set(names(rendered))
    assert "no --kv-cache-dtype auto" in [reason.choice for reason in rendered.reasons]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"--max-model": 8192}, "vLLM would read it as --max-model-len; write that in full"),
        ({"--max-num-seq": 8}, "vLLM would read it as --max-num-seqs; write that in full"),
        ({"--gpu-memory-utilisation": 0.8}, "did you mean --gpu-memory-utilization?"),
        ({"--swap-space": 4}, "unknown flag of vLLM; "),
        ({"--no-enable-prefix-caching": True}, "unknown flag of vLLM; write --disable-prefix-caching"),
        ({"--enforce-eager": 1}, "--enforce-eager takes no value; write true instead of 1"),
        ({"--max-num-seqs": True}, "--max-num-seqs needs a value"),
        ({"--reasoning-parser": "qwen"}, "--reasoning-parser cannot be 'qwen'; use qwen3"),
        ({"--kv-cache-dtype": "q8_0"}, "--kv-cache-dtype cannot be 'q8_0'; use "),
        ({"--speculative-config": "{method: mtp}"}, "--speculative-config is no JSON"),
        ({"--tensor-parallel-size": 4}, "is not set through flags; name the GPUs in gpu"),
        ({"--served-model-name": "x"}, "is not set through flags; set alias"),
    ],
)
def test_vllm_refuses_flags_that_it_would_not_take(flags: dict[str, Any], message: str) -> None:
    """One line says what is wrong with a flag, before anything is installed."""
    with pytest.raises(WrongSpec) as wrong:
        render(choose(flags=flags))
    assert wrong.value.message.startswith("services.chat.flags: --")
    assert message in wrong.value.message and "\n" not in wrong.value.message


def test_vllm_passes_on_flags_of_an_unknown_version() -> None:
    """Where the flags of a version were not recorded, nothing is refused, and that is said."""
    rendered = render(choose(flags={"--swap-space": 4}), "0.9.9")
    assert value(rendered, "--swap-space") == "4"
    assert any("not checked" in reason.because for reason in rendered.reasons)


def test_vllm_refuses_drafts_of_a_model_without_their_layers() -> None:
    """Without nextn layers vLLM would end minutes after the start."""
    with pytest.raises(WrongSpec, match="has no layers that draft; set draft to 0"):
        render(choose(offered="mistral-small-3.2-24b:BF16", draft=2))
