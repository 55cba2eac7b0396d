"""Several inventories on one rig: each record says whose it is; they plan with each other, and leave others alone."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rigwright.errors import DoesNotFit, Refused, WrongSpec
from rigwright.records.reading import read_record, signed
from rigwright.resolve import resolve
from rigwright.resolve.beside import occupants_of
from rigwright.resolve.running import running_changes
from rigwright.resources import assignments, role_text, script
from rigwright.roles.base.removal import remove
from rigwright.roles.service.context import make_context
from rigwright.roles.service.rollback import rollback
from rigwright.spec.owner import owner_of, owners_in
from rigwright.spec.rig import parse_spec

from .machine import OWN_UNIT, Machine
from .run import Run, run_deploy
from .test_deploy_order import AT_ONCE, BLANK, deploy_llamacpp, rig

CHAT, CODE = {"name": "chat"}, {"name": "code", "port": 8081}
A, B = {"owner": "a"}, {"owner": "b"}
BIG = {"name": "big", "model": "qwen3-8b:Q8_0", "engine": "llamacpp", "port": 9000}
NOWHERE = {"weights": {"hugging_face": "http://127.0.0.1:9"}}


@pytest.fixture
def run(model: Path) -> Callable[..., Run]:
    """Runs a deploy over one rig, with its inventory's data and `--data`."""

    def of(one: tuple[Machine, dict[str, Any]], deploy: Callable[[], None] = deploy_llamacpp, **given: Any) -> Run:
        machine, data = one
        rows = [{"model": str(model), "context": 2048, **row} for row in data.get("services", ())]
        hosts = [("@fake/rig1", {"rig": {**data, "services": rows}, **AT_ONCE})]
        return run_deploy(hosts, [machine], deploy, data=given)

    return of


@pytest.fixture
def shared(run) -> Machine:
    """A rig with `chat` of inventory a and `code` of inventory b."""
    machine = Machine()
    for services, owner in ((CHAT, A), (CODE, B)):
        done = run(rig(services, machine=machine, **owner))
        assert not done.failed, done.lines()
    return machine


def owner(machine: Machine, name: str) -> str | None:
    record: dict[str, Any] = json.loads(base64.b64decode(machine.deployed[name]["record"]))
    return record.get("owner")


def test_name_of_an_inventory_is_that_of_its_file(tmp_path):
    """The same in every clone; what is no file has none, and what is stated counts more."""
    for name, expected in {"home.py": "home", "my rigs (ä).py": "my-rigs", "a.b.py": "a.b", ".py": "py"}.items():
        (tmp_path / name).touch()
        assert owner_of(tmp_path / name) == expected
        assert parse_spec("rig1", {}, inventory=tmp_path / name).owner == expected
    assert owner_of(tmp_path / "none.py") == owner_of("host1,host2") == owner_of(None) == ""
    assert parse_spec("rig1", A, inventory=tmp_path / "home.py").owners == ("a",)
    assert parse_spec("rig1", {"takes_over": ["x", "home"]}, inventory=tmp_path / "home.py").owners == ("home", "x")


def test_name_that_is_stated_is_held_to_a_form():
    """It travels into scripts and messages."""
    for wrong in ("", "a b", "-x", "a\nb", 'a"', "x" * 65):
        with pytest.raises(WrongSpec, match="owner"):
            parse_spec("rig1", {"owner": wrong})
        with pytest.raises(WrongSpec, match="takes_over"):
            parse_spec("rig1", {"takes_over": [wrong]})


@pytest.mark.parametrize(
    "data", [None, [], {"owner": 7}, {"owner": "a b", "takes_over": 3}, {"takes_over": [None, {}]}]
)
def test_names_are_read_from_damaged_data_too(tmp_path, data):
    """Rollback and removal need no sound inventory."""
    (tmp_path / "home.py").touch()
    assert owners_in(data, tmp_path / "home.py") == ("home",)
    assert owners_in({"owner": "a", "takes_over": ["b", "a"]}, tmp_path / "home.py") == ("a", "b")


@pytest.mark.parametrize("said", [None, 7, "", "a b", ["a"], "x\n", "ä"])
def test_owner_that_cannot_be_read_is_not_known(said):
    """As in records of earlier versions."""
    found = read_record(json.dumps({"engine": "llamacpp", "owner": said}))
    assert found and found.owner == ""


def test_each_record_says_whose_it_is_and_nothing_is_left_to_do(run, shared):
    """Two inventories deploy to one rig, each in turn, and change nothing of the other."""
    assert (owner(shared, "chat"), owner(shared, "code")) == ("a", "b")
    for mine, its, other in ((CHAT, A, "code of"), (CODE, B, "chat of")):
        again = run(rig(mine, machine=shared, **its, remove_orphans=True))
        assert again.changed() == [] and not again.failed
        name = other.split(" ")[0]
        whose = {"code": "b", "chat": "a"}[name]
        line = f"rigwright-{name}.service is of the inventory {whose}: it stays, and its memory and port count as taken"
        assert line in again.lines() and "ORPHAN" not in "".join(again.lines())
    assert set(shared.deployed) == {"chat", "code"}


def test_record_without_an_owner_is_signed_and_nothing_restarts(run):
    """What this version and 0.1.0 left counts as the inventory's own, as it did."""
    machine = Machine()
    assert run(rig(CHAT, machine=machine)).changed() == BLANK
    assert owner(machine, "chat") is None
    unsigned = run(rig(machine=machine, **B))
    assert "rigwright-chat.service is on the rig but not in the inventory" in "".join(unsigned.lines())
    pid = machine.deployed["chat"]["MainPID"]
    signs = run(rig(CHAT, machine=machine, **A))
    assert signs.changed() == ["Serve chat"]
    scripts = [one for one in signs.commands() if role_text("service", "switch.sh") in one]
    assert scripts == [] and machine.deployed["chat"]["MainPID"] == pid


def test_orphan_of_the_same_inventory_is_told_apart(run, shared):
    """It was renamed: that one may go, and the other inventory's stays."""
    talk = {"name": "talk", "port": 8082}
    beside = run(rig(talk, machine=shared, **A))
    assert "rigwright-chat.service is on the rig but not in the inventory; remove_orphans: True" in "".join(
        beside.lines()
    )
    assert run(rig(talk, machine=shared, **A, remove_orphans=True)).changed() == ["Remove chat"]
    assert set(shared.deployed) == {"talk", "code"}


def test_name_of_another_inventory_is_refused_and_can_be_taken_over(run, shared):
    """In a line, with both ways out; taking over restarts nothing."""
    line = (
        "cannot be deployed: services.code: code on this rig is of the inventory b; give it another name, or take that "
        'one over with "takes_over": ["b"]'
    )
    before = dict(shared.deployed["code"])
    refused = run(rig(CHAT, CODE, machine=shared, **A))
    assert line in refused.lines() and refused.failed == {"rig1"} and shared.deployed["code"] == before
    taken = run(rig(CHAT, CODE, machine=shared, **A, takes_over=["b"]))
    assert taken.changed() == ["Serve code"] and owner(shared, "code") == "a"
    assert shared.deployed["code"]["MainPID"] == before["MainPID"]
    # From then on without, too.
    assert run(rig(CHAT, CODE, machine=shared, **A)).changed() == []


def test_renamed_inventory_says_how_it_was_called(run, shared):
    """What it has no longer is an orphan of its own."""
    gone = run(rig(machine=shared, owner="home", takes_over=["a"], remove_orphans=True))
    assert gone.changed() == ["Remove chat"] and set(shared.deployed) == {"code"}


def test_memory_ports_and_gpus_of_others_are_taken(cards, blank, serving):
    """Also where orphans may go; what does not fit beside them says who is there."""
    other = make_context("rig1", {"services": [BIG | {"context": 32768}], **NOWHERE, **B})
    records = serving(other, blank(cards())).records
    # What it keeps of prompts only because RAM was left is no part of it.
    there = records.of("big").record
    assert there.spare_bytes == 8 << 30 and there.ram_bytes > there.spare_bytes
    (occupant,) = occupants_of(parse_spec("rig1", A), records)
    assert occupant.ram_bytes == there.ram_bytes - there.spare_bytes
    mine = {"services": [{**BIG, "name": "mine", "port": 9001}], **NOWHERE, **A, "remove_orphans": True}

    def planned(hardware: Any = None, **changes: Any) -> Any:
        return resolve(parse_spec("rig1", mine | changes), hardware or cards(), records=records)

    beside, alone = planned(), planned(takes_over=["b"])
    assert [one.name for one in beside.others] == ["big"] and beside.orphans == ()
    assert [one.name for one in alone.orphans] == ["big"] and alone.others == ()
    offered = [one.plan.gpus[0].offered_bytes for one in (beside, alone)]
    assert offered[1] - offered[0] == records.of("big").record.gpu_bytes[0] > 8 << 30
    notes = {note.choice: note.because for note in beside.plan.notes}
    assert notes["beside big"] == "of the inventory b; its memory and port count as taken"
    assert not any(change.mark == "-" for change in running_changes(beside, parse_spec("r", mine), cards(), records))
    with pytest.raises(
        Refused, match=r"services\.mine: port 9000 is that of big of the inventory b; give mine another"
    ):
        planned(services=[{**BIG, "name": "mine"}])
    with pytest.raises(DoesNotFit, match=r"; that is what big of the inventory b on this rig leaves$"):
        planned(
            replace(cards(), ram_bytes=4 << 30),
            services=[mine["services"][0] | {"context": 40960, "cache_type": "f16"}],
        )


def test_removal_of_one_leaves_the_other(run, shared):
    """Services of another inventory, and what they may need, stay; a second removal has nothing to do."""
    first = run(rig(CHAT, machine=shared, **A), remove)
    assert first.changed() == ["Remove | Remove rigwright from the rig"] and not first.failed
    # The machine of these tests removes all by remove.sh; what the script spares is tested on scripts and on rigs.
    (text,) = [one for one in first.commands() if role_text("base", "remove.sh") in one]
    assert "OWNERS=a\n" in text
    spared = Machine(
        deployed={"code": {**OWN_UNIT, "unit.text": _b64("# Written by rigwright.\n"), "record": _of("b")}}
    )
    assert run(rig(CHAT, machine=spared, **A), remove).changed() == []
    refused = run(rig(CHAT, machine=spared, **A), remove, remove_service="code")
    assert "remove_service: code is of the inventory b; remove it with that one" in refused.lines()
    assert refused.failed == {"rig1"} and set(spared.deployed) == {"code"}


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _of(owner: str) -> str:
    return _b64(json.dumps({"engine": "llamacpp", "owner": owner}, separators=(",", ":")))


def test_rollback_brings_back_nothing_of_others(run, shared):
    """Neither where the inventory names no service, nor by its name."""
    for data, given in (((), {}), ((), {"rollback_service": "code"}), ((CODE,), {})):
        done = run(rig(*data, machine=shared, **A), rollback, **given)
        switched = [one for one in done.commands() if role_text("service", "switch.sh") in one]
        assert switched == [] and done.failed == {"rig1"}
    assert "code is of the inventory b; roll back with that" in done.lines()


def test_record_that_comes_back_is_of_who_has_it_now():
    """What ran before may be of a version that knew no owners."""
    old = '{"engine":"llamacpp","model":"ä"}'
    assert signed(old, "") == old and signed("{", "a") == "{"
    assert signed(old, "a") == '{"engine":"llamacpp","model":"ä","owner":"a"}'
    assert signed(signed(old, "b"), "a") == signed(old, "a")


# The scripts themselves.


class Place:
    """Folders in which scripts find a rig."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in (
            "etc/rigwright",
            "etc/systemd/system",
            "var/lib/rigwright/services",
            "var/lib/rigwright/weights",
        ):
            (root / folder).mkdir(parents=True)
        self.weights = root / "var/lib/rigwright/weights"

    def serve(self, name: str, owner: str, *files: tuple[Path, str]) -> None:
        """A unit and a record of ours; files with the sums that the unit names."""
        lines = [f"# weights {sha256} {path}" for path, sha256 in files]
        unit = self.root / f"etc/systemd/system/rigwright-{name}.service"
        unit.write_text("\n".join(["# Written by rigwright.", *lines, ""]))
        said = {"engine": "llamacpp", "model": '"owner":"evil"'} | ({"owner": owner} if owner else {})
        (self.root / f"etc/rigwright/{name}.json").write_text(json.dumps(said, separators=(",", ":")))

    def bring(self, name: str, sha256: str, *, days: float = 2) -> Path:
        """A model file on the list, with its stamp."""
        path = self.weights / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("GGUF")
        stamp = path.with_name(f".{path.name}.rigwright")
        stamp.write_text(f"{sha256} 4 {int(path.stat().st_mtime)} upload\n")
        os.utime(stamp, (time.time() - days * 86400,) * 2)
        with (self.root / "brought").open("a") as file:
            file.write(f"{path}\n{stamp}\n")
        return path

    def run(self, text: str, *, owners: str = "a", shell: str = "sh", **given: str) -> subprocess.CompletedProcess[str]:
        """Shell behind the functions of owner.sh and remove-own.sh."""
        values = {"OWNERS": owners, "BROUGHT": str(self.root / "brought"), **given}
        parts = [role_text("base", "prelude.sh"), *assignments(values)]
        parts += [self.here(role_text("base", name)) for name in ("owner.sh", "remove-own.sh")]
        return subprocess.run([shell, "-c", "\n".join([*parts, text])], capture_output=True, text=True, check=False)

    def here(self, text: str) -> str:
        for folder in ("/etc/", "/var/lib/", "/run/"):
            text = text.replace(folder, f"{self.root}{folder}")
        return text


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """An empty rig."""
    return Place(tmp_path)


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox sh"])
def test_scripts_know_whose_a_service_is(place, shell, tmp_path):
    """By the record alone: what stands in a text of it is no owner, and what nobody signed is everybody's."""
    place.serve("mine", "a")
    place.serve("other", "b")
    place.serve("other@1", "b")
    place.serve("old", "")
    if shell.startswith("busybox"):
        (tmp_path / "sh").write_text('#!/bin/sh\nexec busybox sh "$@"\n')
        (tmp_path / "sh").chmod(0o755)
        shell = str(tmp_path / "sh")
    assert place.run("others", shell=shell).stdout.split() == ["other", "other@1"]
    assert place.run("others", owners="b x", shell=shell).stdout.split() == ["mine"]
    done = place.run('own mine; own old; own none; own other; echo "not reached"', shell=shell)
    assert (done.returncode, done.stdout) == (
        1,
        "::error other on this rig is of the inventory b; nothing was changed, run again\n",
    )
    # Of a damaged record the one before it tells.
    (place.root / "var/lib/rigwright/services/other").mkdir()
    record = place.root / "etc/rigwright/other.json"
    record.rename(place.root / "var/lib/rigwright/services/other/previous.json")
    record.write_text("{")
    assert place.run("others", shell=shell).stdout.split() == ["other", "other@1"]


def test_what_lies_beside_is_the_same_in_probe_and_script(run, shared, place, context):
    """Both say the sum of each record that is no service of the inventory; so a change in between is noticed."""
    for name, values in shared.deployed.items():
        (place.root / f"etc/rigwright/{name}.json").write_bytes(base64.b64decode(values["record"]))
    (place.root / "etc/rigwright/damaged.json").write_bytes(bytes(range(256)))
    (place.root / "etc/rigwright/chat@1.json").write_text("{}")
    (place.root / "etc/rigwright/chat-b.json").write_text("{}")
    (place.root / "etc/rigwright/empty.json").touch()
    (place.root / "etc/rigwright/folder.json").mkdir()
    for path in (place.root / "etc/rigwright").glob("*.json"):
        text = path.read_bytes() if path.is_file() else b""
        shared.deployed.setdefault(path.stem, {})["record"] = base64.b64encode(text).decode()
    from rigwright.roles.base.facts import read_rig

    mine = context(CODE, **B)
    state = read_rig(mine.probe, list(shared.answer(mine.probe.script())))
    said = place.run("beside", SERVICES="code").stdout.strip()
    assert said == mine.sums_beside(state)
    assert [line.split(" ")[1] for line in said.splitlines()] == ["chat-b", "chat", "chat@1", "damaged"]


def test_removal_beside_others_takes_the_files_that_nobody_needs(place):
    """Not those of others, nor what they would go back to, nor what may have just come for them."""
    sums = {name: f"{place_:064x}" for place_, name in enumerate(("mine", "both", "theirs", "old"), start=1 << 250)}
    mine, both, theirs = (place.bring(f"{name}.gguf", sums[name], days=0) for name in ("mine", "both", "theirs"))
    old = place.bring("old.gguf", sums["old"])
    young = place.bring("young.gguf", "5" * 64, days=0)
    repo = place.bring("org--repo/m.gguf", "6" * 64, days=0)
    kept = place.bring(f".rigwright/{'7' * 8}-theirs.gguf", "7" * 64)
    place.serve("a1", "a", (mine, sums["mine"]), (both, sums["both"]), (repo, "6" * 64))
    place.serve("b1", "b", (theirs, sums["theirs"]), (both, sums["both"]))
    state = place.root / "var/lib/rigwright/services/b1"
    state.mkdir()
    (state / "previous.service").write_text(f"# weights {'7' * 64} {theirs}\n")
    assert set(place.run("spare_files").stdout.splitlines()) == {str(one) for one in (mine, old, repo)}
    assert set(place.run("spare_files", owners="b").stdout.splitlines()) == {str(one) for one in (theirs, old, kept)}
    assert young.exists()


def test_scripts_that_change_a_service_look_whose_it_is_under_the_lock():
    """Two inventories may take one name at the same moment: who waited for the lock looks again."""
    for role, name in (("service", "switch.sh"), ("service", "key.sh"), ("service", "record.sh")):
        lines = role_text(role, name).splitlines()
        assert lines[lines.index("lock") + 1] == 'own "$NAME"'
    assert 'lock\nown "$NAME"\n' in role_text("base", "remove-service.sh")
    text = script("base", "owner.sh", NAME="x")
    assert "own()" in text
