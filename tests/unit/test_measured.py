"""Measurements: where they come from, and that they beat what is computed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rigwright.bench.results import read_results
from rigwright.models.parameters import model_from_parameters
from rigwright.plan.speed import Speed, decode_speed, throughput_of
from rigwright.plan.speed.measured import Measurement, Setup, family, find, measured_speed

GIB = 1024**3
DATA = Path(__file__).parent / "data"
CARD = "NVIDIA GeForce RTX 3090"
PARAMETERS = json.loads((DATA / "speed_models.json").read_text())["Qwen3.5-35B-A3B"]
MODEL = model_from_parameters("Qwen3.5-35B-A3B", PARAMETERS, file_bytes=int(15.45 * GIB))
# An object of `llama-bench -o json`, build 0c1e570, with the numbers of the run that was published for this model.
ROW: dict[str, Any] = {
    "build_commit": "0c1e570",
    "build_number": 12345,
    "gpu_info": CARD,
    "backends": "CUDA",
    "model_filename": "/models/Qwen3.5-35B-A3B-UD-Q3_K_XL.gguf",
    "model_type": "qwen35moe 35B.A3B Q3_K - Medium",
    "model_size": MODEL.weights_bytes,
    "n_gpu_layers": 99,
    "n_cpu_moe": 0,
    "type_k": "f16",
    "type_v": "f16",
    "n_prompt": 0,
    "n_gen": 128,
    "n_depth": 10000,
    "test_time": "2026-11-20T10:00:00Z",
    "avg_ts": 119.0,
    "stddev_ts": 0.5,
}


def estimate(setup: Setup) -> Speed:
    return decode_speed(
        setup.model, throughputs=[throughput_of(setup.gpu)] * setup.gpu_count, depth_tokens=setup.depth_tokens
    )


def read(folder: Path, *rows: Any) -> tuple[Measurement, ...]:
    (folder / "run.json").write_text(json.dumps(rows))
    found = read_results(folder)
    assert found.warnings == ()
    return found.measurements


def test_measured_setup_beats_the_formula(tmp_path):
    """Same card, file, placement and depth: the measured speed, 3 % around it, and where it was read."""
    speed = measured_speed(read(tmp_path, ROW), Setup(CARD, MODEL, depth_tokens=10_000), estimate=estimate)
    assert (speed.expected, speed.confidence) == (119.0, "measured")
    assert (speed.low, speed.high) == pytest.approx((119 * 0.97, 119 * 1.03))
    assert speed.source == str(tmp_path / "run.json")
    assert speed.prefill_expected


def test_measured_speed_that_scatters_has_a_wider_range(tmp_path):
    """Twice the standard deviation where that is more than 3 %."""
    rows = read(tmp_path, {**ROW, "stddev_ts": 5.0})
    speed = measured_speed(rows, Setup(CARD, MODEL, depth_tokens=10_000), estimate=estimate)
    assert (speed.low, speed.high) == (109.0, 129.0)


@pytest.mark.parametrize("depth_tokens", [0, 120_000])
def test_measurement_at_another_depth_scales_the_formula(tmp_path, depth_tokens):
    """What the card lost to the formula at one depth it loses at another: the ratio stays."""
    setup = Setup(CARD, MODEL, depth_tokens=depth_tokens)
    speed = measured_speed(read(tmp_path, {**ROW, "avg_ts": 60.0}), setup, estimate=estimate)
    ratio = 60.0 / estimate(setup._replace(depth_tokens=10_000)).expected
    assert speed.expected == pytest.approx(estimate(setup).expected * ratio)
    assert speed.confidence == "high"
    assert speed.high / speed.low < 1.4


def test_measurement_of_another_quant_scales_the_formula(tmp_path):
    """Q4_K_M of the same model: the measured Q3_K_XL says how far the formula is off."""
    larger = model_from_parameters("Qwen3.5-35B-A3B", PARAMETERS, file_bytes=int(20.49 * GIB))
    setup = Setup(CARD, larger, depth_tokens=10_000)
    speed = measured_speed(read(tmp_path, ROW), setup, estimate=estimate)
    assert speed.confidence == "high"
    assert speed.low <= 121 <= speed.high
    assert find(read(tmp_path, ROW), setup) is None


@pytest.mark.parametrize(
    "change",
    [
        {"gpu_info": "NVIDIA GeForce RTX 3090 Ti"},
        {"gpu_info": f"{CARD}, {CARD}"},
        {"gpu_info": f"{CARD}, NVIDIA GeForce RTX 3060"},
        {"model_filename": "Qwen3.5-27B-Q4_K_M.gguf"},
        {"n_cpu_moe": 16},
        {"n_gpu_layers": 20},
    ],
)
def test_measurement_of_something_else_changes_nothing(tmp_path, change):
    """Another card, two of it, another model or another placement is no evidence."""
    setup = Setup(CARD, MODEL, depth_tokens=10_000)
    assert measured_speed(read(tmp_path, {**ROW, **change}), setup, estimate=estimate) == estimate(setup)


def test_measurement_of_layers_in_ram_counts_the_output_as_llamacpp_does(tmp_path):
    """`-ngl 21` is the output and 20 layers."""
    rows = read(tmp_path, {**ROW, "n_gpu_layers": 21})
    assert find(rows, Setup(CARD, MODEL, depth_tokens=10_000, gpu_layers=20))
    assert not find(rows, Setup(CARD, MODEL, depth_tokens=10_000, gpu_layers=21))


def test_measurement_with_the_nearest_depth_wins(tmp_path):
    """A sweep over depths has one row that is nearest."""
    rows = read(tmp_path, *({**ROW, "n_depth": depth, "avg_ts": tps} for depth, tps in ((9000, 120), (10_500, 118))))
    found = find(rows, Setup(CARD, MODEL, depth_tokens=10_200))
    assert found and found.tokens_per_second == 118


def test_measurement_with_another_cache_is_another_when_it_is_deep(tmp_path):
    """At 10,000 tokens a q8_0 cache is read faster, at the start it is not read at all."""
    rows = read(tmp_path, {**ROW, "type_k": "q8_0", "type_v": "q8_0"}, {**ROW, "n_depth": 0, "avg_ts": 125.0})
    setup = Setup(CARD, MODEL, depth_tokens=10_000)
    assert find(rows, setup) is None
    assert find(rows, setup._replace(cache_types=("q8_0", "q8_0")))
    assert (
        measured_speed(rows, setup._replace(depth_tokens=0, cache_types=("q8_0", "q8_0")), estimate=estimate).expected
        == 125
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Qwen3.5-35B-A3B-UD-Q4_K_XL.gguf", "qwen3535ba3b"),
        ("/models/Qwen3.5-35B-A3B-MXFP4_MOE.gguf", "qwen3535ba3b"),
        ("Qwen3.5-122B-A10B-UD-IQ2_M-00001-of-00002.gguf", "qwen35122ba10b"),
        ("Qwen/Qwen3.6-35B-A3B-FP8", "qwen3635ba3b"),
        ("gpt-oss-20b-mxfp4.gguf", "gptoss20b"),
        ("Llama-3.3-70B-Instruct.Q4_K_M.gguf", "llama3370binstruct"),
    ],
)
def test_family_of_a_file_is_its_name_without_the_quant(name, expected):
    """Folders, shards and quants do not make another model."""
    assert family(name) == expected


def test_prompts_alone_are_no_measurement_of_decoding(tmp_path):
    """llama-bench measures prompts in rows of their own."""
    assert len(read(tmp_path, {**ROW, "n_prompt": 512, "n_gen": 0}, ROW)) == 1


def test_results_of_vllm(tmp_path):
    """`vllm bench serve`: a token takes median_tpot_ms, all users together get output_throughput."""
    sample = {
        "model_id": "Qwen/Qwen3.5-35B-A3B",
        "completed": 4,
        "total_input_tokens": 132,
        "max_concurrency": 4,
        "output_throughput": 480.5,
        "median_tpot_ms": 8.0,
    }
    (tmp_path / "a.json").write_text(json.dumps({**sample, "gpu": CARD}))
    (tmp_path / "b.json").write_text(json.dumps(sample))
    found = read_results(tmp_path)
    (row,) = found.measurements
    assert (row.engine, row.users, row.tokens_per_second, row.total_per_second) == ("vllm", 4, 125.0, 480.5)
    assert [warning.split(": ")[0] for warning in found.warnings] == [str(tmp_path / "b.json")]
    assert "--metadata" in found.warnings[0]
    same = replace(MODEL, tensors=MODEL.tensors)
    assert measured_speed([row], Setup(CARD, same, engine="vllm", users=4), estimate=estimate).confidence == "medium"
    sized = row.model_copy(update={"size_bytes": MODEL.weights_bytes})
    assert measured_speed([sized], Setup(CARD, same, engine="vllm", users=4), estimate=estimate).aggregate == 480.5


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[",
        "[]",
        "null",
        '"text"',
        "[1]",
        "{}",
        '[{"avg_ts": "fast", "n_gen": 128}]',
        json.dumps([{**ROW, "avg_ts": -1}]),
        json.dumps([{**ROW, "avg_ts": float("nan")}]),
        json.dumps([{**ROW, "n_depth": "deep"}]),
        json.dumps([{**ROW, "n_gen": None}]),
        json.dumps([{name: value for name, value in ROW.items() if name != "model_size"}]),
        "[" * 100_000,
        "\x00",
    ],
)
def test_file_without_results_is_one_line_with_its_path(tmp_path, text):
    """llama-bench leaves just `[` when it fails; no such file is a traceback, and the others count."""
    (tmp_path / "bad.json").write_text(text)
    (tmp_path / "good.json").write_text(json.dumps([ROW]))
    found = read_results(tmp_path)
    assert len(found.measurements) == 1
    (warning,) = found.warnings
    assert warning.startswith(f"{tmp_path / 'bad.json'}: ")
    assert "\n" not in warning


def test_bytes_that_are_no_text_are_one_line(tmp_path):
    """A binary file of that name, a folder, a missing folder."""
    (tmp_path / "image.json").write_bytes(b"\x89PNG\xff\xfe")
    (tmp_path / "folder.json").mkdir()
    assert len(read_results(tmp_path).warnings) == 2
    missing = read_results(tmp_path / "missing")
    assert missing.measurements == ()
    assert len(missing.warnings) == 1


def test_results_by_line(tmp_path):
    """`llama-bench -o jsonl` writes an object per line."""
    (tmp_path / "sweep.jsonl").write_text("\n".join(json.dumps({**ROW, "n_depth": depth}) for depth in (0, 8192)))
    assert [row.depth_tokens for row in read_results(tmp_path).measurements] == [0, 8192]
