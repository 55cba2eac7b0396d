"""The moment before a stop: new connections wait in the kernel, a look tells who slipped in, nobody stays deaf."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from rigwright.resources import assignments, role_text
from rigwright.roles.base.drain import drains

from .standin import BUSY, QUIET
from .test_drain import UNIT, line
from .test_switch import bench, versions  # noqa: F401  # fixtures

IDLE = f"{QUIET}\n200\n"
CONNECTED = "0 0 10.0.0.2:8080 10.0.0.9:4711\n"


class Rig:
    """quiet() on tools that are told what to say: before the hold, and under it."""

    def __init__(self, home: Path) -> None:
        self.home, self.runtime = home, home / "units"
        self.file = self.runtime / f"{UNIT}.d/zz-rigwright-hold"
        for name, text in {"free": IDLE, "held": IDLE, "kept": "", "slipped-in": ""}.items():
            (home / name).write_text(text)
        is_held = f"[ -e {self.file}.conf ]"
        tools = {
            "systemctl": f'echo "systemctl $*" >>{home}/did\ncase $* in *Slice*) echo a.slice ;; esac\nexit 0',
            "systemd-run": f'echo "systemd-run $*" >>{home}/did\ncase $* in *--on-active*) exit {{arms}} ;; esac',
            "curl": f'{is_held} || exec cat {home}/free\necho "curl $*" >>{home}/did\ncat {home}/held\n{{then}}',
            "ss": f"if {is_held}; then cat {home}/slipped-in; {{then}}; else cat {home}/kept; fi",
            "sleep": "exec /bin/sleep 0.02",
            "sync": "exit 0",
        }
        self.tools = tools

    def run(self, call: str, *, given: str = line(9), arms: int = 0, then: str = ":") -> list[str]:
        """What was done; `then` is a command after each look under a hold."""
        for name, body in self.tools.items():
            text = body.replace("{arms}", str(arms)).replace("{then}", then)
            (self.home / name).write_text(f"#!/bin/sh\n{text}\n")
            (self.home / name).chmod(0o755)
        (self.home / "did").write_text("")
        text = [role_text("base", "prelude.sh"), *assignments({"DRAINS": given})]
        text += [role_text("base", "drain.sh"), role_text("service", "hold.sh"), f"PATH={self.home}:$PATH", call]
        body = "\n".join(text).replace("/run/systemd/system", str(self.runtime))
        done = subprocess.run(["sh", "-c", body], capture_output=True, text=True, check=True)
        assert done.stderr == ""
        return (self.home / "did").read_text().splitlines()

    @property
    def is_held(self) -> bool:
        """Whether packets are kept back."""
        return Path(f"{self.file}.conf").exists()


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """One whose engine is idle."""
    return Rig(tmp_path)


@pytest.mark.runs("service/hold.sh")
def test_packets_are_kept_back_and_the_look_passes(each_sh, rig):
    """A timer comes first, which takes it back where the script is killed; so does the stop, by the unit itself."""
    did = rig.run(f"quiet {UNIT}")
    assert rig.is_held
    assert Path(f"{rig.file}.conf").read_text() == (
        "[Service]\nIPAddressDeny=any\nIPAddressAllow=\nIPAddressAllow=127.82.73.71\n"
        f"ExecStopPost=+-/bin/sh {rig.file}.sh\n"
    )
    arms, reads, binds = (
        next(n for n, one in enumerate(did) if part in one) for part in ("--on-active=15 ", "daemon-reload", "a.slice")
    )
    assert arms < reads < binds, did
    looks = [one for one in did if one.startswith("curl")]
    assert len(looks) == 2 and all(" --interface 127.82.73.71 " in one for one in looks)
    # What the timer and the stop run: nothing is left, and it binds what runs.
    guard = did[arms].partition(" sh -c ")[2]
    did = rig.run(f"sh -c '{guard}'")
    assert not rig.runtime.joinpath(f"{UNIT}.d").exists()
    assert [one.split()[1] for one in did] == ["daemon-reload", "show", "-q"] and did[-1].endswith(
        "--slice=a.slice true"
    )
    assert rig.run(f"sh -c '{guard}'; let_through {UNIT}") == ["systemctl stop rigwright.hold.chat.timer"]


def test_connection_that_is_kept_is_not_cut_off(each_sh, rig):
    """It could not be told that it is closed, and what its client asks would never be answered: nothing is held."""
    (rig.home / "kept").write_text(CONNECTED)
    did = rig.run(f"quiet {UNIT}")
    assert not rig.is_held and not [one for one in did if "--on-active" in one]


def test_connection_that_ends_in_a_moment_is_none_that_is_kept(each_sh, rig):
    """Somebody asks just then, on a connection of their own."""
    (rig.home / "kept").write_text(CONNECTED)
    gone = f"sleep() {{ : >{rig.home}/kept; }}"
    rig.run(f"{gone}\nquiet {UNIT}")
    assert rig.is_held


@pytest.mark.parametrize("said", [f"{BUSY}\n200\n", "\n000\n"])
def test_request_that_slipped_in_ends_before_the_next_try(each_sh, rig, said):
    """By the slots, or by a look that nobody answers: the hold ends for it and comes again."""
    (rig.home / "held").write_text(said)
    did = rig.run(
        f"quiet {UNIT}", then=f"case $* in *curl*|*--config*) printf '%s\\n' '{QUIET}' 200 >{rig.home}/held ;; esac"
    )
    assert rig.is_held
    assert len([one for one in did if "--on-active" in one]) == 2, did
    assert len([one for one in did if one.startswith("curl")]) == 3


def test_connection_that_slipped_in_is_let_through(each_sh, rig):
    """Whatever the slots say: its request may not be read yet, or its answer not be there."""
    (rig.home / "slipped-in").write_text(CONNECTED)
    did = rig.run(f"quiet {UNIT}", then=f": >{rig.home}/slipped-in")
    assert rig.is_held and len([one for one in did if "--on-active" in one]) == 2


def test_service_that_is_never_quiet_is_let_through_in_the_end(each_sh, rig):
    """After ten seconds nothing is kept back, and what stops is cut as ever."""
    (rig.home / "held").write_text(f"{BUSY}\n200\n")
    clock = f"echo >>{rig.home}/tick; wc -l <{rig.home}/tick"
    did = rig.run(f"now() {{ {clock}; }}\nquiet {UNIT}")
    assert not rig.is_held and len([one for one in did if one.startswith("curl")]) > 1


@pytest.mark.parametrize("host", ["[::1]", "[2001:db8::5]"])
def test_look_by_version_6_comes_from_the_address_itself(each_sh, rig, host):
    """There is one of the machine's own."""
    given = f"{UNIT} 9 1 http://{host}:1/health http://{host}:1/slots is_processing.:true"
    did = rig.run(f"quiet {UNIT}", given=given)
    assert f"IPAddressAllow={host.strip('[]')}\n" in Path(f"{rig.file}.conf").read_text()
    assert all("--interface" not in one for one in did)


def test_nothing_is_kept_back_where_nobody_would_take_it_back(each_sh, rig):
    """Without the timer, without a wait, and for what was not deployed."""
    rig.run(f"quiet {UNIT}", arms=1)
    assert not rig.runtime.joinpath(f"{UNIT}.d").exists()
    for given in (line(0), ""):
        assert rig.run(f"quiet {UNIT}", given=given) == []


def test_drop_ins_of_the_owner_stay(each_sh, rig):
    """Beside ours, which goes."""
    theirs = rig.runtime / f"{UNIT}.d/nice.conf"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("[Service]\nNice=5\n")
    rig.run(f"quiet {UNIT}; let_through {UNIT}")
    assert [path.name for path in theirs.parent.iterdir()] == ["nice.conf"]


def test_switch_stops_what_ran_under_a_hold_that_ends_with_it(bench):  # noqa: F811  # the fixture
    """Nothing is left of it."""
    one = bench("PA")
    one.rig.root.joinpath("sys/run").unlink()
    done = one.deploy("B", DRAINS=drains([one.deployed()], 30))
    assert done.returncode == 0 and one.serving() == "B"
    ran = one.rig.root.joinpath("sys/run").read_text()
    assert ran.count("stopped under hold\n") == 1
    assert not one.rig.path(f"/run/systemd/system/{UNIT}.d").exists()


@pytest.mark.patience
def test_hold_of_a_switch_that_was_killed_is_taken_back_by_its_timer(bench, tmp_path):  # noqa: F811  # the fixture
    """Wherever that was: what its timer runs leaves nothing."""
    start, held = bench("PA"), 0
    for cut in range(60, 400, 4):
        one = replace(start, rig=start.rig.copied(tmp_path / "cut"))
        if one.deploy("B", cut=cut, DRAINS=drains([one.deployed()], 30)).returncode == 0:
            break
        folder = one.rig.path(f"/run/systemd/system/{UNIT}.d")
        if not (folder / "zz-rigwright-hold.conf").exists():
            continue
        held += 1
        ran = one.rig.root.joinpath("sys/run").read_text().splitlines()
        guard = [row for row in ran if "--on-active=15" in row][-1].partition(" sh -c ")[2]
        one.rig._sh(guard, "sh")
        assert not folder.exists()
    assert held > 2
