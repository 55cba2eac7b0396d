"""A rig with a simulated driver: seen over SSH, through reboots of its own, and with each fault."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator

import pytest

from rigwright.errors import RigwrightError
from rigwright.hardware import collection
from rigwright.hardware.capture import read_files
from rigwright.hardware.software import KernelModule
from rigwright.lab import Lab, RigWish
from rigwright.plan.driver import plan_driver

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="virtual rigs need root"),
]

# What the packages of a driver leave, as far as the kernel and nvidia-smi look at it.
INSTALL = """
modules=/lib/modules/$(uname -r)/updates/dkms libraries=/usr/lib/x86_64-linux-gnu
mkdir -p "$modules"
printf 'version: %s\\nlicense: Dual MIT/GPL\\n' "$1" >"$modules/nvidia.ko"
rm -f "$libraries"/libnvidia-ml.so*
: >"$libraries/libnvidia-ml.so.$1"
ln -s "libnvidia-ml.so.$1" "$libraries/libnvidia-ml.so.1"
for tool in nvidia-smi nvidia-modprobe; do
    printf '#!/bin/sh\\nexec /usr/lib/rigwright-lab/bin/%s "$@"\\n' "$tool" >"/usr/bin/$tool"
    chmod 755 "/usr/bin/$tool"
done
echo 'blacklist nouveau' >/etc/modprobe.d/blacklist-nouveau.conf
"""
BOOT_ID = "cat /proc/sys/kernel/random/boot_id"
VERSION = "sed -n 's/.*Module for x86_64  *\\([0-9.]*\\) .*/\\1/p' /proc/driver/nvidia/version"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A rig blank of any driver, and an ordinary one."""
    lab = Lab("t-driver")
    lab.down()
    lab.up([RigWish("blank", hardware="2x-rtx3090", driver="simulated", ssh_user="ada"), RigWish("plain")])
    yield lab
    lab.down()


@pytest.fixture
def installed(lab: Lab) -> Iterator[None]:
    """Driver 580.95.05 on the blank rig, loaded; what a test broke is mended before and after it."""
    lab.fault("blank", "clear")
    said(lab, "set -- 580.95.05\n" + INSTALL)
    lab.reboot("blank")
    assert said(lab, VERSION) == "580.95.05"
    yield
    lab.fault("blank", "clear")


def ask(lab: Lab, script: str) -> subprocess.CompletedProcess[str]:
    return lab.exec("blank", ["sh", "-c", script], check=False)


def said(lab: Lab, script: str) -> str:
    return str(lab.exec("blank", ["sh", "-c", script]).stdout).strip()


def over_ssh(lab: Lab, command: str, input: str = "") -> subprocess.CompletedProcess[str]:
    rig = lab.rig("blank")
    way = [*rig.ssh_command()[:-1], "-o", "ConnectTimeout=2", rig.ssh_command()[-1], command]
    return subprocess.run(way, input=input, capture_output=True, text=True, check=False, timeout=60)


def boot_id(lab: Lab) -> str:
    """Which boot this is; empty between two."""
    try:
        return said(lab, BOOT_ID)
    except RigwrightError:
        return ""


def boots_itself(lab: Lab, command: str = "sudo systemctl reboot") -> None:
    """A reboot that the rig begins, until it answers again."""
    before = said(lab, BOOT_ID)
    over_ssh(lab, command)
    deadline = time.monotonic() + 120
    while (after := over_ssh(lab, BOOT_ID).stdout.strip()) in ("", before):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert over_ssh(lab, "systemctl is-system-running --wait").stdout == "running\n", after


def test_blank_rig_shows_its_gpus_and_nouveau(lab: Lab) -> None:
    """By the bus, over SSH, as a user who is not root; a driver is to be installed."""
    answer = over_ssh(lab, "sh -s", collection.script(everything=True, with_software=True)).stdout
    hardware = read_files(collection.read(answer.splitlines()))
    assert [(gpu.pci_address, gpu.name) for gpu in hardware.gpus] == [
        ("0000:17:00.0", "GeForce RTX 3090"),
        ("0000:65:00.0", "GeForce RTX 3090"),
    ]
    assert hardware.software.loaded_modules == ("nouveau",)
    assert "nouveau_loaded" in {problem.code for problem in hardware.problems}
    assert plan_driver(hardware).verdict == "install"


def test_rig_without_packages_has_no_driver(lab: Lab) -> None:
    """Neither tools nor modules nor devices."""
    assert ask(lab, "modprobe nvidia").stderr.startswith("modprobe: FATAL: Module nvidia not found in directory")
    assert ask(lab, "modinfo nvidia").stderr == "modinfo: ERROR: Module nvidia not found.\n"
    assert said(lab, "command -v nvidia-smi; ls /proc/driver; ls /dev | grep nvidia || true") == ""
    assert ask(lab, "modprobe -r nouveau").stderr == "modprobe: FATAL: Module nouveau is in use.\n"


@pytest.mark.usefixtures("installed")
def test_driver_answers_once_it_is_loaded(lab: Lab) -> None:
    """With the version that is loaded; devices are made by tools alone and go with the module."""
    assert said(lab, "ls /dev | grep nvidia || true") == ""
    assert (
        said(lab, "nvidia-smi --query-gpu=index,driver_version --format=csv,noheader") == "0, 580.95.05\n1, 580.95.05"
    )
    assert said(lab, "ls /dev | grep nvidia").split() == ["nvidia0", "nvidia1", "nvidiactl"]
    assert said(lab, "nvidia-modprobe -u -c 0; stat -c %F /dev/nvidia-uvm /dev/nvidia-uvm-tools") == (
        "character special file\ncharacter special file"
    )
    assert said(lab, "lspci | grep -c 'in use: nvidia'") == "2"
    answer = over_ssh(lab, "sh -s", collection.script(everything=True, with_software=True)).stdout
    hardware = read_files(collection.read(answer.splitlines()))
    assert hardware.driver_version == "580.95.05" and hardware.software.loaded == KernelModule("580.95.05", "open")
    assert said(lab, "modprobe -r nvidia_uvm nvidia_modeset && ls /dev | grep nvidia || true") == ""
    assert ask(lab, "nvidia-smi").returncode == 9


@pytest.mark.usefixtures("installed")
def test_device_that_is_open_holds_the_module(lab: Lab) -> None:
    """As a daemon does that keeps the driver awake; so does the mark of a test."""
    said(lab, "nvidia-smi -L; rmmod nvidia_uvm nvidia_modeset")
    held = ask(lab, "exec 3</dev/nvidia0; rmmod nvidia; lsmod | grep ^nvidia")
    assert held.stderr == "rmmod: ERROR: Module nvidia is in use\n" and held.stdout.split()[2] != "0"
    marked = ask(lab, "touch /run/rigwright-lab/driver/in-use; modprobe -r nvidia; rm /run/rigwright-lab/driver/in-use")
    assert marked.stderr == "modprobe: FATAL: Module nvidia is in use.\n"
    assert said(lab, "rmmod nvidia; lsmod | grep ^nvidia || true") == ""


@pytest.mark.usefixtures("installed")
def test_new_libraries_need_the_new_module(lab: Lab) -> None:
    """Until a reboot, which the rig begins itself."""
    said(lab, "set -- 595.71.05\n" + INSTALL)
    mismatch = ask(lab, "nvidia-smi")
    assert mismatch.returncode == 18 and "Driver/library version mismatch" in mismatch.stdout
    boots_itself(lab)
    assert said(lab, "nvidia-smi | grep -o 'Driver Version: [0-9.]*'") == "Driver Version: 595.71.05"


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    "command",
    [
        "sudo systemctl reboot",
        "sudo reboot -f",
        "sudo systemd-run --on-active=1 --timer-property=AccuracySec=1ms systemctl reboot",
    ],
)
def test_rig_comes_back_from_reboots_of_its_own(lab: Lab, command: str) -> None:
    """With the same disk, network and driver, and the lab still rules it."""
    said(lab, "echo kept >/root/kept; sync")
    boots_itself(lab, command)
    assert said(lab, f"cat /root/kept; {VERSION}").split() == ["kept", "580.95.05"]
    assert [row["state"] for row in lab.status()] == ["up", "up"]


@pytest.mark.usefixtures("installed")
def test_fault_missing(lab: Lab) -> None:
    """A card that a new boot does not find."""
    lab.fault("blank", "driver-missing")
    assert ask(lab, "nvidia-smi -L").returncode == 0
    boots_itself(lab)
    assert ask(lab, "modprobe nvidia").stderr == "modprobe: ERROR: could not insert 'nvidia': No such device\n"
    assert ask(lab, "nvidia-smi -L").returncode == 9
    lab.fault("blank", "clear")
    assert ask(lab, "nvidia-smi -L").returncode == 0


@pytest.mark.usefixtures("installed")
def test_fault_late(lab: Lab) -> None:
    """The driver comes by itself, after a while."""
    lab.fault("blank", "driver-late=20")
    lab.reboot("blank")
    assert "(fault driver-late: " in ask(lab, "modprobe nvidia").stderr
    deadline = time.monotonic() + 60
    while ask(lab, "nvidia-smi -L").returncode:
        assert time.monotonic() < deadline
        time.sleep(0.5)


@pytest.mark.usefixtures("installed")
def test_fault_mismatch(lab: Lab) -> None:
    """The initramfs is an old one."""
    lab.fault("blank", "driver-mismatch")
    said(lab, "set -- 595.71.05\n" + INSTALL)
    lab.reboot("blank")
    assert (said(lab, VERSION), ask(lab, "nvidia-smi").returncode) == ("580.95.05", 18)


@pytest.mark.usefixtures("installed")
def test_fault_lost(lab: Lab) -> None:
    """The bus still has it."""
    lab.fault("blank", "gpu-lost")
    assert said(lab, "nvidia-smi -L | wc -l; ls /proc/driver/nvidia/gpus | wc -l; lspci | grep -c RTX").split() == [
        "1",
        "1",
        "2",
    ]
    lab.fault("blank", "clear")
    assert said(lab, "nvidia-smi -L | wc -l") == "2"


def test_fault_no_boot(lab: Lab) -> None:
    """The rig goes down and stays away until `clear`, or until somebody goes there and reboots it."""
    lab.fault("blank", "no-boot")
    try:
        before = said(lab, BOOT_ID)
        over_ssh(lab, "sudo systemctl reboot")
        deadline = time.monotonic() + 120
        while boot_id(lab) in ("", before):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        said(lab, "systemctl is-system-running --wait || true")
        time.sleep(2)
        assert over_ssh(lab, "true").returncode == 255
    finally:
        lab.fault("blank", "clear")
    while over_ssh(lab, "true").returncode:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    lab.fault("blank", "no-boot")
    lab.reboot("blank")
    assert over_ssh(lab, "true").returncode == 0


def test_faults_need_a_driver(lab: Lab) -> None:
    """What cannot be broken is said so."""
    with pytest.raises(RigwrightError, match="plain: has no simulated driver; make a rig with `lab up --driver"):
        lab.fault("plain", "gpu-lost")
    with pytest.raises(RigwrightError, match="blank: driver-late=soon: say how many seconds"):
        lab.fault("blank", "driver-late=soon")


def test_driver_needs_gpus(lab: Lab) -> None:
    """Refused before anything is made."""
    with pytest.raises(RigwrightError, match="other: a driver needs GPUs; add --hardware 2x-rtx3090"):
        lab.up([RigWish("other", driver="simulated")])
    with pytest.raises(RigwrightError, match=r"1x-h100-capture has no lspci\.txt"):
        lab.up([RigWish("other", hardware="1x-h100-capture", driver="simulated")])
    with pytest.raises(RigwrightError, match="unknown driver 'real'; use simulated"):
        lab.up([RigWish("other", hardware="2x-rtx3090", driver="real")])
    assert "other" not in lab.names()


@pytest.mark.usefixtures("installed")
def test_limits_last_until_the_module_goes(lab: Lab) -> None:
    """As nvidia-smi sets and tells them."""
    ask_limit = "nvidia-smi --query-gpu=power.limit --format=csv,noheader,nounits"
    said(lab, "nvidia-smi -i GPU-fef3f583-99bd-ac7f-c761-eddb679067e0 -pl 250")
    assert said(lab, ask_limit).split() == ["350.00", "250.00"]
    assert ask(lab, "nvidia-smi -i 0 -pl 9").returncode == 2
    lab.reboot("blank")
    assert said(lab, ask_limit).split() == ["350.00", "350.00"]


def test_stand_ins_outlive_upgrades(lab: Lab) -> None:
    """On both releases: dpkg puts the real ones aside."""
    lab.up([RigWish("old", hardware="2x-rtx3090", driver="simulated", os="bookworm")])
    for name in ("blank", "old"):
        lab.exec(name, ["sh", "-c", "apt-get -qq update && apt-get -qq -y install --reinstall kmod pciutils"])
        assert re.search("^(?:nouveau|nvidia) ", lab.exec(name, ["lsmod"]).stdout, re.MULTILINE)
        assert lab.exec(name, ["lspci"]).stdout.count("RTX 3090") == 2
        assert lab.exec(name, ["modinfo", "-F", "license", "nouveau"]).stdout.startswith("GPL")
    lab.down(["old"])


def test_snapshot_keeps_the_driver(lab: Lab) -> None:
    """A rig from a disk with a driver has it too."""
    said(lab, "set -- 580.95.05\n" + INSTALL)
    lab.snapshot("blank", "t-driver")
    try:
        lab.up([RigWish("twin", from_snapshot="t-driver")])
        assert lab.exec("twin", ["nvidia-smi", "-L"]).stdout.count("RTX 3090") == 2
    finally:
        lab.forget_snapshot("t-driver")
