"""The lock file: the same plan gives the same bytes, and whatever no longer is as it says is found."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from rigwright.cli.plan import plan
from rigwright.errors import RigwrightError
from rigwright.hardware import Hardware, Link
from rigwright.lock.changes import lock_changes, service_changes
from rigwright.lock.file import Entry, Lock, Written, lock_path, read_lock, render_lock, write_lock
from rigwright.lock.files import locked_model, locked_source
from rigwright.lock.plan import plan_of
from rigwright.lock.values import LockedRig, pin_service
from rigwright.plan.engines.installed import Installed
from rigwright.plan.engines.llamacpp.settings import LlamacppSettings
from rigwright.records.values import RigRecords
from rigwright.resolve import resolve
from rigwright.resolve.pin import pin
from rigwright.spec.rig import RigSpec, parse_spec

GIB = 1 << 30


@pytest.fixture
def home(tmp_path: Path, tiny_dense: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with an inventory and a model, and nothing that was read before."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shutil.copy(tiny_dense, tmp_path / "m.gguf")
    (tmp_path / "rig.py").write_text("")
    return tmp_path


@pytest.fixture
def machine(rig: Callable[..., Hardware]) -> Hardware:
    """Two GPUs with a link between them."""
    return replace(rig(24, 24), links=(Link(0, 1, "NV4"),), driver_version="580.95.05")


def spec(**changes: object) -> RigSpec:
    rig = {key: changes.pop(key) for key in ("llamacpp", "weights") if key in changes}
    return parse_spec("rig1", {"services": [{"name": "chat", "model": "m.gguf", "context": 2048, **changes}], **rig})


def entry(wished: RigSpec, machine: Hardware) -> LockedRig:
    return pin(resolve(wished, machine), wished, machine, rig="rig1")[0]


def made(wished: RigSpec, machine: Hardware) -> Entry:
    return Entry(*pin(resolve(wished, machine), wished, machine, rig="rig1"), wished, machine)


def check_lock(locked: LockedRig, wished: RigSpec, machine: Hardware) -> list[str]:
    return [str(change) for change in lock_changes(locked, wished, machine)]


def written(home: Path, machine: Hardware, wished: RigSpec | None = None, **options: bool) -> Written:
    return write_lock("rig.py", {"rig1": made(wished or spec(), machine)}, **options)


def test_same_input_same_bytes(home, machine):
    """The file is sorted and holds no date: two runs differ in nothing, in whatever order the rigs came."""
    first = entry(spec(), machine)
    both = render_lock(Lock(rigs={"b": first, "a": first}), "rig.py")
    assert both == render_lock(Lock(rigs={"a": entry(spec(), machine), "b": first}), "rig.py")
    assert both.index("\n  a:") < both.index("\n  b:")
    assert both.startswith("# What was planned")


def test_what_is_written_is_what_is_read(home, machine):
    """Nothing is lost between the plan and the file."""
    path = written(home, machine).path
    assert path == Path("rig.lock.yml") == lock_path("rig.py")
    assert read_lock(path).rigs["rig1"] == entry(spec(), machine)


def test_lock_names_what_makes_the_rig(home, machine):
    """GPUs by UUID, the file by its sum, the source of the build, each flag on a line, and no path of keys."""
    (home / "secret.key").write_text("hunter2\n")
    path = written(home, machine, spec(api_key_file=str(home / "secret.key"))).path
    text, data = path.read_text(), yaml.safe_load(path.read_text())["rigs"]["rig1"]
    assert [gpu["uuid"] for gpu in data["hardware"]["gpus"]] == ["GPU-0", "GPU-1"]
    assert data["hardware"]["links"] == {"NV4": ["0-1"]}
    service = data["services"]["chat"]
    assert "--ctx-size 2048" in service["flags"]
    assert len(service["model"]["files"][0]["sha256"]) == 64
    assert service["engine_version"] == data["builds"]["llamacpp"]["ref"] == spec().settings(LlamacppSettings).ref
    assert "hunter2" not in text and "secret.key" not in text


def test_address_is_kept_without_its_query(home, machine):
    """A token in an address is a secret; a change of it is found all the same."""
    first, second = (spec(model=f"http://127.0.0.1:9/m.gguf?token={token}") for token in ("hunter2", "hunter3"))
    locked = entry(first, machine)
    assert "hunter2" not in render_lock(Lock(rigs={"rig1": locked}), "rig.py")
    assert check_lock(locked, second, machine) == [
        "~ services.chat: its model or flags differ in what the lock does not show"
    ]
    with pytest.raises(RigwrightError, match="--hf-token would show a secret"):
        spec(flags={"--hf-token": "hunter2"})


def gpus(machine: Hardware, *changes: dict[str, object] | None) -> Hardware:
    """The machine with changes to its GPUs in order; None takes one out."""
    pairs = zip(machine.gpus, changes, strict=True)
    return replace(machine, gpus=tuple(replace(gpu, **change) for gpu, change in pairs if change is not None))


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        (({}, {"uuid": "GPU-9"}), ["- GPU 1 (RTX, GPU-1): is not there", "+ GPU 1 (RTX, GPU-9): is not in the lock"]),
        (({}, None), ["- GPU 1 (RTX, GPU-1): is not there"]),
        (({}, {"state": "lost"}), ["- GPU 1 (RTX, GPU-1): no longer answers"]),
        (
            ({"index": 1}, {"index": 0}),
            ["~ GPU 0 (RTX, GPU-0): GPU 0 -> GPU 1", "~ GPU 1 (RTX, GPU-1): GPU 1 -> GPU 0"],
        ),
        (({"name": "RTX 9"}, {}), ["~ GPU 0 (RTX, GPU-0): RTX -> RTX 9"]),
        (({"vram_bytes": 12 * GIB}, {}), ["~ GPU 0 (RTX, GPU-0): 24576 MiB -> 12288 MiB"]),
    ],
)
def test_each_change_of_a_gpu_is_found(home, machine, change, lines):
    """Another card, one that is gone or silent, another order, name or size: a line for each."""
    found = check_lock(entry(spec(), machine), spec(), gpus(machine, *change))
    assert len(found) == len(lines)
    assert all(line in said for line, said in zip(lines, found, strict=True)), found


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"links": (Link(0, 1, "PHB"),)}, "~ links: NV4 0-1 -> PHB 0-1"),
        ({"ram_bytes": 32 * GIB}, "~ RAM: 64 GiB -> 32 GiB"),
    ],
)
def test_each_change_of_the_machine_is_found(home, machine, change, line):
    """A bridge that is gone and RAM that is gone change what a plan may count on."""
    assert check_lock(entry(spec(), machine), spec(), replace(machine, **change)) == [line]


def test_other_driver_and_kernel_are_the_same_rig(home, machine):
    """A driver that reports 12 MiB less, and a system that was updated, are no other hardware."""
    less = gpus(machine, {"vram_bytes": 24564 << 20}, {})
    updated = replace(less, driver_version="590.1", kernel="6.18", os_version="14", ram_bytes=63 * GIB)
    assert check_lock(entry(spec(), machine), spec(), updated) == []


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"context": 1024}, "~ services.chat.context: 2048 -> 1024"),
        ({"port": 9000}, "+ services.chat.port: 9000"),
        ({"model": "other.gguf"}, "~ services.chat.model: m.gguf -> other.gguf"),
        ({"flags": {"--temp": 0.5}}, '+ services.chat.flags: {"--temp": 0.5}'),
        ({"api_key_file": "k"}, "+ services.chat.has_api_key: true"),
        ({"llamacpp": {"ref": "b9999"}}, "+ rig.llamacpp.ref: b9999"),
        ({"weights": {"directory": "/w"}}, "+ rig.weights.directory: /w"),
    ],
)
def test_each_change_of_the_wish_is_found(home, machine, change, line):
    """What the inventory says now, beside what was locked."""
    assert check_lock(entry(spec(), machine), spec(**change), machine) == [line]


def test_services_that_came_and_went_are_found(home, machine):
    """A renamed service is one that is gone and one that is new."""
    renamed = parse_spec("rig1", {"services": [{"name": "talk", "model": "m.gguf", "context": 2048}]})
    assert check_lock(entry(spec(), machine), renamed, machine) == [
        "- services.chat: is not in the inventory",
        "+ services.talk: is not in the lock",
    ]


def test_what_runs_nothing_else_changes_nothing(home, machine):
    """More patience, more compilers, another mirror: the same rig."""
    other = spec(start_timeout_seconds=900, llamacpp={"jobs": 3}, weights={"hugging_face": "https://mirror.test"})
    assert check_lock(entry(spec(), machine), other, machine) == []


def test_other_file_of_the_same_name_is_found(home, machine, tiny_hybrid):
    """The sum of the file is part of what is locked: nothing is written, and both are told."""
    path = written(home, machine).path
    before = path.read_bytes()
    shutil.copy(tiny_hybrid, home / "m.gguf")
    again = written(home, machine)
    assert (again.is_written, again.is_refused, path.read_bytes()) == (False, True, before)
    assert any("model.files.0.sha256: " in line for line in again.lines)
    assert "rigwright plan rig.py --replan" in again.lines[-1]


def test_nothing_is_lost_silently(home, machine):
    """What differs is told and left; only --replan renews it; what does not differ is not even written."""
    path = written(home, machine).path
    stamp = path.stat().st_mtime_ns
    assert not written(home, machine).is_written and path.stat().st_mtime_ns == stamp
    held = written(home, machine, spec(context=1024))
    assert held.is_refused and "rig1: ~ services.chat.context: 2048 -> 1024" in held.lines
    assert written(home, machine, spec(context=1024), is_renewed=True).is_written
    assert read_lock(path).rigs["rig1"].services["chat"].context_tokens == 1024


def test_commit_that_was_found_since_is_added_without_a_word_of_change(home, machine):
    """The first deploy finds what a tag is; the lock then has it, and one that the rig finds later is a change."""
    tag = spec(llamacpp={"ref": "b9999"})
    key = tag.settings(LlamacppSettings).ref_key

    def locked(commit: str) -> Written:
        records = RigRecords({}, Installed(commits={key: commit} if commit else {}))
        resolved = resolve(tag, machine, records=records)
        return write_lock("rig.py", {"rig1": Entry(*pin(resolved, tag, machine, rig="rig1"), tag, machine)})

    first = locked("")
    assert (
        first.is_written
        and "rig1: llamacpp.ref: the first deploy finds what b9999 is; write the lock again then" in (first.lines)
    )
    assert locked("a" * 40).is_written
    assert read_lock(first.path).rigs["rig1"].builds["llamacpp"]["commit"] == "a" * 40
    assert not locked("").is_written and not locked("a" * 40).is_written
    moved = locked("b" * 40)
    assert moved.is_refused and f"rig1: ~ builds.llamacpp.commit: {'a' * 40} -> {'b' * 40}" in moved.lines
    held = resolve(
        tag, machine, read_lock(first.path).rigs["rig1"], records=RigRecords({}, Installed(commits={key: "b" * 40}))
    )
    assert held.is_locked and held.engines["llamacpp"].settings.commit({key: "b" * 40}) == "a" * 40


def test_other_rigs_stay_as_they_are(home, machine, rig):
    """Writing some rigs renews those alone; a new rig needs no --replan."""
    path = written(home, machine).path
    first = yaml.safe_load(path.read_text())["rigs"]["rig1"]
    added = write_lock("rig.py", {"rig2": made(spec(context=512), rig(12))})
    assert added.is_written
    rigs = yaml.safe_load(path.read_text())["rigs"]
    assert rigs["rig1"] == first and set(rigs) == {"rig1", "rig2"}


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda text: text.replace("--ctx-size 2048", "--ctx-size 4096"), "rigs.rig1: was edited by hand: its digest"),
        (
            lambda text: text.replace("slots: 1", "slots: many"),
            "rigs.rig1.services.chat.slots: input should be a valid",
        ),
        (lambda text: text.replace("slots: 1", "slotz: 1"), "rigs.rig1.services.chat.slots: field required"),
        (
            lambda text: text.replace("version: 2", "version: 3"),
            "version: 3 is not known here, 2 is; use the rigwright",
        ),
        (lambda text: text.replace("version: 2\n", ""), "version: missing, so it is no lock file"),
        (lambda text: text + "  - }", "is no YAML"),
        (lambda text: "[]", "no lock file"),
    ],
)
def test_damaged_lock_is_one_line(home, machine, change, line):
    """File, key, what is wrong, what to do."""
    path = written(home, machine).path
    path.write_text(change(path.read_text()))
    with pytest.raises(RigwrightError) as error:
        read_lock(path)
    assert error.value.message.startswith("rig.lock.yml:") and line in error.value.message
    assert "\n" not in error.value.message


def test_entry_that_was_edited_can_be_renewed(home, machine):
    """The way back from a hand-edited entry is the one that its message names."""
    path = written(home, machine).path
    path.write_text(path.read_text().replace("--ctx-size 2048", "--ctx-size 4096"))
    with pytest.raises(RigwrightError, match="was edited by hand"):
        written(home, machine)
    assert written(home, machine, is_renewed=True).is_written
    assert read_lock(path)


def test_locked_plan_is_deployed_word_for_word(home, machine):
    """From the lock back to a plan: the same arguments, environment and GPUs."""
    wished = spec()
    locked = entry(wished, machine).services["chat"]
    planned = plan_of("chat", locked, (), source=locked_source(wished.services[0], locked))
    assert tuple(words for flag in locked.flags for words in flag.split(" ", 1)) == planned.argv
    again = pin_service(wished.services[0], planned, locked.model.files)
    assert list(service_changes("chat", locked, again)) == []


def test_name_of_the_catalogue_is_pinned_to_its_file(home, machine):
    """The lock holds the repository, the file and the quant; a deploy needs no plan to know them."""
    wished = spec(model="qwen3.5-0.8b:Q8_0", engine="llamacpp", weights={"hugging_face": "http://127.0.0.1:9"})
    locked = entry(wished, machine).services["chat"]
    assert (locked.model.repo, locked.model.files[0].name) == (
        "unsloth/Qwen3.5-0.8B-GGUF",
        "Qwen3.5-0.8B-Q8_0.gguf",
    )
    local = locked_model(wished.services[0], locked, wished.weights)
    assert local.variant and local.variant.quant == "Q8_0"
    assert local.url and local.url.endswith(f"/{locked.model.revision}/Qwen3.5-0.8B-Q8_0.gguf")


def test_lock_cannot_lie_beside_what_is_no_file(home, machine):
    """An inventory of host names has no directory; --lock names the file."""
    with pytest.raises(RigwrightError, match="name one with --lock"):
        write_lock("host1,host2", {"rig1": made(spec(), machine)})
    assert write_lock("host1", {"rig1": made(spec(), machine)}, lock=home / "x.yml").is_written


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["@local", "--spec", "x.yml", "--detailed-exitcode"], "leave --spec away"),
        (["rig.py", "--write", "--ram", "64G"], "leave --ram away"),
        (["@local", "--spec", "x.yml", "--replan"], "leave --spec away"),
    ],
)
def test_only_plans_of_real_rigs_are_kept(arguments, line):
    """What if there were more RAM? No deploy could hold a rig to that."""
    done = CliRunner().invoke(plan, arguments)
    assert done.exit_code == 2 and line in done.output
