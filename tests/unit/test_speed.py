"""How fast models will be: published measurements, and what holds of every estimate."""

from __future__ import annotations

import json
import statistics
import timeit
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from rigwright import catalogue
from rigwright.errors import WrongSpec
from rigwright.models.parameters import model_from_parameters
from rigwright.models.values import Model
from rigwright.plan.memory import Placement
from rigwright.plan.speed import Host, Speed, Throughput, decode_speed, throughput_of

DATA = Path(__file__).parent / "data"
CASES = json.loads((DATA / "speed_cases.json").read_text())
PUBLISHED = json.loads((DATA / "speed_published.json").read_text())
MODELS = json.loads((DATA / "speed_models.json").read_text())
GIB = 1024**3
RTX_3090 = Throughput(936, "NVIDIA", "8.6", "cuda")


@cache
def model(name: str, file_gib: float) -> Model:
    return model_from_parameters(name, MODELS[name], file_bytes=int(file_gib * GIB))


def estimate(case: dict[str, Any]) -> Speed:
    throughputs = [throughput_of(case["gpu"], case["bandwidth_gbs"])] * case["n_gpu"]
    return decode_speed(model(case["model"], case["file_gib"]), throughputs=throughputs, depth_tokens=case["depth"])


def holds(case: dict[str, Any]) -> bool:
    speed = estimate(case)
    return speed.low <= case["decode_tps"] <= speed.high


def error(case: dict[str, Any]) -> float:
    return abs(estimate(case).expected / case["decode_tps"] - 1)


@pytest.mark.parametrize("cases", [CASES, PUBLISHED], ids=["cases", "published"])
def test_speed_of_older_measurements_has_their_shape(cases):
    """Builds before June 2026 are slower by their age: four of five lie in the range all the same."""
    older = [case for case in cases if not case["since_june"]]
    assert sum(map(holds, older)) >= 0.8 * len(older)
    assert statistics.median(map(error, older)) <= 0.12


def test_speed_of_measurements_that_nothing_was_fitted_to():
    """The same of what stood aside when the constants were chosen."""
    aside = [case for case in PUBLISHED if not case["is_fitted"]]
    assert len(aside) >= 8
    assert sum(map(holds, aside)) >= 0.8 * len(aside)


@pytest.mark.parametrize(
    ("gpus", "name", "file_gib", "depth", "measured"),
    [
        ("Tesla V100-PCIE-16GB", "gpt-oss-20b", 11.27, 0, 117.71),
        ("Tesla V100-PCIE-16GB", "gpt-oss-20b", 11.27, 8192, 90.31),
        ("Tesla V100-PCIE-16GB", "gpt-oss-20b", 11.27, 32768, 60.35),
        ("M1 Max", "Qwen3-Coder-Next", 35.69, 0, 31.93),
        ("M1 Max", "gpt-oss-20b", 11.27, 0, 59.67),
        ("MI50", "gpt-oss-20b", 11.27, 0, 141.82),
        ("Strix Halo", "Qwen3.6-35B-A3B", 20.81, 0, 60.78),
        ("Strix Halo", "Qwen3.6-35B-A3B", 20.81, 8192, 57.06),
        ("2 RTX 5060 Ti", "Qwen3.6-35B-A3B", 20.6, 0, 97.66),
        ("2 RTX 3060", "Qwen3.6-27B", 17.66, 0, 16.14),
    ],
)
def test_speed_of_what_a_later_sample_taught(gpus, name, file_gib, depth, measured):
    """Old cards, mixtures on shared memory, and pairs of cards: they missed before, and set constants of speed.yml."""
    count, gpu = (2, gpus[2:]) if gpus.startswith("2 ") else (1, gpus)
    speed = decode_speed(model(name, file_gib), throughputs=[throughput_of(gpu)] * count, depth_tokens=depth)
    assert speed.low <= measured <= speed.high


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_speed_range_is_no_wider_than_a_quarter(case):
    """Low, expected and high are in order, and a quarter apart at most."""
    speed = estimate(case)
    assert 0 < speed.low < speed.expected < speed.high
    assert speed.low >= 0.75 * speed.expected - 1e-9
    assert speed.high <= 1.25 * speed.expected + 1e-9


@pytest.mark.parametrize(
    ("gpu", "name", "file_gib", "measured"),
    [
        ("P40", "Qwen3.5-35B-A3B", 20.5, 37),
        ("RTX 5090", "Qwen3.6-35B-A3B", 20.6, 270),
        ("RTX 5090", "Qwen3-30B-A3B", 17.28, 237.9),
        ("M4 Max", "Qwen3.5-35B-A3B", 20.5, 60),
        ("M3 Ultra", "Gemma-3-27B", 14.49, 30.82),
        ("GB10", "gpt-oss-120b", 59.02, 52.87),
        ("RTX PRO 6000 Server Edition", "Llama-3.3-70B", 39.59, 30.71),
        ("RTX PRO 6000", "Llama-2-7B", 3.56, 274.81),
    ],
)
def test_speed_of_cards_by_name_alone(gpu, name, file_gib, measured):
    """Old, new, shared and data centre memory: the catalogue's bandwidth is enough."""
    speed = decode_speed(model(name, file_gib), throughputs=[throughput_of(gpu)])
    assert speed.low <= measured <= speed.high


@pytest.mark.parametrize(
    ("gpu", "file_gib", "cpu_expert_layers", "least", "most"),
    [
        ("RTX 5080", 20.3, 24, 67.4, 69.6),
        ("RTX 5080", 34.4, 40, 35, 38),
        ("RTX 4070", 20.3, 24, 40, 40),
        ("RTX 5060 Ti", 20.3, 14, 52, 62.3),
        ("RTX 5060 Ti", 24.7, 20, 42, 49.9),
    ],
)
def test_speed_with_experts_in_ram(gpu, file_gib, cpu_expert_layers, least, most):
    """Published runs of Qwen3.5-35B-A3B with --n-cpu-moe lie in the range, which says that it is rough.

    Source: r/LocalLLaMA, February 2026; ikawrakow/ik_llama.cpp pull request 1593.
    """
    placement = Placement(gpu_layers=40, cpu_expert_layers=cpu_expert_layers)
    speed = decode_speed(model("Qwen3.5-35B-A3B", file_gib), throughputs=[throughput_of(gpu)], placement=placement)
    assert speed.low <= least <= most <= speed.high
    assert speed.confidence == "low"


def test_speed_of_a_dense_model_by_hand():
    """All but the embedding at 87.5 % of 936 GB/s, then 64 layers of 23 µs and 950 µs, 1.19 times: an RTX 3090."""
    given = model("Qwen3-32B", 18.4)
    embedding = sum(row.size_bytes for row in given.tensors if row.name == "token_embd.weight")
    seconds = (given.weights_bytes - embedding) / (0.875 * 936e9) + 1.19 * (64 * 23e-6 + 950e-6)
    assert 1 / seconds == pytest.approx(decode_speed(given, throughputs=[RTX_3090]).expected)
    # 64 layers × 8 KV heads × 128 elements × K and V × 2 bytes, at 75 %.
    seconds += 10_000 * 64 * 8 * 128 * 2 * 2 / (0.75 * 936e9)
    assert 1 / seconds == pytest.approx(decode_speed(given, throughputs=[RTX_3090], depth_tokens=10_000).expected)


@pytest.mark.parametrize(("gpu", "file_gib", "measured"), [("RTX 3090", 11.0, 50.9), ("RTX 3080", 8.6, 45.1)])
def test_speed_of_few_bits_is_less_than_their_bytes(gpu, file_gib, measured):
    """UD-Q2_K_XL and UD-IQ2_XXS of Qwen3.8-27B: unpacking takes longer than reading (sudoingX/qwen38-mtp)."""
    speed = decode_speed(model("Qwen3.8-27B", file_gib), throughputs=[throughput_of(gpu)])
    assert measured == pytest.approx(speed.expected, rel=0.12)


@pytest.mark.parametrize(("name", "file_gib"), [("Qwen3.5-35B-A3B", 20.5), ("Qwen3-32B", 18.4), ("gpt-oss-20b", 11.27)])
@pytest.mark.parametrize("capability", ["6.1", "8.6", "12.0"])
def test_speed_follows_what_it_depends_on(name, file_gib, capability):
    """More bandwidth is never slower; deeper, larger and more of it in RAM is never faster."""
    given = model(name, file_gib)

    def speed(bandwidth: float = 936, **settings: Any) -> float:
        return decode_speed(
            given, throughputs=[Throughput(bandwidth, "NVIDIA", capability, "cuda")], **settings
        ).expected

    slow_to_fast = [speed(bandwidth) for bandwidth in (100, 300, 600, 1000, 1800, 4000)]
    assert slow_to_fast == sorted(slow_to_fast)
    shallow_to_deep = [speed(depth_tokens=depth) for depth in (0, 100, 5000, 50_000, 200_000)]
    assert shallow_to_deep == sorted(shallow_to_deep, reverse=True)
    small_to_large = [
        decode_speed(model(name, file_gib * size), throughputs=[RTX_3090]).expected for size in (1, 1.3, 2)
    ]
    assert small_to_large == sorted(small_to_large, reverse=True)
    less_to_more = [speed(placement=Placement(layers)) for layers in (given.layers, given.layers // 2, 1, 0)]
    assert less_to_more == sorted(less_to_more, reverse=True)


def test_speed_passes_no_nextn_layer():
    """GLM-4.5-Air's 47th layer only drafts: 46 layers on the GPU are all that a token passes."""
    given = model("GLM-4.5-Air", 68.0)
    assert given.layers - given.nextn_layers == 46
    whole, asked = (decode_speed(given, throughputs=[RTX_3090], placement=at) for at in (None, Placement(46)))
    assert whole.expected == asked.expected
    assert asked.confidence == "medium"


def test_speed_with_a_smaller_cache_falls_less():
    """After 50,000 tokens a q8_0 cache is read sooner than f16, at the start there is no difference."""
    given = model("Qwen3-32B", 18.4)
    full, small = (
        [
            decode_speed(given, throughputs=[RTX_3090], depth_tokens=depth, cache_types=(kind, kind)).expected
            for depth in (0, 50_000)
        ]
        for kind in ("f16", "q8_0")
    )
    assert full[0] == small[0]
    assert full[1] < small[1]


def test_speed_reads_windows_only_as_far_as_they_go():
    """52 of Gemma 3's 62 layers see 1,024 tokens: without windows the cache is six times as much to read."""
    given = model("Gemma-3-27B", 14.49)
    assert len(given.swa_layers) == 52

    def cost(of: Model) -> float:
        start, end = (decode_speed(of, throughputs=[RTX_3090], depth_tokens=depth).expected for depth in (1024, 33_792))
        return 1 / end - 1 / start

    assert cost(replace(given, swa_layers=())) == pytest.approx(cost(given) * 62 / 10, rel=0.01)


def test_speed_of_devices_in_turn_is_not_that_of_their_sum():
    """llama.cpp's layers pass from device to device: two cards alike are a little slower than one, not faster.

    4 × RTX 3090 33.1 tokens/s with Qwen3.6-27B Q6_K (llama.cpp of July 2026).
    """
    given = model("Qwen3-32B", 18.4)
    one, two = (decode_speed(given, throughputs=[RTX_3090] * count).expected for count in (1, 2))
    assert 0.85 * one < two < one
    four = decode_speed(model("Qwen3.6-27B", 21.4), throughputs=[RTX_3090] * 4)
    assert four.low <= 33.1 <= four.high


def test_speed_of_unequal_devices_is_that_of_their_layers():
    """A slow card that computes a quarter of the layers costs a quarter of its own time."""
    given = model("Qwen3-32B", 18.4)
    slow = RTX_3090._replace(bandwidth_gbytes_per_second=234)
    placement = Placement(gpu_layers=64, split=(48, 16))
    mixed = decode_speed(given, throughputs=[RTX_3090, slow], placement=placement).expected
    alike = decode_speed(given, throughputs=[RTX_3090, RTX_3090], placement=placement).expected
    # 16 of 64 layers hold 4.6 GB of 18.4 GiB; the output belongs to the second card too.
    assert alike / 2 < mixed < alike / 1.6


def test_speed_of_tensor_parallel_devices_rises():
    """2 × RTX 3090 with vLLM: 178 tokens/s published for Qwen3.6-35B-A3B INT4, and a slow link costs some of that."""
    given = model("Qwen3.6-35B-A3B", 20.0)
    settings: dict[str, Any] = {"throughputs": [RTX_3090] * 2, "engine": "vllm", "tensor_parallel": 2}
    bridged, plain, poor = (decode_speed(given, link_gbytes_per_second=link, **settings) for link in (56.2, 15.8, 3.9))
    assert bridged.low <= 178.5 <= bridged.high
    assert bridged.expected > plain.expected > poor.expected
    assert bridged.confidence == "low"
    dense = model("Qwen3.6-27B", 15.6)
    alone = decode_speed(dense, throughputs=[RTX_3090], engine="vllm").expected
    assert 1.3 * alone < decode_speed(dense, link_gbytes_per_second=56.2, **settings).expected < 2 * alone


def test_speed_of_the_slowest_decides_for_a_group():
    """Tensor parallel cards wait for each other."""
    given, slow = model("Qwen3-32B", 18.4), RTX_3090._replace(bandwidth_gbytes_per_second=360)
    mixed, poor = (
        decode_speed(given, throughputs=throughputs, engine="vllm", tensor_parallel=2).expected
        for throughputs in ([RTX_3090, slow], [slow, slow])
    )
    assert mixed == poor


def test_speed_for_all_users_rises_until_it_is_computed_not_read():
    """2 × RTX 3090, short prompts: 1,037 tokens/s for 16 users; each further user brings less than the one before."""
    given = model("Qwen3.6-35B-A3B", 20.0)
    rates = [
        decode_speed(given, throughputs=[RTX_3090] * 2, engine="vllm", tensor_parallel=2, users=users).aggregate
        for users in (1, 2, 4, 16, 64)
    ]
    assert rates == sorted(rates)
    assert rates[3] == pytest.approx(1037, rel=0.35)
    assert rates[4] / rates[3] < 64 / 16


def test_speed_for_all_users_shares_weights_but_no_cache():
    """Sixteen users after 100,000 tokens each read sixteen caches: far less than half of what they get at the start."""
    given = model("Qwen3.6-27B", 15.6)
    start, deep = (
        decode_speed(given, throughputs=[RTX_3090], depth_tokens=depth, users=16).aggregate for depth in (0, 100_000)
    )
    assert deep < 0.4 * start


def test_speed_of_the_cpu_alone_follows_its_ram():
    """No GPU is no error: two channels of DDR5 read a 4-bit 8B model about ten times a second."""
    given = model("Llama-3.1-8B", 4.58)
    assumed = decode_speed(given, throughputs=[])
    assert 7 < assumed.expected < 12
    assert assumed.confidence == "low"
    server = decode_speed(
        given, throughputs=[], host=Host(ram_gbytes_per_second=200, cores=32, pcie_gbytes_per_second=None)
    )
    assert server.expected > 2.5 * assumed.expected


def test_speed_is_reckoned_fast_enough_for_a_search():
    """A search asks for thousands: 30 µs each, ten times that on a busy machine."""
    given = model("Qwen3.5-35B-A3B", 20.5)
    decode_speed(given, throughputs=[RTX_3090])
    once = (
        min(timeit.repeat(lambda: decode_speed(given, throughputs=[RTX_3090], depth_tokens=8192), number=200, repeat=3))
        / 200
    )
    assert once < 300e-6


@pytest.mark.parametrize(
    ("name", "bandwidth", "backend"),
    [
        ("RTX 3090", 936, "cuda"),
        ("rtx 3090", 936, "cuda"),
        ("P40", 347, "cuda"),
        ("R9700", 640, "rocm"),
        ("7900 XTX", 960, "rocm"),
        ("7800XT", 624, "rocm"),
        ("GB10", 273, "cuda"),
        ("strix halo", 256, "vulkan"),
        ("M3 Ultra", 819, "metal"),
        ("Apple M4", 120, "metal"),
        ("m4 max", 546, "metal"),
        ("MI50", 1024, "rocm"),
        ("RTX PRO 6000", 1792, "cuda"),
        ("RTX 4060 Ti", 288, "cuda"),
        ("RTX 4070 SUPER", 504, "cuda"),
        ("3080", 760, "cuda"),
        ("P100", 732, "cuda"),
    ],
)
def test_pace_of_names_as_people_write_them(name, bandwidth, backend):
    """Prefix and case may be left out; what a name leaves open does not matter where it is equal."""
    throughput = throughput_of(name)
    assert (throughput.bandwidth_gbytes_per_second, throughput.backend) == (bandwidth, backend)


def test_pace_of_a_name_without_a_row():
    """With a bandwidth it is guessed from the words; without, one line tells what to do and names what is like it."""
    assert throughput_of("MI25", 484).backend == "rocm"
    assert throughput_of("RX 5700 XT", 448).backend == "rocm"
    assert throughput_of("M9 Max", 900).backend == "metal"
    assert throughput_of("whatever", 500).bandwidth_gbytes_per_second == 500
    assert throughput_of("RTX 3090", 800).bandwidth_gbytes_per_second == 800
    with pytest.raises(WrongSpec, match=r"^GPU 'RTX 309': .*--gpu-bandwidth.* RTX 3090") as refused:
        throughput_of("RTX 309")
    assert "\n" not in refused.value.message
    with pytest.raises(WrongSpec, match="name one of NVIDIA H100 PCIe, NVIDIA H100 NVL"):
        throughput_of("H100")


def test_speed_of_an_unknown_bandwidth_says_so():
    """A guess is a wide range of low confidence."""
    guessed = decode_speed(model("Qwen3-32B", 18.4), throughputs=[RTX_3090._replace(is_known=False)])
    assert guessed.confidence == "low"
    assert guessed.high > 3 * guessed.low


@pytest.mark.parametrize("name", ["speed", "apple"])
def test_speed_catalogues_name_their_sources(name):
    """Each row's source is explained in the header."""
    rows = catalogue.load(name)
    keys = set(rows["source_keys"])
    parts = rows.get("chips") or [
        *rows["kinds"].values(),
        *(row for row in rows["drafts"].values() if isinstance(row, dict) and "low" in row),
        *rows["drafts"]["kinds"].values(),
        *rows["drafts"]["four"].values(),
        *rows["all_reduce"],
        *(rows[key] for key in ("launch_microseconds", "experts", "layer_split", "low_bits", "offload")),
        *(rows[key] for key in ("mixture_prefill", "pipeline_prefill", "usual_mix")),
        *rows["engines"].values(),
    ]
    for part in parts:
        assert set((part.get("source") or part["fitted"]).split()) <= keys, part
