"""What `rigwright plan` shows, what a lock file pins and what a deploy renders: the same, on every recorded machine."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import pytest
from click.testing import CliRunner

from rigwright.catalogue import load
from rigwright.cli import main
from rigwright.errors import RigwrightError
from rigwright.hardware import Disk, Hardware, models
from rigwright.hardware.capture import read_folder
from rigwright.inventory import rigs
from rigwright.inventory.rigs import Found
from rigwright.inventory.what_if import what_if
from rigwright.lock.file import Lock, read_lock, render_lock
from rigwright.lock.values import LockedRig
from rigwright.plan.devices import named
from rigwright.plan.engines.installed import Installed
from rigwright.records.reading import read_record
from rigwright.records.values import RigRecords
from rigwright.resolve import Resolved
from rigwright.resolve.drivers import waiting_for_driver
from rigwright.resolve.instance import Instance
from rigwright.resolve.running import deploy_notes, running_changes
from rigwright.resolve.unit import render_unit
from rigwright.roles.base.facts import Rig
from rigwright.roles.llamacpp.engine import ENGINE
from rigwright.roles.service.context import RigContext, make_context
from rigwright.roles.service.preflight import preflight_errors
from rigwright.shown import by_name
from rigwright.view.answers.plan import lock_answer, plan_answer
from rigwright.weights.lookup import Lookup

CAPTURES = Path(__file__).parents[1] / "captures"
# A port that nothing listens on: the catalogue's dimensions stand in for headers.
NOWHERE = {"weights": {"hugging_face": "http://127.0.0.1:9"}}
# Stand for paths that only a test run knows.
MODEL, KEYS = "MODEL.gguf", "KEYS.txt"
OLDER, TAG = "a" * 40, "b5000"
# What a unit sets beside the plan: marks by which a deploy knows it, and a directory that systemd makes for it.
OWN_VARIABLES = {"RIGWRIGHT_UNIT", "RIGWRIGHT_WEIGHTS", "CUDA_CACHE_PATH"}

State = Callable[[Hardware, Callable[..., Rig], str], RigRecords]
# An instance: its name, port, arguments and environment.
Seen = tuple[Any, ...]
KEPT = ("port", "argv", "environment")


class Case(NamedTuple):
    """One wish for all machines.

    `proof` is a pattern that what is shown for some machine must match, so that a case is about what its name says.
    `state` is what lies on a rig before.
    """

    rig: Mapping[str, Any]
    proof: str
    state: State | None = None


def chat(*others: Mapping[str, Any], rig: Mapping[str, Any] | None = None, **keys: Any) -> dict[str, Any]:
    """The data of a rig that serves the tiny file, with these keys."""
    return {"services": [{"name": "chat", "model": MODEL, "context": 2048, **keys}, *others], **NOWHERE, **(rig or {})}


def known(*others: Mapping[str, Any], rig: Mapping[str, Any] | None = None, **keys: Any) -> dict[str, Any]:
    """The data of a rig that serves a model of the catalogue."""
    return {"services": [{"name": "chat", **keys}, *others], **NOWHERE, **(rig or {})}


def older_flags() -> str:
    """The help of a release before --load-mode, as its own build records it."""
    text = str(load("llamacpp_flags")["help"])
    lines = [line for line in text.splitlines() if not line.lstrip().startswith(("-lm,", "--load-mode"))]
    return "\n".join((*lines, "--no-mmap", "--mlock"))


def with_older_build(hardware: Hardware, serving: Callable[..., Rig], model: str) -> RigRecords:
    """A rig that has built an older release: the flags that it knows were written down beside it."""
    return RigRecords({}, Installed(flags={OLDER: older_flags()}, commits={}, cuda_version="13.0"))


def with_orphan(hardware: Hardware, serving: Callable[..., Rig], model: str) -> RigRecords:
    """A rig on which a service runs that its inventory does not name."""
    return running(hardware, serving, {"services": [{"name": "old", "model": model, "port": 9100}], **NOWHERE})


def with_chat(hardware: Hardware, serving: Callable[..., Rig], model: str) -> RigRecords:
    """A rig on which all runs as planned."""
    return running(
        hardware, serving, json.loads(json.dumps(chat(rig={"owner": OWNER, **OF_A_COMMIT})).replace(MODEL, model))
    )


def with_another(hardware: Hardware, serving: Callable[..., Rig], model: str) -> RigRecords:
    """A rig on which another inventory has a service."""
    data = {"services": [{"name": "old", "model": model, "port": 9100}], "owner": "other", **NOWHERE}
    return running(hardware, serving, data)


def running(hardware: Hardware, serving: Callable[..., Rig], data: dict[str, Any]) -> RigRecords:
    """What a deploy of this inventory leaves; nothing where it is refused."""
    rig, context = rig_of(hardware), make_context("rig", data)
    try:
        first = context.resolved(rig).models
        return serving(context, rig, weights=str(next(iter(first.values())).sha256)).records
    except RigwrightError:
        return rig.records


# As the file of the inventory is called.
OWNER = "rigs"
# What a tag is, only a rig that has asked knows.
OF_A_COMMIT: dict[str, Any] = {"llamacpp": {"ref": "f" * 40}}
FILE = {"name": "more", "model": MODEL, "context": 4096, "port": 9000}
MANY = {"name": "many", "model": "qwen3-8b", "engine": "vllm", "port": 9000, "users": 8}
Q5 = {"--cache-type-k": "q5_1", "--cache-type-v": "q5_1"}
WORDS = {
    "--temp": 0.6,
    "--jinja": True,
    "--cache-ram": None,
    "--chat-template-kwargs": '{"a b": "100 % of $HOME \\\\ \'"}',
}
CASES = {
    "nothing": Case({"services": [], **NOWHERE}, r'"services": \[\]'),
    "file": Case(chat(), "--ctx-size"),
    "file for eight users": Case(chat(users=8), "--parallel"),
    "replicas": Case(chat(replicas=2, users=8), '"port": 8081'),
    "two files": Case(chat(FILE), '"more"'),
    "on the CPU": Case(chat(gpu="none"), '"device|--device'),
    "CPU build": Case(chat(rig={"llamacpp": {"backend": "cpu"}}), "--ctx-size"),
    "a GPU by its number": Case(chat(gpu=1), "CUDA_VISIBLE_DEVICES"),
    "own flags": Case(chat(flags=WORDS), "100 % of"),
    "keys of its own": Case(
        chat(alias="a b", slots=3, cache_type="q8_0", rig={"weights": {"directory": "/home/my models"}}),
        "/home/my models",
    ),
    "open to others": Case(chat(host="0.0.0.0", api_key_file=KEYS, allow_from=["10.0.0.0/8"]), "--api-key-file"),
    "kernels that a build option brings": Case(
        chat(flags=Q5, rig={"llamacpp": {"cmake_options": {"GGML_CUDA_FA_ALL_QUANTS": "ON"}}}), "q5_1"
    ),
    "kernels that no build option brings": Case(chat(flags=Q5), "has no attention kernel"),
    "older ref": Case(chat(rig={"llamacpp": {"ref": OLDER}}), OLDER),
    "older ref whose flags are known": Case(
        chat(flags={"--mlock": True}, rig={"llamacpp": {"ref": OLDER}}), "--mlock", with_older_build
    ),
    "older ref that refuses a flag": Case(
        chat(flags={"--load-mode": "mlock"}, rig={"llamacpp": {"ref": OLDER}}), "--load-mode is newer", with_older_build
    ),
    "tag": Case(chat(rig={"llamacpp": {"ref": TAG}}), TAG),
    "runs already": Case(chat(rig=OF_A_COMMIT), '"changes": \\[\\]', with_chat),
    "beside an orphan": Case(chat(), "ORPHAN old", with_orphan),
    "on the port of an orphan": Case(chat(port=9100), "remove_orphans", with_orphan),
    "in place of an orphan": Case(
        chat(port=9100, rig={"remove_orphans": True}), "not in the inventory", with_orphan
    ),
    "beside another inventory": Case(chat(rig={"remove_orphans": True}), "beside old", with_another),
    "on the port of another inventory": Case(chat(port=9100), "of the inventory other", with_another),
    "more context than trained": Case(chat(context=1 << 20), "services.chat"),
    "name": Case(known(model="qwen3.5-9b", engine="llamacpp"), "best for"),
    "name and quant": Case(known(model="qwen3.5-35b-a3b:Q4_K_M", context=32768), "Q4_K_M"),
    "name that sees": Case(known(model="qwen3.5-9b", engine="llamacpp", vision=True, context=8192), "--mmproj"),
    "file of a hub": Case(known(model="hf:unsloth/Qwen3-8B-GGUF@main:Qwen3-8B-Q4_K_M.gguf", context=4096), "Q4_K_M"),
    "two engines": Case(known(MANY, model="qwen3-8b:Q4_K_M", engine="llamacpp", context=8192), '"vllm"'),
    "ollama": Case(known(model="qwen3-8b:Q4_K_M", engine="ollama", context=8192), '"modelfile": "'),
    "auto": Case(known(model="auto", engine="llamacpp", quants=["Q4_K_M"], context=8192), "--model"),
}  # fmt: skip


Outcome = Literal["served", "waiting", "refused"]


class Deploy(NamedTuple):
    """What a deploy makes of a rig: the plan that it stands on, as `plan --json` shows it, and the units it writes."""

    outcome: Outcome
    plan: dict[str, Any]
    units: tuple[str, ...] = ()


class Bench:
    """`rigwright plan`, typed for an inventory of recorded machines, and the deploys of the same inventory."""

    def __init__(self, folder: Path, machines: Mapping[str, Hardware], monkeypatch: pytest.MonkeyPatch) -> None:
        self.inventory, self.lock = folder / "rigs.py", folder / "rigs.lock.yml"
        self.machines = machines
        self.records = {name: rig_of(one).records for name, one in machines.items()}
        self._monkeypatch = monkeypatch
        self.inventory.touch()

    def see(self, data: object, names: Iterable[str]) -> None:
        """Have the inventory name these rigs, and recordings answer for them."""
        chosen = {name: self.machines[name] for name in names}
        rows = [{"name": name, "groups": [], "data": {"rig": data}} for name in chosen]
        self._monkeypatch.setattr(rigs, "read_rows", lambda *_, **__: rows)
        self._monkeypatch.setattr(rigs, "read_rigs", lambda *_, **__: Found(chosen, {}, self.records))

    def plan(self, data: object, names: Iterable[str], *words: str, says: int = 0) -> tuple[dict[str, Any], str]:
        """Type the command for these rigs: the plans that it shows, and the lines beside them."""
        self.see(data, names)
        result = CliRunner().invoke(main, ["plan", str(self.inventory), "--json", *words])
        assert result.exit_code == says, result.stderr
        return json.loads(result.stdout), result.stderr

    def deploys(self, data: object, names: Iterable[str]) -> dict[str, Deploy]:
        """What a deploy makes of these rigs, with the lock where there is one."""
        lookup = Lookup()
        lock = read_lock(self.lock).rigs if self.lock.exists() else {}
        found = {}
        for name in names:
            # A deploy also knows the disks, and which lines of nvidia-smi were errors.
            hardware = replace(self.machines[name], disks=(Disk("/", 99 << 30, 50 << 30),))
            rig = replace(rig_of(hardware), records=self.records[name])
            context = make_context(
                name,
                data,
                lock=lock.get(name),
                lock_file=str(self.lock),
                inventory=str(self.inventory),
                lookup=lookup,
            )
            found[name] = deploy_of(context, rig)
        return found


def rig_of(hardware: Hardware) -> Rig:
    """A machine as a deploy finds it, with nothing on it."""
    installed = Installed(cuda_version="13.0" if hardware.gpus else None)
    known_system = replace(hardware, os_id="debian", os_version="13")
    return Rig(known_system, uid=0, init="systemd", records=RigRecords({}, installed))


@pytest.fixture(scope="session")
def machines() -> dict[str, Hardware]:
    """All recorded machines; GPUs that no output names are RTX 3090s, so that their links count."""
    card = models.find("NVIDIA GeForce RTX 3090")
    assert card
    found = {}
    for folder in sorted(path for path in CAPTURES.iterdir() if path.is_dir()):
        hardware = what_if(read_folder(folder), recording=folder)[0]
        nameless = [gpu.index for gpu in hardware.gpus if not (gpu.name or gpu.pci_id or gpu.vendor == "AMD")]
        found[folder.name] = rig_of(named(hardware, dict.fromkeys(nameless, card))).hardware
    return found


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of API keys."""
    path = tmp_path_factory.mktemp("keys") / "keys.txt"
    path.touch(mode=0o600)
    path.write_text("k" * 40 + "\n")
    return path


@pytest.fixture
def bench(tmp_path: Path, machines: dict[str, Hardware], monkeypatch: pytest.MonkeyPatch) -> Bench:
    """The inventory, and a folder for its lock."""
    return Bench(tmp_path, machines, monkeypatch)


@pytest.mark.patience
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_plan_lock_and_deploy_agree(case, bench, model, keys, serving):
    """Shown, pinned and rendered: one command line, one environment, one reason where there is none."""
    data = json.loads(json.dumps(case.rig).replace(MODEL, str(model)).replace(KEYS, str(keys)))
    if case.state:
        bench.records = {name: case.state(one, serving, str(model)) for name, one in bench.machines.items()}
    deploys = bench.deploys(data, bench.machines)
    plans = {name: deploys[name].plan for name in by_name(deploys)}
    assert re.search(case.proof, json.dumps(plans))
    of = {outcome: [name for name in plans if deploys[name].outcome == outcome] for outcome in get_args(Outcome)}
    if names := of["refused"]:
        shown, lines = bench.plan(data, names, "--write", says=1)
        assert shown == {name: plans[name] for name in names}
        assert lines.splitlines() == [f"{name}: {plans[name]['error']}" for name in names]
    if names := of["waiting"]:
        shown, lines = bench.plan(data, names, "--write", says=1)
        assert shown == {name: plans[name] for name in names}
        *each, last = lines.splitlines()
        assert all(
            re.fullmatch(rf"{name}: .*no driver answers for .*", line) for name, line in zip(names, each, strict=True)
        )
        assert last == f"{', '.join(names)}: not locked, see above"
    assert not bench.lock.exists()
    if names := of["served"]:
        # Those that cannot be locked keep no other rig from it.
        left_out = [*of["refused"], *of["waiting"]]
        shown, lines = bench.plan(data, plans, "--write", says=1 if left_out else 0)
        assert shown == plans
        assert (f"{', '.join(left_out)}: not locked, see above" in lines.splitlines()) == bool(left_out)
        assert {name: pinned(one) for name, one in read_lock(bench.lock).rigs.items()} == {
            name: instances_in(plans[name]) for name in names
        }
        held = {"file": str(bench.lock), "holds": True, "changes": []}
        locked = {name: plans[name] | {"lock": held} for name in names}
        assert bench.plan(data, names)[0] == locked
        assert bench.deploys(data, names) == {name: deploys[name]._replace(plan=locked[name]) for name in names}


def test_older_lock_is_shown_and_deployed_as_it_is(bench, model):
    """What an earlier version pinned, another release and flag, is what the plan shows and the deploy renders."""
    data = json.loads(json.dumps(chat(gpu="none", flags={"--cache-ram": 256})).replace(MODEL, str(model)))
    bench.plan(data, bench.machines, "--write")
    older = {name: as_before(one) for name, one in read_lock(bench.lock).rigs.items()}
    bench.lock.write_text(render_lock(Lock(rigs=older), "rigs.py"))
    shown, _ = bench.plan(data, bench.machines)
    assert {name: one.plan for name, one in bench.deploys(data, bench.machines).items()} == shown
    assert {name: instances_in(one) for name, one in shown.items()} == {name: pinned(older[name]) for name in shown}
    assert all("77" in argv for one in shown.values() for _, _, argv, _ in instances_in(one))


def as_before(locked: LockedRig) -> LockedRig:
    """An entry as an earlier version would have made it."""
    builds = {"llamacpp": {**locked.builds["llamacpp"], "ref": OLDER}}
    flags = tuple(flag.replace("--cache-ram 256", "--cache-ram 77") for flag in locked.services["chat"].flags)
    service = locked.services["chat"].model_copy(update={"flags": flags, "engine_version": OLDER})
    return locked.model_copy(update={"builds": builds, "services": {"chat": service}})


def test_lock_that_no_longer_matches_is_told_alike(bench, model, machines):
    """The lines for which a deploy refuses are the lines that the plan shows, and `--write` leaves the file."""
    name = "2x3090-nvlink-x299-lxc"
    before, after = (json.loads(json.dumps(chat(port=port)).replace(MODEL, str(model))) for port in (9000, 9001))
    bench.plan(before, [name], "--write")
    locked = read_lock(bench.lock)
    context = make_context(name, after, lock=locked.rigs[name], lock_file=str(bench.lock))
    _, *lines = context.lock_refusal(context.resolved(rig_of(machines[name])))
    assert lines == ["~ services.chat.port: 9000 -> 9001"]
    bench.see(after, [name])
    told = bench.plan(after, [name])[0][name]["lock"]
    assert (told["holds"], [one["where"] for one in told["changes"]]) == (False, ["services.chat.port"])
    messages = " ".join(CliRunner().invoke(main, ["plan", str(bench.inventory)]).stdout.split())
    assert f"rigs.lock.yml no longer matches: a deploy refuses until --replan {lines[0]}" in messages
    assert lines[0] in bench.plan(after, [name], "--write", says=1)[1] and read_lock(bench.lock) == locked


def deploy_of(context: RigContext, rig: Rig) -> Deploy:
    """What a deploy makes of a rig; all that it renders starts what is planned."""
    said = list(preflight_errors(rig, context, (ENGINE,)))
    try:
        resolved = context.resolved(rig)
    except RigwrightError as error:
        assert said == [error.message]
        return Deploy("refused", {"error": error.message})
    assert resolved.is_locked == bool(context.lock)
    changes = running_changes(resolved, context.spec, rig.hardware, rig.records)
    lock = lock_answer(Path(context.lock_file) if context.lock else None, resolved)
    # What comes before a build is said by the plan, and announced by what brings it.
    noted = resolved.plan.model_copy(update={"notes": (*deploy_notes(resolved, rig.hardware), *resolved.plan.notes)})
    plan = json.loads(json.dumps(plan_answer(context.rig, noted, changes=changes, lock=lock).plain()))
    found = resolved.instances(context.spec)
    assert [(one.name, one.port, list(one.argv), dict(one.environment)) for one in found] == instances_in(plan)
    units = tuple(checked_unit(one, resolved) for one in found if one.engine == ENGINE.name)
    is_waiting = waiting_for_driver(resolved, context.spec, rig.hardware) is not None
    assert all("no driver answers" in line for line in said) if is_waiting else not said
    return Deploy("waiting" if is_waiting else "served", plan, units)


def checked_unit(instance: Instance, resolved: Resolved) -> str:
    """The unit file of an instance, which starts what is planned; so says the record beside it."""
    text = render_unit(instance, resolved.engines[instance.engine], weights={})
    argv, environment = started(text)
    assert argv == list(instance.argv)
    assert {key: value for key, value in environment if key not in OWN_VARIABLES} == dict(instance.environment)
    record = read_record(instance.record(health=ENGINE.health, answer=ENGINE.answer(instance)._asdict()))
    assert record
    assert (record.argv, record.environment, record.port) == (instance.argv, instance.environment, instance.port)
    return text


def instances_in(plan: Mapping[str, Any]) -> list[Seen]:
    """The instances in an answer of `rigwright plan --json`."""
    return [
        (f"{service['service']}@{number}" if number else service["service"], *map(one.get, KEPT))
        for service in plan["services"]
        for number, one in enumerate(service["replicas"])
    ]


def pinned(locked: LockedRig) -> list[Seen]:
    """The instances in a lock file: the words of each flag, a port and an environment for each replica."""
    found = []
    for name, service in locked.services.items():
        words = [word for flag in service.flags for word in flag.split(" ", 1)]
        place = words.index("--port") + 1 if "--port" in words else len(words)
        for number, one in enumerate(service.replicas):
            own = [str(one.port) if at == place else word for at, word in enumerate(words)]
            found.append((f"{name}@{number}" if number else name, one.port, own, one.environment))
    return found


def started(unit: str) -> tuple[list[str], list[tuple[str, str]]]:
    """Arguments and environment as systemd reads a unit file, by systemd.syntax(7) and systemd.service(5)."""
    lines = unit.replace("\\\n", "").splitlines()
    command = next(line.removeprefix("ExecStart=") for line in lines if line.startswith("ExecStart="))
    words = [word.replace("$$", "$") for word in unquoted(command)]
    variables = [unquoted(line.removeprefix("Environment=")) for line in lines if line.startswith("Environment=")]
    return words[1:], [(name, value) for (word,) in variables for name, _, value in [word.partition("=")]]


def unquoted(line: str) -> list[str]:
    """The words of a line: quotes group, a backslash takes what follows as it is, two percent signs are one."""
    found = re.findall(r'"((?:[^"\\]|\\.)*)"|(\S+)', line)
    words = [plain or re.sub(r"\\(.)", r"\1", quoted) for quoted, plain in found]
    return [word.replace("%%", "%") for word in words]
