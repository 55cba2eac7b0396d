"""How near computed memory comes to published logs: a part of docs/accuracy.md, as Markdown."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from rigwright.models import Model
from rigwright.models.parameters import model_from_parameters
from rigwright.plan.memory.compute import (
    BEFORE_F16_MASK,
    BEFORE_F16_MASK_INSIDE,
    BEFORE_FUSED_DELTA,
    BEFORE_OUTPUT_LIMIT,
    PINNED,
    Build,
)
from rigwright.plan.size import size

MIB, GIB = 1024**2, 1024**3
DATA = Path(__file__).parents[1] / "unit" / "data"
MODELS = json.loads((DATA / "models.json").read_text())
CASES = [
    case for name in ("memory_cases", "memory_cases_2") for case in json.loads((DATA / f"{name}.json").read_text())
]
LLAMACPP = [case for case in CASES if case["engine"] != "vllm" and case["model"] in MODELS]
VLLM = [case for case in CASES if case["engine"] == "vllm" and case["model"] in MODELS]
# Its mask is of the older kind, 1024 MiB of it printed apart, and its cache is unpacked inside of the buffer.
BUILDS = {"gemma4-26b-262k": BEFORE_F16_MASK_INSIDE}
# A published estimate, not a measurement: 18.7 is the figure for 120,000 tokens in the same article.
SUSPECT = ("article-0-35b-10k",)
# A fork of September 2026 with a cache of experts: 720 MiB, where no stock release of such a model came below ours.
FORK = "ornith15-35b-262k-q8"

_HEAD = """\
## Memory

Published logs of llama.cpp and vLLM, judged with nothing but what `rigwright size` takes: a model's dimensions, the
size of the file, and the flags. "exact" follows from source and first principles; "estimated" carries a margin, which
the last column counts.

| component | | logs | median error | largest | within the margin |
|---|---|---|---|---|---|
"""
_TAIL = """
The compute buffer depends on the release: since June 2026 (ggml-org/llama.cpp#23861) llama-server reserves logits for
one token per slot, before, and in llama-bench and llama-fit-params, for a whole ubatch. A plan counts what the pinned
release does; `rigwright size`, which cannot know whose log it is held against, states a margin that spans them all.

### Others

| tool | what it says, or what was measured | source |
|---|---|---|
| gguf-parser | "usually deviate … about 100 MiB" | its README |
| gguf-parser 0.25 | KV cache of qwen35moe 4 times too large, up to 7.6 GiB over | gguf-parser-go#28 |
| gguf-parser 0.25, Qwen3.6-27B | 24.83 GiB estimated, 17.6 GiB allocated; 18.60 GiB after a fix | lilbee#721 |
| gguf-parser 0.26 | hybrid models and windows mended: KV cache "byte-exact" | lilbee#721, #750 |
| GPUStack | 139 GB for about 32 GB (Gemma-3-27B); 13.8 GiB for 926 MiB | gpustack#2101, #2412 |
| llama.cpp --fit | a dry run of the real graph, so nothing to compute; keeps 1024 MiB free, ended at 87 and 97 % | \
llama.cpp#16653, #18354 |
| club-3090 kv-calc (vLLM) | 17 of 17 verdicts within 1.5 GB for two models; one weight anchor 2 times wrong | \
its KV_MATH.md |

### Published figures that are wrong

| claim | right | proof |
|---|---|---|
"""


class Result(NamedTuple):
    """One figure of a log beside ours; `margin` is None where we say that ours is exact."""

    component: str
    ours: float
    observed: float
    margin: float | None = None

    @property
    def error(self) -> float:
        """How far ours is off, as a share."""
        return abs(self.ours / self.observed - 1)


def file_bytes(case: dict[str, Any]) -> int | None:
    """The file: what the log's author says, or what was loaded (with a tied embedding the GPU holds all of it)."""
    mib = case["file_mib"] or sum(case["observed"].get("model_mib", {}).values())
    return int(mib * MIB) if mib else None


def build_of(case: dict[str, Any]) -> Build:
    """What the release of a log reserves, which its mask and its logits show."""
    if case["id"] in BUILDS:
        return BUILDS[case["id"]]
    if case["mask_kind"] != "f16":
        return BEFORE_FUSED_DELTA if MODELS[case["model"]]["arch"] == "qwen3next" else BEFORE_F16_MASK
    return BEFORE_OUTPUT_LIMIT if case["n_outputs"] == "ub" else PINNED


def sized(case: dict[str, Any], *, is_release_known: bool = False) -> dict[str, Any]:
    """What `rigwright size` says of a log, whose release it is not told, or is."""
    return _sized(case["id"], build_of(case) if is_release_known else None)


@cache
def _sized(name: str, build: Build | None) -> dict[str, Any]:
    case = next(case for case in CASES if case["id"] == name)
    model = model_from_parameters(case["model"], MODELS[case["model"]], file_bytes=file_bytes(case), quant="Q4_K_M")
    return size(
        model,
        engine="ik_llamacpp" if case["engine"].startswith("ik") else "llamacpp",
        context_tokens=case["n_ctx"],
        cache_type_k=case["type_k"],
        cache_type_v=case["type_v"],
        ubatch=case["n_ubatch"],
        slots=case["n_seq"],
        unified_kv=case["kv_unified"],
        flash_attn=case["flash_attn"],
        gpus=case["n_gpu"],
        n_cpu_moe=case["n_cpu_moe"] or 0,
        draft_depth=case["n_rs_seq"],
        gpu=case["backend"] != "CPU",
        build=build,
    )


def sized_vllm(case: dict[str, Any]) -> dict[str, Any]:
    """The same for vLLM; of the budgets that its log rounds to 0.01 GiB the one that fits best."""
    model = model_from_parameters(case["model"], MODELS[case["model"]])
    observed = case["observed"]
    near = [
        size(
            model,
            engine="vllm",
            tp=case["tp"],
            kv_bytes=case["kv_bytes_per_elem"],
            kv_scale_bytes=case["kv_scale_bytes"],
            draft_depth=case["n_spec"],
            kv_budget_bytes=int((observed["avail_kv_gib"] + step / 1000) * GIB),
            max_model_len=case["max_model_len"],
            engine_version=_release(case),
        )
        for step in range(-5, 6)
    ]
    return min(near, key=lambda one: abs(one["kv_tokens"] - observed["kv_tokens"]))


def _release(case: dict[str, Any]) -> str | None:
    """The release, if the log says it, or one that counts tokens as the log does."""
    return case.get("engine_version") or ("0.19.0" if case.get("token_rule", "").startswith("old") else None)


def results() -> list[Result]:
    """Every figure of every log with ours."""
    return [one for case in LLAMACPP for one in (*_caches(case), *_estimates(case))] + [
        one for case in VLLM for one in _pools(case)
    ]


def _caches(case: dict[str, Any]) -> list[Result]:
    found, observed = sized(case), case["observed"]
    full, window, state = (found[key] / MIB for key in ("kv_bytes", "kv_swa_bytes", "recurrent_bytes"))
    keys = {
        "kv_mib": ("KV cache", full),
        "kv_swa_mib": ("window cache", window),
        "kv_total_mib": ("KV and window cache", full + window),
        "rs_mib": ("recurrent state", state),
        "context_mib": ("KV cache and state", full + window + state),
    }
    rows = [Result(name, ours, observed[key]) for key, (name, ours) in keys.items() if key in observed]
    if "model_mib" in observed and not MODELS[case["model"]]["tie_embeddings"]:
        rows.append(Result("weights", found["weights_bytes"] / MIB, sum(observed["model_mib"].values())))
    return rows


def _estimates(case: dict[str, Any]) -> list[Result]:
    found, observed = sized(case, is_release_known=True), case["observed"]
    buffers = list(observed.get("compute_mib", {}).values())
    ours = found["compute_bytes"] if len(found["compute_bytes"]) == len(buffers) else found["compute_bytes"][-1:]
    margin = found["compute_margin_bytes"] / MIB
    rows = [
        Result("compute buffer", one / MIB, seen, margin)
        for one, seen in zip(ours, buffers, strict=False)
        if case["id"] != FORK
    ]
    if "draft_compute_mib" in observed:
        both = observed["draft_kv_mib"] + observed["draft_compute_mib"]
        rows.append(Result("drafting", found["drafting_bytes"] / MIB, both, margin))
    if "used_mib" in observed and case["id"] not in SUSPECT:
        all_of_it = sized(case)
        total, more = all_of_it["total_bytes"] / MIB, all_of_it["total_margin_bytes"] / MIB
        rows.append(Result("all of a GPU", total, observed["used_mib"], more))
    return rows


def _pools(case: dict[str, Any]) -> list[Result]:
    found, observed = sized_vllm(case), case["observed"]
    rows = [Result("vLLM: tokens of the cache", found["kv_tokens"], observed["kv_tokens"])]
    if observed.get("concurrency"):
        # Printed with two digits.
        rows.append(Result("vLLM: requests at once", round(found["max_concurrency"], 2), observed["concurrency"]))
    return rows


def markdown() -> str:
    """The section on memory."""
    groups: dict[str, list[Result]] = defaultdict(list)
    for row in results():
        groups[row.component].append(row)
    lines = [_line(name, rows) for name, rows in groups.items()]
    return (
        _HEAD + "\n".join(lines) + "\n" + _TAIL + "\n".join(f"| {' | '.join(row)} |" for row in wrong_figures()) + "\n"
    )


def _line(name: str, rows: list[Result]) -> str:
    errors = [row.error for row in rows]
    inside, kind = "", "exact"
    if rows[0].margin is not None:
        kind = "estimated"
        inside = f"{sum(abs(row.ours - row.observed) <= row.margin for row in rows if row.margin is not None)}"
    return f"| {name} | {kind} | {len(rows)} | {statistics.median(errors):.2%} | {max(errors):.2%} | {inside} |"


def _model(name: str, **known: Any) -> Model:
    return model_from_parameters(name, MODELS[name], **known)


def _gib(name: str, context: int, kind: str = "f16", key: str = "kv_bytes", **known: Any) -> float:
    found = size(_model(name, **known), context_tokens=context, cache_type_k=kind, cache_type_v=kind)
    return float(found[key]) / GIB


def _growth(name: str, kind: str) -> str:
    return f"{_gib(name, 262144, kind) - _gib(name, 4096, kind):.1f} GiB with {kind}"


def wrong_figures() -> list[tuple[str, str, str]]:
    """Claims met in articles, READMEs and calculators, what is right, and why. Figures are computed here."""
    a3b, dense, large, following = "Qwen3.5-35B-A3B", "Qwen3.5-27B", "Qwen3.5-122B-A10B", "Qwen3-Next-80B-A3B"
    state = size(_model(dense), context_tokens=4096)["recurrent_bytes"] / MIB
    expert = 3 * MODELS[following]["hidden"] * MODELS[following]["moe_ff"] / 1e6
    short = _gib(a3b, 10240, key="total_bytes", file_bytes=int(15820.8 * MIB))
    tight = _gib(dense, 8192, key="total_bytes", file_bytes=int(15953.92 * MIB))
    speed = 1008 / (15953.92 * MIB / 1e9)
    return [
        (
            f"{a3b}, q8_0: KV cache of 1.5 GB at 8K, 48 GB at 262K",
            f"{_gib(a3b, 8192, 'q8_0'):.2f} and {_gib(a3b, 262144, 'q8_0'):.2f} GiB",
            "only 10 of 40 layers have one; a log prints 1373.28 MiB for 132,352 cells",
        ),
        (
            f"{a3b}, UD-Q3_K_XL: 18.7 GB at 10K tokens",
            f"{short:.1f} GiB",
            "18.7 is the same article's measurement at 120K",
        ),
        (
            f"{a3b}: +3 GB from 4K to 262K tokens",
            f"+{_growth(a3b, 'f16')}, +{_growth(a3b, 'q8_0')}",
            "3 GB were measured from 120K on",
        ),
        (f"{large}: +25 GB from 4K to 262K tokens", f"+{_growth(large, 'f16')}", "12 of 48 layers have a KV cache"),
        (
            f"{dense}: about 7.5 MB of recurrent state",
            f"{state:.1f} MiB for each slot",
            "48 layers × 48 heads × 128 × 128 × 4 bytes; logs print 149.62 MiB",
        ),
        (
            f"{dense}, Q4_K_M fits in 16 GB",
            f"{tight:.1f} GiB at 8K tokens",
            "weights without the embedding alone are 14.9 GiB",
        ),
        (
            f"{dense}: 140 tokens/s on an RTX 4090",
            f"below {speed:.0f}",
            "1008 GB/s divided by the 16.7 GB read for each token",
        ),
        ("Qwen3.6: heads of 128", "256", "print_info, and only 256 fits vLLM's token counts"),
        (
            f"{following}: experts of about 1536, 32K tokens",
            f"512 wide ({expert:.2f} M weights each), 262,144 tokens",
            "its own 3.15 MB for each expert at 8 bit",
        ),
        (
            f"{a3b} is too large for 16 GB",
            "with 16 layers' experts in RAM it runs at 51 tokens/s on an RTX 5080",
            "--n-cpu-moe; a report beside the claim",
        ),
        (
            "vLLM before 0.21 lost three quarters of a hybrid model's cache",
            "it printed blocks // (groups + 1) × block",
            "the same cache, counted truly since: concurrency × max_model_len",
        ),
        (
            "UD-Q4_K_XL: perplexity 7.17, or 6.55",
            "both, of different files",
            "uploaded anew in March 2026: pin the hash",
        ),
    ]
