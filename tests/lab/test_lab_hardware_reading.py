"""Recorded machines, read over SSH: ten of them at once, each in one remote command, as from its folder."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from rigwright.cli import main
from rigwright.hardware.capture import read_files, read_folder
from rigwright.hardware.record import redact, write
from rigwright.inventory.live import Collected, collect
from rigwright.lab import Lab, RigWish

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="virtual rigs need root"),
]

NAME = "t-reading"
CAPTURES = Path(__file__).parents[1] / "captures"
MACHINES = {
    "crossed": "4x-crossed-pairs-03-12-p2p-cns",
    "mesh": "8x-v100-sxm2-dgx1-mesh",
    "h100": "1x-h100-capture",
    "mig": "1x-h200-mig",
    "nodriver": "error-cannot-communicate",
    "gsp": "error-row-ERR-a100-gsp",
    "bridge": "2x3090-nvlink-x299-lxc",
    "bridges": "8x-a6000-bridges-baobab-nics",
    "amd": "amd-4x-mi50-pcie-x8",
    "x8": "lspci-2x2060-x8-ok-suffix",
}
COUNTER = """cat >/usr/local/bin/count-ssh <<'X'
#!/bin/sh
echo x >>/run/ssh-commands
exec sh -c "$SSH_ORIGINAL_COMMAND"
X
chmod 755 /usr/local/bin/count-ssh
echo 'ForceCommand /usr/local/bin/count-ssh' >/etc/ssh/sshd_config.d/count.conf
systemctl reload ssh
"""
HANGS = """cat >/usr/bin/nvidia-smi <<'X'
#!/bin/sh
trap '' TERM HUP
setsid sh -c "trap '' TERM; sleep 120" &
sleep 120
X
chmod 755 /usr/bin/nvidia-smi
"""
INVENTORY = """from rigwright.lab.inventory import lab_hosts

_names = {names!r}
rigs = [(name, data) for name, data in lab_hosts() if name in _names]
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Ten recorded machines, one whose driver hangs, one whose user may not become root."""
    lab = Lab(NAME)
    lab.down()
    wishes = [RigWish(rig, hardware=str(CAPTURES / capture)) for rig, capture in MACHINES.items()]
    lab.up([*wishes, RigWish("hangs"), RigWish("ada", ssh_user="ada", sudo=False)])
    for rig in (*MACHINES, "hangs"):
        lab.exec(rig, ["sh", "-c", COUNTER])
    lab.exec("hangs", ["sh", "-c", HANGS])
    yield lab
    lab.down()


def read(tmp_path: Path, *names: str, **options: bool) -> Collected:
    path = tmp_path / "inventory.py"
    path.write_text(INVENTORY.format(names=names))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RIGWRIGHT_LAB", NAME)
        return collect(str(path), **options)


@pytest.fixture(scope="module")
def ten(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> tuple[Collected, float]:
    """All ten, as `rigwright hardware --record` reads them, and how long it took."""
    began = time.monotonic()
    found = read(tmp_path_factory.mktemp("ten"), *MACHINES)
    return found, time.monotonic() - began


@pytest.mark.parametrize("rig", MACHINES)
def test_rig_is_read_as_its_recording(ten: tuple[Collected, float], rig: str, picture, at_rest) -> None:
    """Live reading and `--capture` share one path."""
    assert picture(read_files(at_rest(CAPTURES / MACHINES[rig]))) == picture(read_files(ten[0].files[rig]))


def test_rig_is_asked_once(lab: Lab, ten: tuple[Collected, float]) -> None:
    """One remote command per rig, sftp included."""
    counts = {rig: lab.exec(rig, ["sh", "-c", "wc -l </run/ssh-commands"]).stdout.strip() for rig in MACHINES}
    assert counts == dict.fromkeys(MACHINES, "1")


def test_rigs_are_read_at_once(lab: Lab, ten: tuple[Collected, float]) -> None:
    """Ten rigs on two cores, pyinfra's own start included."""
    assert ten[0].missing == {}
    assert list(ten[0].files) == list(MACHINES) or set(ten[0].files) == set(MACHINES)
    assert ten[1] < 15


def test_driver_that_hangs_is_a_finding(lab: Lab, tmp_path: Path) -> None:
    """A process that cannot be ended holds up nobody: 30 s for the tool, 3 s to be sure."""
    began = time.monotonic()
    found = read(tmp_path, "hangs", "ada")
    assert 30 < time.monotonic() - began < 45
    assert "driver_hangs" in {problem.code for problem in read_files(found.files["hangs"]).problems}
    assert found.files["ada"]["system.txt"]


def test_rig_that_does_not_answer_is_named(lab: Lab, tmp_path: Path) -> None:
    """The others are read, and nothing on the way says where the inventory is wrong."""
    path = tmp_path / "inventory.py"
    path.write_text(
        INVENTORY.format(names=("h100",)) + "dead = [('dead', {'ssh_hostname': '127.0.0.1', 'ssh_port': 9})]\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RIGWRIGHT_LAB", NAME)
        found = collect(str(path), under_load=False)
    assert set(found.files) == {"h100"}
    assert set(found.missing) == {"dead"} and "port 9" in found.missing["dead"]


def test_recording_of_a_rig_can_be_rehearsed(lab: Lab, ten: tuple[Collected, float], tmp_path: Path, picture) -> None:
    """What `--record` keeps is a machine for the lab, which is read as the rig was."""
    files = redact(ten[0].files["mig"])
    write(tmp_path / "mybox", files, name="mig")
    lab.up([RigWish("again", hardware=str(tmp_path / "mybox"))])
    again = read(tmp_path, "again").files["again"]
    assert picture(read_files(files)) == picture(read_files(again))


def test_recordings_of_a_rig_tell_the_same_software(lab: Lab, tmp_path: Path) -> None:
    """What stands around a driver: read live, again, and from the folder that `--record` writes."""
    lab.exec("nodriver", ["apt-mark", "hold", "base-files"])
    told = []
    for number in (1, 2):
        files = read(tmp_path, "nodriver", with_software=True).files["nodriver"]
        write(tmp_path / f"box{number}", redact(files), name="nodriver")
        folder = read_folder(tmp_path / f"box{number}")
        assert folder.not_read == ()
        told += [read_files(files).software, folder.software]
    # The disk is that of the machine below, where others write.
    told = [replace(software, root_free_bytes=None) for software in told]
    assert told == [told[0]] * 4
    assert "base-files" in told[0].holds
    assert {"packages", "repositories", "offers", "compiler", "glibc", "runfile", "units"} <= told[0].answered
    assert told[0].is_partial == frozenset()
    assert told[0].virtualization == "none"  # a rig that is a recorded machine is no container


def test_driver_is_planned_over_ssh_as_from_a_recording(lab: Lab, tmp_path: Path) -> None:
    """One remote command, nothing changed, and the plan of the folder that `--record` writes is the same."""
    path = tmp_path / "inventory.py"
    hosts = INVENTORY.format(names=("x8",)).replace("(name, data) for", "(name, data | {'rig': {}}) for")
    path.write_text(hosts)
    state = "dpkg-query -W | sha256sum; find /etc /var/lib/apt /var/cache/apt -newer /run/ssh-commands -type f | sort"
    lab.exec("x8", ["sh", "-c", ": >/run/ssh-commands"])
    before = lab.exec("x8", ["sh", "-c", state]).stdout
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RIGWRIGHT_LAB", NAME)
        told = [CliRunner().invoke(main, ["driver", str(path), "--json"]) for _ in range(2)]
        assert lab.exec("x8", ["sh", "-c", "wc -l </run/ssh-commands"]).stdout.strip() == "2"
        kept = CliRunner().invoke(main, ["hardware", str(path), "--record", str(tmp_path / "box")])
    assert kept.exit_code == 0, kept.output
    assert lab.exec("x8", ["sh", "-c", state]).stdout == before
    live = [json.loads(one.stdout)["x8"] for one in told]
    folder = json.loads(CliRunner().invoke(main, ["driver", "--capture", str(tmp_path / "box"), "--json"]).stdout)
    assert live[0] == live[1] == folder | {"rig": "x8"}
    assert live[0]["verdict"] == "install"
