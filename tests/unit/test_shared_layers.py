"""GPUs that share each layer with llama.cpp (--split-mode tensor), drafts by the model's own layers, and `layout:`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rigwright.errors import Refused, WrongSpec
from rigwright.hardware.values import Hardware
from rigwright.inventory.described import described
from rigwright.lab.tiny_model import write_tiny_model
from rigwright.models import Model
from rigwright.models.variants import model_of, variants
from rigwright.plan.devices import devices
from rigwright.plan.drafting import automatic_drafts
from rigwright.plan.engines.llamacpp.planner import LlamacppPlanner
from rigwright.plan.engines.llamacpp.settings import LlamacppSettings
from rigwright.plan.memory import Load, Placement, estimate_memory, fast_bytes
from rigwright.plan.memory.slices import cut, mean_slices, most_gpus, slices
from rigwright.plan.rig_plan import Request, plan_rig
from rigwright.plan.service import ServicePlan
from rigwright.plan.wish import ServiceWish
from rigwright.resolve.resolve import resolve
from rigwright.spec.rig import parse_spec
from rigwright.units import GIB, MIB

from .test_binaries import RTX_3090


def machine(gpus: str) -> Hardware:
    return described((gpus,), ram_bytes=128 * GIB).hardware


def plan(gpus: str, model: str = "qwen3.8-27b:UD-Q4_K_M", **keys: Any) -> ServicePlan:
    wish = ServiceWish(**{"name": "chat", "model": model, "engine": "llamacpp", **keys})
    known = model_of(wish.model.name or "", where="test")
    mine = tuple(one for one in variants(known) if not wish.model.quant or one.quant == wish.model.quant)
    return plan_rig(machine(gpus), [Request(wish, mine)], is_preview=True).services[0]


def flags(service: ServicePlan) -> dict[str, str | None]:
    return {one.name: one.value for one in service.flags}


def file_of(model: str, quant: str) -> Model:
    return next(one.model for one in variants(model_of(model, where="test")) if one.quant == quant)


def undrafted(service: ServicePlan) -> float:
    assert service.speed
    return service.speed.undrafted or service.speed.expected


# What owners measured without drafts. The range is a third, as the exchange of a few kilobytes depends on slots and
# drivers. Sources: threads of owners in 2026 on 3060 Ti with 3080 Ti, on two P40, and on two 3090 with a 3090 Ti.
OWNERS = [
    ("3080 ti, 3060 ti", "UD-IQ3_XXS", "single", None),
    ("3080 ti, 3060 ti", "UD-IQ3_XXS", "tensor", 49.2),
    ("2x P40", "UD-Q4_K_M", "tensor", 13.2),
    ("2x3090, 3090 ti", "UD-Q6_K_XL", "layers", 29.0),
]


@pytest.mark.parametrize(("gpus", "quant", "layout", "measured"), [row for row in OWNERS if row[3]])
def test_what_owners_measured_is_expected(gpus: str, quant: str, layout: str, measured: float) -> None:
    """Within a third of it, also over unequal cards."""
    found = plan(gpus, f"qwen3.8-27b:{quant}", layout=layout, context=8192, draft=0)
    assert undrafted(found) == pytest.approx(measured, rel=0.34)


def test_two_gpus_share_the_layers_of_a_dense_model() -> None:
    """Little more than half the time for each token; the flags say all that llama-server wants for it."""
    both, alone = plan("2x3090"), plan("2x3090", layout="single")
    assert undrafted(both) > 1.3 * undrafted(alone)
    assert {**flags(both)}.items() >= {
        ("--split-mode", "tensor"), ("--tensor-split", "1,1"), ("--flash-attn", "on"), ("--fit", "off"),
        ("--device", "CUDA0,CUDA1"), ("--n-gpu-layers", "all"),
    }  # fmt: skip
    assert "row" not in flags(both).values()
    assert both.memory and abs(both.memory.on(0) - both.memory.on(1)) < MIB


def test_all_layers_in_flags_are_no_other_placement() -> None:
    """`-ngl 99`, as published advice has it, is what GPUs that share layers do; a part of the layers is not."""
    for every in (99, "all"):
        found = plan("2x3090", flags={"--n-gpu-layers": every})
        assert found.layout.kind == "tensor" and flags(found)["--n-gpu-layers"] == str(every)
        assert plan("2x3090", flags={"--n-gpu-layers": every}, layout="tensor").layout.kind == "tensor"
    assert plan("2x3090", flags={"--n-gpu-layers": 30}).layout.kind != "tensor"
    with pytest.raises(Refused, match="take --n-gpu-layers and --n-cpu-moe out"):
        plan("2x3090", flags={"--n-gpu-layers": 30}, layout="tensor")


def test_unequal_gpus_have_parts_by_how_fast_they_read() -> None:
    found = plan("3090, 3060")
    first, second = map(int, (flags(found)["--tensor-split"] or "").split(","))
    assert 60 < first < 80 and first + second == 100
    assert found.memory and found.memory.on(0) > 1.5 * found.memory.on(1)


@pytest.mark.parametrize("layout", ["layers", "tensor"])
def test_numbers_of_unequal_gpus_of_one_size_change_nothing(layout: str) -> None:
    """Three cards of 24 GB, two of them of one nominal bandwidth, in two orders: the same cards in the same order."""
    found = [plan(gpus, layout=layout, context=32768) for gpus in ("4090, 3090, 3090 ti", "3090 ti, 3090, 4090")]
    one, other = ([gpu.name for gpu in service.gpus] for service in found)
    assert one == other and len(one) > 1
    assert found[0].speed == found[1].speed
    assert flags(found[0])["--tensor-split"] == flags(found[1])["--tensor-split"]


def test_no_gpu_has_more_than_it_holds() -> None:
    """Where the faster is too small for its part, the slower takes more."""
    parts = [
        flags(plan("4080 super, 3060", f"qwen3.8-27b:{quant}", layout="tensor", context=8192))["--tensor-split"]
        for quant in ("UD-IQ3_XXS", "UD-Q6_K")
    ]
    roomy, full = (int((part or "").split(",")[0]) for part in parts)
    assert full < roomy


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"model": "glm-4.5-air", "layout": "tensor"}, None),
        ({"layout": "tensor", "cache_type": "q8_0"}, "cuts no KV cache in q8_0"),
        ({"layout": "tensor", "model": "qwen3.5-122b-a10b:Q3_K_M"}, "needs .* GiB .* short"),
        ({"layout": "tensor", "flags": {"--flash-attn": "off"}}, "needs flash attention"),
    ],
)
def test_what_llamacpp_would_refuse_is_not_planned(keys: dict[str, Any], why: str | None) -> None:
    if why is None:
        assert flags(plan("4x RTX PRO 6000 Blackwell Workstation Edition", **keys))["--split-mode"] == "tensor"
        return
    with pytest.raises(Refused, match=why):
        plan("2x3090", **keys)


def test_latent_attention_is_never_cut() -> None:
    """DeepSeek's keeps one vector for all heads: layers lie whole on GPUs."""
    for one in variants(model_of("qwen3.8-27b", where="test"))[:1]:
        latent = replace(one.model, architecture="deepseek2")
        assert latent.architecture == "deepseek2" and most_gpus(latent) == 4
        own = replace(one, header=latent)
        wish = ServiceWish(name="chat", model="qwen3.8-27b", engine="llamacpp")
        found = plan_rig(machine("2x3090"), [Request(wish, (own,))]).services[0]
        assert found.layout.kind in ("single", "layers")


def test_no_more_gpus_share_than_there_are_heads() -> None:
    """Qwen3.6-35B-A3B has two KV heads: a third GPU would have nothing to keep."""
    found = plan("4x3090", "qwen3.6-35b-a3b:UD-Q4_K_M", layout="tensor")
    assert found.layout.tensor_parallel == 2
    with pytest.raises(Refused, match="has 2 KV heads"):
        plan("4x3090", "qwen3.6-35b-a3b:UD-Q4_K_M", layout="tp4")


def test_many_users_get_copies_rather() -> None:
    """What shared layers exchange grows with each user: with four of them nobody has seen it win."""
    assert plan("2x3090", users=4).layout.tensor_parallel == 1


def test_cuts_are_rounded_to_whole_blocks() -> None:
    """Of experts 512 wide in blocks of 256 three quarters on one GPU are a half and all of it, in turns."""
    assert slices(2, (3, 1)) == ((0.5, 0.5), (1.0, 0.0))
    assert mean_slices(2, (3, 1)) == (0.75, 0.25)
    assert mean_slices(68, (1, 1)) == (0.5, 0.5)


@given(st.integers(1, 100), st.lists(st.integers(1, 100), min_size=1, max_size=5))
def test_slices_are_the_whole(pieces: int, shares: list[int]) -> None:
    for row in slices(pieces, tuple(shares)):
        assert sum(row) == pytest.approx(1) and min(row) >= 0


@given(
    st.sampled_from(("qwen3.8-27b:UD-Q4_K_M", "qwen3.6-35b-a3b:UD-Q4_K_M", "gemma-4-31b:Q4_K_M")),
    st.integers(256, 262144), st.integers(1, 3), st.sampled_from((0, 3)),
    st.sampled_from(((1, 1), (70, 30), (5, 3, 2))),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_fast_sums_are_the_estimate(name: str, tokens: int, slots: int, drafts: int, shares: tuple[int, ...]) -> None:
    model, load = file_of(*name.split(":")), Load(tokens, slots, draft_tokens=drafts)
    placement = Placement(model.main_layers, shares=shares)
    estimate = estimate_memory(model, load, placement)
    assert fast_bytes(model, load, placement) == (
        tuple(estimate.on(device) for device in range(len(shares))),
        estimate.on(None),
    )


def test_all_parts_together_are_the_model() -> None:
    """But for buffers and what is on each GPU whole, an embedding that is the output too."""
    model = file_of("qwen3.8-27b", "UD-Q4_K_M")
    alone = estimate_memory(model, Load(8192), Placement(model.main_layers))
    shared = estimate_memory(model, Load(8192), Placement(model.main_layers, shares=(1, 1)))
    for name in ("weights", "KV cache", "recurrent state"):
        sums = [sum(one.size_bytes for one in each.parts if one.name == name) for each in (alone, shared)]
        assert sums[1] == pytest.approx(sums[0], rel=1e-6)
    tied = file_of("gemma-4-31b", "Q4_K_M")
    assert cut(tied, (1, 1)).output == ((1.0, 1.0) if tied.is_tied else (0.5, 0.5))


@pytest.mark.parametrize(
    ("layout", "kind", "count"),
    [("single", "single", 1), ("layers", "layers", 2), ("tensor", "tensor", 2), ("tp2", "tensor", 2),
     ("pp4", "layers", 4), ("TP=4", "tensor", 4)],
)  # fmt: skip
def test_the_owner_names_the_layout(layout: str, kind: str, count: int) -> None:
    found = plan("4x3090", "qwen3.8-27b:UD-Q8_K_XL" if layout == "layers" else "qwen3.8-27b:UD-Q4_K_M", layout=layout)
    if layout != "tensor":
        assert len(found.gpus) == count
    assert found.layout.kind == kind


@pytest.mark.parametrize(
    ("layout", "said"),
    [
        ("row", "has given up its split by rows; use tensor"),
        ("replicas: 4", "replicas is a key of its own"),
        ("sideways", "use single, layers, tensor, or numbers as in tp2"),
        ("", "no layout"),
    ],
)
def test_other_words_for_layouts_are_told(layout: str, said: str) -> None:
    with pytest.raises(WrongSpec, match=said):
        parse_spec("rig", {"services": [{"name": "chat", "model": "auto", "layout": layout}]})


def test_a_layout_that_these_gpus_cannot_have_is_refused() -> None:
    with pytest.raises(Refused, match="no layout tp3 for the 2 GPUs"):
        plan("2x3090", layout="tp3")
    with pytest.raises(Refused, match="no layout tp2pp2"):
        plan("4x3090", layout="tp2pp2")


@pytest.mark.parametrize(
    ("gpus", "keys", "why"),
    [
        ("2x3090", {"layout": "tensor", "gpu": "none"}, "may use none"),
        ("2x3090", {"layout": "tensor", "gpu": "none", "replicas": 2}, "may use none"),
        ("4x3090", {"layout": "tp2", "replicas": 2}, "copies of llama.cpp share no layers"),
        ("2x3090", {"layout": "tensor", "engine": "ollama"}, "Ollama has GPUs share no layer"),
        ("3090, 7900 xtx", {"layout": "layers"}, "of different makers"),
        ("2x3090", {"layout": "tensor", "flags": {"--n-gpu-layers": 10}}, "take --n-gpu-layers .* out"),
    ],
)
def test_a_layout_that_contradicts_the_rest_says_what(gpus: str, keys: dict[str, Any], why: str) -> None:
    with pytest.raises(Refused, match=why):
        plan(gpus, **keys)


def test_a_layout_is_vllms_too() -> None:
    found = plan("4x3090", "qwen3.8-27b", engine="vllm", layout="tp2pp2")
    assert (found.layout.tensor_parallel, found.layout.pipeline_parallel) == (2, 2)


# Drafts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [9, -1, 2.5, "many", True, "\u0663", []])
def test_a_wrong_number_of_drafts_is_one_line(given: Any) -> None:
    with pytest.raises(WrongSpec) as caught:
        parse_spec("rig", {"services": [{"name": "chat", "model": "auto", "draft": given}]})
    assert "is no number of tokens" in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("gpus", "tokens"),
    [("3090", 2), ("5090", 4), ("2x3090", 3), ("A100-SXM4-80GB", 3), ("Strix Halo 128GB", 3)],
)
def test_drafts_come_by_themselves_where_they_are_faster(gpus: str, tokens: int) -> None:
    """With the text that the model writes without them, and its speed without them beside it."""
    found = plan(gpus)
    assert flags(found)["--spec-type"] == "draft-mtp" and flags(found)["--spec-draft-n-max"] == str(tokens)
    assert found.speed and found.speed.undrafted and found.speed.expected > 1.2 * found.speed.undrafted
    assert found.memory and found.memory.named("drafting")
    assert any("no drafts" in one.layout for one in found.alternatives)


@pytest.mark.parametrize(
    ("gpus", "keys"),
    [
        ("3090", {"users": 4}),  # no time is left over in a batch
        ("M3 Max 64GB", {}),  # Metal gains nothing
        ("none", {}),
        ("3090", {"draft": 0}),
        ("3090", {"draft": "off"}),
        ("3090", {"flags": {"--spec-type": "ngram-simple"}}),
        ("3090", {"model": "gemma-4-31b"}),  # has no layers for it
        ("RTX 5090", {"model": "qwen3.6-35b-a3b"}),  # a mixture: what is checked together reads more experts
    ],
)
def test_drafts_stay_away_where_they_cost(gpus: str, keys: dict[str, Any]) -> None:
    found = plan(gpus, **{"context": 16384, **keys})
    assert flags(found).get("--spec-type") in (None, "ngram-simple")
    assert found.speed is None or found.speed.undrafted is None


@pytest.mark.parametrize(
    ("gpus", "keys", "has_them"),
    [
        ("3090", {}, True),
        ("3090", {"draft": 3, "users": 4}, True),
        ("3090", {"draft": 0}, False),
        ("3090", {"slots": 4}, False),
        ("3060", {}, False),  # experts in RAM
        ("3060", {"draft": 2}, True),
        ("M4 Max 64GB", {}, False),
    ],
)
def test_a_file_with_the_layers_that_draft_is_taken_where_they_do(
    gpus: str, keys: dict[str, Any], has_them: bool
) -> None:
    """Most files of Qwen3.6 leave them out, those with them are of another repository; a mixture has to be asked."""
    for model in ("qwen3.6-35b-a3b", "qwen3.6-27b") if keys or not has_them else ("qwen3.6-27b",):
        found = plan(gpus, model, engine="llamacpp", **keys)
        assert found.quant.startswith("MTP-") == has_them == ("-MTP-GGUF" in str(found.source))


def test_mixtures_draft_on_request_alone() -> None:
    """Whatever its speed would be: what is checked together reads more experts."""
    cards = devices(machine("5090"))
    assert automatic_drafts(file_of("qwen3.8-27b", "UD-Q4_K_M"), cards, slots=1) == 4
    assert automatic_drafts(file_of("qwen3.6-35b-a3b", "MTP-UD-Q4_K_M"), cards, slots=1) == 0
    assert flags(plan("5090", "qwen3.6-35b-a3b", draft=2))["--spec-draft-n-max"] == "2"


def test_drafts_that_are_asked_for_are_taken() -> None:
    assert flags(plan("3090", draft=5))["--spec-draft-n-max"] == "5"
    assert flags(plan("3090", users=4, draft=2))["--spec-draft-n-max"] == "2"


# What a build has to be for -----------------------------------------------------------------------------------------


def two_gpus(**changes: Any) -> Hardware:
    first = RTX_3090.gpus[0]
    second = replace(first, index=1, uuid="GPU-second", pci_address="0000:02:00.0")
    return replace(RTX_3090, gpus=(first, second), gpu_count=2, **changes)


def test_a_build_takes_nccl_where_gpus_share_layers(tmp_path: Any) -> None:
    """And others none: their release stays what it was."""
    write_tiny_model(tmp_path / "m.gguf", "llama")

    def options(**keys: Any) -> Any:
        service = {"name": "chat", "model": f"{tmp_path}/m.gguf", "context": 2048, **keys}
        spec = parse_spec("rig", {"services": [service], "llamacpp": {"source": "build"}})
        found = resolve(spec, two_gpus())
        engine = found.engines["llamacpp"]
        assert isinstance(engine, LlamacppPlanner) and isinstance(engine.settings, LlamacppSettings)
        return found.plan.services[0].layout.kind, engine.settings.asked_options

    assert options(layout="tensor") == ("tensor", {"GGML_CUDA_NCCL": "ON"})
    # What the plan itself decides is known only after it. A port that nothing listens on stands for the hub.
    found = resolve(
        parse_spec("rig", {
            "services": [{"name": "chat", "model": "qwen3.8-27b"}],
            "llamacpp": {"source": "build"}, "weights": {"hugging_face": "http://127.0.0.1:9"},
        }),
        two_gpus(),
    )  # fmt: skip
    engine = found.engines["llamacpp"]
    assert found.plan.services[0].layout.kind == "tensor" and isinstance(engine.settings, LlamacppSettings)
    assert engine.settings.asked_options == {"GGML_CUDA_NCCL": "ON"}
    assert options(layout="single") == ("single", {})
    kind, asked = options()
    assert bool(asked) == (kind == "tensor")
