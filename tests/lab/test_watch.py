"""Who looks after a service on a real rig: what hangs is restarted whatever its health says; what works is spared."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .conftest import wait_healthy
from .test_drain import ASK, invocation, start

pytestmark = pytest.mark.lab

WATCH = "rigwright.watch.demo"
LEFT = "find /etc/systemd /opt/rigwright /run -name '*rigwright*watch*' -o -path '/opt/rigwright/watch.sh'"
# It stops the thread that runs llama-server's loop, and that one alone: its HTTP threads live, as in llama.cpp #27388.
# From this machine: a rig's container may trace nobody.
STOPS_THE_LOOP = """
import ctypes, sys, time
pid, libc = int(sys.argv[1]), ctypes.CDLL(None, use_errno=True)
SEIZE, INTERRUPT = 0x4206, 0x4207
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
for request in (SEIZE, INTERRUPT):
    if libc.ptrace(request, pid, None, None):
        sys.exit(f"ptrace: errno {ctypes.get_errno()}")
time.sleep(600)
"""


def main_pid(workshop, rig) -> str:
    """The engine's process, as the rig counts."""
    return str(workshop.on(rig, "systemctl show -P MainPID rigwright-demo"))


def seen_from_here(rig: str, pid: str) -> str:
    """A process of a rig, as this machine counts."""
    for at in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            numbers = re.search(r"^NSpid:(.*)$", (at / "status").read_text(), re.MULTILINE)
            is_there = numbers and len(numbers[1].split()) > 1 and numbers[1].split()[-1] == pid
            if is_there and (at / "root/etc/hostname").read_text().strip() == rig:
                return at.name
    raise AssertionError(f"no process {pid} of {rig}")


def health(workshop, rig) -> str:
    """What its health says."""
    ask = "curl -s -m 5 -o /dev/null -w '%{http_code}' http://127.0.0.1:8080/health"
    return str(workshop.on(rig, ask, check=False))


def wait_for(condition: Callable[[], bool], seconds: float) -> None:
    """Until it holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(1)


@pytest.fixture
def watched(workshop, trixie) -> Iterator[str]:
    """A rig whose service may be silent for half a minute; the rigs of this module hang, so none is shared."""
    name = workshop.boot("watched", from_snapshot=trixie.snapshot)
    wait_healthy(workshop, name)
    before = invocation(workshop, name)
    changed = workshop.deploy(workshop.spec(watch_seconds=30), name).changed
    assert changed == {"Serve demo"} and workshop.deploy(workshop.spec(watch_seconds=30), name).changed == set()
    assert invocation(workshop, name) == before
    yield name
    workshop.lab.down([name])


@pytest.mark.faults
def test_service_that_hangs_is_restarted_and_verify_tells(workshop, watched):
    """Its loop alone, with a health that is fine; then the whole process. A busy one is left alone."""
    inventory = str(workshop.inventory(workshop.spec(watch_seconds=30), watched))
    assert workshop.rigwright("verify", inventory).code == 0
    _busy_is_left_alone(workshop, watched)
    pid = seen_from_here("watched", main_pid(workshop, watched))
    with subprocess.Popen([sys.executable, "-c", STOPS_THE_LOOP, pid]) as wedge:
        try:
            wait_for(lambda: workshop.on(watched, "curl -s -m 2 http://127.0.0.1:8080/slots", check=False) == "", 20)
            assert health(workshop, watched) == "200"
            _is_restarted(workshop, watched)
        finally:
            wedge.kill()
    workshop.on(watched, f"kill -STOP {main_pid(workshop, watched)}")
    _is_restarted(workshop, watched)
    said = workshop.on(watched, f"journalctl -u {WATCH} -o cat --no-pager")
    assert said.count("rigwright-demo.service takes connections and gave no answer for ") >= 4
    assert said.count(": it is restarted") == 2 and "Starting" not in said
    told = workshop.rigwright("verify", inventory)
    assert told.code == 1 and "it gave no answer and was restarted 2 times" in told.output, told.output


def _is_restarted(workshop, rig):
    """Within its time, and it serves again."""
    before = invocation(workshop, rig)
    wait_for(lambda: invocation(workshop, rig) != before, 180)
    wait_healthy(workshop, rig)


def _busy_is_left_alone(workshop, rig):
    """A completion that takes longer than the service may be silent, on a tenth of a CPU."""
    before = invocation(workshop, rig)
    workshop.on(rig, "systemctl set-property --runtime rigwright-demo.service CPUQuota=6%")
    body = json.dumps(ASK | {"max_tokens": 1900})
    url = "http://127.0.0.1:8080/v1/chat/completions"
    start(workshop, rig, "asking", "curl", "-sN", "-o", "/root/said", "-d", body, url)
    wait_for(lambda: workshop.on(rig, "systemctl is-active asking", check=False) != "active", 300)
    workshop.on(rig, "systemctl set-property --runtime rigwright-demo.service CPUQuota=")
    assert workshop.on(rig, "tail -n 2 /root/said") == "data: [DONE]"
    assert invocation(workshop, rig) == before


def test_watch_is_shut_in_follows_a_rollback_and_goes_with_its_service(workshop, watched):
    """With a key, which it alone is given; without, where the inventory wants none; and away."""
    score = f"systemd-analyze security --no-pager {WATCH}.service | tail -n 1 | grep -o '[0-9]\\.[0-9]'"
    assert float(workshop.on(watched, score)) <= 2.0
    key = workshop.directory / "watched.key"
    key.write_text("sk-of-the-watch\n")
    key.chmod(0o600)
    rig = workshop.spec(watch_seconds=30, api_key_file=str(key), port=8090)
    assert workshop.deploy(rig, watched).code == 0 and workshop.deploy(rig, watched).changed == set()
    look = f"systemctl start {WATCH}.service; systemctl show -P ExecMainStatus {WATCH}.service"
    assert workshop.on(watched, look) == "10"
    assert workshop.rigwright("rollback", str(workshop.inventory(rig, watched))).code == 0
    assert workshop.on(watched, look) == "10" and workshop.on(watched, f"systemctl is-active {WATCH}.timer") == "active"
    # What somebody switched off is on again, and nothing restarts.
    workshop.on(watched, f"systemctl disable -q --now {WATCH}.timer")
    rig = workshop.spec(watch_seconds=30)
    before = invocation(workshop, watched)
    assert workshop.deploy(rig, watched).changed == {"Serve demo"} and workshop.deploy(rig, watched).changed == set()
    assert workshop.deploy(workshop.spec(watch_seconds=0), watched).changed == {"Serve demo"}
    assert invocation(workshop, watched) == before and "watch.demo" not in workshop.on(watched, LEFT)
    assert workshop.deploy(rig, watched).code == 0
    assert workshop.deploy(rig, watched, deploy="remove").code == 0
    assert workshop.on(watched, LEFT, check=False) == ""
