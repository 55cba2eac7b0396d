"""Who looks after a service: what is silent is restarted, what loads, works or cannot be judged never is."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from rigwright.records.reading import read_record
from rigwright.resolve.watch import Watch, watch_of
from rigwright.resources import role_text
from rigwright.roles.service.answer import CHAT

UNIT = "rigwright-chat.service"
_CURL = """
key=; case $* in *--config*) key=$(cat) ;; esac
for url; do :; done
printf '%s\\n' "$* $key" >>@HOME@/asked
case $url in */slots) cat @HOME@/slots ;; *) cat @HOME@/completion ;; esac
"""
SILENT, NOBODY, FINE = "000 0.001200", "000 0.000000", "200 0.001"


def record(**more: object) -> str:
    """A record of llama-server."""
    flags = [{"name": "--port", "value": "8080"}, {"name": "--api-key-file", "value": "x"}]
    own = {"engine": "llamacpp", "flags": flags, "health": "http://127.0.0.1:8080/health", "watch_seconds": 300}
    own |= {"answer": CHAT._asdict(), "work": {"path": "/slots", "busy": "is_processing.:true"}}
    return json.dumps(own | more, separators=(",", ":"))


@dataclass
class Bench:
    """A rig in a folder, its clock, and an engine that says what files say."""

    home: Path

    def put(self, name: str, text: str) -> None:
        """What a tool says from now on."""
        (self.home / name).write_text(text)

    def run(self, verb: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """The program as its units run it."""
        watch = watch_of("chat", read_record((self.home / "etc/rigwright/chat.json").read_text()))
        text = watch.program or "\n".join(role_text("service", f"{name}.sh") for name in ("answer", "group", "watch"))
        for place in ("/etc/rigwright", "/run/rigwright", "/var/lib/rigwright", "/proc/uptime"):
            text = text.replace(place, f"{self.home}{place}")
        text = re.sub(r"^export LC_ALL.*$", "export LC_ALL=C", text, flags=re.MULTILINE)
        given = os.environ | {"PATH": f"{self.home}/bin:{os.environ['PATH']}", "NAME": "chat", **environment}
        given |= {"CREDENTIALS_DIRECTORY": str(self.home / "keys")}
        return subprocess.run(["sh", "-c", text, "sh", verb], capture_output=True, text=True, env=given, check=False)

    def look(self) -> int:
        """Its exit code."""
        done = self.run("look")
        assert done.stderr == "" and done.stdout == ""
        return done.returncode

    def turn(self, *, after: int = 0) -> list[str]:
        """A look and its judgement, so many seconds after the last; what is said and done."""
        self.put("proc/uptime", f"{float((self.home / 'proc/uptime').read_text().split()[0]) + after} 1\n")
        status = self.look()
        judged = self.run("judge", EXIT_STATUS=str(status))
        assert judged.returncode == 0 and judged.stderr == "", judged
        done = (self.home / "did").read_text().splitlines()
        self.put("did", "")
        return judged.stdout.splitlines() + done


@pytest.fixture
def rig(each_sh: str, tmp_path: Path) -> Bench:
    """A rig whose service answers."""
    for folder in ("etc/rigwright", "run", "var/lib/rigwright/services/chat", "proc", "bin", "keys"):
        (tmp_path / folder).mkdir(parents=True)
    found = Bench(tmp_path)
    files = {"etc/rigwright/chat.json": record(), "proc/uptime": "50000.12 1\n", "did": "", "state": "active"}
    files |= {"slots": FINE, "completion": FINE, "keys/api-key": "sk-one\nsk-two\n", "invocation": "abc\n", "asked": ""}
    for name, text in files.items():
        found.put(name, text)
    systemctl = (
        'case $1 in show) cat @HOME@/invocation ;; is-active) [ "$(cat @HOME@/state)" = active ] ;;'
        ' restart) echo "$*" >>@HOME@/did; echo later >@HOME@/invocation ;; esac'
    )
    for name, body in {"curl": _CURL, "systemctl": systemctl}.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{body}\n".replace("@HOME@", str(tmp_path)))
        (tmp_path / "bin" / name).chmod(0o755)
    return found


# What its slots and a completion say, and what a look makes of it.
LOOKS = {
    "at work or idle": (FINE, SILENT, 10),
    "it loads": ("503 0.001", SILENT, 10),
    "its loop is silent": (SILENT, SILENT, 20),
    "its loop is silent, and it completes": (SILENT, FINE, 0),
    "its loop is silent, it loads anew": (SILENT, "503 0.001", 1),
    "its loop is silent, another key": (SILENT, "401 0.001", 1),
    "it fails at all it does": ("500 0.001", "500 0.001", 20),
    "nobody listens": (NOBODY, NOBODY, 1),
}


@pytest.mark.runs("service/watch.sh", "service/answer.sh")
@pytest.mark.parametrize("case", LOOKS)
def test_look_asks_for_work_first_and_for_one_token_before_it_is_sure(rig, case):
    """A conversation is pushed out of its slot by a completion, so none is asked for without need."""
    slots, completion, expected = LOOKS[case]
    rig.put("slots", slots)
    rig.put("completion", completion)
    assert rig.look() == expected
    asked = (rig.home / "asked").read_text().splitlines()
    assert asked[0].endswith('-- http://127.0.0.1:8080/slots header = "Authorization: Bearer sk-one"')
    assert len(asked) == (1 if expected == 10 or slots == NOBODY else 2)
    assert all('"max_tokens":1,' in one and " -m 60 " in one for one in asked[1:]) and " -m 30 " in asked[0]


def test_silent_service_is_restarted_once_its_time_is_up(rig):
    """Three looks at least, and so many seconds; a single answer between them begins anew."""
    rig.put("slots", SILENT)
    rig.put("completion", SILENT)
    said = f"<4>{UNIT} takes connections and gave no answer for {{}} s; at 300 s it is restarted"
    assert rig.turn() == [said.format(90)] and rig.turn(after=120) == [said.format(210)]
    rig.put("slots", FINE)
    assert rig.turn(after=120) == []
    rig.put("slots", SILENT)
    assert rig.turn(after=120) == [said.format(90)] and rig.turn(after=120) == [said.format(210)]
    restarted = [f"<3>{UNIT} takes connections and gave no answer for 330 s: it is restarted", f"restart {UNIT}"]
    assert rig.turn(after=120) == restarted
    # The new process begins anew.
    assert rig.turn(after=120) == [said.format(90)]
    assert len((rig.home / "var/lib/rigwright/services/chat/restarts").read_text().splitlines()) == 1


def test_restarts_are_no_loop(rig):
    """Three within six hours; then it is left as it is, and that is said."""
    rig.put("slots", SILENT)
    rig.put("completion", SILENT)
    turns = [rig.turn(after=150) for _ in range(13)]
    assert sum(f"restart {UNIT}" in one for one in turns) == 3
    assert turns[-1][0].startswith(f"<3>{UNIT} gave no answer for ") and "left as it is" in turns[-1][0]


SPARED = {
    "a deploy is at work": "lock",
    "it was stopped": "inactive",
    "it was removed": "gone",
    "it is another process": "invocation",
}


@pytest.mark.parametrize("case", SPARED)
def test_what_is_under_way_is_not_cut_in_on(rig, case):
    """A deploy that switches it, a removal, a process that has just begun."""
    rig.put("slots", SILENT)
    rig.put("completion", SILENT)
    holder = None
    for _ in range(2):
        rig.turn(after=150)
    if case == "a deploy is at work":
        lock = rig.home / "run/rigwright.lock"
        holder = subprocess.Popen(["flock", str(lock), "sleep", "9"])
        while subprocess.run(["flock", "-n", str(lock), "true"]).returncode == 0:
            pass
    elif case == "it was removed":
        (rig.home / "var/lib/rigwright/services/chat").rmdir()
    elif case == "it was stopped":
        rig.put("state", "inactive")
    else:
        rig.put("invocation", "new\n")
    assert f"restart {UNIT}" not in rig.turn(after=150)
    if holder:
        holder.kill()
        holder.wait()


def test_quiet_service_completes_one_token_an_hour(rig):
    """A GPU may be lost while nobody asks: whoever comes first should not be who finds out."""
    rig.turn()
    assert rig.turn(after=3000) == [] and len((rig.home / "asked").read_text().splitlines()) == 2
    rig.put("completion", SILENT)
    assert rig.turn(after=700)[0].startswith(f"<4>{UNIT} takes connections and gave no answer")
    rig.put("completion", FINE)
    assert rig.turn(after=10) == []
    assert (rig.home / "run/rigwright.watch/chat").read_text().split()[1] == "0"


def test_damaged_record_is_nothing_to_judge_by(rig):
    """Cut, empty, or of a version that said less: nothing is restarted."""
    for text in ("", '{"engine":', "[]"):
        rig.put("etc/rigwright/chat.json", text)
        assert rig.look() == 1 and rig.turn() == []
    rig.put("etc/rigwright/chat.json", '{"engine":"llamacpp","flags":[{"name":"--port","value":"8080"}]}')
    assert rig.look() == 1


def test_nobody_looks_where_the_inventory_says_so():
    """0 seconds, and records that do not say."""
    assert watch_of("chat", read_record(record(watch_seconds=0))) == watch_of("chat", None) == Watch()
    assert Watch().sum == ""
    found = watch_of("chat@1", read_record(record()))
    assert "LoadCredential=api-key:/etc/rigwright/chat.key\n" in found.service and "NAME=chat@1\n" in found.service
    assert "IPAddressAllow=localhost\n" in found.service
    flags = [{"name": "--port", "value": "1"}, {"name": "--host", "value": "10.0.0.7"}]
    assert "IPAddressAllow=localhost 10.0.0.7\n" in watch_of("chat", read_record(record(flags=flags))).service
