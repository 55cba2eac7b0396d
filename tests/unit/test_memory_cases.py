"""Every published log at hand, judged with nothing but what the command line takes."""

from __future__ import annotations

import importlib.util
import statistics
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
_SPEC = importlib.util.spec_from_file_location("accuracy_memory", ROOT / "tests/bench/accuracy_memory.py")
assert _SPEC and _SPEC.loader
accuracy = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(accuracy)
sized = accuracy.sized

MIB, GIB = 1024**2, 1024**3
WITHIN = 0.002
# Logs whose buffer says less than what was taken: a fork of September 2026 with a cache of experts; and a release that
# unpacked the KV cache in a pool beside the buffer, where ours is told of none.
_POOLED = "q35-27b-3090-200k"
UNBOUNDED = {False: (accuracy.FORK, _POOLED), True: (accuracy.FORK,)}


def ids(cases: list[dict[str, Any]]) -> list[str]:
    return [case["id"] for case in cases]


def most(observed_mib: float) -> float:
    """The most that an estimate may say of such a buffer."""
    return max(1.3 * observed_mib, observed_mib + 96)


def having(*keys: str) -> list[dict[str, Any]]:
    return [case for case in accuracy.LLAMACPP if any(key in case["observed"] for key in keys)]


@pytest.mark.parametrize("case", accuracy.LLAMACPP, ids=ids(accuracy.LLAMACPP))
def test_caches_are_what_the_log_says(case: dict[str, Any]) -> None:
    """KV cache, window cache and state agree with every log within its rounding."""
    found, observed = sized(case), case["observed"]
    full, window, state = (found[key] / MIB for key in ("kv_bytes", "kv_swa_bytes", "recurrent_bytes"))
    expected = {"kv_mib": full, "kv_swa_mib": window, "kv_total_mib": full + window, "rs_mib": state}
    expected["context_mib"] = full + window + state
    for key, ours in expected.items():
        if key in observed:
            assert ours == pytest.approx(observed[key], rel=WITHIN)
            assert found["exact"]["kv_bytes"] and found["exact"]["recurrent_bytes"]


@pytest.mark.parametrize("case", having("model_mib"), ids=ids(having("model_mib")))
def test_weights_are_the_file(case: dict[str, Any]) -> None:
    """All places together hold the file; of a tied embedding RAM keeps a copy, which counts beside the weights."""
    loaded = sum(case["observed"]["model_mib"].values())
    found = sized(case)
    assert found["weights_bytes"] / MIB == pytest.approx(loaded, rel=WITHIN)
    if accuracy.MODELS[case["model"]]["tie_embeddings"]:
        assert found["host_bytes"] / MIB > 0.05 * loaded


def buffers(case: dict[str, Any], *, is_release_known: bool) -> list[tuple[float, float, float]]:
    """Each compute buffer of a log: ours, the log's, and our margin, in MiB."""
    found = sized(case, is_release_known=is_release_known)
    observed = list(case["observed"]["compute_mib"].values())
    ours = found["compute_bytes"]
    pairs = zip(ours if len(ours) == len(observed) else ours[-1:], observed, strict=True)
    return [(expected / MIB, mib, found["compute_margin_bytes"] / MIB) for expected, mib in pairs]


@pytest.mark.parametrize("is_release_known", [False, True])
@pytest.mark.parametrize("case", having("compute_mib"), ids=ids(having("compute_mib")))
def test_compute_is_within_its_margin(case: dict[str, Any], is_release_known: bool) -> None:
    """The compute buffer of every log lies within the margin that is stated beside ours; too much is no safe side."""
    for ours, observed, margin in buffers(case, is_release_known=is_release_known):
        assert observed <= ours + margin
        if case["id"] not in UNBOUNDED[is_release_known]:
            assert ours <= most(observed)


def test_drafting_is_neither_too_little_nor_too_much() -> None:
    """The second context of a draft: 128 MiB of cache and 520.06 MiB of buffer (Qwen3.8-27B, b9849)."""
    (case,) = having("draft_compute_mib")
    ours, buffer = sized(case)["drafting_bytes"] / MIB, case["observed"]["draft_compute_mib"]
    assert buffer <= ours - 128 <= most(buffer)


def test_layers_spread_as_llama_cpp_spreads_them() -> None:
    """Of 94 layers two GPUs take 48 and 46, since the output counts as one: 816.02 and 782.02 MiB of KV cache."""
    case = next(case for case in accuracy.CASES if case["id"] == "q3-235b-ik-2gpu")
    caches = [gpu["parts"]["KV cache"] / MIB for gpu in sized(case)["per_gpu"]]
    assert caches == pytest.approx(list(case["observed"]["kv_dev_mib"].values()), abs=0.05)


def test_totals_are_what_nvidia_smi_shows() -> None:
    """What nvidia-smi showed is met within 3 % (median), and never exceeds our figure by more than its margin."""
    errors = []
    for case in having("used_mib"):
        if case["id"] in accuracy.SUSPECT:
            continue
        found, used = sized(case), case["observed"]["used_mib"] * MIB
        errors.append(abs(sized(case, is_release_known=True)["total_bytes"] / used - 1))
        assert used <= found["total_bytes"] + found["total_margin_bytes"]
    assert (len(errors), statistics.median(errors) < 0.03) == (8, True)


@pytest.mark.parametrize("case", accuracy.VLLM, ids=ids(accuracy.VLLM))
def test_vllm_prints_our_tokens(case: dict[str, Any]) -> None:
    """The tokens and the concurrency that vLLM printed follow from the cache it had, which it prints in 0.01 GiB."""
    found, observed = accuracy.sized_vllm(case), case["observed"]
    # The log of one rank: the pool is that of the smallest.
    within = 0.011 if case["id"] == "vllm-235b-fp8-tp4" else WITHIN
    assert found["kv_tokens"] == pytest.approx(observed["kv_tokens"], rel=within)
    # Pages of int8 with a scale for each head do not divide each other: that depends on the release.
    assert found["exact"]["kv_tokens"] == (case["klass"] != "vllm_swa")
    if observed.get("concurrency"):
        assert found["max_concurrency"] == pytest.approx(observed["concurrency"], abs=0.006)


def test_page_is_up_to_date() -> None:
    """docs/accuracy.md says what the code comes to: run make accuracy."""
    assert accuracy.markdown() in (ROOT / "docs/accuracy.md").read_text()
