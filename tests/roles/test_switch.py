"""The switch of a service: whatever cuts it, and where, the next run finishes or undoes it; the way back is whole."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from rigwright.records.values import Deployed
from rigwright.resolve.instance import Instance
from rigwright.resolve.running import instance_changes
from rigwright.resolve.unit import render_unit
from rigwright.resources import role_text, script
from rigwright.roles.base.drain import drains
from rigwright.roles.base.facts import Rig
from rigwright.roles.base.probe import Probe
from rigwright.roles.llamacpp.engine import ENGINE
from rigwright.roles.service import operations
from rigwright.roles.service.answer import CHAT, RANKING, Proof

from .standin import StandIn

SWITCH = ("answer.sh", "switch.sh")
BEFORE = ("base/owner.sh", "base/drain.sh", "base/remove-unit.sh", "watch-set.sh", "hold.sh", "swap.sh")
ALL = (*BEFORE, "weights/place.sh", *SWITCH)
STATE = "/var/lib/rigwright/services/chat"


@dataclass(frozen=True)
class Version:
    """What is deployed: `letter` names its release too; X does not start."""

    letter: str
    instance: Instance
    unit: str
    record: str

    @property
    def release(self) -> str:
        return f"/opt/rigwright/llamacpp/releases/{self.letter * 12}"


@pytest.fixture
def versions(context, blank) -> dict[str, Version]:
    """P, then A, then B are good, each with a port of its own; X is not."""
    found = {}
    for number, letter in enumerate("PABCX"):
        flags = {"flags": {"--lora": "/none.gguf"}} if letter == "X" else {}
        chat = context({"name": "chat", "port": 8080 + number, "context": 1024 * (1 + number), **flags})
        resolved = chat.resolved(blank())
        (instance,) = resolved.instances(chat.spec)
        unit = render_unit(instance, resolved.engines["llamacpp"], weights={}, systemd=257)
        record = instance.record(health="/health", answer=CHAT._asdict(), work=ENGINE.work(instance))
        found[letter] = Version(letter, instance, unit, record)
    return found


@dataclass
class Bench:
    """A stand-in and what a deploy or a rollback does on it, by the real decisions and the real scripts."""

    rig: StandIn
    versions: dict[str, Version]
    blank: Rig
    monkeypatch: pytest.MonkeyPatch

    def deployed(self) -> Deployed:
        """What a probe reads."""
        return self.rig.records().of("chat")

    def changes(self, letter: str) -> list[str]:
        """What a plan would tell."""
        one = self.versions[letter]
        return [str(c) for c in instance_changes(one.instance, self.deployed(), unit=one.unit, release=one.release)]

    def deploy(self, letter: str, *, cut: int = 0, **changes: str) -> Any:
        """A deploy of that version; None where nothing was to do."""
        one, deployed = self.versions[letter], self.deployed()
        release = self.rig.path(one.release)
        release.mkdir(parents=True, exist_ok=True)
        (release / "release.json").write_text(' "identity": "x",\n')
        if not any(instance_changes(one.instance, deployed, unit=one.unit, release=one.release)):
            return None
        command = script(
            "service",
            *SWITCH,
            **{
                **operations._switch(deployed, unit=one.unit, release=one.release, record=one.record, owners=""),
                **Proof(one.instance.url, "", f"{one.instance.url}{ENGINE.health}", CHAT).variables(),
                **{"SERVICES": "chat", "BESIDE": "any", "MAKE_ROOM": "", "UNDO": "", "DRAINS": drains([deployed], 2)},
                **{"SERVES": one.instance.url, "TIMEOUT": "20"},
                **changes,
            },
        )
        return self.rig.run(command, *ALL, cut=cut)

    def rollback(self) -> Any:
        """`rigwright rollback`."""
        rig = replace(self.blank, records=self.rig.records())

        def current_rig(probe: Probe) -> Iterator[Any]:
            yield from ()
            return rig

        self.monkeypatch.setattr(operations, "current_rig", current_rig)
        (command,) = operations.bring_back._inner(instance="chat", together=("chat",), owners=(), probe=Probe())
        return self.rig.run(command.text, *ALL)

    def has_to_prune(self) -> bool:
        """Whether a deploy that changes nothing else has something to do at its end."""
        rig = replace(self.blank, records=self.rig.records())

        def current_rig(probe: Probe) -> Iterator[Any]:
            yield from ()
            return rig

        self.monkeypatch.setattr(operations, "current_rig", current_rig)
        return bool(list(operations.prune._inner(probe=Probe())))

    def prune(self) -> None:
        """The end of each deploy."""
        self.rig.run(script("base", "prune.sh"), "base/prune.sh")

    def letter(self, text: str | None) -> str:
        """Which version a unit, a record or a release is of."""
        for one in self.versions.values():
            if text in (one.unit, one.record, one.release):
                return one.letter
        raise AssertionError(text)

    def serving(self) -> str:
        """What serves, after a look whether all that lies there is of one piece, and so is the way back."""
        one = self.deployed()
        assert one.cut is None and not (self.rig.path(STATE) / "running").exists()
        assert one.is_active and one.is_enabled and one.health == 200
        started = (self.rig.root / "sys/started/rigwright-chat.service").read_text()
        assert len({self.letter(text) for text in (one.unit, one.record_text, one.current, started)}) == 1
        assert one.exe == f"{one.current}/bin/llama-server" and self.rig.path(one.current).is_dir()
        if one.saved_unit or one.saved_record_text:
            assert len({self.letter(text) for text in (one.saved_unit, one.saved_record_text, one.previous)}) == 1
            assert self.rig.path(one.previous).is_dir()
        return self.letter(one.unit)

    def back(self) -> str | None:
        """What a rollback would bring."""
        found = self.deployed().way_back
        return self.letter(found.unit) if found else None


@pytest.fixture
def bench(tmp_path: Path, versions, blank, monkeypatch) -> Callable[[str], Bench]:
    """Rigs to which versions were deployed one after the other."""

    def of(history: str) -> Bench:
        found = Bench(StandIn.made(tmp_path / "start"), versions, blank(), monkeypatch)
        for letter in history:
            done = found.deploy(letter)
            assert done.returncode == 0, done
        return found

    return of


def test_switch_keeps_what_ran_before_and_a_second_one_changes_nothing(bench):
    """The plain way, forth and back and forth."""
    one = bench("PA")
    assert (one.serving(), one.back(), one.changes("A")) == ("A", "P", [])
    assert "chat serves at http://127.0.0.1:8082" in one.deploy("B").stdout
    assert (one.serving(), one.back()) == ("B", "A")
    for now, then in ("AB", "BA"):
        assert one.rollback().returncode == 0
        assert (one.serving(), one.back()) == (now, then)


def test_version_that_does_not_start_leaves_all_as_it_was(bench):
    """What served before serves again, at its own port, and the way back is the same."""
    one = bench("PA")
    done = one.deploy("X")
    assert done.returncode == 1 and "the previous release is back and serving" in done.stdout
    assert (one.serving(), one.back()) == ("A", "P")
    first = bench_of_nothing(one)
    done = first.deploy("X", KEY="/etc/rigwright/chat.key")
    assert done.returncode == 1 and "nothing ran before, the unit was taken away again" in done.stdout
    assert not first.rig.path("/etc/rigwright/chat.key").exists()
    assert not first.rig.path("/etc/systemd/system/rigwright-chat.service").exists()


def bench_of_nothing(one: Bench) -> Bench:
    """A blank rig beside, with a key that came with the first try."""
    found = replace(one, rig=StandIn.made(one.rig.root.parent / "blank"))
    found.rig.path("/etc/rigwright/chat.key").write_text("k\n")
    return found


# What was deployed before the switch, and what it switches to.
CUTS = {
    "good": ("PA", "B"),
    "bad": ("PA", "X"),
    "first": ("", "B"),
}
NEXT = ("B", "C", "X", "rollback")


@pytest.mark.parametrize(
    "stride",
    [
        pytest.param(13, marks=pytest.mark.patience),
        pytest.param(1, marks=[pytest.mark.patience, pytest.mark.faults]),
    ],
)
@pytest.mark.parametrize("by", ["kill", "power"])
@pytest.mark.parametrize("kind", CUTS)
def test_switch_that_is_cut_anywhere_is_finished_or_undone_by_the_next_run(bench, tmp_path, kind, by, stride):
    """Killed before each of its commands, or without power there: what serves then is of one piece, with a way back.

    The next runs take turns: between two of one kind lies no step that changes anything.
    """
    history, target = CUTS[kind]
    start = bench(history)
    for cut in range(1 + (len(kind) + len(by)) % stride, 999, stride):
        one = replace(start, rig=start.rig.copied(tmp_path / "cut"))
        if one.deploy(target, cut=cut).returncode != -signal.SIGKILL:
            break
        if by == "power":
            one.rig.lose_power()
        _check_next(one, NEXT[cut % len(NEXT)], history)
    assert 80 < cut < 990


def _check_next(one: Bench, then: str, history: str) -> None:
    """One run after the cut, and what must be true after it."""
    was_cut = one.deployed().cut
    if was_cut:
        assert any("was cut short" in line or line.startswith("+") for line in one.changes("B")), one.changes("B")
    if then == "rollback":
        if one.deployed().way_back is None:
            assert not history and not (was_cut and one.deployed().health)
            return
        done = one.rollback()
        ran = was_cut.ran if was_cut else None
        allowed = "A" if ran else "PAB" if history else "BX"
    else:
        done = one.deploy(then)
        allowed = then if then != "X" else "AB"
    one.prune()
    if then == "X" or (not history and then == "rollback" and done.returncode):
        if not one.deployed().is_ours:
            assert not history, done
            return
        assert done.returncode == 1, done
    else:
        assert done is None or done.returncode == 0, done
    assert one.serving() in allowed, (one.serving(), done)
    if history:
        assert one.back() in tuple("PABX"[: 3 if then != "rollback" else 4]) and one.back() != one.serving()
        # The next way back works, and so does the one after it.
        before, behind = one.serving(), one.back()
        assert one.rollback().returncode == 0
        assert (one.serving(), one.back()) == (behind, before)
    if then in "BC":
        assert one.changes(one.serving()) == []


@pytest.mark.runs("service/swap.sh")
@pytest.mark.parametrize("why", ["it does not start", "its release is gone"])
def test_half_of_a_swap_that_fails_undoes_the_other_half(each_sh, bench, why):
    """It stopped for another, which took its place: that one leaves it again, and what served before serves."""
    one = bench("PA")
    one.rig._sh("systemctl stop rigwright-chat.service", "sh")
    (one.rig.path(STATE) / "gave_way").write_text("other\n")
    undo = f"flock -n {one.rig.path('/run/rigwright.lock')} true || echo ::progress $RIGWRIGHT_LOCKED, it is undone"
    gone = {"RELEASE": "/opt/rigwright/llamacpp/releases/gone"} if "gone" in why else {}
    done = one.deploy("X", UNDO=undo, **gone)
    assert done.returncode == 1
    undone = "::progress chat takes its place back\n::progress yes, it is undone\n"
    assert undone in done.stdout
    # Only then can it start where the other one was.
    assert gone or done.stdout.index(undone) < done.stdout.index("the previous release is back and serving")
    assert (one.serving(), one.back()) == ("A", "P") and not (one.rig.path(STATE) / "gave_way").exists()
    assert one.deploy("B", UNDO=undo).returncode == 0


# What a server says, and whether that proves that it serves.
SAID = {
    '{"choices":[{"message":{"content":"hello"}}]}': True,
    '{"choices":[{"message":{"content":"","reasoning_content":"The user"}}]}': True,
    '{"choices":[{"message":{"content":null,"reasoning":"The user"}}]}': True,
    ' {"id": "\\u00e4\\"\\\\", "a": [], "choices" : [ {"message": {"content" : "\\n" } } ] }\r\n\n': True,
    '{"choices":[{"message":{"content":""}}]}': False,
    '{"choices":[{"message":{"content":7}}]}': False,
    '{"choices":[{"message":{"content":["x"]}}]}': False,
    '{"choices":[]}': False,
    '{"error":"no \\"choices\\" today"}': False,
    '<html>"choices" of the day</html>': False,
    '{"choices.0.message.content":"x"}': False,
    '{"a":"\nchoices.0.message.content \\"x"}': False,
    '{"choices":[{"message":{"content":"hello"}}]': False,
    '{"choices":[{"message":{"content":"hello"}}]} and more': False,
    "[" * 9999 + "]" * 9999: False,
    # More than any answer has; who read it all would need minutes.
    f'{{"a":[{"1," * 500_000}1],"choices":[{{"message":{{"content":"hello"}}}}]}}': False,
    "": False,
}


def test_answer_of_numbers_proves_where_numbers_are_expected(each_sh):
    """A score; what JSON cannot say of one, NaN, is null."""
    said = {
        '{"results":[{"index":0,"relevance_score":-4.1e-05}]}': True,
        '{"results":[{"index":0,"relevance_score":null}]}': False,
        '{"results":[{"index":0,"relevance_score":"0.5"}]}': False,
        '{"results":[]}': False,
    }
    for text, expected in said.items():
        command = f"{role_text('service', 'answer.sh')}says {RANKING.expected}"
        assert (subprocess.run(["sh", "-c", command], input=text.encode(), check=False).returncode == 0) == expected


@pytest.mark.parametrize("awk", ["mawk", "gawk", "busybox"])
@pytest.mark.parametrize("shell", ["dash", "bash", "busybox"])
def test_answer_that_proves_has_text_where_it_should(tmp_path, shell, awk):
    """JSON is read, in any shell and with any awk that rigs have: a word in a page proves nothing."""
    if missing := [name for name in (shell, awk) if not shutil.which(name)]:
        pytest.skip(f"{missing[0]} is not installed")
    (tmp_path / "awk").symlink_to(shutil.which(awk) or "")
    command = [
        shell,
        *(["sh"] if shell == "busybox" else []),
        "-c",
        f"{role_text('service', 'answer.sh')}says $EXPECTED",
    ]
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "EXPECTED": CHAT.expected, "LC_ALL": "C"}
    said = {
        text: subprocess.run(
            command, input=text.encode(), env=environment, stderr=subprocess.PIPE, timeout=30
        ).returncode
        == 0
        for text in SAID
    }
    assert said == SAID


def test_server_that_answers_with_garbage_proves_nothing(bench):
    """200 on every path, and a page with the word in it: what ran before would come back."""
    one = bench("PA")
    (one.rig.root / "sys/answer").write_text('<html>"choices"</html>')
    done = one.deploy("B")
    assert done.returncode == 1 and "/v1/chat/completions failed: <html>" in done.stdout


def test_two_runs_of_the_same_deploy_start_it_once(bench):
    """The second one had looked before the first one was done, and waits for it: then all is as it wants it."""
    one = bench("PA")
    seen = one.deployed().properties["InvocationID"]
    one.deploy("B")
    started = one.deployed().properties["InvocationID"]
    late = replace(one.deployed(), properties={"InvocationID": seen}, unit="", unit_kind="file")
    one.monkeypatch.setattr(Bench, "deployed", lambda self: late)
    done = one.deploy("B")
    one.monkeypatch.undo()
    assert done.returncode == 0 and "another run has done it" in done.stdout
    assert (one.serving(), one.back()) == ("B", "A") and one.deployed().properties["InvocationID"] == started


def test_wait_for_the_lock_is_told(bench):
    """Fifteen minutes of silence look like a hang."""
    one = bench("A")
    lock = one.rig.path("/run/rigwright.lock")
    with subprocess.Popen(["flock", str(lock), "sleep", "1"]):
        while subprocess.run(["flock", "-n", str(lock), "true"]).returncode == 0:
            time.sleep(0.02)
        done = one.deploy("B")
    assert done.stdout.startswith("::progress waiting for another run of rigwright on this rig\n"), done
    assert done.returncode == 0 and lock.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("step", ["", "proven\n"])
def test_failure_after_a_cut_is_told_of_what_comes_back(bench, step):
    """Its address and its key are those of what was kept, not of what the cut left in its place."""
    one = bench("PA")
    for cut in range(48, 160, 3):  # B is in place and serves, and nobody knows
        again = replace(one, rig=one.rig.copied(one.rig.root.parent / "cut"))
        again.deploy("B", cut=cut, DRAINS="")
        found = again.deployed()
        if found.cut and found.cut.is_proven == bool(step) and found.health_url.endswith("8082/health"):
            break
    done = again.deploy("X")
    assert done.returncode == 1 and "the previous release is back and serving" in done.stdout
    assert again.serving() == ("B" if step else "A")


def test_releases_that_a_cut_switch_or_another_run_needs_are_spared(bench):
    """What ran before a cut, what was just built; one that ran once, or lies there for a day, goes."""
    one = bench("PAB")
    releases = one.rig.path(one.versions["P"].release).parent
    assert {path.name[0] for path in releases.iterdir()} == set("PAB")
    one.prune()
    assert {path.name[0] for path in releases.iterdir()} == set("AB")
    one.rig.path(
        STATE,
    ).joinpath("running").write_text(f"{one.rig.path(one.versions['C'].release)}\n")
    for letter in "CX":
        (releases / (letter * 12)).mkdir()
        (releases / (letter * 12) / "release.json").write_text(' "identity": "x",\n')
    assert one.rig.records().fresh == {one.versions[letter].release for letter in "CX"}
    assert not one.has_to_prune()
    one.prune()
    assert {path.name[0] for path in releases.iterdir()} == set("ABCX")
    yesterday = time.time() - 90_000
    for letter in "CX":
        os.utime(releases / (letter * 12), (yesterday, yesterday))
    assert one.rig.records().fresh == frozenset() and one.has_to_prune()
    one.prune()
    assert {path.name[0] for path in releases.iterdir()} == set("ABC")


def test_release_that_is_gone_stops_nothing(bench):
    """Another run removed it meanwhile: it is said before anything changes."""
    one = bench("PA")
    command_before = one.deployed()
    one.monkeypatch.setattr(Version, "release", property(lambda self: "/opt/rigwright/llamacpp/releases/gone"))
    one.monkeypatch.setattr(Path, "mkdir", lambda *_, **__: None)
    one.monkeypatch.setattr(Path, "write_text", lambda *_: 0)
    done = one.deploy("B")
    one.monkeypatch.undo()
    assert done.returncode == 1 and "is not there any more, another run removed it; run again" in done.stdout
    assert one.deployed() == command_before


def test_cut_of_an_earlier_version_is_understood(bench):
    """0.1 moved the copies away before the mark: with the mark alone, what lies there had proven itself."""
    one = bench("PAB")
    mark = one.rig.path(STATE) / "running"
    mark.write_text(f"{one.rig.path(one.versions['A'].release)}\n")
    assert "~ chat switch: an earlier one was cut short; it is finished" in one.changes("B")
    done = one.deploy("X")
    assert done.returncode == 1 and "the previous release is back and serving" in done.stdout
    assert (one.serving(), one.back()) == ("B", "A")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk: needs root")
def test_full_disk_never_takes_the_service_away(bench, tmp_path):
    """However little is free where the state lies: a version that does not start never ends what serves."""
    one = bench("PA")
    services = one.rig.path(STATE).parent
    shutil.copytree(services, tmp_path / "kept")
    for pages in range(24):
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "full", str(services)], check=True)
        try:
            shutil.copytree(tmp_path / "kept", services, dirs_exist_ok=True)
            subprocess.run(["dd", "if=/dev/zero", f"of={services}/fill", "bs=4096"], capture_output=True, check=False)
            os.truncate(services / "fill", max(0, (services / "fill").stat().st_size - 4096 * pages))
            done = one.deploy("X")
            assert done.returncode == 1 and "nothing ran before" not in done.stdout, (pages, done)
            found = one.deployed()
            assert found.is_active and found.health == 200 and one.letter(found.unit) == "A", (pages, done)
            if "is back and serving" in done.stdout:
                break
            assert "what runs now cannot be kept, so nothing was changed: " in done.stdout, (pages, done)
        finally:
            subprocess.run(["umount", str(services)], check=True)
    assert pages > 2
