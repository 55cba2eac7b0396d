"""Rigs of the lab, booted for real: what they are, what they are not, and that nothing of them stays."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rigwright.errors import RigwrightError
from rigwright.lab import Lab, Rig, RigWish, lab_hosts
from rigwright.lab.boot import machine
from rigwright.lab.host import run
from rigwright.lab.layout import RigPaths
from rigwright.lab.process import Process, living_on
from rigwright.lab.state import load_rig

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="virtual rigs need root"),
]


def traces(lab: Lab) -> dict[str, list[str]]:
    """Everything on this host that belongs to a lab: other labs may come and go meanwhile."""
    paths = lab.paths
    marks = [paths.mark, str(paths.home), *(machine(paths.rig(name)) for name in ("rig1", "rig2", "rig3"))]
    commands = {
        "processes": ["ps", "-ww", "-eo", "pid,args"],
        "mounts": ["cat", "/proc/self/mountinfo"],
        "links": ["ip", "-o", "link"],
        "rules": ["nft", "list", "ruleset"],
        "loops": ["losetup", "--list"],
        "nspawn": ["find", "/run/systemd/nspawn"],
        "groups": ["find", "/sys/fs/cgroup", "-maxdepth", "2", "-type", "d"],
    }
    return {
        what: [line for line in run(argv).stdout.splitlines() if any(mark in line for mark in marks)]
        for what, argv in commands.items()
    }


def ssh(rig: Rig, command: str) -> subprocess.CompletedProcess[str]:
    """A command over a real ssh connection."""
    return subprocess.run([*rig.ssh_command(), command], capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A lab with one rig for root and one for a user with sudo."""
    lab = Lab("t-rigs")
    lab.down()
    lab.up([RigWish("rig1"), RigWish("rig2", ssh_user="ada", disk_bytes=1024**3)])
    yield lab
    lab.down()


def rig(lab: Lab, name: str) -> Rig:
    return next(rig for rig in lab.rigs() if rig.name == name)


def test_rig_runs_systemd(lab: Lab) -> None:
    """A rig has a real init system that finished booting with no failed unit."""
    assert lab.exec("rig1", ["systemctl", "is-system-running"]).stdout.strip() == "running"


def test_rig_answers_ssh_under_strict_checking(lab: Lab) -> None:
    """The host key is known before the first connection."""
    assert ssh(rig(lab, "rig1"), "hostname").stdout == "rig1\n"


def test_rig_with_the_wrong_host_key_is_refused(lab: Lab, tmp_path: Path) -> None:
    """Strict means strict: another rig's key at this address is no way in."""
    known = lab.paths.known_hosts.read_text().split()
    (tmp_path / "known_hosts").write_text(f"{known[0]} {known[4]} {known[5]}\n")
    wrong = replace(rig(lab, "rig1"), ssh_known_hosts=tmp_path / "known_hosts")
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in ssh(wrong, "hostname").stderr


def test_rigs_have_their_own_identity(lab: Lab) -> None:
    """No two rigs share a machine id or a host key."""
    read = ["cat", "/etc/machine-id", "/etc/ssh/ssh_host_ed25519_key.pub"]
    mine, other = (lab.exec(name, read).stdout.split() for name in ("rig1", "rig2"))
    assert mine[0] != other[0] and mine[2] != other[2]


def test_user_gets_sudo(lab: Lab) -> None:
    """A login that is not root becomes root without a password."""
    assert ssh(rig(lab, "rig2"), "echo $(whoami) $(sudo -n whoami)").stdout == "ada root\n"


def test_disk_is_as_large_as_asked(lab: Lab) -> None:
    """`df` in the rig tells the size that was asked for, less what ext4 keeps for itself."""
    total = int(lab.exec("rig2", ["df", "--output=size", "-B1", "/"]).stdout.split()[1])
    assert 0.9 * 1024**3 < total <= 1024**3


def test_rigs_reach_each_other_and_the_outside(lab: Lab) -> None:
    """A rig can open a connection to its neighbour, and load package lists."""
    dial = "import socket, sys; socket.create_connection((sys.argv[1], 22), 5)"
    lab.exec("rig1", ["python3", "-c", dial, rig(lab, "rig2").address])
    lab.exec("rig1", ["apt-get", "-qq", "update"])


def test_up_again_keeps_what_runs(lab: Lab) -> None:
    """A second `up` boots nothing."""
    before = lab.exec("rig1", ["cat", "/proc/sys/kernel/random/boot_id"]).stdout
    lab.up([RigWish("rig1"), RigWish("rig2")])
    assert before == lab.exec("rig1", ["cat", "/proc/sys/kernel/random/boot_id"]).stdout


def test_up_refuses_to_change_a_rig(lab: Lab) -> None:
    """What was made as one thing does not silently stay it when another is asked for."""
    with pytest.raises(RigwrightError, match="rig1: os is trixie, not bookworm; run `rigwright lab down rig1`"):
        lab.up([RigWish("rig1", os="bookworm")])


@pytest.mark.parametrize("hard", [False, True])
def test_reboot_keeps_the_disk(lab: Lab, hard: bool) -> None:
    """A rebooted rig is the same rig, booted anew."""
    script = "cat /proc/sys/kernel/random/boot_id; touch /root/mark; sync"
    before = lab.exec("rig1", ["sh", "-c", script]).stdout
    lab.reboot("rig1", hard=hard)
    assert before != lab.exec("rig1", ["sh", "-c", script.replace("touch", "ls")]).stdout


def test_rig_that_reboots_itself_comes_back(lab: Lab) -> None:
    """`reboot` inside a rig does what it does on metal."""
    before = lab.exec("rig1", ["cat", "/proc/sys/kernel/random/boot_id"]).stdout
    ssh(rig(lab, "rig1"), "systemctl reboot")
    deadline = time.monotonic() + 30
    after = before
    while after in (before, "") and time.monotonic() < deadline:
        time.sleep(0.5)
        after = ssh(rig(lab, "rig1"), "cat /proc/sys/kernel/random/boot_id").stdout
    assert after not in (before, "")


def test_rig_that_reboots_itself_can_be_taken_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between its two boots too, when nobody lives in it: nothing starts again what is gone."""
    from rigwright.lab import boot

    kill_all = boot.kill_all
    lab = Lab("t-going")
    lab.down()
    lab.up([RigWish("rig1")])
    record = load_rig(lab.paths.rig("rig1"))
    assert record is not None and record.process is not None
    record.process.send(signal.SIGSTOP)  # which would start it again at once
    lab.exec("rig1", ["systemctl", "reboot"])
    deadline = time.monotonic() + 60
    while living_on(lab.paths.rig("rig1").disk / "upper"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    carrier = record.process

    def kill_and_go_on(processes: list[Process]) -> None:
        kill_all(processes)
        carrier.send(signal.SIGCONT)

    monkeypatch.setattr(boot, "kill_all", kill_and_go_on)
    lab.down()
    time.sleep(1)
    assert not any(traces(lab).values())


def test_snapshot_is_born_again_with_its_own_identity(lab: Lab) -> None:
    """A rig from a snapshot has the files of the first, and neither its keys nor its id."""
    lab.exec("rig1", ["sh", "-c", "echo kept > /root/kept"])
    lab.snapshot("rig1", "t-snapshot")
    try:
        assert lab.has_snapshot("t-snapshot")
        lab.up([RigWish("born", from_snapshot="t-snapshot")])
        done = ssh(rig(lab, "born"), "cat /root/kept")
        assert done.stdout == "kept\n", done.stderr
        ids = {lab.exec(name, ["cat", "/etc/machine-id"]).stdout for name in ("rig1", "born")}
        assert len(ids) == 2
    finally:
        lab.forget_snapshot("t-snapshot")
    assert not lab.has_snapshot("t-snapshot")
    with pytest.raises(RigwrightError, match="no snapshot is called 't-snapshot'"):
        lab.forget_snapshot("t-snapshot")


def test_bookworm_boots_beside_in_another_lab(lab: Lab) -> None:
    """The second release boots, and two labs on one host have their own networks."""
    other = Lab("t-other")
    try:
        born = other.up([RigWish("rig1", os="bookworm")])[0]
        assert "VERSION_CODENAME=bookworm" in ssh(born, "cat /etc/os-release").stdout
        assert born.address.split(".")[2] != rig(lab, "rig1").address.split(".")[2]
        assert ssh(rig(lab, "rig1"), "hostname").stdout == "rig1\n"
    finally:
        other.down()
    assert not any(traces(other).values())


def test_lab_hosts_are_the_rigs_of_the_current_lab(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """An inventory needs one call; a user that is not root works through sudo."""
    monkeypatch.setenv("RIGWRIGHT_LAB", "t-rigs")
    hosts = dict(lab_hosts())
    assert "_sudo" not in hosts["rig1"] and hosts["rig2"]["_sudo"] is True
    monkeypatch.setenv("RIGWRIGHT_LAB", "t-none")
    with pytest.raises(RigwrightError, match="lab: no rig is up; run `rigwright lab up`"):
        lab_hosts()


def test_up_recovers_from_a_crash_and_down_leaves_nothing() -> None:
    """Killed processes, mounts left behind and a half-made rig are in nobody's way."""
    lab = Lab("t-crash")
    lab.down()
    forward = Path("/proc/sys/net/ipv4/ip_forward")
    lab.up([RigWish("rig1"), RigWish("rig2")])
    lab.exec("rig1", ["touch", "/root/mark"])
    assert all(traces(lab).values()), "each kind of trace is there to be found"
    for name in ("rig1", "rig2"):
        record = load_rig(lab.paths.rig(name))
        assert record is not None and record.process is not None
        os.kill(record.process.pid, signal.SIGKILL)
    (lab.paths.rigs / "rig3").mkdir()
    lab.up([RigWish("rig1")])
    lab.exec("rig1", ["ls", "/root/mark"])
    assert not living_on(lab.paths.rig("rig2").disk / "upper")
    lab.down()
    assert not any(traces(lab).values())
    assert not lab.paths.home.exists()
    if not any(Path("/sys/class/net").glob("rwl-*")):
        assert not Path("/run/rigwright-lab/ip_forward").exists() and forward.exists()


def test_rig_that_dies_while_booting_is_booted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """One death on the way up is made good, and nothing of the first attempt stays."""
    from rigwright.lab import boot

    wait_ready, cut = boot.wait_ready, []

    def wait_after_a_cut(rig: Rig, process: Process, paths: RigPaths) -> None:
        if not cut:
            cut.append(process)
            process.send(signal.SIGKILL)
            process.wait_end(5)
        wait_ready(rig, process, paths)

    monkeypatch.setattr(boot, "wait_ready", wait_after_a_cut)
    lab = Lab("t-again")
    lab.down()
    born = lab.up([RigWish("rig1")])[0]
    assert ssh(born, "hostname").stdout == "rig1\n"
    lab.down()
    assert not any(traces(lab).values())
