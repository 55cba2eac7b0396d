"""What a person must see at the head of a plan: depth, RAM, what is not deployed, what fails."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from rigwright.catalogue.engines import engine_names
from rigwright.errors import Refused
from rigwright.hardware import Hardware
from rigwright.hardware.capture import read_files, read_folder
from rigwright.hardware.failures import is_grave
from rigwright.hardware.values import Problem
from rigwright.plan.engines import planner_of
from rigwright.plan.recommend import recommend
from rigwright.plan.service import RigPlan
from rigwright.resolve import resolve
from rigwright.spec.rig import parse_spec
from rigwright.view.hardware_table import show as show_hardware
from rigwright.view.plan_table import show

Machine = Callable[..., Hardware]
CAPTURES = sorted(path.name for path in (Path(__file__).parents[1] / "captures").iterdir() if path.is_dir())
ROLES = Path(__file__).parents[2] / "rigwright/roles"


@pytest.fixture(params=CAPTURES)
def each_capture(request: pytest.FixtureRequest) -> Hardware:
    """Each recorded machine in turn."""
    return read_folder(Path(__file__).parents[1] / "captures" / request.param)


def plan(hardware: Hardware, **wish: object) -> RigPlan:
    service = {"name": "chat", "model": "qwen3.5-35b-a3b", **wish}
    return resolve(parse_spec("rig", {"services": [service]}), hardware, is_preview=True).plan


def page(hardware: Hardware, found: RigPlan, *, width: int = 100, color: bool = False) -> str:
    text = io.StringIO()
    system = "truecolor" if color else None
    show(Console(file=text, width=width, color_system=system, force_terminal=color), "rig1", hardware, found)
    return text.getvalue()


def block(text: str) -> str:
    """The rows of the service, above the bars."""
    return text.partition("\nGPU")[0]


def said(found: RigPlan, choice: str) -> list[str]:
    return [note.because for note in found.notes if note.choice.startswith(choice)]


@pytest.mark.parametrize(
    ("gpus", "wish", "words"),
    [
        (["RTX 5080"], {"model": "qwen3.5-35b-a3b:Q6_K"}, "experts of 22 of 40 layers in RAM"),
        (["RTX 5080"], {"flags": {"--n-cpu-moe": 40}}, "experts of all 40 layers in RAM"),
        (["RTX 5080"], {"flags": {"--cpu-moe": True}}, "experts of all 40 layers in RAM"),
        (["RTX 5080"], {"flags": {"--override-tensor": "exps=CPU"}}, "what --override-tensor names in RAM"),
        (["RTX 3060"], {"model": "qwen3.5-27b:Q8_0", "context": 8192}, " of 64 layers in RAM"),
        (["RTX 3090"], {}, None),
        ([], {}, None),
    ],
)
def test_headline_says_what_stays_in_ram(machine, gpus, wish, words):
    """`runs on GPU 0` alone would be half of the truth where RAM holds a part."""
    hardware = machine(gpus=gpus, ram_gib=128)
    head = block(page(hardware, plan(hardware, **wish)))
    assert words in head if words else "in RAM" not in head


def test_headline_says_at_which_depth_its_speed_holds(machine):
    """A speed at 4,096 tokens is not that of a full context: both are there, and the second is slower."""
    hardware = machine(gpus=["RTX 3090"])
    found = plan(hardware, context=131072)
    speed = found.services[0].speed
    head = block(page(hardware, found, width=80))
    assert speed.depth_tokens == 4096 and speed.full_context < speed.expected * 0.85
    assert (
        "at 4,096 tokens of context" in head
        and f"{speed.full_context:.0f} tokens/s when it is full, at 131,072" in head
    )
    short = plan(hardware, context=2048)
    assert short.services[0].speed.depth_tokens == 2048
    assert "when it is full" not in page(hardware, short)


def test_engines_of_the_catalogue_are_deployed_where_a_role_is():
    """The list of what is deployed cannot drift from the roles."""
    for name in engine_names():
        assert planner_of(name).is_deployed == (ROLES / name).is_dir(), name


@pytest.mark.parametrize("engine", ["vllm", "ollama", "llamacpp"])
def test_engine_that_no_role_serves_says_so_at_its_head(machine, monkeypatch, engine):
    """In the row of the engine, above the plan in red, and in the plan's notes; with a role nothing of that."""
    hardware = machine(gpus=["RTX 3090"] * 2, links="NV4")
    found = plan(hardware, engine=engine)
    assert "not deployed yet" not in block(page(hardware, found)) and not found.services[0].not_deployed
    monkeypatch.setattr(planner_of(engine), "is_deployed", False)
    found = plan(hardware, engine=engine)
    head = block(page(hardware, found))
    assert "not deployed yet" in head and found.services[0].not_deployed
    assert f"no role serves with {planner_of(engine).label} yet" in head
    assert "\x1b[1;31m" in block(page(hardware, found, color=True))


def test_engine_of_an_installed_package_is_deployed(machine, monkeypatch):
    """What a package brings has its own role."""
    from rigwright.plan.engines import why_not_deployed

    found = plan(machine(gpus=["RTX 5090"]), engine="vllm").services[0]
    monkeypatch.setattr(planner_of("vllm"), "is_deployed", True)
    assert why_not_deployed(found, (), {}) is None


FAILURES = [
    ("Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 595.84\n", "do not fit"),
    ("No devices were found\n", "finds no GPU"),
    ("Failed to initialize NVML: Unknown Error\n", "NVML does not start"),
    ("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n", "could not reach the driver"),
    ("Failed to initialize NVML: Insufficient Permissions\n", "may not open"),
    ("NVIDIA-SMI couldn't find libnvidia-ml.so library in your system.\n", "libnvidia-ml.so"),
]


@pytest.mark.parametrize(("text", "cause"), FAILURES)
@pytest.mark.parametrize("gpu", ["auto", 0, [0, 1]])
def test_driver_that_fails_never_becomes_a_plan_for_the_cpu(text, cause, gpu):
    """No GPU is known then: the plan is refused with the cause and its remedy; `gpu: none` is a wish for the CPU."""
    hardware = read_files({"smi.txt": text})
    with pytest.raises(Refused, match="the driver fails") as refused:
        plan(hardware, gpu=gpu)
    assert cause in str(refused.value) and "set gpu to none" in str(refused.value)
    assert not plan(hardware, gpu="none").services[0].uses_gpu
    with pytest.raises(Refused, match="the driver fails"):
        recommend(hardware)


def test_driver_that_fails_is_red_where_the_bus_names_the_cards():
    """They are planned, as for a driver that is still to come, and the failure stands above in red."""
    smi = FAILURES[3][0]
    lspci = (
        "01:00.0 VGA compatible controller [0300]: NVIDIA Corporation GA102 [GeForce RTX 3090] [10de:2204] (rev a1)\n"
    )
    hardware = read_files({"smi.txt": smi, "lspci.txt": lspci})
    found = plan(hardware)
    assert found.services[0].uses_gpu and said(found, "THE DRIVER FAILS")
    text = page(hardware, found, color=True)
    assert text.index("THE DRIVER FAILS") < text.index("chat") and "\x1b[1;31mTHE DRIVER FAILS" in text
    shown = io.StringIO()
    from rigwright.hardware.topology import group

    show_hardware(Console(file=shown, color_system="truecolor", force_terminal=True), "r", hardware, group(hardware))
    assert "\x1b[1;31m! " in shown.getvalue()


def test_fabric_that_is_not_ready_is_a_failure_of_cards_that_answer(machine):
    """They are listed and well, and no program can use them: the plan stands, the failure above it."""
    hardware = machine(gpus=["RTX 3090"])
    broken = replace(hardware, problems=(Problem("fabric_not_ready", "GPU 0", "the fabric is not ready", "start it"),))
    assert said(plan(broken), "THE DRIVER FAILS") == ["the fabric is not ready; start it"]
    worn = replace(hardware, problems=(Problem("xid_63", "GPU 0", "a bad row of memory was taken out", "reboot"),))
    assert not said(plan(worn), "THE DRIVER FAILS") and not is_grave(worn.problems[0])


def test_lost_gpu_is_red_where_the_cpu_takes_over(machine):
    """The only GPU is lost: the plan for the CPU does not hide it."""
    hardware = machine(gpus=["RTX 3090"], lost=[0])
    text = page(hardware, plan(hardware), color=True)
    assert text.index("A GPU FAILS") < text.index("chat") and "\x1b[1;31mA GPU FAILS" in text


def test_plan_for_the_cpu_of_a_machine_with_gpus_is_told_in_red(each_capture):
    """Cut by MIG, of unknown size, without a driver, or not listed: what keeps the GPUs away is above it."""
    hardware = each_capture
    try:
        found = plan(hardware, model="qwen3.5-0.8b", engine="llamacpp")
    except Refused:
        return
    above = page(hardware, found).partition("chat ──")[0]
    told = re.search(r"^! (NO GPU IS USED|A GPU FAILS|THE DRIVER FAILS)", above, re.MULTILINE)
    assert told or found.services[0].gpus or hardware.gpu_count == 0
    assert "NO GPU IS USED" not in page(hardware, plan(hardware, model="qwen3.5-0.8b", gpu="none"))


@pytest.mark.parametrize(
    ("gpus", "wish", "choice", "copies"),
    [
        (2, {}, "IDLE: GPU 1", "replicas: 2 of chat"),
        (4, {}, "IDLE: GPUs 1–3", "replicas: 4 of chat"),
        (4, {"gpu": 2}, "IDLE: GPUs 0, 1, 3", None),
        (1, {}, None, None),
        (4, {"gpu": "none"}, None, None),
        (2, {"replicas": 2}, None, None),
    ],
)
def test_idle_healthy_gpus_get_a_line(machine, gpus, wish, choice, copies):
    """Which, that they are healthy, and what would use them; none where the owner wants the CPU alone."""
    found = plan(machine(gpus=["RTX 3090"] * gpus), engine="llamacpp", **wish)
    lines = [note for note in found.notes if note.choice.startswith("IDLE")]
    assert [note.choice for note in lines] == ([choice] if choice else [])
    assert not lines or ((copies in lines[0].because) if copies else "replicas" not in lines[0].because)


@pytest.mark.parametrize(
    ("wish", "choice", "words"),
    [
        ({"flags": {"--n-cpu-moe": 5}, "model": "qwen3.5-35b-a3b:Q6_K"}, "LIKELY TO RUN OUT OF MEMORY", "GPU 0"),
        ({"flags": {"--n-gpu-layers": 99}, "model": "qwen3.5-27b:Q8_0"}, "LIKELY TO RUN OUT OF MEMORY", "GPU 0"),
        ({"flags": {"--cache-ram": 999999}}, "LIKELY TO RUN OUT OF MEMORY", "RAM"),
        ({"flags": {"--model-draft": "/x.gguf"}}, "MEMORY NOT COUNTED", "--model-draft loads a draft model"),
        ({"flags": {"--lora": "/x.gguf"}}, "MEMORY NOT COUNTED", "--lora loads an adapter"),
        ({"flags": {"--mmproj": "/x.gguf"}}, "MEMORY NOT COUNTED", "--mmproj loads a projector"),
        ({"flags": {"--override-tensor": "exps=CPU"}}, "MEMORY NOT COUNTED", "flags place the model"),
    ],
)
def test_flags_that_break_the_plan_are_told(machine, wish, choice, words):
    """What the inventory's own flags overfill, or bring without anybody counting it."""
    found = plan(machine(gpus=["RTX 5080"]), **wish)
    assert any(words in because for because in said(found, choice)), found.notes


@pytest.mark.parametrize("gpu", ["auto", "none"])
def test_vision_counts_its_projector_everywhere(machine, gpu):
    """In the memory of the first GPU, or of RAM; in the download, and on the disk, with the bytes of its file."""
    hardware, size = machine(gpus=["RTX 3090"]), 899283648
    wish = {"model": "qwen3.5-35b-a3b:UD-Q4_K_XL", "context": 32768, "gpu": gpu}
    blind, seeing = plan(hardware, **wish), plan(hardware, vision=True, **wish)
    parts = {part.name: part for part in seeing.services[0].memory.parts}
    place = 0 if gpu == "auto" else None
    assert [(parts[name].device, parts[name].size_bytes) for name in ("projector", "image buffers")] == [
        (place, size)
    ] * 2
    used = {part: size for _, part, size in seeing.gpus[0].uses}
    assert used.get("projector") == (size if gpu == "auto" else None)
    assert seeing.cost.download_bytes - blind.cost.download_bytes == size
    assert seeing.cost.disk_bytes - blind.cost.disk_bytes == size
    assert said(seeing, "assumed of vision") and not said(blind, "assumed of vision")


def test_vision_leaves_room_for_its_projector(machine):
    """The card that is full without it gets a shorter context or a smaller file, and is never overfilled."""
    hardware = machine(gpus=["RTX 3090"])
    blind, seeing = plan(hardware), plan(hardware, vision=True)
    assert seeing.gpus[0].used_bytes <= seeing.gpus[0].offered_bytes and not said(seeing, "LIKELY")
    one, other = blind.services[0], seeing.services[0]
    assert (one.quant, one.context_tokens) != (other.quant, other.context_tokens)


def test_plan_without_own_flags_warns_of_none(machine):
    """No false alarm."""
    found = plan(machine(gpus=["RTX 5080"], ram_gib=128))
    assert not said(found, "LIKELY") and not said(found, "MEMORY")


def test_plan_that_is_not_of_this_time_says_nothing_of_depth(machine):
    """A locked rate has no depth: nothing is invented."""
    hardware = machine(gpus=["RTX 3090"])
    found = plan(hardware)
    service = found.services[0]
    plain = service.model_copy(
        update={"speed": service.speed.model_copy(update={"depth_tokens": None, "full_context": None})}
    )
    text = block(page(hardware, found.model_copy(update={"services": (plain,)})))
    assert "at 4,096 tokens" not in text and "when it is full" not in text


def test_recommend_puts_the_better_class_first(machine):
    """On 24 GB no model of 9 billion parameters comes before one of 27, however fast it is; each says its class."""
    for purpose in ("coding", "agents", "general"):
        for users in (1, 4):
            ranked = recommend(machine(gpus=["RTX 3090"]), purpose, users=users).fitting
            usable = [one for one in ranked if not one.lacks]
            order = ["top", "strong", "good", "basic"]
            assert [one.model_class for one in usable] == sorted((one.model_class for one in usable), key=order.index)
            assert list(ranked) == [*usable, *(one for one in ranked if one.lacks)]
            points = [one.points for one in ranked]
            assert points == sorted(points, reverse=True) and points[0] == 100.0 and min(points) >= 0
            assert "9B" not in ranked[0].model


@pytest.mark.parametrize("purpose", ["general", "long-context", "cheap"])
@pytest.mark.parametrize("gpu", ["RTX 3060", "RTX 3090", "NVIDIA H100 80GB HBM3"])
def test_the_first_is_the_same_where_only_it_is_wanted(machine, gpu, purpose):
    """It looks at no model of a class below, but comes to what the whole list begins with."""
    mine = machine(gpus=[gpu], ram_gib=16)
    every, one = recommend(mine, purpose), recommend(mine, purpose, is_for_one=True)
    assert one.fitting[0] == every.fitting[0]
    assert (len(one.fitting) + len(one.others) < len(every.fitting) + len(every.others)) == (purpose != "cheap")


def test_why_none_fits_is_the_same_where_only_one_is_wanted(machine):
    """Then each has been looked at."""
    mine = machine(gpus=["RTX 3090"], ram_gib=1)
    every, one = (recommend(mine, context=9_000_000, is_for_one=is_for_one) for is_for_one in (False, True))
    assert every.others == one.others and not one.fitting


def test_recommend_does_not_count_class_for_cheap(machine):
    """Who asks for cheap wants the least that does it."""
    ranked = recommend(machine(gpus=["RTX 3090"]), "cheap").fitting
    assert len({one.model_class for one in ranked[:6]}) > 1 or ranked[0].model_class != "top"


def test_recommend_puts_what_lacks_context_last(machine):
    """An agent with a short context is no agent: what cannot have the least comes after all that can."""
    ranked = recommend(machine(gpus=["RTX 3060"], ram_gib=16), "coding").fitting
    short = [one for one in ranked if "are wanted for coding" in one.lacks]
    assert short and all(one.plan.context_tokens >= 32768 for one in ranked if not one.lacks)
    named = recommend(machine(gpus=["RTX 3060"], ram_gib=16), "coding", context=8192).fitting
    assert not any("are wanted" in one.lacks for one in named)


def test_usual_rigs_are_unchanged_by_the_way_they_are_read(machine):
    """A driver that is missing has not failed."""
    bare = replace(machine(gpus=[]), gpu_count=None)
    assert not said(plan(bare), "THE DRIVER")
