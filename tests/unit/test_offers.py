"""The catalogue of models: sources, sizes against published numbers, names, sampling, and what must not be served."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rigwright import catalogue
from rigwright.errors import UnreadableModel, WrongSpec
from rigwright.models.catalogue_docs import models_markdown
from rigwright.models.known import Variant
from rigwright.models.names import near_names
from rigwright.models.quants import find_quant, kv_cache_types, quants
from rigwright.models.variants import (
    find_model,
    find_offer,
    find_superseded,
    known_models,
    model_of,
    offer_of,
    split_quant,
    variants,
)

ROOT = Path(__file__).parents[2]
GIB = 1024**3
# `vllm serve --help=all` of 0.33.0.
TOOL_CALL_PARSERS = (
    " apertus beam cohere_command3 cohere_command4 deepseek_v3 deepseek_v31 deepseek_v32 deepseek_v4 deepseek_v41 dots "
    "ernie45 functiongemma gemma4 gigachat3 glm45 glm47 granite granite-20b-fc granite4 hermes hf hunyuan_a13b hy_v3 "
    "hy_v4 inkling internlm jamba k2_horizon kimi_k2 kimi_k3 lfm2 ling3 llama3_json llama4_json llama4_pythonic "
    "longcat mimo minicpm5 minimax_m2 minimax_m3 mistral muse muse_glimmer musespark1x olmo3 openai phi4_mini_json "
    "plamo3 poolside_v1 pythonic qwen3_coder qwen3_json qwen3_xml seed_oss step3 step3p5 step5 xlam "
)
# vllm/reasoning/__init__.py; gemma4 since 0.24. Those of single families: vllm-project/recipes 8959cf6.
REASONING_PARSERS = {
    "qwen3", "openai_gptoss", "glm45", "gemma4", "minimax_m2", "deepseek_v4", "mistral", "poolside_v1", "ling3",
    "muse_glimmer", "nemotron_v3", "seed_oss",
}  # fmt: skip


@pytest.fixture(scope="module")
def data() -> dict[str, Any]:
    return catalogue.load("models")


@pytest.fixture(scope="module")
def every_offer() -> list[Variant]:
    return [variant for known in known_models() for variant in variants(known)]


def the(text: str, **format: Any) -> Variant:
    variant = find_offer(text, **format)
    assert variant is not None, text
    return variant


def test_every_row_has_a_source(data: dict[str, Any], every_offer: list[Variant]) -> None:
    """Each model, file and score names where it is from, and no key of a source is unused or undefined."""
    used = {row["scores_source"] for row in data["models"]} | {variant.source for variant in every_offer}
    for row in data["models"]:
        assert row["source"].strip(), row["key"]
        used |= {one["source"] for one in row.get("superseded", ())}
        for part in row["files"]:
            used |= {part[key] for key in ("source", "perplexity_source") if key in part}
            used |= {one["loaded_source"] for one in part["rows"] if "loaded_source" in one}
    assert set(data["source_keys"]) == used
    assert all(modes["source"] for modes in data["sampling"].values())


def test_every_quant_has_a_source() -> None:
    """Bits and losses of quants and KV types name keys that exist."""
    rows = catalogue.load("quants")
    for part, keys in (("quants", "source_keys"), ("kv_cache", "kv_source_keys")):
        used = {row[key] for row in rows[part].values() for key in ("source", "loss_source")}
        assert set(rows[keys]) == used


def test_names_are_unique(every_offer: list[Variant]) -> None:
    """No alias is that of two models, and a model has one file per format and quant."""
    names = [name.lower() for known in known_models() for name in {known.key, known.name.lower(), *known.aliases}]
    assert [name for name, count in Counter(names).items() if count > 1] == []
    for known in known_models():
        files = Counter((variant.format, variant.quant) for variant in variants(known))
        assert [file for file, count in files.items() if count > 1] == [], known.key


@pytest.mark.parametrize(
    "text",
    [
        "qwen3.5-35b-a3b", "Qwen3.5-35B-A3B", "Qwen/Qwen3.5-35B-A3B", "qwen/qwen3.5-35b-a3b", "qwen3.5:35b-a3b",
        "unsloth/Qwen3.5-35B-A3B-GGUF", "Qwen3.5-35B-A3B-GGUF", "Qwen/Qwen3.5-35B-A3B-FP8", " Qwen3.5 35B_A3B ",
    ],
)  # fmt: skip
def test_find_model_in_all_spellings(text: str) -> None:
    """Key, name, repository and Ollama's tag find the same model, whatever the case."""
    known = find_model(text)
    assert known is not None
    assert known.key == "qwen3.5-35b-a3b"


@pytest.mark.parametrize(
    ("text", "key", "quant"),
    [
        ("qwen3.5-35b-a3b:Q4_K_M", "qwen3.5-35b-a3b", "Q4_K_M"),
        ("qwen3.5-35b-a3b:q4_k_m", "qwen3.5-35b-a3b", "Q4_K_M"),
        ("unsloth/Qwen3.5-35B-A3B-GGUF:UD-Q4_K_XL", "qwen3.5-35b-a3b", "UD-Q4_K_XL"),
        ("qwen3.5:35b-a3b-q4_K_M", "qwen3.5-35b-a3b", "Q4_K_M"),
        ("Qwen3.5-35B-A3B-UD-Q3_K_XL.gguf", "qwen3.5-35b-a3b", "UD-Q3_K_XL"),
        ("Qwen3.5-122B-A10B-Q4_K_M-00001-of-00003.gguf", "qwen3.5-122b-a10b", "Q4_K_M"),
        ("qwen3.6-27b:FP8", "qwen3.6-27b", "FP8"),
        ("gpt-oss:120b", "gpt-oss-120b", None),
        ("llama3.3:70b", "llama-3.3-70b", None),
    ],
)
def test_split_quant(text: str, key: str, quant: str | None) -> None:
    """A text may name the quant too: after a colon, as Ollama's tags and as the names of files do."""
    known, found = split_quant(text)
    assert known is not None
    assert (known.key, found) == (key, quant)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("GLM 4.7 Flash", "glm-4.7-flash"), ("zai-org/GLM-4.7-Flash", "glm-4.7-flash"),
        ("unsloth/GLM-4.7-Flash-GGUF:Q4_K_M", "glm-4.7-flash"), ("glm 5.3 flash", "glm-5.3-flash"),
        ("gemma 4 e4b", "gemma-4-e4b"), ("google/gemma-4-E2B-it", "gemma-4-e2b"), ("gemma4:e4b", "gemma-4-e4b"),
        ("Qwen3.8 Flash Next", "qwen3.8-flash-next"), ("Qwen/Qwen3.8-Flash-Next", "qwen3.8-flash-next"),
        ("unsloth/Qwen3.8-Flash-Next-GGUF:UD-Q4_K_XL", "qwen3.8-flash-next"), ("qwen3.5:397b", "qwen3.5-397b-a17b"),
        ("MiniMax M2.7", "minimax-m2.7"), ("minimax-m2.5", "minimax-m2.5"), ("DeepSeek V4 Flash", "deepseek-v4-flash"),
        ("deepseek-ai/DeepSeek-V4-Flash-0731", "deepseek-v4-flash"), ("nemotron 3 nano", "nemotron-3-nano-30b-a3b"),
        ("nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-NVFP4", "nemotron-3-super-120b-a12b"),
        ("nemotron-3.5-lightning", "nemotron-3.5-lightning-30b-a3b"), ("laguna xs 2.1", "laguna-xs-2.1"),
        ("poolside/Laguna-S-2.1", "laguna-s-2.1"), ("devstral 2 123b", "devstral-2-123b"),
        ("devstral small 2", "devstral-small-2-24b"), ("mistral small 4", "mistral-small-4-119b"),
        ("ministral-3:14b", "ministral-3-14b"), ("Ministral 3 8B", "ministral-3-8b"),
        ("lfm2.5 8b a1b", "lfm2.5-8b-a1b"),
        ("seed oss 36b", "seed-oss-36b"), ("muse glimmer", "muse-glimmer-30b"), ("ling 3.0 flash", "ling-3.0-flash"),
        ("ornith 9b", "ornith-1.0-9b"), ("ornith-1.5-35b", "ornith-1.5-35b-a3b"),
        ("qwen3.6-27b-mtp", "qwen3.6-27b"), ("unsloth/Qwen3.6-35B-A3B-MTP-GGUF", "qwen3.6-35b-a3b"),
    ],
)  # fmt: skip
def test_models_of_2026_are_found_as_people_write_them(text: str, key: str) -> None:
    """Spaces, makers, uploads and tags."""
    known, _ = split_quant(text)
    assert known is not None and known.key == key


def test_find_offer_by_format() -> None:
    """Where both formats have a quant it is the GGUF file, unless the other is asked for."""
    assert the("qwen3.5-35b-a3b:BF16").format == "gguf"
    assert the("qwen3.5-35b-a3b:BF16", format="safetensors").repo == "Qwen/Qwen3.5-35B-A3B"
    assert find_offer("qwen3.5-35b-a3b:FP8", format="gguf") is None
    assert find_offer("qwen3.5-35b-a3b") is None
    assert find_offer("gpt-oss-20b:Q4_K_M") is None


def test_unknown_name_is_one_line_with_near_names() -> None:
    """A wrong name says where, what, and up to three that are near."""
    with pytest.raises(WrongSpec) as error:
        model_of("lama-3.3-70b", where="rig1: rig.services.0.model")
    assert error.value.message == (
        "rig1: rig.services.0.model: no model is called lama-3.3-70b; "
        "did you mean llama-3.3-70b, llama-3.2-3b or llama-3.1-8b?"
    )
    assert near_names("xyz") == ()
    with pytest.raises(WrongSpec, match=r"^rig1: no model is called xyz; name one of docs/models.md, a GGUF file"):
        model_of("xyz", where="rig1")


def test_unknown_quant_names_those_that_are_there() -> None:
    """A known model without that file says which it has, each once."""
    with pytest.raises(
        WrongSpec, match=r"^rig1: the catalogue has no gpt-oss-20b:Q4_K_M; of gpt-oss-20b it has MXFP4$"
    ):
        offer_of("gpt-oss-20b:Q4_K_M", where="rig1")
    assert offer_of("gpt-oss-20b:MXFP4", where="rig1").quant == "MXFP4"


# The published table of the 3090 benchmark: file size in decimal GB, perplexity.
TABLE_3090 = {
    "Q3_K_S": (15.3, 6.765), "Q3_K_M": (16.4, 6.683), "UD-Q3_K_XL": (16.6, 6.692), "UD-IQ4_XS": (17.5, 6.629),
    "UD-IQ4_NL": (17.8, 6.630), "UD-Q4_K_L": (20.2, 6.589), "Q4_K_S": (20.7, 6.589), "Q4_K_M": (22.0, 6.559),
    "UD-Q4_K_XL": (22.2, 6.552),
}  # fmt: skip


@pytest.mark.parametrize("quant", TABLE_3090)
def test_35b_agrees_with_the_published_table(quant: str) -> None:
    """Sizes are those of the table in GB, and the loss is its perplexity over the Q8_0 of 6.5342."""
    size_gb, perplexity = TABLE_3090[quant]
    variant = the(f"qwen3.5-35b-a3b:{quant}")
    assert round(variant.file_bytes / 1e9, 1) == size_gb
    assert variant.is_loss_measured
    assert variant.loss_percent == pytest.approx(100 * (perplexity - 6.5342) / 6.5342, abs=0.01)


@pytest.mark.parametrize(
    ("text", "gibibytes"),
    [
        ("llama-3.3-70b:Q4_K_M", 39.59),
        ("gpt-oss-20b:MXFP4", 11.27),
        ("gpt-oss-120b:MXFP4", 59.02),
        ("qwen3-30b-a3b:Q4_K_M", 17.28),
        ("qwen3-30b-a3b-instruct-2507:Q8_0", 30.25),
        ("qwen3-32b:Q4_K_M", 18.4),
        ("glm-4.5-air:Q4_K_M", 68.0),
        ("qwen3.6-35b-a3b:UD-Q4_K_M", 20.6),
        ("qwen3.5-27b:UD-Q4_K_XL", 16.40),
    ],
)
def test_sizes_agree_with_logs(text: str, gibibytes: float) -> None:
    """Sizes that llama-bench printed, in GiB: tensors only, so a file has at most 0.3 % more."""
    assert the(text).file_bytes / GIB == pytest.approx(gibibytes, rel=0.003)


def test_sizes_are_plausible(every_offer: list[Variant]) -> None:
    """A size found somewhere is within 15 % of parameters times bits; 20 % where embeddings or 2-bit mixes dominate, or
    what a repository leaves at 16 bit; 35 % more where no K-quant divides the rows."""
    for variant in every_offer:
        assert variant.known
        expected = variant.known.total_parameters * find_quant(variant.quant).bits / 8
        is_usual = variant.known.total_parameters > 10e9 and find_quant(variant.quant).bits > 4
        most = least = 0.15 if is_usual and variant.format == "gguf" else 0.20
        if variant.format == "gguf" and variant.known.parameters["hidden"] % 256:
            most = 0.35
        assert -least <= variant.file_bytes / expected - 1 <= most, variant.name


@pytest.mark.parametrize(
    ("key", "billions"),
    [
        # As their makers, the headers of their files or llama.cpp's log count them, in the source of each row.
        ("qwen3.5-397b-a17b", 396.2), ("qwen3.8-flash-next", 176.2), ("gemma-4-e2b", 4.65), ("gemma-4-e4b", 7.52),
        ("glm-4.7-flash", 29.94), ("glm-5.3-flash", 321.3), ("ministral-3-8b", 8.49), ("mistral-small-4-119b", 119.0),
        ("minimax-m2.7", 228.7), ("nemotron-3-nano-30b-a3b", 31.58), ("nemotron-3-super-120b-a12b", 120.67),
        ("laguna-xs-2.1", 33.465), ("laguna-s-2.1", 117.6), ("muse-glimmer-30b", 27.85), ("seed-oss-36b", 36.15),
        ("lfm2.5-8b-a1b", 8.47), ("deepseek-v4-flash", 284), ("ling-3.0-flash", 127.49),
    ],
)  # fmt: skip
def test_tensors_of_a_shape_come_to_what_is_published(key: str, billions: float) -> None:
    """Latent attention, states, tables and experts of each kind together have the weights that are published."""
    model = variants(model_of(key, where="test"))[0].model
    assert model.parameters / 1e9 == pytest.approx(billions, rel=0.006)


@pytest.mark.parametrize(
    ("key", "full", "bytes_per_token"),
    [
        # 16-bit bytes that each token adds to the cache of the full layers, by public readings of the headers.
        ("glm-4.7-flash", 47, 47 * 576 * 2),
        ("qwen3.8-flash-next", 12, 12 * (2 * 2 * 256 + 128) * 2),
        ("lfm2.5-8b-a1b", 6, 6 * 8 * (64 + 64) * 2),
        ("nemotron-3-nano-30b-a3b", 6, 6 * 2 * 2 * 128 * 2),
        ("nemotron-3-super-120b-a12b", 8, 8 * 2 * 2 * 128 * 2),
        ("gemma-4-e4b", 4, 4 * 2 * (512 + 512) * 2),
        ("laguna-s-2.1", 12, 12 * 8 * 2 * 128 * 2),
        ("muse-glimmer-30b", 13, 13 * 2 * 2 * 128 * 2),
        ("ling-3.0-flash", 7, 7 * 576 * 2),
    ],
)
def test_cache_of_a_shape_is_that_of_its_header(key: str, full: int, bytes_per_token: int) -> None:
    """Only layers that see everything keep a row for each token, latent ones a vector for all heads."""
    model = variants(model_of(key, where="test"))[0].model
    assert len(model.full_layers) == full
    kept = sum(model.kv_heads[layer] * (model.key_length + model.value_length) * 2 for layer in model.full_layers)
    assert kept == bytes_per_token


def test_file_with_the_layers_that_draft_is_told_from_the_one_without() -> None:
    """Unsloth calls both Qwen3.6-27B-Q4_K_M.gguf: 851 tensors in one repository, 866 in the other."""
    plain, drafting = the("qwen3.6-27b:Q4_K_M"), the("qwen3.6-27b:MTP-Q4_K_M")
    assert (plain.file, plain.file_bytes, plain.model.nextn_layers) == ("Qwen3.6-27B-Q4_K_M.gguf", 16_817_244_384, 0)
    assert (drafting.file, drafting.file_bytes, drafting.model.nextn_layers) == (plain.file, 17_106_773_120, 1)
    assert drafting.repo == "unsloth/Qwen3.6-27B-MTP-GGUF"
    assert the("unsloth/Qwen3.6-27B-MTP-GGUF:Q4_K_M") == the("qwen3.6-27b-mtp:q4_k_m") == drafting
    assert the("qwen3.8-27b:UD-Q4_K_XL").model.nextn_layers == 1


def test_estimated_sizes_say_so() -> None:
    """Without a published size it is parameters times bits: Qwen3-32B at 6.5633 bits."""
    variant = the("qwen3-32b:Q6_K")
    assert (variant.size, variant.is_size_exact, variant.source) == ("estimated", False, "derived")
    assert variant.file_bytes == int(32_762_000_000 * 6.5633 / 8)
    assert the("qwen3-32b:Q4_K_M").is_size_exact


def test_offers_go_from_small_to_large() -> None:
    """GGUF files first, then safetensors, each from small to large."""
    for known in known_models():
        found = variants(known)
        assert [*found] == sorted(found, key=lambda one: (one.format, one.file_bytes)), known.key
        assert found, known.key


def test_split_files_count_their_parts(every_offer: list[Variant]) -> None:
    """The name of the first part carries the number of parts, and every GGUF offer has a file."""
    for variant in every_offer:
        if variant.format == "gguf":
            assert variant.file and variant.file.endswith(".gguf") and "{" not in variant.file, variant.name
            assert (f"-00001-of-{variant.parts:05}" in variant.file) == (variant.parts > 1), variant.name
        assert variant.repo and variant.repo.count("/") == 1
        assert variant.sha256 is None or (len(variant.sha256) == 64 and int(variant.sha256, 16))


def test_release_day_file_is_told_from_its_re_issue() -> None:
    """UD-Q4_K_XL of the 35B is offered as re-issued (6.552); the first one (7.1702, 20 GB) is refused by its size."""
    known = find_model("qwen3.5-35b-a3b")
    assert known
    variant = the("qwen3.5-35b-a3b:UD-Q4_K_XL")
    assert variant.loss_percent == pytest.approx(0.27, abs=0.01)
    first = find_superseded(known, "UD-Q4_K_XL", file_bytes=19_900_000_000)
    assert first
    assert (first.perplexity, first.before) == (7.1702, "2026-02-27")
    assert find_superseded(known, "UD-Q4_K_XL", file_bytes=variant.file_bytes) is None
    assert find_superseded(known, "Q4_K_M", sha256=the("qwen3.5-35b-a3b:Q4_K_M").sha256) is None
    old = "986227ebf94d0814fca06305e454e0d5be7871c2eb4e3d7607beb24a0961062c"
    assert find_superseded(known, "Q4_K_M", sha256=old)


def test_exact_superseded_sizes_match_to_the_byte() -> None:
    """Qwen3.8-27B UD-Q4_K_XL was 17,923,394,624 bytes until 19 August 2026; a byte more is another file."""
    known = find_model("qwen3.8-27b")
    assert known
    assert find_superseded(known, "UD-Q4_K_XL", file_bytes=17_923_394_624)
    assert find_superseded(known, "UD-Q4_K_XL", file_bytes=17_923_394_625) is None
    assert find_superseded(known, "UD-Q5_K_M", file_bytes=17_923_394_624) is None


def test_old_chat_templates_are_noted() -> None:
    """The large Qwen3.5 say that files from before 27 February 2026 break tool calls."""
    for key in ("qwen3.5-27b", "qwen3.5-35b-a3b", "qwen3.5-122b-a10b"):
        known = find_model(key)
        assert known and "27 February 2026" in known.note


def test_unmeasured_losses_keep_the_order() -> None:
    """A finer quant is never said to lose more than a measured coarser one of the same model."""
    losses = {one.quant: one.loss_percent for one in variants(model_of("qwen3.5-35b-a3b", where="test"))}
    ladder = ["UD-IQ2_M", "UD-IQ3_XXS", "Q3_K_S", "Q3_K_M", "Q4_K_S", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0", "BF16"]
    found = [losses[quant] for quant in ladder]
    assert found == sorted(found, key=lambda loss: -(loss or 0))
    assert losses["MXFP4_MOE"] and losses["Q4_K_S"] and losses["MXFP4_MOE"] > losses["Q4_K_S"]
    assert not the("qwen3.5-35b-a3b:Q5_K_M").is_loss_measured


def test_typical_losses_are_those_of_llama_3_8b() -> None:
    """Perplexity 6.382937 of Q4_K_M against 6.234284 of Q8_0 is 2.38 %; Q2_K loses 38.7 %, native MXFP4 nothing."""
    assert find_quant("Q4_K_M").loss_percent == pytest.approx(100 * (6.382937 / 6.234284 - 1), abs=0.01)
    assert find_quant("Q2_K").loss_percent == pytest.approx(38.7, abs=0.05)
    assert the("gpt-oss-20b:MXFP4").loss_percent == find_quant("Q8_0").loss_percent == 0
    assert the("qwen3-14b:Q4_K_M").loss_percent == 2.38


def test_large_model_without_measurement_loses_like_the_measured_one() -> None:
    """From 20 B parameters on, an unmeasured model takes the 3090 table of the 35B-A3B: 6.559 / 6.5342 is 0.38 %."""
    variant = the("qwen3-32b:Q4_K_M")
    assert (variant.loss_percent, variant.is_loss_measured) == (0.38, False)


def test_bits_per_weight() -> None:
    """llama.cpp's table, and blocks of ggml where a file has one type only: never fewer bits than the type."""
    assert find_quant("Q4_K_M").bits == 4.8944
    assert find_quant("Q6_K").bits >= 210 * 8 / 256
    assert find_quant("Q8_0").bits >= 34 * 8 / 32
    order = [quant.bits for quant in quants().values()]
    assert order == sorted(order)


def test_kv_cache_types() -> None:
    """Bytes per element are ggml's blocks; the penalty grows as bits go, and 8 bit is not free."""
    kinds = kv_cache_types()
    blocks = {"f16": 2, "q8_0": 34 / 32, "q5_1": 24 / 32, "q5_0": 22 / 32, "q4_1": 20 / 32, "q4_0": 18 / 32}
    assert {name: kinds[name].element_bytes for name in blocks} == blocks
    penalties = [kinds[name].loss_percent for name in blocks]
    assert penalties == sorted(penalties)
    assert (kinds["f16"].loss_percent, kinds["q8_0"].loss_percent, kinds["q4_0"].loss_percent) == (0, 0.5, 3)
    assert kinds["int8_per_token_head"].scale_bytes == 4


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("thinking", (1.0, 0.95, 20, 0.0, 1.5, 1.0)),
        ("thinking-coding", (0.6, 0.95, 20, 0.0, 0.0, 1.0)),
        ("instruct", (0.7, 0.8, 20, 0.0, 1.5, 1.0)),
        ("instruct-reasoning", (1.0, 0.95, 20, 0.0, 1.5, 1.0)),
    ],
)
def test_sampling_of_qwen35_is_the_model_cards(mode: str, expected: tuple[float, ...]) -> None:
    """Temperature, top_p, top_k, min_p, presence and repeat penalty, as under Chat Completions on the card."""
    for key in ("qwen3.5-27b", "qwen3.5-35b-a3b", "qwen3.5-122b-a10b"):
        assert model_of(key, where="test").sampling[mode] == expected


def test_sampling_has_the_modes_that_the_model_has() -> None:
    """Who thinks has a mode for it, who never does has none."""
    for known in known_models():
        assert ("thinking" in known.sampling) or known.thinking == "none", known.key
        assert known.thinking != "none" or "instruct" in known.sampling, known.key


@pytest.mark.parametrize(
    ("key", "thinking"),
    [
        ("qwen3.5-35b-a3b", "default-on"),
        ("qwen3.5-4b", "default-off"),
        ("qwen3-coder-next", "none"),
        ("qwen3-30b-a3b-instruct-2507", "none"),
        ("gpt-oss-120b", "always"),
        ("qwen3-30b-a3b-thinking-2507", "always"),
        ("laguna-s-2.1", "default-on"),
        ("laguna-xs-2.1", "default-off"),
        ("gemma-4-31b", "default-off"),
        ("llama-3.3-70b", "none"),
    ],
)
def test_thinking(key: str, thinking: str) -> None:
    """What a model does unless it is told."""
    assert model_of(key, where="test").thinking == thinking


def test_parsers_exist_in_vllm() -> None:
    """Names are those of vLLM 0.33.0, and a model that thinks has a parser for it."""
    for known in known_models():
        assert known.tool_call_parser is None or f" {known.tool_call_parser} " in TOOL_CALL_PARSERS, known.key
        assert known.reasoning_parser is None or known.reasoning_parser in REASONING_PARSERS, known.key
        assert (known.reasoning_parser is None) == (known.thinking == "none"), known.key
    assert model_of("qwen3.5-35b-a3b", where="test").tool_call_parser == "qwen3_coder"


def test_scores_are_percentages() -> None:
    """Benchmarks as on the cards: SWE-bench Verified 69.2 of the 35B, 73.4 of its successor, 77.2 of the 27B."""
    assert all(0 < score < 100 for known in known_models() for score in known.scores.values())
    found = [model_of(key, where="test").scores["swe_bench_verified"] for key in ("qwen3.5-35b-a3b", "qwen3.6-35b-a3b")]
    assert found == [69.2, 73.4]
    assert model_of("qwen3.6-27b", where="test").scores["swe_bench_verified"] == 77.2


def test_active_parameters() -> None:
    """Only mixtures have fewer active parameters than weights, but for an MTP layer that the file holds."""
    for known in known_models():
        is_mixture = known.parameters.get("experts", 0) > 0
        assert (known.active_parameters < 0.5 * known.total_parameters) == is_mixture, known.key


def test_model_is_made_on_demand() -> None:
    """Listing offers builds no dimensions; asked for, they add up to the file and are kept."""
    variant = the("qwen3.5-122b-a10b:Q4_K_M")
    fresh = Variant(variant.known, variant.name, variant.quant, variant.format, variant.file_bytes)
    assert "model" not in vars(fresh)
    assert fresh.model.is_estimated
    assert fresh.model is variant.model
    assert fresh.model.weights_bytes == variant.file_bytes == 76_536_964_608
    assert (fresh.model.layers, fresh.model.experts, fresh.model.context_train) == (48, 256, 262144)


def test_model_of_a_header_is_kept(model_35b: Any) -> None:
    """What a file says of itself comes before the catalogue, and does not take part in comparisons."""
    variant = Variant(None, "35b", "Q4_K_M", "gguf", model_35b.file_bytes, header=model_35b)
    assert variant.model is model_35b
    assert variant == Variant(None, "35b", "Q4_K_M", "gguf", model_35b.file_bytes)
    with pytest.raises(UnreadableModel, match=r"^mine: its dimensions are unknown; "):
        _ = Variant(None, "mine", "Q4_K_M", "gguf", GIB).model


def test_weights_of_a_repository_are_what_the_engine_loads() -> None:
    """The 35B in BF16 is 71.9 GB on the disk and 64.7 GiB in vLLM, by its log."""
    variant = the("qwen3.5-35b-a3b:BF16", format="safetensors")
    assert (variant.file_bytes, variant.file) == (71_903_645_408, None)
    assert variant.weights_bytes / GIB == pytest.approx(64.7, abs=0.01)


def test_page_is_what_the_catalogue_says(request: pytest.FixtureRequest) -> None:
    """docs/models.md is generated; `make golden` writes it."""
    page = ROOT / "docs" / "models.md"
    if request.config.getoption("--renew-golden"):
        page.write_text(models_markdown())
    assert models_markdown() == page.read_text()
