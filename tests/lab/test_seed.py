"""What `rigwright seed` writes, before those who read it: cloud-init, debconf, and the shell of the installers."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from rigwright.seed.files import make_image, write
from rigwright.seed.machine import bare_machine
from rigwright.spec.rig import parse_spec

from .conftest import Workshop

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="virtual rigs need root"),
]
DISK = "nvme-Samsung_SSD_990_PRO_2TB_S7KHNJ0W123456"
# Neither the network nor the host keys of a rig of the lab are cloud-init's to make.
ALONE = {"datasource_list": ["NoCloud"], "network": {"config": "disabled"}, "ssh_deletekeys": False}


@pytest.fixture(scope="module")
def bare(workshop: Workshop) -> Iterator[str]:
    """A machine with cloud-init, as Ubuntu's has."""
    name = workshop.boot("bare")
    workshop.on(name, "apt-get -qq update && apt-get -qq -y --no-install-recommends install cloud-init >/dev/null 2>&1")
    yield name
    workshop.lab.down([name])


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key of the user's."""
    path = tmp_path_factory.mktemp("key") / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ada@laptop", "-f", path], check=True)
    return path


def written(workshop: Workshop, rig: str, key: Path, folder: Path, user: str, **seed: Any) -> Path:
    """The files, here and in /seed on the rig."""
    wish = {"disk": DISK} | seed
    data = {"ssh_user": user, "ssh_key": str(key)}
    found = write(bare_machine(rig, parse_spec(rig, {"seed": wish}), data), folder)
    for path in found.iterdir():
        put(workshop, rig, f"/seed/{path.name}", path.read_text())
    return found


def put(workshop: Workshop, rig: str, path: str, text: str) -> None:
    command = ["sh", "-c", f"mkdir -p {shlex.quote(str(Path(path).parent))}; cat >{shlex.quote(path)}"]
    workshop.lab.exec(rig, command, input=text)


def logs_in(workshop: Workshop, rig: str, key: Path, user: str) -> None:
    """Over SSH with the key, to be root without a password; the account itself is locked."""
    options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes"]
    address = workshop.lab.rig(rig).address
    command = ["ssh", "-q", "-i", str(key), *options, f"{user}@{address}", "sudo -n id -u"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout == "0\n", done.stderr
    assert workshop.on(rig, f"passwd -S {user}").split()[1] == "L"


def test_ubuntus_files_are_valid_and_its_user_logs_in(workshop, bare, key, tmp_path):
    """By cloud-init's own schema; what Ubuntu's installer hands to the new system makes the user, here too."""
    own = {"address": "192.168.1.50/24", "mac": "3c:ec:ef:12:34:56", "gateway": "192.168.1.1"}
    folder = written(workshop, bare, key, tmp_path, "ada", **own)
    assert "Valid schema" in workshop.on(bare, "cloud-init schema --config-file /seed/user-data")
    network = "cloud-init schema --schema-type network-config --config-file /seed/network-config"
    assert "Valid schema" in workshop.on(bare, network)

    first_boot = yaml.safe_load((folder / "user-data").read_text())["autoinstall"]["user-data"]
    put(workshop, bare, "/var/lib/cloud/seed/nocloud/user-data", f"#cloud-config\n{yaml.safe_dump(first_boot)}")
    put(workshop, bare, "/var/lib/cloud/seed/nocloud/meta-data", (folder / "meta-data").read_text())
    put(workshop, bare, "/etc/cloud/cloud.cfg.d/99-lab.cfg", yaml.safe_dump(ALONE))
    assert "Valid schema" in workshop.on(bare, "cloud-init schema -c /var/lib/cloud/seed/nocloud/user-data")
    workshop.on(bare, "cloud-init init --local && cloud-init init")
    logs_in(workshop, bare, key, "ada")


def test_ubuntus_installer_finds_the_disk_or_ends(workshop, bare, key, tmp_path):
    """The command that runs before it looks at disks, on a machine with that disk and on one without."""
    folder = written(workshop, bare, key, tmp_path, "ada")
    command = yaml.safe_load((folder / "user-data").read_text())["autoinstall"]["early-commands"][0]
    workshop.on(bare, "cp /seed/user-data /autoinstall.yaml; rm -rf /dev/disk/by-id")
    put(workshop, bare, "/seed/early.sh", command)
    assert "nothing is erased" in workshop.on(bare, "sh /seed/early.sh 2>&1", check=False)
    assert workshop.on(bare, "cmp /seed/user-data /autoinstall.yaml; echo $?") == "0"
    workshop.on(
        bare, f"mkdir -p /dev/disk/by-id; mknod /dev/nvme9n1 b 7 99; ln -s ../../nvme9n1 /dev/disk/by-id/{DISK}"
    )
    workshop.on(bare, "sh /seed/early.sh")
    chosen = yaml.safe_load(workshop.on(bare, "cat /autoinstall.yaml"))["autoinstall"]["storage"]["layout"]
    assert chosen == {"name": "lvm", "sizing-policy": "all", "match": {"path": "/dev/nvme9n1"}}


def test_debians_answers_are_valid_and_its_commands_work(workshop, bare, key, tmp_path):
    """By debconf; the installed system is the rig itself, and the installer's own tools do what they would."""
    card = workshop.on(bare, "cat /sys/class/net/host0/address")
    own = {"address": "192.168.1.51/24", "mac": card, "gateway": "192.168.1.1"}
    folder = written(workshop, bare, key, tmp_path, "bea", **own)
    workshop.on(bare, "debconf-set-selections -c /seed/preseed.cfg")
    rows = [line.split(" ", 3) for line in (folder / "preseed.cfg").read_text().splitlines()[1:]]
    answers = {row[1]: row[-1] for row in rows}
    put(workshop, bare, "/seed/late.sh", answers["preseed/late_command"])
    put(workshop, bare, "/seed/early.sh", answers["partman/early_command"])
    put(workshop, bare, "/usr/local/bin/in-target", '#!/bin/sh\nexec "$@"\n')
    put(workshop, bare, "/usr/local/bin/debconf-set", '#!/bin/sh\necho "$@" >>/seed/set\n')
    # What the installer has done by then.
    workshop.on(bare, "chmod 755 /usr/local/bin/*; useradd -m -s /bin/bash bea; usermod -p '!' bea; ln -sfn / /target")
    workshop.on(bare, "mkdir -p /etc/network; sh /seed/late.sh")
    logs_in(workshop, bare, key, "bea")
    interfaces = workshop.on(bare, "cat /etc/network/interfaces; cat /etc/resolv.conf", check=False)
    assert "iface host0 inet static\n    address 192.168.1.51/24\n    gateway 192.168.1.1" in interfaces
    workshop.on(bare, "rm -rf /dev/disk/by-id")
    assert workshop.on(bare, "sh /seed/early.sh; echo $?") == "1"
    workshop.on(bare, f"mkdir -p /dev/disk/by-id; ln -s /dev/nvme9n1 /dev/disk/by-id/{DISK}; [ -b /dev/nvme9n1 ]")
    workshop.on(bare, "sh /seed/early.sh")
    assert workshop.on(bare, "cat /seed/set").split("\n") == [
        "partman-auto/disk /dev/nvme9n1", "grub-installer/bootdev /dev/nvme9n1",
    ]  # fmt: skip


def test_image_is_a_stick_that_cloud_init_takes(workshop, bare, key, tmp_path):
    """Its label, and the files in it."""
    folder = written(workshop, bare, key, tmp_path, "ada")
    image = make_image(folder)
    said = subprocess.run(["blkid", "-o", "export", image], capture_output=True, text=True, check=True).stdout
    assert {"LABEL=CIDATA", "TYPE=vfat"} <= set(said.split())
    copied = subprocess.run(["mcopy", "-i", image, "::user-data", "-"], capture_output=True, text=True, check=True)
    assert copied.stdout == (folder / "user-data").read_text()
