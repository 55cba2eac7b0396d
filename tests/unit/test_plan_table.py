"""A plan as a person reads it: what is on the page, that it is true, and that it needs neither colour nor width."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import jsonschema
import pytest
from rich.console import Console

from rigwright.hardware.values import Cpu, Gpu, Hardware
from rigwright.plan.changes import Change
from rigwright.plan.devices import gpu_labels
from rigwright.plan.memory.values import MemoryEstimate, MemoryPart
from rigwright.plan.reasons import Reason
from rigwright.plan.service import (
    Alternative,
    Cost,
    Flag,
    GpuBudget,
    GpuRef,
    Layout,
    Replica,
    RigPlan,
    ServicePlan,
)
from rigwright.plan.speed import Speed
from rigwright.units import GIB
from rigwright.view.answers.plan import Plan, plan_answer
from rigwright.view.answers.schema import schema
from rigwright.view.bars import Colours, Share, bar, shares
from rigwright.view.plan_table import show
from rigwright.view.why import explain
from rigwright.view.words import on, short

GPUS = tuple(GpuRef(index=index, uuid=f"GPU-{index}", name="NVIDIA GeForce RTX 3090") for index in range(4))
CHECK = jsonschema.Draft202012Validator(schema(Plan))


def memory(*rows: tuple[str, int | None, float]) -> MemoryEstimate:
    parts = [MemoryPart(name=name, device=device, size_bytes=int(size * GIB)) for name, device, size in rows]
    return MemoryEstimate(parts=tuple(parts))


def flag(name: str, value: str | None, because: str, source: str | None = None) -> Flag:
    return Flag(name=name, value=value, reason=Reason(choice=name, because=because, source=source))


FLAGS = (
    flag("--model", "/var/lib/rigwright/weights/m.gguf", "where the weights lie on the rig"),
    flag("--port", "8080", "set always"),
    flag("--ctx-size", "65536", "32768 tokens × 2"),
    flag("--temp", "0.7", "the inventory says so instead of --temp 1.0"),
    flag("--top-k", "20", "thinking mode", "the model card"),
    flag("--brand-new", None, "nobody has filed it yet"),
)
SPEED = Speed(low=84.2, expected=112.3, high=140.4, aggregate=190.0, confidence="medium", because="1.9 GB per token")
OTHER = Alternative(engine="vLLM", layout="TP=2", quant="AWQ-INT4", why_not="2 GiB short", tokens_per_second=9)
PARTS = (("weights", 0, 12.0), ("KV cache", 0, 3.0), ("compute buffers", 0, 1.0), ("weights", None, 0.5))


def service(name: str = "chat", **changes: Any) -> ServicePlan:
    plain: dict[str, Any] = {
        "service": name, "engine": "llamacpp", "engine_version": "b7117", "model": "Qwen3.5-35B-A3B",
        "quant": "Q4_K_M", "source": None, "file_bytes": 21757641056, "layout": Layout(kind="single"),
        "replicas": (Replica(gpus=(GPUS[0],), port=8080),), "device": "GPU 0", "context_tokens": 32768, "slots": 2,
        "flags": FLAGS, "memory": memory(*PARTS), "speed": SPEED,
        "reasons": (Reason(choice="llama.cpp", because="one user at a time"),),
        "alternatives": (OTHER,),
    }  # fmt: skip
    return ServicePlan(**(plain | changes))


def rig_plan(*services: ServicePlan, gpus: int = 1, **changes: Any) -> RigPlan:
    budgets = []
    for gpu in GPUS[:gpus]:
        uses = tuple(
            (one.service, part.name, part.size_bytes)
            for one in services
            for copy in one.replicas
            for place, used in enumerate(copy.gpus)
            for part in (one.memory.parts if one.memory else ())
            if used == gpu and part.device == place
        )
        budgets.append(GpuBudget(gpu=gpu, vram_bytes=24 * GIB, offered_bytes=23 * GIB, uses=uses))
    plain: dict[str, Any] = {
        "services": services,
        "gpus": tuple(budgets),
        "ram_bytes": 64 * GIB,
        "offered_ram_bytes": 60 * GIB,
        "cost": Cost(download_bytes=21757641056, disk_bytes=25_000_000_000, builds=("llama.cpp",), reboot="once"),
    }
    return RigPlan(**(plain | changes))


RIG = Hardware(
    cpu=Cpu("AMD Ryzen 9 5950X 16-Core Processor", 16, 32),
    ram_bytes=64 * GIB,
    gpu_count=1,
    gpus=(Gpu(index=0, name="NVIDIA GeForce RTX 3090"),),
)


def text_of(plan: RigPlan, *, width: int = 100, why: bool = False, encoding: str = "utf-8") -> str:
    """The page without colour, as a terminal of that width shows it."""
    raw = io.BytesIO()
    console = Console(file=io.TextIOWrapper(raw, encoding, errors="replace"), width=width, color_system=None)
    explain(console, plan) if why else show(console, "homelab", RIG, plan)
    console.file.flush()
    return raw.getvalue().decode(encoding)


def test_page_answers_what_is_asked_first():
    """Model, quant, engine, place, context, speed with its range, port, memory, cost: all without a further option."""
    page = text_of(rig_plan(service()))
    for said in (
        "homelab", "RTX 3090", "Qwen3.5-35B-A3B Q4_K_M", "llama.cpp b7117", "GPU 0 (RTX 3090)",
        "32,768 tokens × 2 slots", "112 tokens/s (84–140, medium confidence)", "all users 190 tokens/s", "port 8080",
        "16.0 of 24.0 GiB", "█ weights 12.0  ▓ KV cache 3.0  ░ compute 1.0 GiB", "21.8 GB of weights", "reboot: once",
        "2 GiB short",
    ):  # fmt: skip
        assert said in page, said


@pytest.mark.parametrize("width", [40, 80, 100, 200])
def test_page_keeps_to_the_width(width):
    """No line is longer than the terminal is wide, however narrow."""
    pages = text_of(rig_plan(service(), gpus=4), width=width), text_of(rig_plan(service()), width=width, why=True)
    assert max(len(line) for page in pages for line in page.splitlines()) <= width


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("width", [60, 80, 120])
def test_shades_are_told_where_they_are_and_the_rest_in_one_line(width, encoding):
    """No legend of eight shades that a terminal of 80 columns breaks: each part stands behind its own."""
    lines = text_of(rig_plan(service()), width=width, encoding=encoding).splitlines()
    free, reserved, weights = ("·", "╳", "█") if encoding == "utf-8" else (".", "x", "W")
    assert [line.strip() for line in lines if f"{reserved} reserved" in line] == [f"{free} free  {reserved} reserved"]
    assert any(f"{weights} weights 12.0" in line for line in lines)


def test_size_of_the_file_is_in_the_units_of_disks_and_of_memory():
    """22 GB on the hub are 20 GiB of the bar below."""
    assert "21.8 GB (20.3 GiB)" in text_of(rig_plan(service()))


def test_context_says_how_its_cache_is_kept():
    """A quantised cache costs quality: whoever reads the context reads it too. The usual kind is not worth a word."""
    kept = service(flags=(flag("--cache-type-k", "q8_0", "half the memory"),))
    assert "32,768 tokens × 2 slots, KV cache in q8_0" in text_of(rig_plan(kept))
    usual = service(flags=(flag("--kv-cache-dtype", "auto", "as the model was trained"),))
    assert "KV cache in" not in text_of(rig_plan(usual))


def test_first_deploy_is_no_alarm():
    """What happens to a service that runs is told with every plan, as what it is."""
    cost = Cost(download_bytes=10**9, disk_bytes=10**9, builds=(), downtime="a service that runs stands still")
    assert "no reboot; a service that runs stands still" in text_of(rig_plan(service(), cost=cost))


@pytest.mark.parametrize(("width", "titles"), [(60, "model tok/s each why not"), (80, "model how tok/s each why not")])
def test_narrow_terminal_has_one_column_of_words(width, titles):
    """Two would have a word on each line."""
    head = next(line for line in text_of(rig_plan(service()), width=width).splitlines() if "why not" in line)
    assert head.split() == titles.split()


def test_reason_that_repeats_is_said_once():
    """Six flags of one model card are six lines, not twelve."""
    card = "recommended for thinking", "the model card"
    same = tuple(flag(name, "1", *card) for name in ("--temp", "--top-p", "--top-k"))
    page = text_of(rig_plan(service(flags=same)), why=True)
    assert page.count(card[0]) == page.count(card[1]) == 1 and page.count("as above") == 2


def test_bar_is_to_scale():
    """A bar of 24 columns for 24 GiB has one column for each GiB, in the order of a plan."""
    uses = [("chat", "weights", 12 * GIB), ("chat", "KV cache", 3 * GIB), ("chat", "compute buffers", GIB)]
    found = bar(
        shares(uses), total_bytes=24 * GIB, offered_bytes=23 * GIB, width=24, colours=Colours(["chat"], is_ascii=False)
    )
    assert found.plain == "█" * 12 + "▓" * 3 + "░" + "·" * 7 + "╳"


def test_bar_parts_two_services():
    """Whose memory it is can be seen without colour."""
    found = [Share("chat", "weights", 10), Share("embed", "weights", 10)]
    colours = Colours(["chat", "embed"], is_ascii=True)
    assert bar(found, total_bytes=40, offered_bytes=40, width=40, colours=colours).plain == "W" * 10 + "│" + "W" * 9 + (
        "." * 20
    )


def test_bar_parts_services_of_which_one_begins_with_too_little_to_see():
    """The weights of a small model are no column: the bar parts where the first of its uses is one."""
    found = [Share("chat", "weights", 400), Share("embed", "weights", 1), Share("embed", "compute", 400)]
    colours = Colours(["chat", "embed"], is_ascii=True)
    assert bar(found, total_bytes=801, offered_bytes=801, width=40, colours=colours).plain == "W" * 20 + "│" + "C" * 19
    found[1] = found[1]._replace(size_bytes=20)
    assert bar(found, total_bytes=820, offered_bytes=820, width=41, colours=colours).plain == "W" * 20 + "│" + "C" * 20


@pytest.mark.parametrize("width", [50, 60, 80])
def test_parts_of_a_bar_are_not_cut_at_the_edge(width):
    """A line breaks between two parts, never between a part and its size or unit."""
    many = [service(name, context_tokens=8192) for name in ("chat", "embedding-of-a-long-name")]
    page = text_of(rig_plan(*many), width=width).partition("\nGPU")[2].partition("to get there")[0]
    assert page.count("chat: █ weights 12.0") == 1 and "compute 1.0 GiB" in page
    assert not re.search(r"^ *(GiB|[\d.]+( GiB)?|cache .*|weights .*)$", page, re.MULTILINE)


def test_bar_that_overflows_has_its_width_all_the_same():
    """What is too much for a card does not break the page, and is told from what there is."""
    colours = Colours(["chat"], is_ascii=True)
    found = bar([Share("chat", "weights", 60)], total_bytes=40, offered_bytes=40, width=20, colours=colours)
    assert found.plain == "W" * 13 + "!" * 7


def test_ascii_terminal_gets_letters():
    """Where blocks cannot be printed, the legend and the bars use letters."""
    page = text_of(rig_plan(service()), encoding="ascii")
    assert "WWWWKKK" in page.replace("?", "") or re.search(r"W+K+", page)
    assert "W weights" in page and "?" not in next(line for line in page.splitlines() if line.startswith("GPU 0"))


def test_gpus_that_look_alike_share_a_line():
    """Eight equal cards are one line, not eight."""
    parts = [("weights", place, 6.0) for place in range(4)]
    one = service(
        layout=Layout(kind="tensor", tensor_parallel=4, link="NV4"),
        replicas=(Replica(gpus=GPUS, port=8080),),
        memory=memory(*parts),
    )
    page = text_of(rig_plan(one, gpus=4))
    assert "GPUs 0–3 each RTX 3090" in page and page.count("6.0 of 24.0 GiB") == 1
    assert on(one) == "GPUs 0–3 (RTX 3090), TP=4 joined by NV4"


def test_copies_are_named_as_people_count():
    """Their order is that of the ports, which a page need not know: `GPUs 0, 3, 1, 2` read like a riddle."""
    copies = tuple(Replica(gpus=(GPUS[place],), port=8080 + number) for number, place in enumerate((0, 3, 1, 2)))
    assert on(service(layout=Layout(kind="single", replicas=4), replicas=copies)) == "GPUs 0–3 (RTX 3090), 4 × one GPU"


def test_idle_gpu_says_why():
    """A card that is not used is on the page, with the reason."""
    idle = GpuBudget(gpu=GPUS[1], vram_bytes=0, offered_bytes=0, unused_because="it no longer answers")
    plan = rig_plan(service())
    page = text_of(plan.model_copy(update={"gpus": (*plan.gpus, idle)}))
    assert "unused: it no longer answers" in page and "size not known" in page


def test_names_cannot_steer_the_terminal():
    """What a file calls itself is text, not markup and not an escape sequence."""
    page = text_of(rig_plan(service(model="[red]x\x1b[2J", quant="Q4_K_M")))
    assert "[red]x" in page and "\x1b" not in page


def test_why_has_every_flag_under_its_subject():
    """All flags with value and reason; the inventory's own are marked, and what nobody filed is not lost."""
    page = text_of(rig_plan(service()), why=True)
    order = [page.index(title) for title in ("context and memory", "thinking and sampling", "API", "other")]
    assert order == sorted(order)
    for said in ("--ctx-size 65536", "32768 tokens × 2", "* --temp 0.7", "[the model card]", "--brand-new"):
        assert said in page, said
    assert "* --top-k" not in page


def test_why_shows_environment_and_modelfile():
    """The variables of each copy, those that all share once; Ollama's text."""
    copies = tuple(
        Replica(gpus=(GPUS[n],), port=8080 + n, environment=(("ORDER", "PCI"), ("DEVICES", str(n)))) for n in (0, 1)
    )
    page = text_of(rig_plan(service(replicas=copies, modelfile="FROM /m.gguf\n")), why=True)
    assert page.count("ORDER=PCI") == 1 and "DEVICES=1" in page and "copy on port 8081" in page
    assert "FROM /m.gguf" in page


@pytest.mark.parametrize(("rate", "text"), [(112.34, "112"), (8.44, "8.4"), (9.97, "10"), (2417, "2,417")])
def test_rates_are_short(rate, text):
    """Nobody reads three decimals."""
    assert short(rate) == text


def test_report_keeps_its_contract():
    """Every field of the schema is there, and nothing breaks it."""
    plan = rig_plan(service(), service("cpu", memory=None, speed=None, replicas=(Replica(gpus=(), port=1),)))
    lines = plan_answer("homelab", plan, changes=(Change("~", "chat.context", "1", "2"),)).plain()
    CHECK.validate(json.loads(json.dumps(lines, allow_nan=False)))
    assert lines["changes"] == [{"mark": "~", "where": "chat.context", "old": "1", "new": "2", "note": ""}]
    assert (lines["services"][1]["memory"], lines["services"][1]["speed"]) == (None, None)


def test_report_adds_up():
    """What a GPU holds is the sum of its parts, and so is RAM, for all copies."""
    copies = tuple(Replica(gpus=(GPUS[n],), port=8080 + n) for n in (0, 1))
    lines = plan_answer("homelab", rig_plan(service(replicas=copies), gpus=2)).plain()
    assert [gpu["used_bytes"] for gpu in lines["gpus"]] == [16 * GIB, 16 * GIB]
    assert lines["services"][0]["memory"]["gpus"][0]["total_bytes"] == 16 * GIB
    assert lines["ram"]["used_bytes"] == GIB


def test_report_gives_each_copy_its_port():
    """The arguments of a copy are those with which it can start beside the others."""
    copies = tuple(Replica(gpus=(GPUS[n],), port=8080 + n) for n in (0, 1))
    lines = plan_answer("homelab", rig_plan(service(replicas=copies))).plain()["services"][0]["replicas"]
    assert [copy["argv"][copy["argv"].index("--port") + 1] for copy in lines] == ["8080", "8081"]


@pytest.mark.parametrize(
    ("gpus", "words"),
    [
        ([Gpu(index=0, name="L4")], "GPU 0 (L4)"),
        ([Gpu(index=number, name="L4") for number in range(8)], "GPUs 0–7 (L4)"),
        ([Gpu(index=number, name="L4") for number in (0, 2, 3)], "GPUs 0, 2, 3 (L4)"),
        ([Gpu(index=0, name="L4"), Gpu(index=1, name="T4"), Gpu(index=2, name="L4")], "GPUs 0, 2 (L4), GPU 1 (T4)"),
        (
            [Gpu(pci_address="0000:01:00.0"), Gpu(pci_address="0000:02:00.0")],
            "GPUs 0000:01:00.0, 0000:02:00.0 (unknown)",
        ),
    ],
)
def test_gpus_of_one_name_are_named_together(gpus, words):
    """Eight names of one card were four lines of a note."""
    assert gpu_labels(gpus) == words
