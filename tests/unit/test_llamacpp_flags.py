"""A choice as the command line and the environment of llama-server."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rigwright.errors import WrongSpec
from rigwright.hardware import Cpu, Gpu, Hardware
from rigwright.models import Model
from rigwright.models.known import Variant
from rigwright.models.variants import find_model
from rigwright.plan.choice import Choice
from rigwright.plan.devices import Device, devices
from rigwright.plan.engines.llamacpp.capabilities import USUAL_KV_PAIRS, Capabilities, pinned_capabilities
from rigwright.plan.engines.llamacpp.overrides import Overrides
from rigwright.plan.engines.llamacpp.placement_flags import device_names, split_numbers
from rigwright.plan.engines.llamacpp.render import render
from rigwright.plan.engines.rendered import RenderContext, Rendered
from rigwright.plan.memory import Placement, estimate_memory
from rigwright.plan.service import Layout
from rigwright.plan.speed import Throughput
from rigwright.plan.wish import ServiceWish
from rigwright.units import GIB

CPU = Cpu(model="cpu", physical_cores=8, logical_cores=16)
AROUND = RenderContext(CPU, "/w/m.gguf")
UUIDS = [f"GPU-{n}a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9" for n in range(4)]

Choose = Callable[..., Choice]


def cards(*vram_gib: int, uuids: list[str] = UUIDS) -> tuple[Device, ...]:
    gpus = tuple(
        Gpu(index=place, uuid=uuids[place], vendor="NVIDIA", name="RTX", vram_bytes=size * GIB, state="ok", mig=False)
        for place, size in enumerate(vram_gib)
    )
    return devices(Hardware("debian", "13", "trixie", "6.12", "x86_64", CPU, 64 * GIB, gpus=gpus))


@pytest.fixture(scope="module")
def choose(model_35b: Model) -> Choose:
    """Builds a choice: `choose(Placement(40), cards(24), draft=2)`; what is no field of a choice is a wish's key."""

    def build(
        placement: Placement | None = None,
        group: tuple[Device, ...] = (),
        *,
        context: int = 32768,
        load: Mapping[str, Any] | None = None,
        model: Model = model_35b,
        known: str | None = None,
        **keys: Any,
    ) -> Choice:
        fields = {name: keys.pop(name) for name in ("replicas", "is_fitted", "cache_mib", "memory") if name in keys}
        wish = ServiceWish.model_validate({"name": "chat", "model": "./m.gguf", **keys})
        asked = Overrides.of(wish).load()._replace(context_tokens=context, **(load or {}))
        memory = estimate_memory(model, asked, placement) if placement else None
        variant = Variant(find_model(known) if known else None, model.name, "Q4_K_M", "gguf", 0, header=model)
        made = Choice(wish, variant, "llamacpp", Layout(kind="cpu"), (group,), asked, placement, memory, None)
        return replace(made, **fields)

    return build


def rendered(choice: Choice, capabilities: Capabilities | None = None, target: RenderContext = AROUND) -> Rendered:
    return render(choice, target, capabilities or pinned_capabilities())


def said(choice: Choice, *names: str, **keys: Any) -> list[str | None]:
    """The values of flags that must be there, once each."""
    flags = rendered(choice, **keys).flags
    found = {name: [flag.value for flag in flags if flag.name == name] for name in names}
    assert {name: len(values) for name, values in found.items()} == dict.fromkeys(names, 1)
    return [found[name][0] for name in names]


def names(choice: Choice) -> set[str]:
    return {flag.name for flag in rendered(choice).flags}


def because(choice: Choice, name: str) -> str:
    return next(flag.reason.because for flag in rendered(choice).flags if flag.name == name)


def test_whole_command_line_on_the_cpu(choose: Choose) -> None:
    """A rig without GPUs serves with exactly these arguments."""
    choice = choose(Placement(0), port=9000, slots=2, cache_type="q8_0", cache_mib=1536)
    # fmt: off
    assert [" ".join(filter(None, (flag.name, flag.value))) for flag in rendered(choice).flags] == [
        "--model /w/m.gguf", "--alias chat", "--host 127.0.0.1", "--port 9000", "--ctx-size 65536", "--parallel 2",
        "--flash-attn on", "--cache-type-k q8_0", "--cache-type-v q8_0", "--cache-ram 1536", "--device none",
        "--fit off", "--threads 7", "--load-mode mmap", "--jinja", "--metrics", "--no-ui",
    ]
    # fmt: on
    assert rendered(choice).environments == ((),)


@pytest.mark.parametrize(
    ("placement", "flags"),
    [
        (Placement(40), {"--n-gpu-layers": "all", "--device": "CUDA0", "--fit": "off", "--load-mode": "mmap"}),
        (Placement(40, 16), {"--n-gpu-layers": "all", "--n-cpu-moe": "16", "--load-mode": "none", "--threads": "7"}),
        # the output is one layer more
        (Placement(12, 40), {"--n-gpu-layers": "13", "--n-cpu-moe": "40", "--load-mode": "none"}),
    ],
)
def test_placement_on_one_gpu(choose: Choose, placement: Placement, flags: dict[str, str]) -> None:
    """Layers and experts lie where the plan computed them, and --fit keeps out of it."""
    choice = choose(placement, cards(24))
    assert said(choice, *flags) == list(flags.values())
    assert not {"--tensor-split", "--split-mode", "--main-gpu"} & names(choice)


def test_nextn_layers_count_as_layers(choose: Choose, model_35b: Model) -> None:
    """llama.cpp counts from the end of all blocks: those that draft, and the output, come after the 40 that answer."""
    drafting = replace(model_35b, layers=41, nextn_layers=1, kv_heads=(*model_35b.kv_heads, 2),
                       heads=(*model_35b.heads, 16))  # fmt: skip
    assert said(choose(Placement(12), cards(24), model=drafting), "--n-gpu-layers") == ["14"]
    split = choose(Placement(40, 0, (21, 19)), cards(24, 24), model=drafting)
    assert said(split, "--tensor-split", "--n-gpu-layers") == ["21,21", "all"]
    own = ServiceWish(name="chat", model="./m.gguf", flags={"--n-gpu-layers": 14})
    assert Overrides.of(own).placement(drafting) == Placement(12)


def layers_by_device(numbers: tuple[int, ...], gpu_layers: int, all_layers: int) -> list[int]:
    """How llama.cpp 0c1e570 deals layers to devices, in 32-bit floats (llama-model.cpp, load_tensors)."""

    def float32(value: float) -> float:
        return float(struct.unpack("f", struct.pack("f", value))[0])

    total, splits = 0.0, []
    for number in numbers:
        total = float32(total + float32(number))
        splits.append(total)
    splits = [float32(split / total) for split in splits]
    first = max(all_layers + 1 - gpu_layers, 0)
    counted = min(gpu_layers, all_layers + 1)
    dealt = [0] * len(numbers)
    for layer in range(first, all_layers + 1):
        share = float32(float32(layer - first) / float32(counted))
        dealt[next(place for place, split in enumerate(splits) if split > share)] += 1
    return dealt


def test_tensor_split_deals_exactly_the_planned_layers() -> None:
    """Any split over 2 to 8 GPUs, with and without layers in RAM and nextn layers, comes out of llama.cpp's floats."""
    chance = random.Random(1)
    for _ in range(800):
        split = tuple(chance.randint(1, 60) for _ in range(chance.randint(2, 8)))
        nextn, in_ram = chance.randint(0, 3), chance.choice((0, 0, chance.randint(1, 40)))
        placement = Placement(sum(split), 0, split)
        counted = sum(split) + nextn + 1
        dealt = layers_by_device(split_numbers(placement, nextn), counted, sum(split) + in_ram + nextn)
        dealt[-1] -= nextn + 1
        assert tuple(dealt) == split


def test_several_gpus_are_named_and_split(choose: Choose) -> None:
    """Each GPU by name, so that a missing one stops the service; whole layers on each."""
    choice = choose(Placement(40, 0, (27, 13)), cards(24, 12))
    assert said(choice, "--device", "--split-mode", "--tensor-split") == ["CUDA0,CUDA1", "layer", "27,14"]
    flag = next(flag for flag in rendered(choice).flags if flag.name == "--tensor-split")
    assert "27, 13" in flag.reason.because and "load_tensors" in (flag.reason.source or "")


@pytest.mark.parametrize(
    ("backend", "expected"), [("cuda", "CUDA0"), ("rocm", "ROCm0"), ("metal", "MTL0"), ("vulkan", "Vulkan0")]
)
def test_devices_are_named_as_llama_cpp_names_them(backend: Any, expected: str) -> None:
    """By backend, counted from 0."""
    (card,) = cards(24)
    assert device_names([replace(card, throughput=Throughput(900.0, None, None, backend))]) == [expected]


def test_each_replica_sees_its_own_gpus(choose: Choose) -> None:
    """Every copy numbers its GPUs from 0, among those that it sees."""
    one, two, three, four = cards(24, 24, 24, 24)
    choice = choose(Placement(40, 0, (20, 20)), (one, two), replicas=((one, two), (four, three)))
    assert rendered(choice).environments == tuple(
        (("CUDA_DEVICE_ORDER", "PCI_BUS_ID"), ("CUDA_VISIBLE_DEVICES", ",".join(UUIDS[place] for place in group)))
        for group in ((0, 1), (3, 2))
    )


@pytest.mark.parametrize("uuid", ["GPU-00000000-0000-0000-0000-000000000000", "GPU-xxxx", UUIDS[0]])
def test_masked_uuids_are_not_used(choose: Choose, uuid: str) -> None:
    """Where recordings hide UUIDs, or all are the same, the index names a GPU."""
    group = cards(24, 24, uuids=[uuid] * 4)
    (environment,) = rendered(choose(Placement(40, 0, (20, 20)), group)).environments
    assert dict(environment) == {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "0,1"}
    copies = rendered(choose(Placement(40), group[:1], replicas=(group[:1], group[1:]))).environments
    assert [dict(one)["CUDA_VISIBLE_DEVICES"] for one in copies] == ["0", "1"]


@pytest.mark.parametrize(
    ("keys", "load", "expected"),
    [
        ({"slots": 1}, {}, {"--ctx-size": "32768", "--parallel": "1"}),
        ({"users": 3}, {}, {"--ctx-size": "98304", "--parallel": "3"}),
        ({"users": 20}, {}, {"--ctx-size": "262144", "--parallel": "8"}),
        ({"slots": 2}, {"is_unified": True}, {"--ctx-size": "65536", "--parallel": "2", "--kv-unified": None}),
        ({}, {"ubatch_tokens": 1024}, {"--batch-size": "1024", "--ubatch-size": "1024"}),
        ({}, {"has_flash_attention": False}, {"--flash-attn": "off"}),
        ({"cache_type": "q4_0"}, {}, {"--flash-attn": "on", "--cache-type-k": "q4_0", "--cache-type-v": "q4_0"}),
        ({}, {"cache_type_k": "q8_0", "cache_type_v": "q8_0"}, {"--flash-attn": "on", "--cache-type-v": "q8_0"}),
        ({"alias": "coder"}, {}, {"--alias": "coder"}),
    ],
)
def test_what_is_asked_is_said(
    choose: Choose, keys: dict[str, Any], load: dict[str, Any], expected: dict[str, str | None]
) -> None:
    """Slots, context, cache and batches as the plan computed them."""
    assert said(choose(Placement(40), cards(48), load=load, **keys), *expected) == list(expected.values())


def test_draft_is_by_the_models_own_layers(choose: Choose, model_35b: Model) -> None:
    """Multi-token prediction; a file without the layers for it is refused."""
    drafting = replace(model_35b, layers=41, nextn_layers=1, kv_heads=(*model_35b.kv_heads, 2),
                       heads=(*model_35b.heads, 16))  # fmt: skip
    choice = choose(Placement(40), cards(48), model=drafting, draft=2)
    assert said(choice, "--spec-type", "--spec-draft-n-max") == ["draft-mtp", "2"]
    with pytest.raises(WrongSpec, match=r"^services\.chat: draft needs nextn layers.*; set draft to 0$"):
        rendered(choose(Placement(40), cards(48), draft=2))


def test_images_need_a_projector(choose: Choose) -> None:
    """With one it is loaded, without one the wish is refused."""
    choice = choose(Placement(40), cards(48), vision=True)
    assert said(choice, "--mmproj", target=AROUND._replace(projector_path="/w/p.gguf")) == ["/w/p.gguf"]
    with pytest.raises(WrongSpec, match=r"no projector of .* is known; name it"):
        rendered(choice)
    assert said(choose(Placement(40), cards(48), vision=True, flags={"--mmproj": "/p"}), "--mmproj") == ["/p"]


# The model card of Qwen3.5-35B-A3B, "Best Practices".
@pytest.mark.parametrize(
    ("mode", "reasoning", "sampling"),
    [
        (None, "auto", ("1.0", "0.95", "20", "0.0", "1.5", "1.0")),
        ("thinking", "on", ("1.0", "0.95", "20", "0.0", "1.5", "1.0")),
        ("thinking-coding", "on", ("0.6", "0.95", "20", "0.0", "0.0", "1.0")),
        ("instruct", "off", ("0.7", "0.8", "20", "0.0", "1.5", "1.0")),
    ],
)
def test_mode_sets_thinking_and_sampling(
    choose: Choose, mode: str | None, reasoning: str, sampling: tuple[str, ...]
) -> None:
    """As the makers of a known model recommend for each mode."""
    choice = choose(Placement(40), cards(48), known="qwen3.5-35b-a3b", mode=mode)
    flags = ("--temp", "--top-p", "--top-k", "--min-p", "--presence-penalty", "--repeat-penalty")
    assert said(choice, "--reasoning") == [reasoning]
    found = [float(value or "nan") for value in said(choice, *flags)]
    assert found == [float(value) for value in sampling]


def test_unknown_model_is_sampled_as_it_likes(choose: Choose) -> None:
    """Nobody's recommendation is invented; a wished mode switches thinking, and the plan says what is missing."""
    assert not {"--temp", "--reasoning"} & names(choose(Placement(40), cards(48)))
    choice = choose(Placement(40), cards(48), mode="instruct")
    assert said(choice, "--reasoning") == ["off"] and "--temp" not in names(choice)
    assert any(reason.choice == "sampling" for reason in rendered(choice).reasons)


def test_own_flags_win_and_the_plan_says_what_they_replaced(choose: Choose) -> None:
    """Under any name of the same option, and where they contradict ours."""
    own = {
        "--threads": 3,
        "--temperature": 0.5,
        "--webui": True,
        "--metrics": None,
        "--cpu-moe": True,
        "--slots": False,
    }
    choice = choose(Placement(40, 16), cards(24), known="qwen3.5-35b-a3b", flags=own)
    result = rendered(choice)
    assert [(flag.name, flag.value) for flag in result.flags][-4:] == [
        ("--threads", "3"), ("--temperature", "0.5"), ("--webui", None), ("--cpu-moe", None),
    ]  # fmt: skip
    assert not {"--temp", "--no-ui", "--metrics", "--n-cpu-moe", "--slots"} & names(choice)
    assert because(choice, "--threads") == "the inventory says so instead of --threads 7"
    assert because(choice, "--webui") == "the inventory says so instead of --no-ui"
    assert because(choice, "--cpu-moe") == "the inventory says so instead of --n-cpu-moe 16"
    assert "no --metrics: the inventory drops it in flags" in map(str, result.reasons)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"cache_type": "q8_0", "flags": {"--flash-attn": "off"}},
            "services.chat: a q8_0 V cache needs flash attention; drop --flash-attn from flags",
        ),
        (
            {"flags": {"--cache-type-k": "q8_0"}},
            "services.chat: this build has no attention kernel for K q8_0 with V f16 and would unpack both for each "
            "token; use one of bf16, f16, q4_0, q8_0 for both, or add q8_0-f16 to GGML_CUDA_FA_QUANTS in "
            "rig.llamacpp.cmake_options",
        ),
        ({"flags": {"--no-mmap": True}}, "services.chat.flags: --no-mmap was removed; write --load-mode none"),
        ({"flags": {"--ctx-size": "big"}}, "services.chat.flags: --ctx-size is 'big'; give a whole number"),
    ],
)
def test_what_the_server_would_refuse_or_crawl_with_is_refused(
    choose: Choose, keys: dict[str, Any], message: str
) -> None:
    """In one line, before anything is loaded."""
    with pytest.raises(WrongSpec) as error:
        rendered(choose(Placement(40), cards(24), **keys))
    assert error.value.message == message


def test_mixed_cache_types_are_served_by_a_build_for_them(choose: Choose) -> None:
    """A build with that kernel takes the pair; a CPU needs no kernel."""
    flags = {"--cache-type-k": "q8_0"}
    able = replace(pinned_capabilities(), kv_pairs=USUAL_KV_PAIRS | {("q8_0", "f16")})
    assert said(choose(Placement(40), cards(24), flags=flags), "--cache-type-k", capabilities=able) == ["q8_0"]
    assert said(choose(Placement(0), flags=flags), "--cache-type-k") == ["q8_0"]


def test_server_places_what_the_plan_cannot(choose: Choose) -> None:
    """Without a placement --fit does it, or all goes to the GPU beside the inventory's own placing flags."""
    fitted = choose(None, cards(24), is_fitted=True)
    assert said(fitted, "--fit", "--device") == ["on", "CUDA0"] and "--n-gpu-layers" not in names(fitted)
    free = choose(None, cards(24), flags={"--override-tensor": "exps=CPU"})
    assert said(free, "--fit", "--n-gpu-layers") == ["off", "all"]


@pytest.mark.parametrize(
    ("flags", "devices", "expected"),
    [
        ({}, 1, None),
        ({"--n-gpu-layers": 21}, 1, Placement(20)),
        ({"--gpu-layers": "all"}, 1, Placement(40)),
        ({"--n-gpu-layers": 0}, 1, Placement(0, 0, (0,))),
        ({"--n-cpu-moe": 16}, 3, Placement(40, 16, (14, 13, 13))),
        ({"--cpu-moe": True}, 1, Placement(40, 40)),
        ({"--n-gpu-layers": "auto"}, 1, None),
    ],
)
def test_placement_in_flags_is_reckoned_with(
    model_35b: Model, flags: dict[str, Any], devices: int, expected: Placement | None
) -> None:
    """Layers and experts as the inventory places them."""
    wish = ServiceWish(name="chat", model="./m.gguf", flags=flags)
    assert Overrides.of(wish).placement(model_35b, devices=devices) == expected


def test_zero_is_a_value(choose: Choose) -> None:
    """`--cache-ram: 0` turns the cache off: it is not the same as leaving the flag out."""
    assert Overrides.of(ServiceWish(name="chat", model="./m.gguf", flags={"--cache-ram": 0})).cache_mib == 0
    assert said(choose(Placement(40), cards(48), flags={"--temp": 0}), "--temp") == ["0"]


@pytest.mark.parametrize(
    ("flags", "is_free", "is_fitted"),
    [
        ({}, False, False),
        ({"--fit": "on"}, True, True),
        ({"--fit": "off"}, False, False),
        ({"--n-gpu-layers": "auto"}, True, True),
        ({"--override-tensor": "exps=CPU"}, True, False),
        ({"--override-tensor": None}, False, False),
    ],
)
def test_placing_flags_that_are_not_reckoned(flags: dict[str, Any], is_free: bool, is_fitted: bool) -> None:
    """Whoever places tensors or leaves it to --fit gets no placement of ours."""
    found = Overrides.of(ServiceWish(name="chat", model="./m.gguf", flags=flags))
    assert (found.is_free, found.is_fitted) == (is_free, is_fitted)


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        ({}, (1, None, 0, False)),
        ({"users": 5}, (5, None, 0, False)),
        ({"users": 100}, (8, None, 0, False)),
        ({"users": 5, "slots": 2, "cache_type": "q8_0"}, (2, "q8_0", 0, False)),
        ({"draft": 3}, (1, None, 3, False)),
        ({"draft": 3, "flags": {"--spec-draft-n-max": 2}}, (1, None, 2, False)),
        ({"flags": {"--spec-type": "draft-mtp"}}, (1, None, 3, False)),
        ({"flags": {"--spec-type": "ngram-mod"}, "draft": 2}, (1, None, 0, False)),
        ({"flags": {"--parallel": -1}}, (4, None, 0, True)),
        ({"flags": {"--kv-unified": True, "--parallel": 3}}, (3, None, 0, True)),
    ],
)
def test_wish_and_flags_are_read_together(wish: dict[str, Any], expected: tuple[object, ...]) -> None:
    """Slots, cache type, drafts, one pool: what the search must know; None leaves the choice to it."""
    found = Overrides.of(ServiceWish.model_validate({"name": "chat", "model": "./m.gguf", **wish}))
    assert (found.slots, found.cache_type_k, found.draft_tokens, found.is_unified) == expected
    assert found.load().cache_type_k == (expected[1] or "f16")


@given(
    placement=st.sampled_from([None, Placement(0), Placement(40), Placement(40, 16), Placement(9, 40)]),
    cache_type=st.sampled_from(["auto", "f16", "bf16", "q8_0", "q4_0"]),
    slots=st.integers(1, 9),
    unified=st.booleans(),
    mode=st.sampled_from([None, "thinking", "instruct", "instruct-reasoning"]),
    known=st.sampled_from([None, "qwen3.5-35b-a3b"]),
    own=st.dictionaries(
        st.sampled_from(["--temp", "--threads", "--gpu-layers", "--batch-size", "--top-k", "--verbosity"]),
        st.one_of(st.none(), st.integers(1, 99)),
    ),
)
def test_command_lines_are_sound(
    choose: Choose, placement: Any, cache_type: str, slots: int, unified: bool, mode: Any, known: Any, own: Any
) -> None:
    """No option twice, a reason for each, nothing that the release refuses, quantised V with flash attention alone."""
    group = () if placement == Placement(0) else cards(48)
    load = {"is_unified": unified}
    choice = choose(placement, group, cache_type=cache_type, slots=slots, load=load, mode=mode, known=known, flags=own)
    flags, release = rendered(choice).flags, pinned_capabilities()
    options = [release.names(flag.name) for flag in flags]
    assert len(set(options)) == len(options)
    assert all(release.takes(flag.name, flag.value) for flag in flags)
    assert all(flag.reason.because and flag.reason.choice.startswith(flag.name) for flag in flags)
    values = {flag.name: flag.value for flag in flags}
    assert values.get("--cache-type-v", "f16") in ("f16", "bf16") or values["--flash-attn"] == "on"
    for name, value in own.items():
        assert values.get(name) == (None if value is None else str(value))
