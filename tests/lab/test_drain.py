"""Restarts on a real rig: what is under way ends, nobody holds a deploy for long, and some changes restart nothing."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator

import pytest

from ..pages import page_shows

pytestmark = pytest.mark.lab

UNIT = "rigwright-demo.service"
ASK = {"messages": [{"role": "user", "content": "Tell"}], "max_tokens": 900, "ignore_eos": True, "stream": True}
# It asks, and never reads.
DEAF = """
import socket, sys, time
body = sys.argv[1].encode()
client = socket.create_connection(("127.0.0.1", 8080))
client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
client.sendall(b"POST /v1/chat/completions HTTP/1.1\\r\\nHost: x\\r\\nContent-Type: application/json\\r\\n"
               b"Content-Length: %d\\r\\n\\r\\n%s" % (len(body), body))
time.sleep(300)
"""


def invocation(workshop, rig) -> str:
    """Which start of the unit runs, and how often systemd started it anew by itself."""
    return str(workshop.on(rig, f"systemctl show -p InvocationID -p NRestarts {UNIT}"))


def busy(workshop, rig) -> bool:
    """Whether a slot is at work."""
    return '"is_processing":true' in workshop.on(rig, "curl -s -m 5 http://127.0.0.1:8080/slots", check=False)


@pytest.fixture
def slow(workshop, serving) -> Iterator[str]:
    """A rig whose service hardly gets on: a completion of 900 tokens takes seconds, whatever the machine."""
    slow_down(workshop, serving)
    yield serving
    workshop.on(serving, f"systemctl stop asking deaf slow; systemctl kill -s CONT {UNIT}", check=False)


def slow_down(workshop, rig) -> None:
    """The process that runs now gets one moment of forty; the one after it is as fast as ever."""
    workshop.on(rig, "systemctl stop slow; systemctl reset-failed slow", check=False)
    loop = "while kill -STOP $0; do sleep 0.2; kill -CONT $0; sleep 0.005; done"
    pid = workshop.on(rig, f"systemctl show -P MainPID {UNIT}")
    workshop.lab.exec(rig, ["systemd-run", "-q", "--unit=slow", "sh", "-c", loop.replace("$0", pid)])


def start(workshop, rig, unit: str, *command: str) -> None:
    """A client on the rig; it is at work when this comes back."""
    workshop.on(rig, f"systemctl reset-failed {unit}", check=False)
    workshop.lab.exec(rig, ["systemd-run", "-q", f"--unit={unit}", *command])
    for _ in range(100):
        if busy(workshop, rig):
            return
        time.sleep(0.1)
    raise AssertionError(workshop.on(rig, f"journalctl -u {unit} -n 20 --no-pager"))


def test_completion_under_way_ends_whole_while_a_change_is_deployed(workshop, slow):
    """A stream of 900 tokens: none is lost, and the new process comes right after it."""
    before = invocation(workshop, slow)
    url = "http://127.0.0.1:8080/v1/chat/completions"
    curl = ["curl", "-sN", "-o", "/root/said", "-H", "Content-Type: application/json", "-d", json.dumps(ASK), url]
    start(workshop, slow, "asking", *curl)
    done = workshop.deploy(workshop.spec(flags={"--temp": 0.5}), slow)
    assert done.code == 0, done.output
    said = workshop.on(slow, "cat /root/said")
    chunks = [json.loads(line[6:]) for line in said.splitlines() if line.startswith("data: {")]
    assert said.endswith("data: [DONE]") and chunks[-1]["timings"]["predicted_n"] == 900
    assert re.search(r"^demo served nobody for \d+\.\d s$", "\n".join(done.lines), re.MULTILINE)
    page_shows("docs/services.md", "demo is at work, waiting", "\n".join(done.lines))
    assert invocation(workshop, slow) != before
    assert workshop.deploy(workshop.spec(flags={"--temp": 0.5}), slow).changed == set()


def test_client_that_never_reads_holds_a_deploy_no_longer_than_the_limit(workshop, slow):
    """Two seconds, and the ten of a process that does not end; what it asked is cut, and that is said."""
    spec = workshop.spec(drain_seconds=2)
    assert workshop.deploy(spec, slow).code == 0
    slow_down(workshop, slow)
    start(workshop, slow, "deaf", "python3", "-c", DEAF, json.dumps(ASK | {"max_tokens": 1900}))
    began = workshop.on(slow, "date +%s")
    done = workshop.deploy(workshop.spec(drain_seconds=2, flags={"--temp": 0.6}), slow)
    assert done.code == 0, done.output
    assert re.search(r"demo is still at work after [2-5] s", done.output), done.output
    assert f"what {UNIT} has under way is cut" in done.output
    stopping = workshop.on(
        slow, f"journalctl -u {UNIT} -o short-unix --no-pager --since @{began} | grep -E 'Stopp(ing|ed) '"
    )
    first, last = (float(line.split(".")[0]) for line in stopping.splitlines()[:2])
    assert last - first <= 11, stopping


def test_change_that_needs_no_restart_causes_none(workshop, serving):
    """How long requests may go on is no affair of the process; a flag is, once."""
    assert workshop.deploy(workshop.spec(), serving).code == 0
    before = invocation(workshop, serving)
    changed = workshop.spec(drain_seconds=7, start_timeout_seconds=500)
    assert workshop.deploy(changed, serving).changed == {"Serve demo"}
    assert workshop.deploy(changed, serving).changed == set()
    assert invocation(workshop, serving) == before
    assert '"drain_seconds":7' in workshop.on(serving, "cat /etc/rigwright/demo.json")
