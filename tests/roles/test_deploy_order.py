"""Deploys as pyinfra runs them, on rigs of its fake connector: their order, and what is refused before it begins."""

from __future__ import annotations

import base64
import gc
import hashlib
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, ClassVar

import click
import pytest
from pyinfra.api import FunctionCommand, operation
from pyinfra.api.state import StateStage

from rigwright.catalogue import engines as registry
from rigwright.hardware import Hardware
from rigwright.plan import engines as plan_engines
from rigwright.plan.choice import Choice
from rigwright.plan.driver.wheels import wheels
from rigwright.plan.engines.llamacpp.layered import LayeredPlanner
from rigwright.plan.engines.rendered import RenderContext, Rendered
from rigwright.plan.reasons import Reason
from rigwright.plan.service import Flag
from rigwright.resolve import Resolved
from rigwright.resolve.instance import Instance
from rigwright.resources import role_text, template
from rigwright.roles.base.channel import NO_STDIN, Script
from rigwright.roles.base.facts import NO_STATE, Rig
from rigwright.roles.base.failures import summary
from rigwright.roles.base.operations import Commands, current_rig
from rigwright.roles.base.probe import Probe
from rigwright.roles.cuda import archive as toolkit_archives
from rigwright.roles.llamacpp.engine import ENGINE
from rigwright.roles.service.answer import CHAT, Answer
from rigwright.roles.service.context import RigContext
from rigwright.roles.service.deploy import serve
from rigwright.roles.service.operations import report_left_out
from rigwright.spec.rig import RigSpec

from .machine import CPU_ONLY, GIB, OWN_UNIT, SYSTEM, TOY_RELEASE, UNPACK, Machine, is_question
from .run import Run, run_deploy

ROOT = Path(__file__).parents[2]
# Upstream's binaries fit a Debian 13 with an L40S.
BUILT = {"llamacpp": {"source": "build"}}
# A port that nothing listens on: the catalogue's dimensions stand in for headers.
NOWHERE = {"weights": {"hugging_face": "http://127.0.0.1:9"}}
L40S = {"query.csv": (ROOT / "tests/captures/1x-l40s-capture/query.csv").read_text("utf-8")}
SILENT = {"sysfs.txt": "device=0000:01:00.0\nclass=0x030000\nvendor=0x10de\ndevice_id=0x2204\n"}
AT_ONCE = {"fake_delay": 0, "fake_delay_jitter": 0}


def deploy_llamacpp() -> None:
    """The file that a user runs."""
    runpy.run_path(str(ROOT / "deploys/llamacpp.py"))


@pytest.fixture
def run(model: Path) -> Iterator[Callable[..., Run]]:
    """Runs a deploy over rigs, as `pyinfra -y` does, or as a dry run. Each rig is a machine and its inventory data."""

    def of(
        *rigs: tuple[Machine, dict[str, Any]], deploy: Callable[[], None] = deploy_llamacpp, dry: bool = False
    ) -> Run:
        hosts = []
        for number, (_, data) in enumerate(rigs, start=1):
            rows = [{"model": str(model), "context": 2048, **row} for row in data.get("services", ())]
            hosts.append((f"@fake/rig{number}", {"rig": {**data, "services": rows}, **AT_ONCE}))
        return run_deploy(hosts, [machine for machine, _ in rigs], deploy, dry=dry)

    yield of
    gc.unfreeze()  # a deploy freezes what was imported, for it is the last thing that its process does


def rig(*services: dict[str, Any], machine: Machine | None = None, **data: Any) -> tuple[Machine, dict[str, Any]]:
    """A rig, blank where no machine is given, and its inventory data."""
    return machine or Machine(), {"services": services, **data}


class ToyPlanner(LayeredPlanner):
    """An engine in plans that another package brings."""

    name: ClassVar[str] = "toy"
    label: ClassVar[str] = "Toy"
    is_automatic: ClassVar[bool] = False
    program: ClassVar[str] = "bin/toy"

    @property
    def template(self) -> str:
        """A unit like that of llama.cpp."""
        return template("llamacpp.service.j2")

    def release(self, hardware: Hardware) -> str:
        """One for all rigs."""
        return TOY_RELEASE

    def render(self, choice: Choice, target: RenderContext) -> Rendered:
        """Its model and its port."""
        given = {"--model": target.weights_path, "--port": str(choice.wish.port)}
        flags = [
            Flag(name=name, value=value, reason=Reason(choice=name, because="it")) for name, value in given.items()
        ]
        return Rendered(flags=tuple(flags), environments=((),))


class Toy:
    """The role of that engine."""

    name = "toy"
    health = "/health"

    def answer(self, instance: Instance) -> Answer:
        """A chat completion."""
        return CHAT

    def work(self, instance: Instance) -> None:
        """It does not tell."""

    def probe(self, spec: RigSpec) -> Probe:
        """Nothing of its own."""
        return Probe()

    def packages(self, context: RigContext, rig: Rig) -> tuple[str, ...]:
        """One that llama.cpp needs too."""
        return ("curl",)

    def ask(self, rig: Rig, context: RigContext) -> None:
        """Nobody."""

    def preflight_errors(self, rig: Rig, context: RigContext) -> Iterator[str]:
        """It runs everywhere."""
        return iter(())

    def install(self, context: RigContext, probe: Probe) -> None:
        """One operation."""
        unpack(probe=probe, name="Unpack Toy")

    def before_start(self, rig: Rig, instance: Instance, resolved: Resolved) -> str:
        """Nothing."""
        return ""


@operation()
def unpack(probe: Probe) -> Commands:
    """Have the release of Toy."""
    rig = yield from current_rig(probe)
    if TOY_RELEASE not in rig.records.installed.releases:
        yield Script(UNPACK)


TOY = Toy()


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Toy among the engines that plans know, as an installed package would bring it."""
    caches = (registry.engine_names, registry.brought, plan_engines.planner_of, plan_engines.settings_models)
    point = EntryPoint("toy", f"{__name__}:ToyPlanner", registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    for cached in caches:
        cached.cache_clear()
    yield
    monkeypatch.undo()
    for cached in caches:
        cached.cache_clear()


BLANK = [
    "Install packages",
    "Create the builder's account",
    "Bring m.gguf",
    "Install compilers",
    "Find the commit of llama.cpp",
    "Build llama.cpp",
    "Serve chat",
]
CHECK = "Check that the rig can do it"


def test_blank_rig_gets_packages_before_weights_before_build_before_unit(run):
    """Each step finds what it needs."""
    done = run(rig({"name": "chat"}))
    assert done.changed() == BLANK and not done.failed


def test_converged_rig_is_asked_once_and_nothing_is_run(run):
    """What was read for the plan a moment ago is what the operations decide by."""
    machine = Machine()
    run(rig({"name": "chat"}, {"name": "code", "port": 8081}, machine=machine))
    again = run(rig({"name": "chat"}, {"name": "code", "port": 8081}, machine=machine))
    assert again.changed() == [] and not again.failed
    assert len(again.commands()) == 1 and is_question(again.commands()[0])


def test_record_in_other_words_is_told_and_written_anew(run):
    """As after an upgrade that explains a flag better: the process runs on, and the plan says what the deploy does."""
    machine = Machine()
    run(rig({"name": "chat"}, machine=machine))
    text = base64.b64decode(machine.deployed["chat"]["record"]).decode()
    machine.deployed["chat"]["record"] = base64.b64encode(
        text.replace('"because":"', '"because":"Once: ').encode()
    ).decode()
    again = run(rig({"name": "chat"}, machine=machine))
    assert "~ chat record: is written anew; nothing restarts" in again.lines()
    assert again.changed() == ["Serve chat"]
    assert [role_text("service", "record.sh") in one for one in again.commands() if not is_question(one)] == [True]


def test_plan_that_was_read_long_ago_is_not_what_operations_decide_by(run, monkeypatch):
    """Its owner thought it over before the enter key, and something else may have happened meanwhile."""
    machine = Machine()
    run(rig({"name": "chat"}, machine=machine))
    monkeypatch.setattr("rigwright.roles.base.facts._FRESH_SECONDS", 0)
    again = run(rig({"name": "chat"}, machine=machine))
    first, *others = again.commands()
    assert again.changed() == [] and set(others) == {first}


@operation()
def stranger(machine: Machine) -> Iterator[FunctionCommand]:
    """Another tool's step, in a deploy file of the user's own: it takes the model file away."""
    yield FunctionCommand(lambda: machine.files.clear(), (), {})


def test_what_a_strange_operation_changed_is_seen(run):
    """An operation that is not ours runs between the plan and ours: the rig is asked anew after it."""
    machine = Machine()

    def deploy() -> None:
        if machine.deployed:
            stranger(machine=machine, name="Take the model away")
        deploy_llamacpp()

    run(rig({"name": "chat"}, machine=machine), deploy=deploy)
    again = run(rig({"name": "chat"}, machine=machine), deploy=deploy)
    assert again.changed() == ["Take the model away", *BLANK[1:3]]


def test_dry_run_asks_once_and_runs_nothing(run):
    """It names what would be done, in the same order."""
    done = run(rig({"name": "chat"}), dry=True)
    assert done.would_change() == BLANK and len(done.commands()) == 1
    assert "+ chat: llama.cpp on CPU, port 8080" in done.lines()


def test_what_is_not_wanted_any_more_goes_last(run):
    """Releases are removed when the new one serves and the one before is kept for the way back."""
    machine, builds = Machine(), []
    for option in ("OFF", "ON", "AUTO"):
        done = run(rig({"name": "chat"}, machine=machine, llamacpp={"cmake_options": {"GGML_OPENMP": option}}))
        builds.append(done.changed()[-3:])
    assert builds[1] == ["Build llama.cpp", "Serve chat"]
    assert builds[2] == ["Build llama.cpp", "Serve chat", "Remove old releases"]
    assert len(machine.installed) == 2


def test_keys_are_on_the_rig_before_the_service_and_in_no_command(run, tmp_path):
    """Their text travels on standard input."""
    key = tmp_path / "k"
    key.write_text("secret-of-mine\n")
    key.chmod(0o600)
    done = run(rig({"name": "chat", "api_key_file": str(key)}))
    assert done.changed()[-2:] == ["Write the API keys of chat", "Serve chat"]
    assert not any("secret-of-mine" in command for command in done.commands())


PREFLIGHT = [
    ({"uid": 1000}, {}, "the SSH user is not root; set _sudo=True in the host data, or ssh_user='root'"),
    (
        {"init": "runit"},
        {},
        "its init is runit, not systemd; services are systemd units, use a machine that boots with systemd",
    ),
    (
        {"listeners": {8080: ("nginx", 3)}},
        {},
        "port 8080 is taken by nginx (pid 3); give service chat another port, or stop that program",
    ),
    (
        {"deployed": {"chat": OWN_UNIT}},
        {},
        "/etc/systemd/system/rigwright-chat.service exists and was not written by rigwright; rename the service, or "
        "move that unit away",
    ),
    (
        {"free_bytes": GIB // 2},
        {},
        "building needs 1.0 GiB in /var/lib/rigwright, the disk has 512 MiB; free some",
    ),
    (
        {"account": ("passwd=rigwright:x:1000:1000::/home/rigwright:/bin/bash", "groups=rigwright sudo docker")},
        {},
        "the account rigwright (uid 1000, groups rigwright sudo docker, shell /bin/bash) was not made by rigwright, "
        "which builds and downloads as rigwright; rename it with usermod --login and groupmod --new-name, or remove it "
        "with userdel",
    ),
    (
        {"account": ("group=rigwright:x:1001:ada",)},
        {},
        "there is a group rigwright, and no account of that name; rename or remove it with groupmod or groupdel",
    ),
    (
        {"sources": CPU_ONLY | L40S, "free_bytes_at": {"/opt/rigwright": 5 * GIB // 2}},
        {},
        "installing needs 2.8 GiB in /opt/rigwright, the disk has 2.5 GiB; free some",
    ),
    (
        {"sources": CPU_ONLY | SILENT},
        {"model": "qwen3-8b:Q4_K_M", "engine": "llamacpp"},
        "chat is planned on GPU 0 (NVIDIA GeForce RTX 3090), for which no driver answers; deploys/nvidia.py "
        "brings one, or set gpu to none",
    ),
]


@pytest.mark.parametrize(
    ("state", "service", "reason"),
    PREFLIGHT,
    ids=["user", "init", "port", "unit", "disk", "account", "group", "nvcc", "driver"],
)
def test_obstacle_is_one_line_and_nothing_runs(run, state, service, reason):
    """It is said with the plan and where the run ends; the rig was asked and nothing else."""
    done = run(rig({"name": "chat", **service}, machine=Machine(**state), **NOWHERE, **BUILT))
    assert done.failed == {"rig1"} and done.changed() == [CHECK]
    assert [line for line in done.lines(stage=StateStage.Prepare) if "cannot" in line] == [
        f"cannot be deployed: {reason}"
    ]
    assert done.lines(stage=StateStage.Execute) == [reason]
    asked, refusal = done.commands()
    assert is_question(asked) and refusal.startswith("printf ")


def test_toolkit_comes_before_what_is_built_with_it(run, model, monkeypatch, tmp_path):
    """GPUs answer and no nvcc is there: wheels are brought, and the build names their compiler. Then all is there."""
    monkeypatch.setattr(toolkit_archives, "toolkit_archive", lambda made, find: model)
    machine = Machine(sources=CPU_ONLY | L40S)
    wanted = rig({"name": "chat"}, machine=machine, **NOWHERE, **BUILT)
    done = run(wanted)
    assert not done.failed
    brought = [name for name in done.changed() if "CUDA" in name or "Build" in name]
    assert brought == ["Install packages for CUDA 13.0", "Have CUDA 13.0", "Build llama.cpp"]
    (build,) = (text for text in done.commands() if role_text("llamacpp", "build.sh") in text)
    made = wheels("13.0", "x86_64")
    assert f"-DCMAKE_CUDA_COMPILER={made.nvcc}\n" in build and f"-DCUDAToolkit_ROOT={made.directory}\n" in build
    assert "-DCMAKE_CUDA_ARCHITECTURES=89-real" in build and f"TOOLKIT={made.directory}\n" in build
    assert machine.toolkit == f"{made.nvcc} 13.0 89" and "g++" in machine.packages
    assert run(wanted).changed() == []
    # What is built needs its compiler no more.
    machine.toolkit = ""
    assert run(wanted).changed() == []


@pytest.mark.parametrize(
    ("cuda", "reason"),
    [
        ({"source": "none"}, "install the CUDA toolkit"),
        ({"source": "nvidia", "version": "13.0"},
         "CUDA 13.0 is in NVIDIA's repository: have it by deploys/nvidia.py"),
    ],
)  # fmt: skip
def test_build_without_a_compiler_is_refused_where_none_comes(run, model, cuda, reason):
    """One line, before anything is touched; the run of the others goes on."""
    gpus = Machine(sources=CPU_ONLY | L40S)
    done = run(rig({"name": "chat"}, machine=gpus, cuda=cuda, **NOWHERE, **BUILT), rig({"name": "chat"}, **NOWHERE))
    assert done.failed == {"rig1"} and done.changed() == [CHECK] and "Serve chat" in done.changed("rig2")
    said = f"GPUs answer, but nvcc is not installed; {reason}, or set rig.llamacpp.backend to cpu"
    assert done.lines(stage=StateStage.Execute) == [said]


def test_compiler_that_is_there_stays(run, model):
    """It makes code for the GPUs: nothing is brought."""
    done = run(rig({"name": "chat"}, machine=Machine(sources=CPU_ONLY | L40S, nvcc="13.1"), **NOWHERE, **BUILT))
    assert not done.failed and not [name for name in done.changed() if "CUDA" in name]
    (build,) = (text for text in done.commands() if role_text("llamacpp", "build.sh") in text)
    assert "-DCMAKE_CUDA_COMPILER=nvcc\n" in build and "CUDAToolkit_ROOT" not in build


def test_failed_rigs_are_listed_with_their_reasons(run, model):
    """Of many rigs: the line that says why is far above by then."""
    fleet = [rig({"name": "chat"}, machine=Machine(**one)) for one in ({"uid": 7}, {}, {"breaks": "question"})]
    done = run(*fleet)
    assert list(summary(done.state)) == [
        "2 of 3 rigs failed:",
        "  @fake/rig1: the SSH user is not root; set _sudo=True in the host data, or ssh_user='root'",
        f"  @fake/rig3: {NO_STATE}",
    ]
    assert list(summary(run(fleet[0]).state)) == list(summary(run(fleet[1], fleet[1]).state)) == []


def test_su_with_a_password_is_refused_where_something_would_have_to_travel(run, model, tmp_path):
    """M10: before anything is touched. su takes its password from where files, addresses and keys travel."""
    key = tmp_path / "key"
    key.touch(mode=0o600)
    key.write_text("sk-1\n")
    service = {"name": "chat", "model": str(model), "context": 2048, "api_key_file": str(key)}

    def deploy(machine: Machine, **changes: Any) -> Run:
        data = {"services": [service], **changes}
        login = {"_su_user": "root", "_su_password": "geheim"}
        return run_deploy([("@fake/rig1", {"rig": data, **login, **AT_ONCE})], [machine], deploy_llamacpp)

    def refused(machine: Machine, what: str, **changes: Any) -> bool:
        done = deploy(machine, **changes)
        return done.changed() == [CHECK] and done.lines(stage=StateStage.Execute) == [
            f"{what} cannot be sent to this rig: {NO_STDIN}"
        ]

    machine = Machine()
    assert refused(machine, "m.gguf, the keys of chat")
    machine.key_sum = hashlib.sha256(key.read_bytes()).hexdigest()
    run((machine, {"services": [service]}))
    assert deploy(machine).changed() == []
    assert refused(machine, "the source archive", llamacpp={"archive": "pinned"})
    # What needs no more than a script goes on.
    service["context"] = 1024
    done = deploy(machine)
    assert done.changed() == ["Serve chat"] and not done.failed
    key.write_text("sk-2\n")
    assert refused(machine, "the keys of chat")


OLD_ACCOUNT = ("passwd=rigwright:x:998:998::/var/lib/rigwright:/usr/sbin/nologin", "created=yes")


def test_account_that_an_earlier_version_made_is_used(run):
    """0.1.0 left a file beside it, and no comment in it."""
    machine = Machine(account=OLD_ACCOUNT)
    assert run(rig({"name": "chat"}, machine=machine)).changed() == BLANK
    assert run(rig({"name": "chat"}, machine=machine)).changed() == []


@pytest.mark.parametrize(("path", "what"), [("/var/lib/rigwright", "building"), ("/opt/rigwright", "installing")])
def test_disk_is_looked_at_where_it_is_needed(run, path, what):
    """A build is made in one place and installed in another: either may be the small one."""
    machine = Machine(free_bytes_at={path: 100 << 20})
    done = run(rig({"name": "chat"}, machine=machine))
    assert any(
        line.startswith(f"{what} needs ") and f" in {path}, the disk has 100 MiB;" in line for line in done.lines()
    )
    assert done.changed() == [CHECK]


def test_refusal_of_several_lines_is_said_whole(run):
    """What a planner says of a model that does not fit takes more than one."""
    done = run(rig(), deploy=lambda: report_left_out(reasons=("too large\nby 3 GiB",), tried={}, name="Refuse"))
    assert done.lines(stage=StateStage.Execute) == ["too large", "by 3 GiB"] and done.failed == {"rig1"}


def test_rig_that_cannot_hold_the_model_is_refused_while_planning(run):
    """Without a plan there are no operations."""
    small = Machine(CPU_ONLY | {"system.txt": SYSTEM.format(4 << 20)})
    done = run(rig({"name": "chat", "model": "qwen3-8b:Q8_0", "engine": "llamacpp"}, machine=small, **NOWHERE))
    (line,) = done.lines(stage=StateStage.Prepare)
    assert line.startswith("cannot be deployed: services.chat: ") and "offers" in line
    assert done.failed == {"rig1"} and done.state.get_op_order() == [] and len(done.commands()) == 1


def test_rig_that_does_not_answer_is_refused_while_planning(run):
    """No sudo rights, no shell: it is asked once."""
    done = run(rig({"name": "chat"}, machine=Machine(breaks="question")), rig({"name": "chat"}))
    reason = NO_STATE
    assert reason in done.lines(stage=StateStage.Prepare) and done.lines(stage=StateStage.Execute) == []
    assert done.failed == {"rig1"} and len(done.commands()) == 1 and done.changed("rig2") == BLANK


@pytest.mark.parametrize(
    ("state", "service"), [({"uid": 1000}, {}), ({}, {"model": "qwen3-235b-a22b:Q8_0", "engine": "llamacpp"})]
)
def test_refusal_of_one_rig_does_not_stop_the_others(run, state, service):
    """Refused while planning or before changing: the other one is served."""
    first = rig({"name": "chat", **service}, machine=Machine(**state), **NOWHERE)
    done = run(first, rig({"name": "chat"}))
    assert done.failed == {"rig1"} and done.changed("rig2") == BLANK
    assert all(is_question(command) or command.startswith("printf ") for command in done.commands("rig1"))


def test_failed_operation_leaves_what_follows_undone_and_is_picked_up(run):
    """Nothing is served by a build that failed; the next run begins there, and the other rig never noticed."""
    machine = Machine(breaks="llamacpp/build.sh")
    done = run(rig({"name": "chat"}, machine=machine), rig({"name": "chat"}))
    assert done.changed() == BLANK[:-1] and done.failed == {"rig1"}
    assert machine.deployed == {} and "it broke" in done.lines()
    assert done.changed("rig2") == BLANK
    machine.breaks = ""
    assert run(rig({"name": "chat"}, machine=machine)).changed() == BLANK[-2:]


def test_failed_switch_leaves_the_services_after_it_undone(run):
    """The first error ends a rig's run."""
    done = run(rig({"name": "a"}, {"name": "b", "port": 8081}, machine=Machine(breaks="service/switch.sh")))
    assert done.changed()[-1] == "Serve a" and done.failed == {"rig1"}


def test_orphan_is_named_and_left_alone_until_it_may_go(run):
    """A renamed service does not vanish by itself, and does not stay in silence."""
    machine = Machine()
    chat, code = {"name": "chat"}, {"name": "code", "port": 8081}
    run(rig(chat, code, machine=machine))
    kept = run(rig(chat, machine=machine))
    hint = "remove_orphans: True in the inventory takes it away"
    assert f"rigwright-code.service is on the rig but not in the inventory; {hint}" in kept.lines()
    assert kept.changed() == [] and set(machine.deployed) == {"chat", "code"}
    assert run(rig(chat, machine=machine, remove_orphans=True)).changed() == ["Remove code"]
    assert set(machine.deployed) == {"chat"}
    # Without any service left, what nobody runs goes too; and a second time there is nothing to do.
    assert run(rig(machine=machine, remove_orphans=True)).changed() == ["Remove chat", "Remove old releases"]
    assert run(rig(machine=machine, remove_orphans=True)).changed() == [] and machine.installed == {}


def test_services_that_swap_ports_stop_for_each_other(run):
    """Both move in one run, and then there is nothing to do."""
    machine = Machine()
    run(rig({"name": "a"}, {"name": "b", "port": 8081}, machine=machine))
    swapped = [{"name": "a", "port": 8081}, {"name": "b"}]
    assert run(rig(*swapped, machine=machine)).changed() == ["Serve a", "Serve b"]
    assert run(rig(*swapped, machine=machine)).changed() == []


TWO = ({"name": "chat", "engine": "llamacpp"}, {"name": "play", "engine": "toy", "port": 8081})


def test_two_engines_are_served_in_one_run(toy, run):
    """What both need is brought once; each engine is installed before any service starts."""
    machine = Machine()
    both = lambda: serve(ENGINE, TOY)  # noqa: E731
    done = run(rig(*TWO, machine=machine), deploy=both)
    assert done.changed() == [*BLANK[:-1], "Unpack Toy", "Serve chat", "Serve play"]
    again = run(rig(*TWO, machine=machine), deploy=both)
    assert again.changed() == [] and len(again.commands()) == 1


def test_rigs_of_different_engines_build_in_one_operation(toy, run):
    """In which one waits for another: for what comes in a later one it would wait for ever."""
    done = run(rig(*TWO), rig(TWO[0]), deploy=lambda: serve(TOY, ENGINE))
    metas = [meta for key in done.state.get_op_order() if (meta := done.state.get_op_meta(key))]
    places = {meta.op_order[1:] for meta in metas if "Serve | Build llama.cpp" in meta.names}
    assert len(places) == 1, places


def test_services_of_other_engines_are_left_alone_and_said_so(toy, run):
    """Two engines in two runs: neither touches what is the other's."""
    machine = Machine()
    first = run(rig(*TWO, machine=machine))
    assert "play: planned on Toy, left alone by this deploy" in first.lines()
    assert first.changed() == BLANK
    second = run(rig(*TWO, machine=machine), deploy=lambda: serve(TOY))
    assert "chat: planned on llama.cpp, left alone by this deploy" in second.lines()
    assert second.changed() == ["Unpack Toy", "Serve play"]
    assert run(rig(*TWO, machine=machine)).changed() == []
    assert set(machine.installed.values()) == {"1", *machine.commits.values()}


@pytest.mark.patience
def test_exit_code_tells_of_a_refused_rig(run, model, tmp_path):
    """pyinfra's own command line and connector: the converged rig ends well, the run fails, and says once more why."""
    services = [{"name": "chat", "model": str(model), "context": 2048}]
    machine = Machine()
    run(rig(*services, machine=machine))
    question = run(rig(*services, machine=machine)).commands()[0]
    answers = [list(one.answer(question)) for one in (Machine(uid=1000), machine)]
    hosts = [
        (
            f"@fake/rig{number}",
            {
                "rig": {"services": services},
                **AT_ONCE,
                "fake_responses": {"asked=": lines, "printf '%s\\n' '::error": {"success": False}},
            },
        )
        for number, lines in enumerate(answers, start=1)
    ]
    hosts.insert(0, ("127.0.0.1", {"rig": {"services": services}, "ssh_port": 9}))
    inventory = tmp_path / "rigs.py"
    codes = {}
    for name, listed in {"both": hosts, "converged": hosts[2:]}.items():
        inventory.write_text(f"hosts = {listed!r}\n")
        command = [sys.executable, "-m", "pyinfra", "-y", str(inventory), str(ROOT / "deploys/llamacpp.py")]
        codes[name] = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert {name: one.returncode for name, one in codes.items()} == {"both": 1, "converged": 0}, codes
    said = click.unstyle(codes["both"].stderr + codes["both"].stdout)
    assert "the SSH user is not root" in said and "[@fake/rig2] No changes" in said
    assert "executed" not in said
    assert [line.strip() for line in said.splitlines()[-3:]] == [
        "2 of 3 rigs failed:",
        "127.0.0.1: could not be reached, see above",
        "@fake/rig1: the script ended with exit code 1",
    ], said
    assert "failed:" not in codes["converged"].stderr + codes["converged"].stdout
