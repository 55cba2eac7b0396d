"""Machines in words: what people write of cards they have, or want to buy."""

from __future__ import annotations

import contextlib
import re
import time

import pytest
from click.testing import CliRunner, Result

from rigwright.cli import main
from rigwright.errors import WrongSpec
from rigwright.hardware.values import Hardware
from rigwright.inventory.described import described
from rigwright.inventory.what_if import gpu_model
from rigwright.units import GIB

R3090, R4090, R3060 = (f"NVIDIA GeForce RTX {number}" for number in (3090, 4090, 3060))


def names(*texts: str, ram_bytes: int | None = None) -> list[str | None]:
    return [gpu.name for gpu in described(texts, ram_bytes=ram_bytes).hardware.gpus]


@pytest.mark.parametrize(
    ("text", "cards"),
    [
        ("3090", [R3090]),
        ("4x3090", [R3090] * 4),
        ("4 x RTX 3090", [R3090] * 4),
        ("4×rtx3090", [R3090] * 4),
        ("RTX 3090 x4", [R3090] * 4),
        ("3090*2", [R3090] * 2),
        ("2x4090 + 3060", [R4090, R4090, R3060]),
        ("4090,3060", [R4090, R3060]),
        ("7900xtx", ["AMD Radeon RX 7900 XTX"]),
        ("8x H100 SXM", ["NVIDIA H100 80GB HBM3"] * 8),
        ("none", []),
        ("CPU", []),
        ("no gpu", []),
        ("0", []),
        # In words.
        ("dual 3090", [R3090] * 2),
        ("a pair of RTX 3090s", [R3090] * 2),
        ("4 3090s", [R3090] * 4),
        ("quad P40", ["Tesla P40"] * 4),
        ("3090 and 3060 12GB", [R3090, R3060]),
        ("two 3090s plus one 4090", [R3090, R3090, R4090]),
        ("3090 & 3060; 4090", [R3090, R3060, R4090]),
        ("3090, 24GB", [R3090]),
        ("2x RTX 3090 24GB, 4090", [R3090, R3090, R4090]),
        ("RTX3090x4", [R3090] * 4),
        ("RTX 3090 24GB 2x", [R3090] * 2),
        ("3090 10x", [R3090] * 10),
        ("“RTX 3090”,", [R3090]),
        ("3x3090 1x4090", [R3090] * 3 + [R4090]),
        ("RTX 3090 / RTX 4090", [R3090, R4090]),
        ("3090|3060", [R3090, R3060]),
        ("DGX H100", ["NVIDIA H100 80GB HBM3"] * 8),
        ("HGX H200 8-GPU", ["NVIDIA H200"] * 8),
        ("4x A100s 80GB SXM4", ["NVIDIA A100-SXM4-80GB"] * 4),
        ("2x L40S", ["NVIDIA L40S"] * 2),
        # Of shops.
        ("MSI GeForce RTX 3090 SUPRIM X 24G", [R3090]),
        ("2x ASUS TUF Gaming GeForce RTX 5070 Ti 16GB GDDR7 OC", ["NVIDIA GeForce RTX 5070 Ti"] * 2),
        ("GIGABYTE GeForce RTX 3090 GAMING OC 24G Graphics Card, 3x WINDFORCE Fans, 384-bit", [R3090]),
        ("ROG-STRIX-RTX3090-O24G-GAMING", [R3090]),
        ("EVGA RTX 3090 FTW3 Ultra", [R3090]),
        ("SAPPHIRE NITRO+ AMD Radeon RX 9070 XT 16GB", ["AMD Radeon RX 9070 XT"]),
        ("XFX Speedster MERC 310 RX 7900 XTX Black", ["AMD Radeon RX 7900 XTX"]),
        ("MSI RTX 4060 Ti Ventus 2X 16G", ["NVIDIA GeForce RTX 4060 Ti 16GB"]),
        ("gtx 3090", [R3090]),
        ("INNO3D RTX 5060 Ti 16GB TWIN X2", ["NVIDIA GeForce RTX 5060 Ti 16GB"]),
        ("RTX 4060 8GB", ["NVIDIA GeForce RTX 4060"]),
        ("NVIDIA RTX 6000 Ada Generation x2", ["NVIDIA RTX 6000 Ada Generation"] * 2),
        # Of programs.
        (
            "GPU 0: NVIDIA GeForce RTX 3090 (UUID: GPU-5d5b)\nGPU 1: NVIDIA GeForce RTX 4090 (UUID: GPU-6d)",
            [R3090, R4090],
        ),
        ("name, memory.total [MiB]\nNVIDIA GeForce RTX 3090, 24576 MiB\n", [R3090]),
        ("0, NVIDIA GeForce RTX 3090, 24576 MiB, 570.86", [R3090]),
        ("|   0  NVIDIA GeForce RTX 3090        Off |   00000000:01:00.0 Off |   N/A |", [R3090]),
        ("01:00.0 VGA compatible controller: NVIDIA Corporation GA102 [GeForce RTX 3090] (rev a1)", [R3090]),
        (
            "c1:00.0 3D controller [0302]: NVIDIA Corporation GA100 [A100 PCIe 80GB] [10de:20b5] (rev a1)\n"
            "c1:00.1 Audio device [0403]: NVIDIA Corporation Device [10de:1aef]",
            ["NVIDIA A100 80GB PCIe"],
        ),
        ("ggml_cuda_init: found 1 CUDA devices:\n  Device 0: NVIDIA GeForce RTX 3090, compute capability 8.6", [R3090]),
        ("CUDA0: NVIDIA GeForce RTX 3090 (24124 MiB, 23800 MiB free)", [R3090]),
        ("GPU 1: RTX 3090", [R3090]),
        ("GPU[0]\t\t: Card Series: \t\tAMD Radeon RX 7900 XTX", ["AMD Radeon RX 7900 XTX"]),
        ("2x3090 (48GB VRAM)", [R3090] * 2),
    ],
)
def test_cards_are_counted_and_named(text: str, cards: list[str]) -> None:
    """In any of the ways in which people count."""
    assert names(text) == cards
    assert described([text]).hardware.gpu_count == len(cards)


def test_option_may_be_repeated() -> None:
    """As other options are."""
    assert names("2x3090", "4090") == [R3090, R3090, R4090]


def pairs(hardware: Hardware) -> list[tuple[int, int]]:
    return [(link.first, link.second) for link in hardware.links if (link.kind or "").startswith("NV")]


@pytest.mark.parametrize(
    ("text", "joined"),
    [
        ("4x3090", []),
        ("4x3090:nvlink", [(0, 1), (2, 3)]),
        ("4x3090:nvlink=0-2,3-1", [(0, 2), (1, 3)]),
        ("3x3090:NVLINK=1-2", [(1, 2)]),
        ("4090+2x3090:nvlink", [(1, 2)]),
        ("2xH100 SXM", [(0, 1)]),
        ("RTX3090x4 (NVLink)", [(0, 1), (2, 3)]),
        ("2x 3090 with NVLink", [(0, 1)]),
    ],
)
def test_bridges_and_switches_join_cards(text: str, joined: list[tuple[int, int]]) -> None:
    """A bridge joins two cards, and only where somebody says so; the cards of a board are all joined."""
    hardware = described([text]).hardware
    assert pairs(hardware) == joined
    assert set(hardware.nvlink_gbytes_per_second) == {end for pair in joined for end in pair}


def test_slots_are_those_that_are_named() -> None:
    """One for each card, or one for all; a card has no more lanes than its own."""
    four = described(["4x3090:nvlink:x16,x8,x8,x4"]).hardware
    assert [(gpu.pcie.width_max, gpu.pcie.gen_max) for gpu in four.gpus] == [(16, 4), (8, 4), (8, 4), (4, 4)]
    assert {gpu.pcie.width_max for gpu in described(["2x4060 Ti 16GB:x16"]).hardware.gpus} == {8}


def test_what_nobody_said_is_assumed_and_told() -> None:
    """RAM, bridges and slots; nothing of it where it was said."""
    found = described(["4x3090"])
    assert [note.choice for note in found.notes] == ["128 GiB of RAM", "no NVLink", "PCIe unknown"]
    assert found.hardware.ram_bytes == 128 * GIB
    assert described(["4x3090:nvlink:x8"], ram_bytes=64 * GIB).notes == ()


def test_mac_and_spark_are_machines() -> None:
    """Their memory is the machine's: the most that a Mac is sold with, unless it is said."""
    mac = described(["m4 max"], ram_bytes=64 * GIB).hardware
    assert (mac.vendor, mac.chip, mac.ram_bytes, mac.gpus[0].vendor) == ("Apple", "Apple M4 Max", 64 * GIB, "Apple")
    assert described(["Strix Halo"], ram_bytes=128 * GIB).hardware.gpus[0].ram_share
    with pytest.raises(WrongSpec, match=r"works in the memory of the machine; say how much that is: --ram 128G$"):
        described(["Strix Halo"])


@pytest.mark.parametrize(
    ("text", "name", "gib"),
    [
        ("Mac Studio M3 Ultra 96GB", "Apple M3 Ultra", 96),
        ('MacBook Pro 16" M4 Max (64GB)', "Apple M4 Max", 64),
        ("Apple M2 Ultra (76-core GPU, 192GB)", "Apple M2 Ultra", 192),
        ("ASUS Ascent GX10 128GB", "NVIDIA GB10", 128),
        ("Ryzen AI Max+ 395 128GB", "AMD Radeon 8060S", 128),
        ("DGX Spark 128GB", "NVIDIA GB10", 128),
        ("Jetson AGX Orin 64GB", "NVIDIA Orin", 64),
    ],
)
def test_memory_in_the_name_of_a_machine_is_its_own(text: str, name: str, gib: int) -> None:
    """What a Mac is sold with at most is not what this one has; --ram goes before both."""
    found = described([text]).hardware
    assert (found.gpus[0].name, found.ram_bytes) == (name, gib * GIB)
    assert described([text], ram_bytes=32 * GIB).hardware.ram_bytes == 32 * GIB


@pytest.mark.parametrize(
    ("text", "gib"), [("2080 Ti 22GB", 22), ("MSI RTX 3080 Gaming 20G", 20), ("4090 48GB", 48), ("2080 Ti", 11)]
)
def test_memory_behind_a_card_is_its_own(text: str, gib: int) -> None:
    """Cards to which more was soldered."""
    assert gpu_model(text).vram_bytes == gib * GIB


def test_command_of_another_tool_says_what_of_it_counts() -> None:
    """The model, by the name that an inventory has; its options are named, not passed over."""
    line = "vllm serve Qwen/Qwen3.5-35B-A3B --tensor-parallel-size 2 --max-model-len=131072 --port 8000"
    result = CliRunner().invoke(main, ["plan", "--gpu", "2x3090", "--ram", "64G", line])
    said = " ".join(result.output.split())
    assert "the model alone is taken: --tensor-parallel-size, --max-model-len, --port of the command" in said
    assert '"model": "qwen3.5-35b-a3b"' in said
    plain = CliRunner().invoke(main, ["plan", "--gpu", "2x3090", "--ram", "64G", "ollama run qwen3.5:35b-a3b"])
    assert "taken" not in plain.output and '"model": "qwen3.5-35b-a3b"' in plain.output


def test_what_was_said_stays_in_the_proposal() -> None:
    """The hint names these cards, with their bridges, and is accepted."""
    notes = {note.choice: note.because for note in described(["4x3090:nvlink=0-2,1-3"]).notes}
    proposed = notes["PCIe unknown"].rpartition("--gpu ")[2]
    assert proposed == "4xRTX-3090:nvlink=0-2,1-3:x16,x8,x8,x4" and described([proposed]).hardware.gpu_count == 4
    notes = {note.choice: note.because for note in described(["2x3090+3060"]).notes}
    pairs = notes["no NVLink"].rpartition("--gpu ")[2]
    assert pairs == "2xRTX-3090:nvlink=0-1+1xRTX-3060" and len(described([pairs]).hardware.links) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("RX 580", "GPU 'RX 580': is not in the catalogue"),
        ("CMP 170HX", "write it as nvidia-smi does: NVIDIA GeForce RTX 3090, or plan where the card is: @local"),
        ("Ryzen 7 8700G", "is a processor; say none for a machine without GPU"),
        ("2x M4 Max", "Apple M4 Max is a machine of its own; plan for one"),
        ("2x DGX Spark 128GB", "NVIDIA GB10 works in the memory of its machine, which has one; plan for one"),
        ("2x3090 and 128GB RAM", "'128GB RAM' is memory; write --ram 128GB"),
        ("3090: 2", "'2' says nothing of GPUs"),
        ("3090, banana", "GPU 'banana': is not in the catalogue"),
        ("3090 5x7777", "is not in the catalogue"),
        (
            "eight H100s",
            "may be NVIDIA H100 PCIe or NVIDIA H100 NVL or NVIDIA H100 80GB HBM3; write one of them in full",
        ),
        ("Radeon Graphics", "is not in the catalogue"),
        ("NVIDIA GeForce RTX", "is not in the catalogue"),
        ("A40-48Q", "is not in the catalogue; did you mean NVIDIA A40?"),
        ("RTX 3090 Laptop", "is not in the catalogue"),
        ("NVIDIA GeForce RTX 2080 with Max-Q Design", "is not in the catalogue"),
        ("RTX A4000 Ada", "is not in the catalogue; did you mean NVIDIA RTX A4000"),
        ("2x3090 (32GB)", "is not in the catalogue"),
        ("MSI RTX 3090 12G", "is not in the catalogue"),
        ("3090 3060", "may be NVIDIA GeForce RTX 30"),
        ("", "names no GPU; write it like 4x3090"),
        ("0x3090", "are no GPUs; say none"),
        ("100x3090", "more than 64 GPUs are no machine"),
        ("2x4090:nvlink", "has no NVLink; leave nvlink out"),
        ("4x3090:nvlink=0-1,1-2", "each at most once"),
        ("2x3090:nvlink=0-7", "a bridge joins two of the 2 cards, 0 to 1"),
        ("2x3090:nvlink=ab", "names no pairs; write nvlink=0-1,2-3"),
        ("4x3090:x16,x8", "names 2 slots for 4 cards"),
        ("3090:x3", "a slot with 3 lanes is none; say x1, x2, x4, x8 or x16"),
        ("3090:fast", "'fast' says nothing of GPUs"),
        ("2x3900", "did you mean NVIDIA GeForce RTX 3090"),
    ],
)
def test_what_cannot_be_is_one_line(text: str, said: str) -> None:
    """Each says what to write."""
    with pytest.raises(WrongSpec, match=re.escape(said)) as refusal:
        described([text])
    assert "\n" not in refusal.value.message


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("rtx3090", R3090),
        ("3090 ti", f"{R3090} Ti"),
        ("RTX3090 24GB", R3090),
        ("gtx1080ti", "NVIDIA GeForce GTX 1080 Ti"),
        ("4090D", "NVIDIA GeForce RTX 4090 D"),
        ("4090", R4090),
        ("5060 Ti 8G", "NVIDIA GeForce RTX 5060 Ti 8GB"),
        ("rx7900xtx", "AMD Radeon RX 7900 XTX"),
        ("w7900", "AMD Radeon PRO W7900"),
        ("quadro rtx 6000", "Quadro RTX 6000"),
        ("rtx6000 ada", "NVIDIA RTX 6000 Ada Generation"),
        ("dgx spark", "NVIDIA GB10"),
    ],
)
def test_card_is_found_by_what_people_call_it(text: str, name: str) -> None:
    """Glued, short, in small letters."""
    assert gpu_model(text).name == name


@pytest.mark.parametrize("text", ["rtx 6000", "RTX 4000", "titan", "a100", "4060ti", "5060 Ti", "RX 9060 XT"])
def test_name_of_several_cards_is_refused_with_the_choices(text: str) -> None:
    """Cards of several generations, or of several sizes."""
    with pytest.raises(WrongSpec, match=r"may be .* or .*; write one of them in full$"):
        gpu_model(text)


@pytest.mark.parametrize(
    "text", ["3090 " * 5000, "3090" + " " * 4000 + "x", "x" * 4000, "2x" * 2000, "(" * 4000, "+ " * 2000, "- " * 2000]
)
def test_hostile_words_cost_no_time(text: str) -> None:
    """Each is taken or refused soon."""
    began = time.process_time()
    with contextlib.suppress(WrongSpec):
        described([text])
    assert time.process_time() - began < 1


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["plan", *words], prog_name="rigwright")


def test_first_command_needs_nothing(tmp_path, monkeypatch) -> None:
    """Cards, RAM and a model: a plan, and what to do next."""
    monkeypatch.chdir(tmp_path)
    result = run("--gpu", "4x3090", "--ram", "128G", "qwen3.5-35b-a3b", "--users", "2")
    assert result.exit_code == 0, result.output
    assert "chat ── Qwen3.5-35B-A3B" in result.output
    inventory = result.output[result.output.index("  rigs = (") : result.output.index("then: rigwright plan rig.py")]
    found: dict[str, object] = {}
    exec("\n".join(line[2:] for line in inventory.splitlines()), found)
    assert found["rigs"][1]["rig"]["services"] == [{"name": "chat", "model": "qwen3.5-35b-a3b", "users": 2}]  # type: ignore[index]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["qwen3.5-35b-a3b"], "is a model; for which machine? --gpu 4x3090 --ram 128G, or @local before it"),
        ([], "for which machine? Name an inventory, @local, --capture DIR, or cards"),
        (["4x3090", "qwen3.5-9b"], "4x3090 names GPUs, and no inventory; write --gpu '4x3090'"),
        (["RTX 3090"], "RTX 3090 names GPUs, and no inventory; write --gpu 'RTX 3090'"),
        (["--gpu", "3090", "@local", "qwen3.5-9b"], "both name a machine; leave one of them out"),
        (["--gpu", "3090", "nonsense-7b"], "Error: no model is called nonsense-7b"),
        (["--gpu", "3090", "qwen3.5-9b:Q9"], "the catalogue has no such quant of qwen3.5-9b"),
        (
            ["--gpu", "3090", "qwen3.5-9b", "--engine", "vlm"],
            "Error: engine: 'vlm' is no engine; did you mean vllm?",
        ),
        (["rig.py", "--users", "3"], "--users goes with a model on the command line"),
    ],
)
def test_wrong_first_command_is_one_line(words: list[str], said: str) -> None:
    """Without the place in an inventory that nobody wrote."""
    result = run(*words)
    assert result.exit_code != 0
    assert said in " ".join(result.output.split())
    assert "rig.services" not in result.output
