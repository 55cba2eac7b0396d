"""The way back: it needs the names of services alone, does what can be done, and fails where that was not all."""

from __future__ import annotations

import base64
import gc
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api.state import StateStage

from rigwright.records.reading import read_record

from .machine import Machine, is_question
from .run import Run, run_deploy

ROOT = Path(__file__).parents[2]
AT_ONCE = {"fake_delay": 0, "fake_delay_jitter": 0}
CHAT, CODE = {"name": "chat"}, {"name": "code", "port": 8081}
BACK = "Bring back the earlier release of {}"
TELL = "Tell what was not brought back"


def deploy(machine: Machine, model: Path, *services: dict[str, Any]) -> None:
    """The forward way."""
    rows = [{"model": str(model), "context": 2048, **row} for row in services]
    hosts = [("@fake/rig1", {"rig": {"services": rows}, **AT_ONCE})]
    done = run_deploy(hosts, [machine], lambda: runpy.run_path(str(ROOT / "deploys/llamacpp.py")))
    assert not done.failed, done.said


def back(*rigs: tuple[Machine, Any], **data: Any) -> Run:
    """The file that a user runs, on rigs with this `rig` data."""
    hosts = [(f"@fake/rig{number}", {"rig": rig, **data, **AT_ONCE}) for number, (_, rig) in enumerate(rigs, start=1)]
    file = str(ROOT / "deploys/rollback.py")
    return run_deploy(hosts, [machine for machine, _ in rigs], lambda: runpy.run_path(file))


def changed(run: Run, rig: str = "rig1") -> list[str]:
    """The operations that did something."""
    return [name.removeprefix("Rollback | ") for name in run.changed(rig)]


def said(run: Run, rig: str = "rig1") -> list[str]:
    """What was said while changing, without pyinfra's own words."""
    own = ("Error: ", "Success", "No changes", "Ready")
    return [line for line in run.lines(rig, StateStage.Execute) if not line.startswith(own)]


def context_of(machine: Machine, name: str) -> str | None:
    """What a service runs with."""
    record = read_record(base64.b64decode(machine.deployed[name]["record"]).decode())
    return dict(record.flags)["--ctx-size"] if record else None


@pytest.fixture(autouse=True)
def unfrozen() -> Iterator[None]:
    """A deploy freezes what was imported, for it is the last thing that its process does."""
    yield
    gc.unfreeze()


@pytest.fixture
def machine(model: Path) -> Machine:
    """A rig with two services, both of which had another context before."""
    found = Machine()
    deploy(found, model, CHAT, CODE)
    deploy(found, model, {**CHAT, "context": 1024}, {**CODE, "context": 1024})
    return found


def test_all_services_of_the_inventory_go_back_and_forth(machine):
    """A second time brings the newer one back: nothing is lost."""
    for context in ("2048", "1024"):
        done = back((machine, {"services": [CHAT, CODE]}))
        assert changed(done) == [BACK.format("chat"), BACK.format("code")] and not done.failed
        assert [context_of(machine, name) for name in ("chat", "code")] == [context, context]


@pytest.mark.parametrize(
    "data",
    [
        {"services": [{"name": "chat", "model": "/gone.gguf"}]},
        {"services": [{"name": "chat", "model": "no-such-model", "engine": "none", "context": -1}]},
        {"services": [{"name": "chat", "api_key_file": "/gone.key", "host": "0.0.0.0"}], "weights": 7},
        {"services": ({"name": "chat"},), "llamacpp": {"ref": None}, "unknown": True},
    ],
)
def test_names_are_enough(machine, data):
    """Model files, keys, engines and settings are not looked at; each may be missing or wrong."""
    done = back((machine, data))
    assert changed(done) == [BACK.format("chat")] and not done.failed
    assert (context_of(machine, "chat"), context_of(machine, "code")) == ("2048", "1024")


@pytest.mark.parametrize("data", [None, "chat", 7, {}, {"services": None}, {"services": "chat"}, {"services": [None]}])
def test_without_a_name_all_that_is_on_the_rig_goes_back(machine, data):
    """The inventory is what broke; the rig knows what runs on it."""
    assert changed(back((machine, data))) == [BACK.format("chat"), BACK.format("code")]


def test_service_whose_name_cannot_be_read_is_told(machine):
    """Beside others it would be forgotten in silence."""
    done = back((machine, {"services": [CHAT, {"nam": "code"}]}))
    assert changed(done) == [BACK.format("chat"), TELL] and done.failed == {"rig1"}
    assert "rig.services.1 has no name; name it with --service NAME" in said(done)


def test_damaged_lock_and_wrong_data_of_another_rig_stop_nothing(machine, model, tmp_path):
    """Each rig stands alone, and no lock is opened."""
    lock = tmp_path / "rigs.lock.yml"
    lock.write_text("rigs: [\n")
    other = Machine()
    done = back((machine, {"services": [CHAT]}), (other, {"services": [{"name": "x y"}, 3]}), rig_lock=str(lock))
    assert changed(done) == [BACK.format("chat")] and done.failed == {"rig2"}


def test_what_has_no_earlier_release_is_named_after_the_others_went_back(model):
    """It runs on, and so does what was never deployed."""
    machine = Machine()
    deploy(machine, model, CHAT, CODE)
    deploy(machine, model, CHAT, {**CODE, "context": 1024})
    running = dict(machine.deployed["chat"])
    done = back((machine, {"services": [CHAT, {"name": "never"}, CODE]}))
    assert changed(done) == [BACK.format("code"), TELL] and done.failed == {"rig1"}
    assert context_of(machine, "code") == "2048" and machine.deployed["chat"] == running
    assert said(done) == [
        "no earlier release is kept of chat; deploy the version you want instead",
        "never is not on this rig",
    ]


def test_one_that_does_not_start_keeps_no_other_from_going_back(machine):
    """What failed is named at the end, and the rig fails."""
    machine.deployed["chat"] |= {"MainPID": "0"}  # another program has taken its port
    machine.listeners[8080] = ("nginx", 3)
    done = back((machine, {"services": [CHAT, CODE]}))
    assert changed(done) == [BACK.format("chat"), BACK.format("code"), TELL] and done.failed == {"rig1"}
    assert context_of(machine, "code") == "2048"
    assert said(done)[0] == "port 8080 is in use" and said(done)[-1] == "chat: not brought back, see above"


def test_earlier_record_that_cannot_be_read_is_no_way_back(machine):
    """Where it would serve is not known, so that nothing could be proven: it is named, and nothing is stopped."""
    machine.deployed["chat"]["saved.record"] = base64.b64encode(b'{"engine": "llama').decode()
    machine.deployed["code"]["saved.record"] = base64.b64encode(b'{"engine": "llamacpp"}').decode()
    done = back((machine, {"services": [CHAT, CODE]}))
    assert changed(done) == [TELL] and done.failed == {"rig1"}
    lost = "cannot be read; there is no way back to what chat ran before"
    assert f"/var/lib/rigwright/services/chat/previous.json: {lost}" in done.lines()
    assert all(is_question(command) or command.startswith("printf ") for command in done.commands())


def test_damaged_record_of_what_runs_stands_in_no_way(machine):
    """The earlier one is whole."""
    machine.deployed["chat"]["record"] = base64.b64encode(b"\0\1").decode()
    done = back((machine, {"services": [CHAT]}))
    assert changed(done) == [BACK.format("chat")] and not done.failed and context_of(machine, "chat") == "2048"


def test_services_that_swapped_ports_swap_them_back(model):
    """Each holds what the other needs."""
    machine = Machine()
    deploy(machine, model, {"name": "a", "port": 8080}, {"name": "b", "port": 8081})
    deploy(machine, model, {"name": "a", "port": 8081}, {"name": "b", "port": 8080})
    done = back((machine, {"services": [{"name": "a"}, {"name": "b"}]}))
    assert not done.failed
    assert {name: machine.deployed[name]["health.url"] for name in "ab"} == {
        "a": "http://127.0.0.1:8080/health",
        "b": "http://127.0.0.1:8081/health",
    }


def test_one_service_is_brought_back_with_its_replicas_alone(model):
    """`rollback_service` names it; the others are not touched, whatever the inventory says."""
    machine, twins = Machine(), {"name": "many", "port": 9000, "replicas": 2}
    deploy(machine, model, CHAT, twins)
    deploy(machine, model, {**CHAT, "context": 1024}, {**twins, "context": 1024})
    done = back((machine, {"services": [CHAT]}), rollback_service="many")
    assert changed(done) == [BACK.format("many"), BACK.format("many@1")] and not done.failed
    assert [context_of(machine, name) for name in ("many", "many@1", "chat")] == ["2048", "2048", "1024"]


@pytest.mark.parametrize("name", ["nope", "", 7])
def test_service_that_is_not_on_the_rig_is_an_error(machine, name):
    """An empty name is not all of them."""
    done = back((machine, {"services": [CHAT]}), rollback_service=name)
    assert changed(done) == [TELL] and done.failed == {"rig1"} and said(done) == [f"{name} is not on this rig".strip()]


def test_rig_that_does_not_answer_fails_and_the_others_go_back(machine):
    """One line, and no other rig waits for it."""
    done = back((Machine(breaks="question"), {}), (machine, {"services": [CHAT]}))
    assert done.failed == {"rig1"} and changed(done, "rig2") == [BACK.format("chat")]


@pytest.fixture
def rollback(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The command, in a directory with an inventory that reaches no machine."""
    (tmp_path / "rigs.py").write_text("rigs = [('@fake/rig1', {'fake_delay': 0, 'fake_delay_jitter': 0})]\n")
    (tmp_path / "none.py").write_text("rigs = []\n")

    def of(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "rigwright", "rollback", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, stdin=subprocess.DEVNULL)

    return of


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("nope.py",), "nope.py: does not exist; check the path of the inventory"),
        (("here/nope",), "here/nope: does not exist; check the path of the inventory"),
    ],
)
def test_inventory_that_is_not_there_is_one_line(rollback, arguments, line):
    """pyinfra would take it for the name of a host."""
    done = rollback(*arguments)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"Error: {line}\n")


@pytest.mark.patience
@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("rigs.py", "--limit", "rgi1"), "rigs.py: no rig matches rgi1; nothing was brought back"),
        (("none.py",), "none.py: names no rig; nothing was brought back"),
    ],
)
def test_no_rig_at_all_is_an_error(rollback, arguments, line):
    """To pyinfra it is a run that ended well."""
    done = rollback(*arguments)
    assert done.returncode == 1 and done.stderr.splitlines()[-1] == f"Error: {line}"


@pytest.mark.patience
@pytest.mark.parametrize("name", ["chat", "7", "true", "null", ""])
def test_service_reaches_the_rig_as_it_was_typed(rollback, tmp_path, name):
    """pyinfra reads what looks like a number or a truth as one, and `null` would be all services."""
    refusal = f"::error {name} is not on this rig"
    answers = {
        "asked=": ["@rigwright identity", "uid=0"],
        refusal: {"success": False, "stdout": refusal},
        "::error": {"success": False, "stdout": "::error it was another name"},
    }
    (tmp_path / "one.py").write_text(f"rigs = [('@fake/rig1', {AT_ONCE | {'fake_responses': answers}!r})]\n")
    done = rollback("one.py", "--service", name)
    assert done.returncode == 1 and f"[@fake/rig1] {name} is not on this rig\n" in done.stderr
