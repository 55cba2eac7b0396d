"""Ollama gets its settings from its environment, and a Modelfile with what it knows as parameters."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rigwright.errors import WrongSpec
from rigwright.hardware.values import Cpu, Gpu, Hardware
from rigwright.models.variants import find_offer
from rigwright.plan.choice import Choice
from rigwright.plan.devices import devices
from rigwright.plan.engines.ollama import render as ollama
from rigwright.plan.engines.ollama.modelfile import PARAMETERS
from rigwright.plan.engines.rendered import RenderContext, Rendered
from rigwright.plan.memory import Load, Placement
from rigwright.plan.service import Layout
from rigwright.plan.wish import ServiceWish
from rigwright.units import GIB

AROUND = RenderContext(Cpu(), "/srv/weights/qwen.gguf", projector_path="/srv/weights/mmproj.gguf")
UUID = "GPU-1a2b3c4d-5e6f-7a8b-9c0d-1e2f3a4b5c{:02x}"


def choose(
    *, gpus: int = 1, offered: str = "qwen3.5-35b-a3b:Q4_K_M", slots: int = 1, cache: str = "f16",
    display: bool = False, **wish: Any,
) -> Choice:  # fmt: skip
    gpu = Gpu(
        vendor="NVIDIA", name="NVIDIA GeForce RTX 3090", vram_bytes=24 * GIB, compute_capability="8.6", state="ok",
        mig=False, has_display=display,
    )  # fmt: skip
    found = devices(Hardware(gpus=tuple(replace(gpu, index=one, uuid=UUID.format(one)) for one in range(gpus))))
    variant = find_offer(offered, format="gguf")
    assert variant
    return Choice(
        ServiceWish(name="chat", model="qwen3.5-35b-a3b", engine="ollama", port=11434, **wish),
        variant,
        "ollama",
        Layout(kind="single") if gpus else Layout(kind="cpu"),
        (found,),
        Load(81920, slots=slots, cache_type_k=cache, cache_type_v=cache),
        Placement(40),
        None,
        None,
    )


def render(choice: Choice) -> Rendered:
    return ollama.render(choice, AROUND)


def environment(choice: Choice) -> dict[str, str]:
    [one] = render(choice).environments
    return dict(one)


def parameters(choice: Choice) -> dict[str, str]:
    lines = (render(choice).modelfile or "").splitlines()
    words = [line.split(" ", 2) for line in lines if line.startswith("PARAMETER ")]
    return {name: text for _, name, text in words}


def test_ollama_is_set_by_its_environment_alone() -> None:
    """`ollama serve` takes no flags; names and values as envconfig/config.go reads them."""
    assert [(flag.name, flag.value) for flag in render(choose()).flags] == [("serve", None)]
    assert environment(choose(cache="q8_0")) == {
        "OLLAMA_HOST": "127.0.0.1:11434",
        "OLLAMA_CONTEXT_LENGTH": "81920",
        "OLLAMA_NUM_PARALLEL": "1",
        "OLLAMA_FLASH_ATTENTION": "1",
        "OLLAMA_KV_CACHE_TYPE": "q8_0",
        "OLLAMA_KEEP_ALIVE": "-1",
        "OLLAMA_MAX_LOADED_MODELS": "1",
        "OLLAMA_LOAD_TIMEOUT": "600s",
        "OLLAMA_NO_CLOUD": "1",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": UUID.format(0),
    }


def test_ollama_has_no_bf16_cache() -> None:
    """It knows f16, q8_0 and q4_0."""
    assert environment(choose(cache="bf16"))["OLLAMA_KV_CACHE_TYPE"] == "f16"


def test_ollama_says_why_for_each_variable() -> None:
    """No variable without a reason."""
    said = " ".join(reason.choice for reason in render(choose(gpus=2, display=True)).reasons)
    names = set(environment(choose(gpus=2, display=True))) - {"CUDA_DEVICE_ORDER"}
    assert all(name in said for name in names)


def test_ollama_serves_qwen35_one_by_one() -> None:
    """Its scheduler forces one request at a time for this family (ollama #17144); others get their slots."""
    assert environment(choose(slots=4))["OLLAMA_NUM_PARALLEL"] == "1"
    assert environment(choose(slots=4, offered="qwen3-30b-a3b:Q4_K_M"))["OLLAMA_NUM_PARALLEL"] == "4"


def test_ollama_spreads_over_the_gpus_of_the_plan() -> None:
    """More than one GPU: it would try one first, and sees no others."""
    two = environment(choose(gpus=2))
    assert two["OLLAMA_SCHED_SPREAD"] == "1"
    assert two["CUDA_VISIBLE_DEVICES"] == f"{UUID.format(0)},{UUID.format(1)}"
    assert "OLLAMA_SCHED_SPREAD" not in environment(choose())


def test_ollama_leaves_a_display_its_memory() -> None:
    """512 MiB are the driver's, 768 MiB a display's: 1,280 MiB, in bytes."""
    assert environment(choose(display=True))["OLLAMA_GPU_OVERHEAD"] == "1342177280"
    assert "OLLAMA_GPU_OVERHEAD" not in environment(choose())


def test_ollama_stays_on_the_cpu() -> None:
    """-1 is a GPU that is not there; an empty variable would hide none."""
    assert environment(choose(gpus=0, gpu="none"))["CUDA_VISIBLE_DEVICES"] == "-1"


def test_ollama_modelfile_holds_known_parameters_only() -> None:
    """Every PARAMETER is one of api.Options; flash_attn and num_gpu of published advice are not there."""
    text = render(choose(draft=2)).modelfile or ""
    assert text.startswith("FROM /srv/weights/qwen.gguf\nRENDERER qwen3.5\nPARSER qwen3.5\nPARAMETER num_ctx 81920\n")
    given = parameters(choose(draft=2))
    assert set(given) <= set(PARAMETERS)
    assert given["draft_num_predict"] == "2"
    assert not {"flash_attn", "num_gpu"} & set(given)
    assert any(reason.choice == "no PARAMETER num_gpu" for reason in render(choose()).reasons)


def test_ollama_samples_as_the_makers_recommend() -> None:
    """Thinking is this model's own mode; instruct has other values, and thinking needs a word with each request."""
    thinking = parameters(choose())
    assert (thinking["temperature"], thinking["top_p"], thinking["top_k"]) == ("1", "0.95", "20")
    instruct = parameters(choose(mode="instruct"))
    assert (instruct["temperature"], instruct["top_p"], instruct["min_p"]) == ("0.7", "0.8", "0")
    assert (instruct["presence_penalty"], instruct["repeat_penalty"]) == ("1.5", "1")
    assert any("think: false" in reason.because for reason in render(choose(mode="instruct")).reasons)


def test_ollama_sees_with_a_projector() -> None:
    """A second FROM names it, when images are asked for."""
    assert "FROM /srv/weights/mmproj.gguf" in (render(choose(vision=True)).modelfile or "")
    assert "mmproj" not in (render(choose()).modelfile or "")


def test_ollama_gives_unknown_architectures_no_renderer() -> None:
    """A renderer of another family would garble every chat."""
    assert "RENDERER" not in (render(choose(offered="qwen3-30b-a3b:Q4_K_M")).modelfile or "")


def test_ollama_takes_parameters_and_settings_of_the_inventory() -> None:
    """`--num-gpu` is a PARAMETER, `--ollama-…` a variable; both win, and both are said."""
    own: dict[str, Any] = {"--num-gpu": 99, "--temperature": None, "--ollama-keep-alive": "10m"}
    choice = choose(flags=own)
    assert parameters(choice)["num_gpu"] == "99"
    assert "temperature" not in parameters(choice)
    assert environment(choice)["OLLAMA_KEEP_ALIVE"] == "10m"
    said = {reason.choice: reason.because for reason in render(choice).reasons}
    assert said["OLLAMA_KEEP_ALIVE=10m"] == "the inventory says so instead of -1"
    assert "no PARAMETER num_gpu" not in said


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"--flash-attn": True}, "Ollama has no parameter flash_attn; write --ollama-flash-attention"),
        ({"--enable-thinking": False}, "send think: false with each request"),
        ({"--cache-type-k": "q8_0"}, "set cache_type"),
        ({"--num-gpus": 1}, "did you mean --num-gpu?"),
        ({"--ollama-host": "0.0.0.0"}, "--ollama-host is set through host and port"),
    ],
)
def test_ollama_refuses_what_it_does_not_know(flags: dict[str, Any], message: str) -> None:
    """`PARAMETER flash_attn true`, as published, would end in `unknown parameter 'flash_attn'` on the rig."""
    with pytest.raises(WrongSpec) as wrong:
        render(choose(flags=flags))
    assert message in wrong.value.message and "\n" not in wrong.value.message


def test_ollama_is_never_open_without_a_key() -> None:
    """It has no keys: neither an open address nor a key file that would protect nothing."""
    with pytest.raises(WrongSpec, match="Ollama knows no API key"):
        render(choose(host="0.0.0.0", api_key_file="keys"))
    with pytest.raises(WrongSpec, match="Ollama knows no API key"):
        ollama.render(choose(), AROUND._replace(api_key_path="/etc/rigwright/chat.key"))
