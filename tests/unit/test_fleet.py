"""A fleet as its operator reads it: rigs that are alike once, sorted, the same in every run."""

from __future__ import annotations

import io
import json
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rigwright.cli import main
from rigwright.hardware import Hardware
from rigwright.hardware.capture import folder_files
from rigwright.inventory.described import described
from rigwright.inventory.live import Collected
from rigwright.lock.file import Entry, write_lock
from rigwright.plan.budget import A_DEPLOY_REFUSES
from rigwright.plan.engines.installed import Installed
from rigwright.records.values import NO_RECORDS
from rigwright.resolve import resolve
from rigwright.resolve.pin import pin
from rigwright.resolve.rigs import RigRequest, resolve_all
from rigwright.shown import alike, by_name
from rigwright.spec.rig import parse_spec
from rigwright.units import GIB
from rigwright.weights.lookup import Lookup

CAPTURES = Path(__file__).parents[1] / "captures"
PAIR = CAPTURES / "2x3090-nvlink-x299-lxc"
FORTY = [f"gpu{number}" for number in range(1, 41)]
WISH = "services:\n - {name: chat, model: 'qwen3.5-35b-a3b:Q4_K_M', context: 32768}\n"

Fleet = Callable[..., Callable[..., Result]]


def rig_files(number: int, folder: Path = PAIR) -> dict[str, str]:
    """The recorded rig with cards of its own."""
    files = folder_files(folder)
    return {name: text.replace("GPU-", f"GPU-{number:02d}") for name, text in files.items()}


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """Rigs that answer in an order of their own, and the command to ask them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "ok.yml").write_text(WISH)

    def made(
        files: dict[str, dict[str, str]], missing: dict[str, str] | None = None, seed: int = 0
    ) -> Callable[..., Result]:
        names = list(files)
        random.Random(seed).shuffle(names)
        found = Collected({name: files[name] for name in names}, missing or {})
        for module in ("inventory.rigs", "cli.hardware"):
            monkeypatch.setattr(f"rigwright.{module}.collect", lambda *_, **__: found)
        return lambda *words: CliRunner().invoke(main, [*map(str, words)], env={"COLUMNS": "100"})

    return made


def forty(**others: Path) -> dict[str, dict[str, str]]:
    equal = {name: rig_files(number) for number, name in enumerate(FORTY)}
    return equal | {name: rig_files(90, folder) for name, folder in others.items()}


@pytest.mark.parametrize("why", [(), ("--why",)])
def test_forty_equal_rigs_are_one_block_in_every_run(fleet, why):
    """One block with all names, counted as people count, whatever order the rigs answer in."""
    pages = {fleet(forty(), seed=seed)("plan", "rigs.py", "--spec", "ok.yml", *why).stdout for seed in (1, 2)}
    assert len(pages) == 1
    page = pages.pop()
    assert page.startswith("40 rigs alike  2x RTX 3090") and page.count("chat ── Qwen") == 1
    assert ", ".join(FORTY) in " ".join(page.split())
    assert len(page.splitlines()) < (150 if why else 50)
    assert "GPU-00" not in page


def test_rig_that_differs_has_a_block_of_its_own(fleet):
    """And its own line in the closing table, which says model, engine, context, speed and notes."""
    page = fleet(forty(odd=CAPTURES / "1x-rtx4080s-capture"))("plan", "rigs.py", "--spec", "ok.yml").stdout
    assert page.count("chat ── Qwen") == 2
    table = page[page.rindex("rig ") :].splitlines()
    assert table[0].split() == ["rig", "model", "engine", "context", "tok/s", "notes"]
    assert "gpu1 … gpu40 (40)" in " ".join(" ".join(table).split())
    for said in ("Qwen3.5-35B-A3B", "llama.cpp", "32,768", "134", "IDLE"):
        assert said in page[page.rindex("rig ") :], said


def test_closing_table_names_what_is_not_deployed_and_who_has_no_plan(fleet, monkeypatch):
    """Nobody has to scroll up for it."""
    monkeypatch.setattr("rigwright.plan.engines.vllm.planner.VllmPlanner.is_deployed", False)
    run = fleet(
        {"a": rig_files(1), "b": rig_files(2, CAPTURES / "error-no-devices")}, {"c": "no answer", "d": "no answer"}
    )
    Path("ok.yml").write_text("services:\n - {name: chat, model: qwen3.5-35b-a3b, engine: vllm}\n")
    result = run("plan", "rigs.py", "--spec", "ok.yml")
    table = result.stdout[result.stdout.rindex("rig ") :]
    assert "not deployed" in table and "b " in table and "no plan" in table and "c, d" in table and "not read" in table
    assert result.stderr.splitlines()[-1] == "d: not read: no answer" and result.exit_code == 1


def test_json_of_a_fleet_is_sorted(fleet):
    """The same text in every run, rig2 before rig10."""
    texts = {fleet(forty(), seed=seed)("plan", "rigs.py", "--spec", "ok.yml", "--json").stdout for seed in (1, 2)}
    assert len(texts) == 1 and list(json.loads(texts.pop())) == FORTY


@pytest.mark.parametrize("command", [("hardware", "rigs.py"), ("recommend", "rigs.py", "--top", "2")])
def test_other_commands_show_equal_rigs_once_too(fleet, monkeypatch, command):
    """`hardware` and `recommend` read as `plan` does."""
    from rigwright.models.variants import find_model

    few = (find_model("qwen3-8b"), find_model("qwen3.5-35b-a3b"))
    monkeypatch.setattr("rigwright.plan.recommend.known_models", lambda: few)
    pages = {fleet(forty(), seed=seed)(*command).stdout for seed in (1, 2)}
    assert len(pages) == 1
    page = pages.pop()
    assert page.startswith("40 rigs alike") and len(page.splitlines()) < 40


def test_names_are_in_the_order_of_people():
    """Numbers count as numbers, also in the middle."""
    assert by_name(["r10", "r2", "a", "r2b", "10.0.0.9", "10.0.0.10"]) == [
        "10.0.0.9",
        "10.0.0.10",
        "a",
        "r2",
        "r2b",
        "r10",
    ]
    assert alike({"b": "x", "a": "x", "c": "y"}) == [(["a", "b"], "x"), (["c"], "y")]


def test_what_differs_from_a_lock_is_told_once_for_equal_rigs(tmp_path, tiny_dense, rig: Callable[..., Hardware]):
    """A wish that changed for forty rigs is one paragraph of `plan --write`, not forty."""
    shutil.copy(tiny_dense, tmp_path / "m.gguf")
    (tmp_path / "rig.py").write_text("")
    machine = replace(rig(24), driver_version="580.95.05")

    def entries(context: int) -> dict[str, Entry]:
        service = {"name": "chat", "model": str(tmp_path / "m.gguf"), "context": context, "gpu": 0}
        spec = parse_spec("rig", {"services": [service]})
        planned = resolve(spec, machine)
        return {name: Entry(*pin(planned, spec, machine, rig=name), spec, machine) for name in reversed(FORTY)}

    inventory = str(tmp_path / "rig.py")
    write_lock(inventory, entries(2048))
    told = write_lock(inventory, entries(1024))
    assert told.is_refused and told.lines[0] == f"40 rigs alike, {', '.join(FORTY)}:"
    assert "  ~ services.chat.context: 2048 -> 1024" in told.lines and len(told.lines) < 15


def test_terminal_without_utf8_gets_the_like_of_each_character(monkeypatch):
    """Nothing is `?`: lines, dashes and crosses have their like in ASCII."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, "ascii")
    monkeypatch.setattr("sys.stdout", stream)
    from rigwright.view.terminal import answering, console

    with answering():
        screen = console()
        screen.width = 60
        screen.print("chat ── 2 × one–two … │ x   ")
    assert raw.getvalue() == b"chat -- 2 x one-two . | x\n"


@pytest.mark.parametrize(
    ("cuda", "source", "said"),
    [
        (None, "none", "GPUs answer, but nvcc is not installed; install the CUDA toolkit, or"),
        (None, "nvidia", "GPUs answer, but nvcc is not installed; a toolkit for NVIDIA GeForce RTX 3090 (Ampere) "),
        (None, "distro", "GPUs answer, but nvcc is not installed; a toolkit for NVIDIA GeForce RTX 3090 (Ampere) "),
        (None, "auto", ""),
        ("12.8", "auto", ""),
        ("12.8", "none", ""),
    ],
)
def test_plan_of_a_rig_says_what_its_deploy_would_refuse(cuda: str | None, source: str, said: str) -> None:
    """Before the deploy is typed: the compiler that a build for the GPUs wants is not there, and does not come."""
    hardware = described(["3090"], ram_bytes=64 * GIB).hardware
    records = replace(NO_RECORDS, installed=Installed(cuda_version=cuda))
    wishes = {"services": [{"name": "chat", "model": "qwen3.5-9b"}], "cuda": {"source": source}}
    spec = parse_spec("rig1", wishes)
    planned = resolve_all({"rig1": RigRequest(spec, hardware, records=records)}, Lookup())
    notes = [note for note in planned.resolved["rig1"].plan.notes if note.choice == A_DEPLOY_REFUSES]
    assert [note.because[: len(said)] for note in notes] == ([said] if said else [])
    comes = [f"{note.choice}: {note.because}" for note in planned.resolved["rig1"].plan.notes if "CUDA" in note.choice]
    brought = "CUDA 13.0 comes before the build: no nvcc here makes code for sm_86: wheels from PyPI, by this machine, "
    assert comes == ([f"{brought}0.5 GB, 0.8 GB on the disk"] if (cuda, source) == (None, "auto") else [])
    # A machine that no deploy goes to has no such note.
    alone = resolve_all({"rig1": RigRequest(spec, hardware)}, Lookup())
    assert A_DEPLOY_REFUSES not in {note.choice for note in alone.resolved["rig1"].plan.notes}
