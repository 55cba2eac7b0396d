"""Measurements from a folder: `llama-bench -o json` and `vllm bench serve --save-result`.

llama-bench: a list of objects with gpu_info, model_filename, model_size, n_gen, n_depth, type_k, avg_ts, stddev_ts.
vLLM: one object with model_id, max_concurrency, median_tpot_ms, output_throughput; it names no GPU, which
`--metadata gpu="NVIDIA GeForce RTX 3090"` adds. Source: llama.cpp 0c1e570, vLLM 0.33.0.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from rigwright.plan.speed.measured import Measurement

_MOST_BYTES = 64 * 1024**2
_ALL_LAYERS = 99
_NOT_A_RESULT = "neither a result of `llama-bench -o json` nor of `vllm bench serve`"


class Results(NamedTuple):
    """What a folder holds, and one line per file that holds nothing usable."""

    measurements: tuple[Measurement, ...]
    warnings: tuple[str, ...]


class _Unusable(Exception):
    """Why a file or a row is left out."""


def read_results(folder: Path) -> Results:
    """The measurements in the `.json` and `.jsonl` files of a folder; what cannot be read is a warning, no error."""
    if not folder.is_dir():
        return Results((), (f"{folder}: no such folder; save results of llama-bench there with -o json",))
    found: list[Measurement] = []
    warnings: list[str] = []
    for path in sorted(entry for entry in folder.iterdir() if entry.suffix in (".json", ".jsonl")):
        try:
            found += _measurements(path)
        except (OSError, _Unusable) as problem:
            reason = problem.strerror if isinstance(problem, OSError) else str(problem)
            warnings.append(f"{path}: {reason}; left out")
    return Results(tuple(found), tuple(warnings))


def _measurements(path: Path) -> list[Measurement]:
    rows = _rows(path)
    found = []
    for row in rows:
        try:
            found += list(_measurement(row, str(path)))
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as problem:
            raise _Unusable(f"{_NOT_A_RESULT} ({_detail(problem)})") from None
    if not found:
        raise _Unusable("no result of generating tokens in it")
    return found


def _rows(path: Path) -> list[Any]:
    if path.stat().st_size > _MOST_BYTES:
        raise _Unusable("larger than 64 MiB")
    try:
        text = path.read_text("utf-8")
        data = [json.loads(line) for line in text.splitlines() if line] if path.suffix == ".jsonl" else json.loads(text)
    except (ValueError, RecursionError):
        raise _Unusable("no JSON, or cut short") from None
    return data if isinstance(data, list) else [data]


def _measurement(row: Any, source: str) -> Iterator[Measurement]:
    if not isinstance(row, Mapping):
        raise TypeError("no object")
    if "avg_ts" in row:
        if int(row["n_gen"]) > 0 and not int(row.get("n_prompt", 0)):
            yield _from_llama_bench(row, source)
    elif "output_throughput" in row:
        yield _from_vllm(row, source)
    else:
        raise KeyError("avg_ts")


def _from_llama_bench(row: Mapping[str, Any], source: str) -> Measurement:
    cards = Counter(card.strip() for card in str(row["gpu_info"]).split(",") if card.strip())
    layers = int(row.get("n_gpu_layers", _ALL_LAYERS))
    return Measurement(
        gpu=" + ".join(cards) or "CPU",
        gpu_count=cards.total() or 1,
        model=str(row["model_filename"]),
        size_bytes=int(row["model_size"]),
        depth_tokens=int(row.get("n_depth", 0)),
        cache_types=(str(row.get("type_k", "f16")), str(row.get("type_v", "f16"))),
        gpu_layers=None if layers < 0 or layers >= _ALL_LAYERS else layers,
        cpu_expert_layers=int(row.get("n_cpu_moe", 0)),
        tokens_per_second=_positive(row["avg_ts"]),
        deviation=abs(float(row.get("stddev_ts", 0.0))),
        build=str(row["build_commit"]) if row.get("build_commit") else None,
        source=source,
    )


def _from_vllm(row: Mapping[str, Any], source: str) -> Measurement:
    gpu = row.get("gpu") or row.get("gpu_info")
    if not gpu:
        raise _Unusable('names no GPU; run `vllm bench serve` with --metadata gpu="NVIDIA GeForce RTX 3090"')
    users = int(row.get("max_concurrency") or row.get("max_concurrent_requests") or 1)
    prompt = int(row["total_input_tokens"]) // max(1, int(row["completed"]))
    return Measurement(
        gpu=str(gpu),
        gpu_count=int(row.get("gpu_count", 1)),
        model=str(row["model_id"]),
        size_bytes=int(row["size_bytes"]) if row.get("size_bytes") else None,
        engine="vllm",
        depth_tokens=prompt,
        users=users,
        tokens_per_second=1000 / _positive(row["median_tpot_ms"]),
        total_per_second=_positive(row["output_throughput"]),
        source=source,
    )


def _positive(value: Any) -> float:
    number = float(value)
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"{number} tokens/s")
    return number


def _detail(problem: Exception) -> str:
    if isinstance(problem, ValidationError):
        return ", ".join(str(error["loc"][0]) for error in problem.errors()[:3])
    return f"no {problem.args[0]}" if isinstance(problem, KeyError) else str(problem).splitlines()[0][:80]
