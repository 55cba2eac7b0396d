"""`rigwright seed`: what installers of Ubuntu and Debian are told, and what an inventory may say of it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from rigwright.cli import main
from rigwright.errors import RigwrightError, WrongSpec
from rigwright.seed.debian import preseed
from rigwright.seed.files import write
from rigwright.seed.machine import BareMachine, bare_machine
from rigwright.seed.ubuntu import ubuntu_files
from rigwright.spec.rig import parse_spec

DISK = "nvme-Samsung_SSD_990_PRO_2TB_S7KHNJ0W123456"
# Of a key made for this test, whose other half was thrown away.
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGWr90JTO7/3EcwWkOta6cul18Xm0TOSLcm4FQwPhznW"
STATIC = {"address": "192.168.1.50/24", "mac": "3C-EC-EF-12-34-56", "gateway": "192.168.1.1"}


def machine(data: dict[str, Any] | None = None, rig: str = "rig1", **seed: Any) -> BareMachine:
    """A machine of host data; by default with a disk and a key."""
    wish = {"disk": DISK, "authorized_keys": [f"{KEY} ada@laptop"]} | seed
    data = {"ssh_user": "ada"} if data is None else data
    return bare_machine(
        rig, parse_spec(rig, {"seed": {key: one for key, one in wish.items() if one is not None}}), data
    )


def autoinstall(one: BareMachine) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(ubuntu_files(one)["user-data"])["autoinstall"]
    return found


def answers(text: str) -> dict[str, str]:
    """The answers of a preseed file by question."""
    rows = [line.split(" ", 3) for line in text.splitlines() if not line.startswith("#")]
    return {row[1]: row[3] if len(row) > 3 else "" for row in rows}


def test_nobody_has_a_password():
    """Neither file holds one: the account is locked, keys log in, sudo asks for nothing."""
    one = machine()
    (user,) = autoinstall(one)["user-data"]["users"]
    assert user["name"] == "ada" and user["lock_passwd"] is True and "passwd" not in user
    assert user["sudo"] == "ALL=(ALL) NOPASSWD:ALL" and user["ssh_authorized_keys"] == [f"{KEY} ada@laptop"]
    assert autoinstall(one)["ssh"] == {"install-server": True, "allow-pw": False}
    assert "identity" not in autoinstall(one)
    debian = answers(preseed(one))
    assert debian["passwd/user-password-crypted"] == "!" and debian["passwd/root-login"] == "false"


def test_disk_is_named_or_nothing_is_installed(tmp_path):
    """Both look for the very link; without it the installer's own command fails, and its file names no disk."""
    command = autoinstall(machine())["early-commands"][0].replace("/autoinstall.yaml", str(tmp_path / "auto.yaml"))
    (tmp_path / "auto.yaml").write_text(ubuntu_files(machine())["user-data"])
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr == f"there is no disk {DISK}: nothing is erased\n"
    assert autoinstall(machine())["storage"]["layout"]["match"] == {"path": "rigwright-found-no-disk"}
    assert subprocess.run(["sh", "-c", answers(preseed(machine()))["partman/early_command"]]).returncode == 1


@pytest.mark.parametrize(
    "disk", ["/dev/sda", "sda", "*", "nvme-*", "nvme-Samsung[0-9]", "nvme-x'; rm -rf /; '", f"{DISK}-part1", "ata-a\nb"]
)
def test_disk_that_may_be_another_one_is_refused(disk):
    """A name that changes, a pattern, a partition, shell."""
    with pytest.raises(WrongSpec, match=r"rig1: rig\.seed\.disk: .* is no name of one whole disk"):
        machine(disk=disk)


def test_address_of_ones_own():
    """By the card's own address, for both; a gateway elsewhere is a slip."""
    network = autoinstall(machine(**STATIC))["network"]["ethernets"]["rig"]
    assert network["match"] == {"macaddress": "3c:ec:ef:12:34:56"} and network["addresses"] == ["192.168.1.50/24"]
    assert "address 192.168.1.50/24" in answers(preseed(machine(**STATIC)))["preseed/late_command"]
    with pytest.raises(WrongSpec, match=r"wants mac and gateway too"):
        machine(address="192.168.1.50/24")
    with pytest.raises(WrongSpec, match=r"the gateway 192\.168\.2\.1 is not in 192\.168\.1\.0/24"):
        machine(**STATIC | {"gateway": "192.168.2.1"})


def test_passphrase_is_asked_for():
    """LUKS without a passphrase in a file: the pages of the installers ask."""
    assert autoinstall(machine(encrypt=True))["interactive-sections"] == ["storage"]
    assert answers(preseed(machine(encrypt=True)))["partman-auto/method"] == "crypto"
    assert "passphrase" not in preseed(machine(encrypt=True)) and "interactive-sections" not in autoinstall(machine())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"authorized_keys": ["-----BEGIN OPENSSH PRIVATE KEY-----\nMC4CAQAwBQY"]}, "is a private key"),
        ({"authorized_keys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGWr90 ada"]}, "is no whole ssh-ed25519 key"),
        ({"authorized_keys": [f"{KEY} a\n{KEY} b"]}, "is no public key; it is one line"),
        ({"authorized_keys": ["/nowhere/key.pub"]}, "/nowhere/key.pub cannot be read: No such file"),
        ({"authorized_keys": None}, "missing, and the host data have no ssh_key"),
        ({"hostname": "rig 1"}, "rig.seed.hostname"),
        ({"timezone": "Europe/Berlin; reboot"}, "rig.seed.timezone"),
        ({"locale": "de_DE.UTF-8\nd-i x"}, "rig.seed.locale"),
        ({"disc": DISK}, "did you mean disk"),
    ],
)
def test_what_is_wrong_is_one_line(changes, said):
    """Where, what, what to do; a private key is not repeated."""
    with pytest.raises(WrongSpec) as refused:
        machine(**changes)
    assert said in str(refused.value) and "\n" not in str(refused.value) and "MC4CAQ" not in str(refused.value)


@pytest.mark.parametrize("user", ["root", None, "Ada", "a b", "ada'; reboot", "x" * 40])
def test_user_is_one_that_installers_make(user):
    """Root gets no key: who holds it is the whole machine from the first minute."""
    with pytest.raises(WrongSpec, match=r"rig1: ssh_user: .* is no user that an installer makes"):
        machine({"ssh_user": user})


@pytest.mark.parametrize("rig", ["../rig1", ".", "@ssh/rig1"])
def test_rig_whose_name_is_a_path_is_refused(rig):
    """Its files would land elsewhere."""
    with pytest.raises(WrongSpec, match=r"rig\.seed: the rig's name is no name of a folder"):
        machine(rig=rig, hostname="rig1")


@given(st.text(max_size=60))
def test_comments_of_keys_change_nothing(comment):
    """Quotes, line ends, YAML: it is left out, or it is one word."""
    try:
        one = machine(authorized_keys=[f"{KEY} {comment}"])
    except WrongSpec:
        return
    (key,) = autoinstall(one)["user-data"]["users"][0]["ssh_authorized_keys"]
    assert key.split(" ")[:2] == KEY.split(" ") and len(key.split(" ")) <= 3
    assert answers(preseed(one)).keys() == answers(preseed(machine())).keys()


def test_files_of_others_stay(tmp_path):
    """What seed wrote it writes anew; anything else it refuses, and writes nothing."""
    folder = write(machine(), tmp_path)
    before = (folder / "user-data").read_text()
    (folder / "preseed.cfg").write_text("mine\n")
    with pytest.raises(RigwrightError, match=r"preseed\.cfg: was not written by rigwright seed; move it away"):
        write(machine(locale="de_DE.UTF-8"), tmp_path)
    assert (folder / "user-data").read_text() == before and (folder / "preseed.cfg").read_text() == "mine\n"


def test_command_writes_a_folder_for_each_rig(monkeypatch, tmp_path):
    """And says which disk is erased, and what comes next; rigs without a seed are passed over, unless asked for."""
    monkeypatch.chdir(tmp_path)
    Path("id.pub").write_text(f"{KEY} ada@laptop\n")
    login = {"ssh_user": "ada", "ssh_key": "id"}
    hosts = [("rig1", login | {"rig": {"seed": {"disk": DISK}}}), ("rig2", login | {"rig": {}})]
    Path("house.py").write_text(f"rigs = ({hosts!r}, {{}})\n")
    done = CliRunner().invoke(main, ["seed", "house.py"])
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in Path("seed/rig1").iterdir()) == [
        "meta-data", "network-config", "preseed.cfg", "user-data",
    ]  # fmt: skip
    assert f"it erases {DISK}, and no other disk" in done.stdout and not Path("seed/rig2").exists()
    refused = CliRunner().invoke(main, ["seed", "house.py", "--limit", "rig2"])
    assert refused.exit_code == 1 and refused.stderr.startswith("Error: rig2: rig.seed: missing; write at least")
