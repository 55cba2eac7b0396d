"""What binds a process that runs, on real systemd: the lists of its control group, as a unit is read and taken up."""

from __future__ import annotations

import socket

import pytest

from rigwright.resources import role_text

pytestmark = pytest.mark.lab

# It says what it can open, on each connection: to whoever gets one.
PROGRAM = """#!/usr/bin/python3 -I
import os, socket
server = socket.create_server(("", 8090))
while True:
    client = server.accept()[0]
    try:
        os.close(os.open("/dev/lab-fuse", os.O_RDWR))
        client.sendall(b"opened")
    except OSError:
        client.sendall(b"refused")
    client.close()
"""
UNIT = "[Service]\nType=exec\nExecStart=/opt/live\nDevicePolicy=closed\n"
OPEN, SHUT = "", "IPAddressDeny=any\nIPAddressAllow=localhost\n"
DEVICE = "DeviceAllow=/dev/lab-fuse rw\n"


@pytest.fixture(scope="module", params=["trixie", "bookworm"])
def rig(workshop, request):
    """A rig with a unit that serves, and a device file."""
    name = workshop.boot(f"live-{request.param[:4]}", os=request.param)
    workshop.lab.exec(name, ["sh", "-c", "cat >/opt/live; chmod 755 /opt/live"], input=PROGRAM)
    if "not permitted" in workshop.on(name, "mknod -m 666 /dev/lab-fuse c 10 229 2>&1", check=False):
        pytest.skip("this machine lets no rig make device files")
    write(workshop, name, OPEN)
    workshop.on(name, "systemctl daemon-reload; systemctl start live")
    yield name
    workshop.lab.down([name])


def write(workshop, rig, lines):
    """The unit with these lines more."""
    workshop.lab.exec(rig, ["sh", "-c", "cat >/etc/systemd/system/live.service"], input=UNIT + lines)


def said(workshop, rig, address=None):
    """What the service says to this machine, or to one of the rig's own addresses; empty where it cannot be reached."""
    if address:
        ask = f"import socket; print(socket.create_connection(('{address}', 8090), 1).recv(9).decode())"
        return workshop.on(rig, f'python3 -c "{ask}" 2>/dev/null', check=False)
    try:
        with socket.create_connection((workshop.lab.rig(rig).address, 8090), 1) as client:
            return client.recv(9).decode()
    except OSError:
        return ""


def test_lists_of_a_control_group_bind_what_runs_in_both_directions(workshop, rig):
    """Addresses and devices, allowed and taken away, by the very words of the switch; the process is the same."""
    pid = workshop.on(rig, "systemctl show -P MainPID live")
    take_up = "\n".join([role_text("base", "prelude.sh"), role_text("service", "hold.sh"), "take_up live.service"])
    for lines, outside, inside in (
        (OPEN, "refused", "refused"),
        (SHUT, "", "refused"),
        (SHUT + DEVICE, "", "opened"),
        (DEVICE, "opened", "opened"),
        (SHUT, "", "refused"),
        (OPEN, "refused", "refused"),
    ):
        write(workshop, rig, lines)
        workshop.on(rig, f"systemctl daemon-reload\n{take_up}")
        assert (said(workshop, rig), said(workshop, rig, "127.0.0.1")) == (outside, inside), lines
    assert workshop.on(rig, "systemctl show -P MainPID -P NRestarts live").split() == [pid, "0"]


HOLD = """
DRAINS='live.service 5 8090 http://127.0.0.1:8090/health - -'
tells_of live.service
"""


def test_hold_keeps_all_back_but_the_look_and_its_timer_ends_it(workshop, rig):
    """A killed script leaves nobody deaf for long: fifteen seconds, here cut short by running what the timer runs."""
    parts = [role_text("base", name) for name in ("prelude.sh", "drain.sh")] + [role_text("service", "hold.sh"), HOLD]
    write(workshop, rig, OPEN)
    workshop.on(rig, "systemctl daemon-reload; systemctl restart live; sleep 0.5")
    workshop.on(rig, "\n".join([*parts, "hold live.service"]))
    assert (said(workshop, rig), said(workshop, rig, "127.0.0.1")) == ("", "")
    look = (
        "import socket; print(socket.create_connection(('127.0.0.1', 8090), 1, ('127.82.73.71', 0)).recv(9).decode())"
    )
    assert workshop.on(rig, f'python3 -c "{look}"') == "refused"
    timer = "rigwright.hold.live"
    assert workshop.on(rig, f"systemctl is-active {timer}.timer") == "active"
    workshop.on(rig, f"systemctl start {timer}.service; sleep 1")
    assert said(workshop, rig) == "refused"
    left = workshop.on(
        rig, "ls -d /run/systemd/system/live.service.d 2>&1; systemctl show -P NeedDaemonReload live", check=False
    )
    assert left.splitlines()[-1] == "no" and "No such file" in left


# It keeps a connection, hears nothing, and then says what it was told.
KEEPS = """
import socket, time
client = socket.create_connection(("127.0.0.1", 8091)); client.sendall(b"x"); client.recv(1)
open("/run/keeps", "w").close()
client.settimeout(15); began = time.monotonic()
try:
    print("closed" if client.recv(1) == b"" else "said", time.monotonic() - began < 5)
except TimeoutError:
    print("deaf")
"""
KEEPER = """#!/usr/bin/python3 -I
import signal, socket, os
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
server = socket.create_server(("", 8091))
while True:
    client = server.accept()[0]
    client.sendall(client.recv(1))
    kept = client
"""


def test_client_of_a_stop_under_a_hold_is_told_of_its_end(workshop, rig):
    """What the process closes stays in its control group: the hold ends while that is there, by the unit itself."""
    for path, text in {"/opt/live": KEEPER, "/opt/keeps": KEEPS}.items():
        workshop.lab.exec(rig, ["sh", "-c", f"cat >{path}"], input=text)
    workshop.on(rig, "systemctl daemon-reload; systemctl restart live; sleep 0.5; rm -f /run/keeps")
    workshop.on(rig, "systemd-run -q --unit=keeps -p StandardOutput=file:/run/told python3 /opt/keeps")
    workshop.on(rig, "until [ -e /run/keeps ]; do sleep 0.1; done")
    parts = [role_text("base", name) for name in ("prelude.sh", "drain.sh")] + [role_text("service", "hold.sh"), HOLD]
    workshop.on(rig, "\n".join([*parts, "hold live.service", "systemctl restart live", "let_through live.service"]))
    workshop.on(rig, "while systemctl is-active -q keeps; do sleep 0.2; done")
    assert workshop.on(rig, "cat /run/told") == "closed True"
    assert workshop.on(rig, "systemctl show -P IPAddressDeny live") == ""
