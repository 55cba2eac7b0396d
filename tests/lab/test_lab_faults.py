"""Faults, each seen to bite and to go away."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator

import pytest

from rigwright.errors import RigwrightError
from rigwright.lab import Lab, Rig, RigWish
from rigwright.units import MIB

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="virtual rigs need root"),
]

UNIT = "[Service]\nExecStart=/bin/sleep 1000\n"
DIAL = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 2)"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Two rigs; the first one gets the faults."""
    lab = Lab("t-faults")
    lab.down()
    lab.up([RigWish("rig1"), RigWish("rig2")])
    yield lab
    lab.down()


@pytest.fixture(autouse=True)
def healthy(lab: Lab) -> Iterator[None]:
    """Whatever a test broke is mended after it."""
    yield
    lab.fault("rig1", "clear")


def rig(lab: Lab, name: str) -> Rig:
    return next(rig for rig in lab.rigs() if rig.name == name)


def reaches(lab: Lab, address: str, port: int) -> bool:
    """Whether the first rig can open a connection."""
    return not lab.exec("rig1", ["python3", "-c", DIAL, address, str(port)], check=False).returncode


def test_disk_full_refuses_more_than_20_mb(lab: Lab) -> None:
    """A write runs out of space for real, and the host pays nothing for it."""
    image = lab.paths.rig("rig1").disk_image
    lab.fault("rig1", "disk-full")
    assert image.stat().st_blocks * 512 < 200 * MIB
    done = lab.exec("rig1", ["dd", "if=/dev/zero", "of=/root/big", "bs=1M", "count=100"], check=False)
    assert "No space left on device" in done.stderr
    written = int(lab.exec("rig1", ["stat", "--format=%s", "/root/big"]).stdout)
    assert 15 * MIB < written <= 20 * MIB
    lab.fault("rig1", "clear")
    lab.exec("rig1", ["dd", "if=/dev/zero", "of=/root/big", "bs=1M", "count=30"])


def test_ssh_drop_ends_sessions_and_takes_new_ones(lab: Lab) -> None:
    """A running session loses its connection at once; the next one gets in."""
    command = [*rig(lab, "rig1").ssh_command(), "echo started; sleep 60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as session:
        assert session.stdout is not None and session.stdout.readline() == "started\n"
        start = time.monotonic()
        assert lab.fault("rig1", "ssh-drop") == "dropped 1 ssh session(s)"
        assert session.wait(timeout=10) == 255
    assert time.monotonic() - start < 5
    again = subprocess.run([*rig(lab, "rig1").ssh_command(), "hostname"], capture_output=True, text=True, check=False)
    assert again.stdout == "rig1\n"


def test_no_network_cuts_all_but_the_controller(lab: Lab) -> None:
    """Neither the outside nor a neighbour is reachable, while ssh from this host still works."""
    resolver = lab.exec("rig1", ["sed", "-n", "s/^nameserver //p", "/etc/resolv.conf"]).stdout.split()[0]
    lookup = ["sh", "-c", "timeout 4 apt-get -o Acquire::Retries=0 update 2>&1 | grep -c '^Get:'"]
    neighbour = rig(lab, "rig2").address
    assert reaches(lab, neighbour, 22)
    lab.fault("rig1", "no-network")
    assert not reaches(lab, neighbour, 22) and not reaches(lab, resolver, 53)
    assert lab.exec("rig1", lookup, check=False).stdout.strip() == "0"
    inside = subprocess.run([*rig(lab, "rig1").ssh_command(), "hostname"], capture_output=True, text=True, check=False)
    assert inside.stdout == "rig1\n"
    lab.fault("rig1", "clear")
    assert reaches(lab, neighbour, 22)


def test_slow_network_is_slow(lab: Lab) -> None:
    """250 kB take about 2 s at 1 Mbit/s, in both directions; before and after they take no time."""
    login = rig(lab, "rig1").ssh_command()

    def seconds(command: str, data: bytes) -> float:
        start = time.monotonic()
        subprocess.run([*login, command], input=data, capture_output=True, check=True)
        return time.monotonic() - start

    blob = os.urandom(250_000)
    assert seconds("cat >/dev/null", blob) < 1
    lab.fault("rig1", "slow-network")
    assert seconds("cat >/dev/null", blob) > 1.5
    assert seconds("head -c 250000 /dev/urandom", b"") > 1.5
    lab.fault("rig1", "clear")
    assert seconds("cat >/dev/null", blob) < 1


def test_kill_service_kills_our_services_and_clear_starts_them(lab: Lab) -> None:
    """Without a unit, every rigwright-* service loses its main process."""
    lab.exec("rig1", ["sh", "-c", "cat > /etc/systemd/system/rigwright-chat.service"], input=UNIT)
    lab.exec("rig1", ["systemctl", "start", "rigwright-chat"])
    assert lab.fault("rig1", "kill-service") == "killed rigwright-chat.service"
    state = ["systemctl", "show", "--property=ActiveState,Result", "rigwright-chat"]
    assert sorted(lab.exec("rig1", state).stdout.split()) == ["ActiveState=failed", "Result=signal"]
    lab.fault("rig1", "clear")
    assert lab.exec("rig1", ["systemctl", "is-active", "rigwright-chat"]).stdout == "active\n"


def test_kill_service_takes_a_unit(lab: Lab) -> None:
    """A named unit is killed, whoever it belongs to."""
    assert lab.fault("rig1", "kill-service=dbus.service") == "killed dbus.service"


def test_kill_service_that_does_not_run_is_an_error(lab: Lab) -> None:
    """A fault that hits nothing must not look like one that did."""
    with pytest.raises(RigwrightError, match=r"rig1: no unit nosuch\.service runs; name one with kill-service=UNIT"):
        lab.fault("rig1", "kill-service=nosuch.service")


def test_unknown_fault_names_the_known_ones(lab: Lab) -> None:
    """A typo is answered with the choice."""
    with pytest.raises(RigwrightError, match="no fault is called 'disk-fll'; use disk-full, ssh-drop"):
        lab.fault("rig1", "disk-fll")
