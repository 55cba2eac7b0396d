"""What is known to be broken is refused, what merely costs is said, and all else passes."""

from __future__ import annotations

import re
import timeit

import pytest

from rigwright.catalogue import load
from rigwright.models.variants import Variant, find_model, find_offer, variants
from rigwright.plan.engines.vllm.parallel import tensor_parallel_error
from rigwright.plan.known_issues import Configuration, is_within, known_issues

AMPERE_PAIR = Configuration(
    "vllm",
    "0.33.0",
    architecture="qwen35moe",
    format="safetensors",
    quant="GPTQ-Int4",
    tensor_parallel=2,
    gpu_count=2,
    cache_types=("auto",),
    compute_capabilities=("8.6",),
    vendors=("NVIDIA",),
    driver_version="580.95.05",
    is_mixture=True,
    revision="dc1ee1b",
)
LLAMACPP = Configuration(
    "llamacpp",
    "0.6.0-dev",
    architecture="qwen35moe",
    format="gguf",
    quant="Q4_K_M",
    cache_types=("f16", "f16"),
    compute_capabilities=("8.6",),
    driver_version="580.95.05",
    is_mixture=True,
    revision="dc1ee1b",
)


def found(configuration: Configuration, effect: str) -> list[str]:
    return [issue.id for issue in known_issues(configuration) if issue.effect == effect]


@pytest.mark.parametrize(
    "configuration",
    [
        AMPERE_PAIR,
        AMPERE_PAIR._replace(quant="FP8"),
        AMPERE_PAIR._replace(tensor_parallel=2, pipeline_parallel=2),
        AMPERE_PAIR._replace(architecture="qwen3moe", compute_capabilities=("7.5",)),
        AMPERE_PAIR._replace(cache_types=("fp8",)),
        AMPERE_PAIR._replace(cache_types=("fp8",), architecture="gemma4", compute_capabilities=("8.9",)),
        LLAMACPP,
        LLAMACPP._replace(cache_types=("q8_0", "q8_0")),
        LLAMACPP._replace(split_mode="tensor", cache_types=("q8_0", "q8_0")),
        LLAMACPP._replace(version="b11434", split_mode="tensor"),
        Configuration("ollama", "0.32.15", architecture="qwen3moe", format="gguf", slots=4, revision="dc1ee1b"),
    ],
)
def test_known_issues_lets_pass_what_works(configuration: Configuration) -> None:
    """FP8 on Ampere (Marlin), two pipeline stages, and tensor split with q8_0 on a new build are no troubles."""
    assert known_issues(configuration) == ()


@pytest.mark.parametrize(
    ("configuration", "expected"),
    [
        (AMPERE_PAIR._replace(compute_capabilities=("6.1",)), "vllm-before-turing"),
        (AMPERE_PAIR._replace(compute_capabilities=("8.6", "7.0")), "vllm-before-turing"),
        (AMPERE_PAIR._replace(driver_version="575.57.08"), "vllm-driver-before-580"),
        (AMPERE_PAIR._replace(vendors=("AMD",)), "vllm-without-nvidia"),
        (AMPERE_PAIR._replace(format="gguf"), "vllm-gguf"),
        (AMPERE_PAIR._replace(pipeline_parallel=2, draft_tokens=2), "vllm-drafts-in-a-pipeline"),
        (AMPERE_PAIR._replace(pipeline_parallel=4, tensor_parallel=1), "vllm-four-stages-of-qwen35"),
        (AMPERE_PAIR._replace(cache_types=("fp8",), compute_capabilities=("7.5",)), "vllm-fp8-cache-before-ampere"),
        (
            AMPERE_PAIR._replace(cache_types=("fp8_e4m3",), architecture="gemma4"),
            "vllm-fp8-cache-of-windows-before-ada",
        ),
        (AMPERE_PAIR._replace(cache_types=("fp8",), architecture="gpt-oss"), "vllm-fp8-cache-of-windows-before-ada"),
        (AMPERE_PAIR._replace(cache_types=("fp8_per_token_head",)), "vllm-fp8-cache-by-head-before-ada"),
        (AMPERE_PAIR._replace(version="0.20.1", devices_by="uuid"), "vllm-uuids-before-033"),
        (AMPERE_PAIR._replace(data_parallel=2), "vllm-data-parallel-mixture"),
        (AMPERE_PAIR._replace(draft_tokens=2, cache_types=("turboquant_k8v4",)), "vllm-drafts-and-turboquant"),
        (LLAMACPP._replace(split_mode="row"), "llamacpp-row-split"),
        (
            LLAMACPP._replace(version="0.2.1", split_mode="tensor", cache_types=("q8_0", "q8_0")),
            "llamacpp-tensor-split-with-quantised-cache",
        ),
        (LLAMACPP._replace(split_mode="tensor", cache_types=("iq4_nl",)), "llamacpp-tensor-split-with-odd-cache"),
        (LLAMACPP._replace(split_mode="tensor", architecture="olmoe"), "llamacpp-tensor-split-of-odd-architectures"),
        (LLAMACPP._replace(cuda_version="13.2.1", quant="UD-IQ3_XXS"), "llamacpp-cuda-13-2"),
        (LLAMACPP._replace(cuda_version="13.0", compute_capabilities=("6.1",)), "llamacpp-cuda-13-before-turing"),
        (LLAMACPP._replace(cuda_version="13.0", driver_version="570.211"), "llamacpp-cuda-13-on-an-old-driver"),
    ],
)
def test_known_issues_refuses_what_does_not_run(configuration: Configuration, expected: str) -> None:
    """Each combination that others reported as broken is refused by its own row."""
    assert expected in found(configuration, "refuse")


@pytest.mark.parametrize(
    ("configuration", "expected"),
    [
        (AMPERE_PAIR._replace(compute_capabilities=("7.5",)), "vllm-qwen35-on-turing"),
        (AMPERE_PAIR._replace(quant="NVFP4"), "vllm-nvfp4-before-blackwell"),
        (AMPERE_PAIR._replace(draft_tokens=2), "vllm-drafts-of-a-small-mixture"),
        (
            AMPERE_PAIR._replace(tensor_parallel=4, is_fully_linked=False),
            "vllm-wide-tensor-parallel-without-nvlink",
        ),
        (LLAMACPP._replace(quant="UD-Q4_K_XL", revision=None), "first-upload-of-ud-q4-k-xl"),
        (Configuration("ollama", architecture="qwen35moe", format="gguf", slots=4), "ollama-one-request-of-qwen35"),
        (Configuration("ollama", format="gguf", is_mixture=True, is_offloaded=True), "ollama-mixture-beside-ram"),
    ],
)
def test_known_issues_warns_of_what_costs(configuration: Configuration, expected: str) -> None:
    """What runs at a price is told, and not refused."""
    assert expected in found(configuration, "warn")
    assert found(configuration, "refuse") == []


def test_known_issues_knows_an_architecture_by_its_names() -> None:
    """`Qwen3_5MoeForConditionalGeneration`, qwen3_5_moe and qwen35moe are one family."""
    for name in ("qwen35moe", "qwen3_5_moe", "Qwen3_5MoeForConditionalGeneration"):
        assert "vllm-drafts-of-a-small-mixture" in found(
            AMPERE_PAIR._replace(architecture=name, draft_tokens=1), "warn"
        )


def test_known_issues_takes_nothing_for_granted() -> None:
    """What nobody knows, a driver, a capability or a version, meets no condition."""
    blank = AMPERE_PAIR._replace(version="", driver_version=None, compute_capabilities=("",), cache_types=("fp8",))
    assert known_issues(blank) == ()


def test_known_issues_puts_refusals_first() -> None:
    """The first trouble is the one that keeps it from running."""
    both = AMPERE_PAIR._replace(draft_tokens=2, pipeline_parallel=2)
    assert [issue.effect for issue in known_issues(both)] == ["refuse", "warn", "warn"]


@pytest.mark.parametrize(
    ("version", "bounds", "expected"),
    [
        ("0.33.0", ">=0.20", True),
        ("0.9.2", ">=0.20", False),
        ("0.25.2.dev0+g752a3a504", "<0.33", True),
        ("0.33.0", "<0.33", False),
        ("0.28.1rc1.dev681", ">=0.28,<0.33", True),
        ("580.65.06", "<580", False),
        ("575.57.08", "<580", True),
        ("13.2.1", "==13.2", True),
        ("13.20", "==13.2", False),
        ("0c1e57098bba", "<0.3", False),
        ("b11434", "<0.3", False),
        (None, "<580", False),
        ("anything", "", True),
    ],
)
def test_known_issues_compares_versions_by_number(version: str | None, bounds: str, expected: bool) -> None:
    """0.9 is older than 0.20, and a commit is neither old nor new."""
    assert is_within(version, bounds) is expected


def test_known_issues_rows_name_their_source() -> None:
    """Every row says why, what instead and whence; most have a report upstream."""
    rows = load("known_issues")["rows"]
    assert len({row["id"] for row in rows}) == len(rows) >= 20
    for row in rows:
        assert row["effect"] in ("refuse", "warn")
        assert row["because"] and row["instead"] and row["source"] and row["when"], row["id"]
        assert row["issue"] is None or re.fullmatch(
            r"https://github\.com/[\w.-]+/[\w.-]+/(issues|pull)/\d+", row["issue"]
        )
    assert sum(row["issue"] is not None for row in rows) >= 15


def test_known_issues_is_fast_enough_for_every_candidate() -> None:
    """A search asks hundreds of times: 10 µs each, here with room for a busy machine."""
    for configuration in (AMPERE_PAIR, LLAMACPP):
        known_issues(configuration)
        best = min(timeit.repeat(lambda one=configuration: known_issues(one), number=100, repeat=5)) / 100  # type: ignore[misc]  # a lambda with a default
        assert best < 40e-6


def offered(text: str, quant: str) -> Variant:
    known = find_model(text)
    variant = known and find_offer(f"{known.key}:{quant}", format="safetensors")
    assert variant
    return variant


@pytest.mark.parametrize(
    ("key", "quant", "parts", "expected"),
    [
        # 512 wide experts: 128 for each of four, 64 for each of eight.
        ("qwen3.5-35b-a3b", "GPTQ-Int4", 4, None),
        ("qwen3.5-35b-a3b", "GPTQ-Int4", 8, "leaves 64 to each of 8"),
        ("qwen3.5-35b-a3b", "FP8", 8, "leaves 64 to each of 8"),
        # 2 KV heads are copied to four GPUs; without a group nothing stands against eight.
        ("qwen3.5-35b-a3b", "BF16", 8, None),
        ("qwen3.5-35b-a3b", "BF16", 3, "16 attention heads"),
    ],
)
def test_tensor_parallel_needs_widths_that_divide(key: str, quant: str, parts: int, expected: str | None) -> None:
    """Heads, widths and the groups that share a scale must divide; KV heads may be copied."""
    error = tensor_parallel_error(offered(key, quant).model, parts, quant)
    assert (error is None) if expected is None else (expected in (error or ""))


def test_tensor_parallel_of_the_reported_crash() -> None:
    """Qwen3-30B-A3B in FP8 ends on four GPUs: 768 wide experts leave 192, no multiple of 128 (vllm #25292)."""
    known = find_model("qwen3-30b-a3b")
    assert known
    model = variants(known)[0].model
    assert tensor_parallel_error(model, 2, "FP8") is None
    assert "192" in (tensor_parallel_error(model, 4, "FP8") or "")
