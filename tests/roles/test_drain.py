"""What stops ends its requests first, within a limit: what counts as one, what is waited for, and what is told."""

from __future__ import annotations

import subprocess
import threading
import time
from pathlib import Path

import pytest

from rigwright.records.reading import read_record
from rigwright.records.values import Deployed
from rigwright.resources import assignments, role_text, script
from rigwright.roles.base.drain import drains
from rigwright.roles.base.request import WrongRequest, told_seconds

from .standin import BUSY, QUIET
from .test_switch import bench, versions  # noqa: F401  # fixtures

UNIT = "rigwright-chat.service"
IDLE, LOADING = f"{QUIET}\n200", '{"error":{"code":503}}\n503'
# What the engine says of its slots, its health, and who is connected; whether a request is under way then.
AT_WORK = {
    "idle": (IDLE, "200", "", False),
    "idle, somebody is connected": (IDLE, "200", "ESTAB 0 0 a b", False),
    "one slot of two": (f"{BUSY}\n200", "200", "", True),
    "a stop word of a client": ('[{"is_processing":false,"stop":"is_processing\\":true"}]\n200', "200", "", False),
    "it loads": (LOADING, "503", "", False),
    "its loop is busy": ("\n000", "200", "", True),
    "it is stopped": ("\n000", "000", "", False),
    "no slots are told, nobody is there": ("{}\n501", "200", "", False),
    "no slots are told, somebody is there": ("{}\n501", "200", "ESTAB 0 0 a b", True),
    "another key": ("{}\n401", "200", "ESTAB 0 0 a b", True),
}


def run_drain(home: Path, line: str, *, slots: str, health: str = "200", connected: str = "") -> str:
    """The lines of a wait, with a last one of its exit code; tools answer as the arguments say."""
    tools = {
        "systemctl": "exit 0",
        "curl": f'printf "%s\\n" "$*" >>{home}/asked\ncase $* in *--config*) cat >>{home}/asked; cat {home}/slots ;; '
        f"*) printf %s '{health}' ;; esac",
        "ss": f"printf '%s' '{connected}'",
        "sleep": "exec /bin/sleep 0.02",
    }
    (home / "slots").write_text(slots)
    for name, body in tools.items():
        (home / name).write_text(f"#!/bin/sh\n{body}\n")
        (home / name).chmod(0o755)
    text = [role_text("base", "prelude.sh"), *assignments({"DRAINS": line}), role_text("base", "drain.sh")]
    call = f'PATH={home}:$PATH\ndrain {UNIT} && code=0 || code=$?\necho "$code"'
    body = "\n".join([*text, call]).replace("/etc/rigwright", f"{home}/etc")
    done = subprocess.run(["sh", "-c", body], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout


def line(seconds: int, work: str = "http://h:1/slots is_processing.:true") -> str:
    """A line of $DRAINS."""
    return f"rigwright-other.service 9 1 http://h:9/health - -\n{UNIT} {seconds} 1 http://h:1/health {work}"


@pytest.mark.runs("base/drain.sh")
@pytest.mark.parametrize("case", AT_WORK)
def test_request_under_way_is_what_the_engine_says(each_sh, tmp_path, case):
    """By its slots; who is connected counts where it tells none; what is stopped, or loads, serves nobody."""
    slots, health, connected, expected = AT_WORK[case]
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/chat.key").write_text("sk-one\nsk-two\n")
    said = run_drain(tmp_path, line(1), slots=slots + "\n", health=health, connected=connected)
    assert said.endswith("1\n" if expected else "0\n") and ("chat is still at work" in said) == expected
    asked = (tmp_path / "asked").read_text()
    # The key is in no process list.
    assert 'header = "Authorization: Bearer sk-one"\n' in asked and "sk-two" not in asked
    assert asked.startswith("-q -s --noproxy * --config - -m 1 -w \\n%{http_code}\\n -- http://h:1/slots\n")


def test_wait_is_told_and_ends_with_the_requests(each_sh, tmp_path):
    """At its beginning and at its end; 0 seconds wait for nobody, and neither does what was not deployed."""
    (tmp_path / "slots").touch()
    timer = threading.Timer(1.5, (tmp_path / "slots").write_text, [IDLE])
    timer.start()
    said = run_drain(tmp_path, line(9), slots=f"{BUSY}\n200\n").splitlines()
    assert said[0] == "::progress chat is at work, waiting for its requests to end, at most 9 s"
    assert said[1].startswith("::progress chat has no request under way, after ") and said[2:] == ["0"]
    (tmp_path / "asked").unlink()
    for one in (line(0), ""):
        assert run_drain(tmp_path, one, slots=f"{BUSY}\n200\n") == "0\n"
    assert not (tmp_path / "asked").exists()
    assert run_drain(tmp_path, line(1, "- -"), slots="", connected="ESTAB 0 0 a b").endswith("1\n")


def test_switch_waits_for_requests_and_changes_nothing_until_then(bench):  # noqa: F811  # the fixture
    """What is under way ends as it began; then the new one comes."""
    one = bench("PA")
    slots, seen = one.rig.root / "sys/slots", []
    slots.write_text(BUSY)

    def end() -> None:
        found = one.deployed()
        seen.append((one.letter(found.unit), found.cut, found.properties["InvocationID"]))
        slots.write_text(QUIET)

    before = one.deployed().properties["InvocationID"]
    threading.Timer(0.7, end).start()
    done = one.deploy("B", DRAINS=drains([one.deployed()], 30))
    assert seen == [("A", None, before)] and one.serving() == "B"
    assert "::progress chat is at work, waiting for its requests to end, at most 30 s\n" in done.stdout
    assert one.rollback().returncode == 0 and one.serving() == "A"


def test_client_that_never_ends_holds_no_deploy_beyond_the_limit(bench):  # noqa: F811  # the fixture
    """It is told that it is cut, and the new one comes."""
    one = bench("PA")
    (one.rig.root / "sys/slots").write_text(BUSY)
    began = time.monotonic()
    done = one.deploy("B", DRAINS=drains([one.deployed()], 1))
    assert time.monotonic() - began < 20
    assert "chat is still at work after 1 s" in done.stdout and f"what {UNIT} has under way is cut" in done.stdout
    assert one.serving() == "B"


def patched(one, **texts: str) -> None:
    """The stand-in's systemctl, with words of its own ahead of a case of it."""
    systemctl = one.rig.root / "bin/systemctl"
    text = systemctl.read_text()
    for case, more in texts.items():
        label = f"{case.replace('_', '-')}) "
        assert label in text
        text = text.replace(label, f"{label}{more}; ", 1)
    systemctl.write_text(text)


def test_who_comes_while_files_are_written_ends_too(bench):  # noqa: F811  # the fixture
    """The last thing before the stop is a second look; who was never idle is not waited for twice."""
    one = bench("PA")
    slots = one.rig.root / "sys/slots"
    patched(one, daemon_reload=f"echo '{BUSY}' >{slots}; (sleep 1; echo '{QUIET}' >{slots}) >/dev/null 2>&1 &\n:")
    done = one.deploy("B", DRAINS=drains([one.deployed()], 30))
    said = [line.removeprefix("::progress ") for line in done.stdout.splitlines()]
    assert said[0] == "chat is at work, waiting for its requests to end, at most 10 s", done.stdout
    assert said[1].startswith("chat has no request under way, after ") and one.serving() == "B"
    slots.write_text(BUSY)
    done = one.deploy("A", DRAINS=drains([one.deployed()], 1))
    assert done.stdout.count("is at work, waiting") == 1 and one.serving() == "A"


def test_engine_that_waits_for_a_client_is_killed_after_three_seconds(bench):  # noqa: F811  # the fixture
    """It does nothing for it any more; the ten seconds of its unit are not waited for."""
    one = bench("PA")
    with subprocess.Popen(["sleep", "60"]) as engine:
        reaper = threading.Thread(target=engine.wait)
        reaper.start()
        old, stopping = one.rig.root / "sys/old", one.rig.root / "sys/stopping"
        old.write_text(str(engine.pid))
        patched(
            one,
            MainPID=f"if cat {old} 2>/dev/null; then return; fi",
            SubState=f"if [ -e {stopping} ]; then echo stop-sigterm; return; fi",
        )
        systemctl = one.rig.root / "bin/systemctl"
        hangs = f"touch {stopping}; while kill -0 {engine.pid} 2>/dev/null; do sleep 0.1; done; rm -f {stopping} {old}"
        systemctl.write_text(systemctl.read_text().replace("restart | start) ", f"restart | start) {hangs}; ", 1))
        began = time.monotonic()
        done = one.deploy("B", DRAINS="")
        took = time.monotonic() - began
        reaper.join()
    assert engine.returncode == -9 and 3 <= took < 20
    assert one.serving() == "B" and "chat served nobody for " in done.stdout


def test_way_back_says_how_long_nobody_was_served(bench):  # noqa: F811  # the fixture
    """From the first stop to the first answer of what is back."""
    done = bench("PA").deploy("X")
    assert done.returncode == 1
    assert [line for line in done.stdout.splitlines() if line.startswith("::progress chat served nobody for ")]


RECORD = '{"engine":"llamacpp","health":"http://127.0.0.1:8080/health","flags":[{"name":"--port","value":"8080"}]%s}'


def deployed(more: str = "") -> Deployed:
    """An instance by its record."""
    return Deployed("chat", record=read_record(RECORD % more))


def test_line_of_an_instance_is_what_its_record_says():
    """Records of 0.1 tell neither: connections, and the seconds of a service that says nothing."""
    url = "http://127.0.0.1:8080"
    own = ',"work":{"path":"/slots","busy":"is_processing.:true"},"drain_seconds":7'
    assert drains([deployed(own)]) == f"{UNIT} 7 8080 {url}/health {url}/slots is_processing.:true"
    assert drains([deployed()]) == f"{UNIT} 120 8080 {url}/health - -"
    assert drains([deployed(own)], {"chat": 9}).split()[1] == drains([deployed(own)], 9).split()[1] == "9"
    assert drains([deployed(own)], {"other": 9}).split()[1] == "7"
    # A record that somebody else wrote makes no line of its own, and no option of curl.
    for path in ("/slots\nrigwright-x.service 9 1 u -", "--config=/etc/x", "/a b", 7):
        assert drains([deployed(f',"work":{{"path":{path!r},"busy":"x"}}'.replace("'", '"'))]).endswith(" - -")
    assert drains([Deployed("chat")]) == ""


def test_seconds_that_are_told_are_checked():
    """`--data drain_seconds=` of a removal and of a rollback."""
    assert [told_seconds(one) for one in (None, 0, 3600)] == [None, 0, 3600]
    for wrong in (-1, 3601, True, "5 s", 1.5):
        with pytest.raises(WrongRequest, match=r"drain_seconds: .* is no whole number of seconds"):
            told_seconds(wrong)


@pytest.mark.parametrize("names", [("remove-service.sh",), ("remove-own.sh", "remove.sh")])
def test_removal_waits_before_each_unit_stops(names):
    """The call stands ahead of the one that stops it, in each script that removes."""
    text = script("base", *names)
    for place in text.split("remove_unit ")[:-1]:
        assert place.rstrip().endswith('is cut"')
