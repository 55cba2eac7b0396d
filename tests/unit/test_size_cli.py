"""`rigwright size` as it is typed: numbers that a log confirms, one clear line for what is wrong, and at once."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner, Result

from rigwright.cli import main
from rigwright.units import GIB, MIB
from rigwright.view.answers.schema import schema
from rigwright.view.answers.size import Size

CHECK = jsonschema.Draft202012Validator(schema(Size))
# Qwen3-30B-A3B: 48 layers of 4 KV heads of 128. Source: its config.json.
QWEN3_30B: dict[str, Any] = {
    "layers": 48, "hidden": 2048, "heads": 32, "kv_heads": 4, "head_dim": 128, "vocab": 151936, "experts": 128,
    "experts_used": 8, "moe_ff": 768, "ff": 6144, "arch": "qwen3moe", "native_ctx": 40960, "tie_embeddings": False,
}  # fmt: skip

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Types the command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(main, ["size", *map(str, words)])


def sizes(run: Run, *words: object) -> dict[str, Any]:
    result = run(*words, "--json")
    assert result.exit_code == 0, result.output
    lines: dict[str, Any] = json.loads(result.stdout)
    CHECK.validate(lines)
    return lines


def test_parameters_give_the_kv_cache_to_the_byte(run, tmp_path):
    """2 × 48 layers × 4 heads × 128 × 2 bytes × 32768 cells are 3 GiB; the weights are the file's size."""
    (tmp_path / "q.json").write_text(json.dumps(QWEN3_30B))
    lines = sizes(run, "q.json", "--file-bytes", "18G", "--context", "32K")
    assert lines["kv_bytes"] == 2 * 48 * 4 * 128 * 2 * 32768 == 3 * GIB
    assert lines["weights_bytes"] == 18 * GIB and lines["exact"]["kv_bytes"]


def test_entry_may_stand_under_its_name(run, tmp_path):
    """A file of one named entry is that entry."""
    (tmp_path / "plain.json").write_text(json.dumps(QWEN3_30B))
    (tmp_path / "named.json").write_text(json.dumps({"plain": QWEN3_30B}))
    assert sizes(run, "plain.json", "--quant", "Q4_K_M") == sizes(run, "named.json", "--quant", "Q4_K_M")


def test_quantised_cache_takes_its_blocks(run, tmp_path):
    """q8_0 is 34 bytes for 32 elements, against 64 of f16."""
    (tmp_path / "q.json").write_text(json.dumps(QWEN3_30B))
    words = ("q.json", "--file-bytes", "18G", "--context", "32768", "--cache-type-k", "q8_0", "--cache-type-v", "q8_0")
    assert sizes(run, *words)["kv_bytes"] == 3 * GIB * 34 // 64


def test_hybrid_of_the_catalogue_matches_its_log(run):
    """Qwen3.5-35B-A3B at 262144 cells: 5120 MiB of KV cache in 10 layers and 62.81 MiB of state, as llama.cpp logs."""
    lines = sizes(run, "Qwen3.5-35B-A3B:Q4_K_M", "--context", "256K")
    assert lines["kv_bytes"] == 5120 * MIB
    assert lines["recurrent_bytes"] == pytest.approx(62.81 * MIB, abs=0.01 * MIB)


def test_vllm_budget_becomes_tokens(run, tmp_path):
    """The pool of 3 GiB holds as many tokens as 98304 bytes each divide it."""
    (tmp_path / "q.json").write_text(json.dumps(QWEN3_30B))
    words = ("q.json", "--engine", "vllm", "--file-bytes", "18G", "--kv-budget-bytes", "3G", "--max-model-len", "8192")
    lines = sizes(run, *words)
    assert lines["kv_tokens"] == 32768 and lines["max_concurrency"] == pytest.approx(4.0)


def test_speed_goes_with_depth(run):
    """--depth, else the --context that was given, else none: deeper is slower, and the range holds what is expected."""
    words = ("qwen3.5-35b-a3b:Q4_K_M", "--speed", "--gpu", "RTX 3090")
    fast, slow = (
        sizes(run, *words, *more)["decode_tokens_per_second"]
        for more in (("--depth", "0", "--context", "128K"), ("--context", "128K"))
    )
    assert fast["expected"] > slow["expected"]
    assert slow["low"] < slow["expected"] < slow["high"]
    assert sizes(run, *words)["decode_tokens_per_second"]["expected"] == fast["expected"]


def test_own_bandwidth_needs_no_row(run):
    """A card that the catalogue does not know is as fast as its memory."""
    words = ("qwen3-8b:Q4_K_M", "--speed", "--gpu", "NVIDIA Prototype")
    rates = [sizes(run, *words, "--gpu-bandwidth", rate)["decode_tokens_per_second"]["expected"] for rate in (500, 900)]
    assert rates[0] < rates[1]


@pytest.mark.parametrize("gpus", [1, 3])
def test_page_says_whether_it_fits(run, gpus):
    """A person sees each part, a bar for each GPU, and whether the card holds it."""
    page = run("qwen3.5-35b-a3b:Q4_K_M", "--context", "8K", "--gpu", "RTX 3090", "--gpus", gpus, "--speed").stdout
    assert all(said in page for said in ("weights", "KV cache", "recurrent state", "tokens/s", "fits RTX 3090"))
    assert sum(line.strip().startswith("GPU ") for line in page.splitlines()) == gpus
    assert "does not fit" in run("qwen3.5-35b-a3b:Q8_0", "--gpu", "RTX 3090").stdout


@pytest.mark.parametrize(
    ("model", "words", "count"),
    [
        ("qwen3.5-35b-a3b:Q4_K_M", ["--context", "128K"], 2),
        ("qwen3.5-27b:Q4_K_M", [], 1),
        ("qwen3.5-27b:Q4_K_M", ["--slots", "4", "--context", "256K", "--cache-type-k", "q8_0"], 1),
        ("qwen3.5-27b:Q8_0", [], 0),
    ],
)
def test_what_is_said_to_make_it_fit_does(run, model, words, count):
    """`does not fit` alone left its reader to try: the longest context that does, an 8 bit cache, or nothing."""
    asked = (model, *words, "--gpu", "RTX-3090")
    said = " ".join(run(*asked).stdout.split()).partition("does not fit")[2]
    remedies = re.findall(r"(?:with|or) ((?:--[a-z-]+ \w+ ?)+)", said)
    assert len(remedies) == count
    for remedy in remedies:
        assert " fits RTX-3090" in run(*asked, *remedy.split()).stdout


def test_everything_may_be_in_ram(run):
    """--gpus 0 is the CPU: nothing lies on a GPU, and the speed is the RAM's."""
    lines = sizes(run, "qwen3-8b:Q4_K_M", "--gpus", "0", "--speed", "--context", "8192")
    assert lines["per_gpu"] == [] and lines["total_bytes"] == lines["host_bytes"] > 4 * GIB
    assert lines["decode_tokens_per_second"]["expected"] > 0


def test_gguf_file_is_exact(run, tiny_dense):
    """A header says what each tensor takes; nothing is assumed."""
    lines = sizes(run, tiny_dense, "--context", "512")
    assert lines["exact"]["weights_bytes"] and "the tensor table is computed" not in str(lines["assumptions"])


@pytest.mark.parametrize(
    "text",
    [
        "nope", "[]", "{}", "5", '""', "null", "[" * 50_000, '{"a": {"layers": 2}, "b": {"layers": 2}}',
        '{"layers": "x"}', '{"layers": -3, "hidden": 4, "heads": 1, "kv_heads": 1, "vocab": 5}', '{"layers": true}',
        '{"layers": 1e400}', '{"layers": NaN}', '{"layers": null}', '{"layers": 2}', '{"layers": [2]}',
    ],
)  # fmt: skip
def test_odd_parameters_are_one_line(run, tmp_path, text):
    """Not JSON, not a mapping, wrong types, numbers that cannot be: which file, what, what to do."""
    (tmp_path / "odd.json").write_text(text)
    result = run("odd.json", "--file-bytes", "1G", "--json")
    assert (result.exit_code, result.stdout) == (1, "") and isinstance(result.exception, SystemExit)
    assert result.stderr.startswith("Error: odd") and len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("key", sorted(QWEN3_30B))
@pytest.mark.parametrize("value", ["x", -1, [], {}, 10**30])
def test_no_key_of_parameters_can_break_it(run, tmp_path, key, value):
    """Whatever one key holds: an answer or one line."""
    (tmp_path / "odd.json").write_text(json.dumps(QWEN3_30B | {key: value}))
    result = run("odd.json", "--file-bytes", "18G", "--json")
    assert isinstance(result.exception, SystemExit | None), result.exception
    assert result.exit_code == 0 or (result.stdout == "" and len(result.stderr.splitlines()) == 1)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ((), 2, "Missing argument"),
        (("nosuch-model",), 1, "no model is called nosuch-model"),
        (("qwen3.5-35b-a3c",), 1, "did you mean qwen3.5-35b-a3b"),
        (("qwen3-8b:Q9_Z",), 1, "Q9_Z"),
        (("qwen3-8b", "--quant", "Q9_Z"), 1, "Q9_Z"),
        (("missing.gguf",), 1, "missing.gguf: does not exist"),
        (("missing.json",), 1, "missing.json: cannot be read: No such file"),
        (("hf:bad",), 1, "is no Hugging Face file"),
        (("qwen3-8b", "--speed"), 2, "--speed needs --gpu NAME"),
        (("qwen3-8b", "--speed", "--gpu", "RTX 9090"), 1, "RTX 5090"),
        (("qwen3-8b", "--speed", "--gpu", "3090", "--gpu-bandwidth", "nan"), 2, "out of range"),
        (("qwen3-8b", "--context", "-5"), 2, "'-5' is no number"),
        (("qwen3-8b", "--context", "0"), 2, "out of range"),
        (("qwen3-8b", "--context", "much"), 2, "write for example 262144, 256K or 21G"),
        (("qwen3-8b", "--gpus", "-1"), 2, "--gpus"),
        (("qwen3-8b", "--cache-type-k", "q9_9"), 1, "choose one of"),
        (("qwen3-8b", "--engine", "tgi"), 2, "--engine"),
        (("qwen3-8b", "--engine", "vllm", "--kv-bytes", "inf"), 2, "out of range"),
    ],
)
def test_wrong_words_are_one_line(run, words, code, says):
    """What is wrong, what to do, and no traceback."""
    result = run(*words)
    assert (result.exit_code, result.stdout) == (code, "")
    assert says in result.stderr and isinstance(result.exception, SystemExit)


def test_file_knows_its_size_itself(run, tiny_dense):
    """--file-bytes and --quant are for dimensions; with a file they could only contradict it."""
    assert "the file itself says" in run(tiny_dense, "--file-bytes", "5G").stderr
    assert "the file itself says" in run(tiny_dense, "--quant", "Q4_K_M").stderr


@pytest.mark.patience
def test_json_is_there_at_once():
    """Half a second on an idle machine, of processor time, so that scripts can ask it hundreds of times."""
    command = [sys.executable, "-m", "rigwright", "size", "qwen3.5-35b-a3b:Q4_K_M", "--json"]

    def spent() -> float:
        before, started = os.times(), time.monotonic()
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        after = os.times()
        work = after.children_user + after.children_system - before.children_user - before.children_system
        return min(work, time.monotonic() - started)

    # Two that share a core take longer each: one try has to show it.
    assert any(spent() < 0.5 for _ in range(5))


@pytest.mark.patience
def test_closed_pipe_is_no_trouble():
    """`| head -1` ends it without a word."""
    command = f"{sys.executable} -m rigwright size qwen3-8b | head -1"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.stderr == "" and len(done.stdout.splitlines()) == 1
