"""The unit of a service on GPUs, as it is rendered, on a rig with device files of the driver's own numbers.

No GPU is behind them: where the unit may open one the kernel says ENXIO, as it knows of no device; where it may not it
says EPERM, before it looks for a device, or EACCES by the rights of the file.
"""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from .test_sandbox import SCORE

pytestmark = pytest.mark.lab

UNIT = "rigwright-chat.service"
AMD_ADDRESS = "0000:03:00.0"
GOLDEN = Path(__file__).parents[1] / "golden"
RENDERED, FOR_AMD = GOLDEN / "gpu-open-with-key.service", GOLDEN / "amd-vulkan.service"
# Number, rights, and group of what the driver and the kernel make. Source: 195 is NVIDIA's in
# Documentation/admin-guide/devices.txt of Linux; the kernel gives out the others as the modules are loaded; rights by
# NVIDIA/nvidia-modprobe, those of nvidia1 by the line that Debian's nvidia-options.conf holds ready.
WANTED = {
    "/dev/nvidia0": ("c 195 0", "666 root"),
    "/dev/nvidia1": ("c 195 1", "660 video"),
    "/dev/nvidiactl": ("c 195 255", "666 root"),
    "/dev/nvidia-uvm": ("c 508 0", "666 root"),
    "/dev/nvidia-uvm-tools": ("c 508 1", "666 root"),
    "/dev/nvidia-caps/nvidia-cap2": ("c 236 2", "444 root"),
}
OTHERS = {
    "/dev/nvidia-caps/nvidia-cap1": ("c 236 1", "400 root"),
    "/dev/nvidia-nvswitch0": ("c 235 0", "666 root"),
    "/dev/nvidia-caps-imex-channels/channel0": ("c 234 0", "666 root"),
    "/dev/dri/card0": ("c 226 0", "660 video"),
    "/dev/dri/renderD128": ("c 226 128", "666 root"),
    "/dev/dri/renderD129": ("c 226 129", "666 root"),
    "/dev/kfd": ("c 511 0", "666 root"),
    "/dev/lab-mem": ("c 1 1", "666 root"),
    "/dev/lab-kmsg": ("c 1 11", "666 root"),
    "/dev/lab-fuse": ("c 10 229", "666 root"),
    "/dev/lab-disk": ("b 7 0", "666 root"),
}
COMMON = "508 nvidia-uvm\n236 nvidia-caps\n235 nvidia-nvswitch\n234 nvidia-caps-imex-channels\n"
# Source: release notes of driver 550.40: what was "nvidia-frontend" is "nvidia" and "nvidiactl".
DRIVERS = {
    "580": f"195 nvidia\n195 nvidiactl\n195 nvidia-modeset\n{COMMON}",
    "535": f"195 nvidia-frontend\n{COMMON}",
}
# In place of the engine: it says what it can open, and then answers whoever it can be reached by.
PROGRAM = """#!/usr/bin/python3 -I
import errno, os, socket
for line in open("/var/lib/rigwright/devices").read().split():
    try:
        os.close(os.open(line, os.O_RDONLY if "-caps/" in line else os.O_RDWR))
        print(line, "opened")
    except OSError as error:
        print(line, errno.errorcode[error.errno])
with open((os.environ.get("CUDA_CACHE_PATH") or os.environ["MESA_SHADER_CACHE_DIR"]) + "/kernel", "w") as file:
    print("cache", file.write("x"))
server = socket.create_server(("", 8080))
print("ready", flush=True)
while True:
    server.accept()[0].close()
"""


@pytest.fixture(scope="module", params=["trixie", "bookworm"])
def rig(workshop, request):
    """A rig with the unit, its files of devices, and another program in place of the engine."""
    name = workshop.boot(f"gpus-{request.param[:4]}", os=request.param)
    program = "/opt/rigwright/services/chat/current/bin/llama-server"
    files = {program: PROGRAM, f"/etc/systemd/system/{UNIT}": RENDERED.read_text(), "/etc/rigwright/chat.key": "k\n"}
    files["/var/lib/rigwright/devices"] = "\n".join({**WANTED, **OTHERS, "/dev/null": ()})
    for path, text in files.items():
        workshop.lab.exec(name, ["sh", "-c", f"mkdir -p $(dirname {path}); cat >{path}"], input=text)
    make = [
        f"mkdir -p $(dirname {path}); mknod -m {rights.split()[0]} {path} {number}; chgrp {rights.split()[1]} {path}"
        for path, (number, rights) in {**WANTED, **OTHERS}.items()
    ]
    if "not permitted" in workshop.on(name, f"chmod 755 {program}; {{ {'; '.join(make)}; }} 2>&1", check=False):
        pytest.skip("this machine lets no container make device files")
    closed = "systemd-run -q --wait --pipe -p DevicePolicy=closed sh -c '3<>/dev/lab-fuse' 2>&1"
    if "not permitted" not in workshop.on(name, closed, check=False):
        pytest.skip("the kernel of this machine enforces no DevicePolicy= within a rig")
    yield name
    workshop.lab.down([name])


def started(workshop, rig, registered):
    """What the program says, started while the kernel has these devices registered."""
    listed = f"sed 's/^Character devices:/&\\n{registered.strip()}/' /proc/devices >/run/devices".replace("\n", "\\n")
    workshop.on(
        rig,
        f"while umount /proc/devices 2>/dev/null; do :; done; {listed}; mount --bind /run/devices /proc/devices;"
        f" journalctl -q --rotate --vacuum-time=1s >/dev/null; systemctl daemon-reload; systemctl restart {UNIT}",
    )
    for _ in range(100):
        said = workshop.on(
            rig,
            f"journalctl -u {UNIT} -o cat --no-pager _SYSTEMD_INVOCATION_ID=$(systemctl show -P InvocationID {UNIT})",
        )
        if "ready" in said:
            return dict(line.split() for line in said.splitlines() if line.startswith(("/dev/", "cache")))
        time.sleep(0.1)
    raise AssertionError(workshop.on(rig, f"journalctl -u {UNIT} -n 20 --no-pager"))


@pytest.mark.parametrize("driver", DRIVERS)
def test_gpus_are_opened_and_nothing_else(workshop, rig, driver):
    """Cards, CUDA's memory and MIG's capabilities, in a group's hands too; no switch of NVLinks, no disk, no memory."""
    found = started(workshop, rig, DRIVERS[driver])
    assert {path: found[path] for path in WANTED} == dict.fromkeys(WANTED, "ENXIO")
    assert {found[path] for path in OTHERS} <= {"EPERM", "EACCES"}, found
    # What only rights keep closed is what the kernel knows by the name of one that is wanted.
    assert [path for path in OTHERS if found[path] == "EACCES"] == ["/dev/nvidia-caps/nvidia-cap1"]
    assert (found["/dev/null"], found["cache"]) == ("opened", "1")


def test_names_are_looked_up_at_each_start(workshop, rig):
    """A driver that comes after the service was started is there for its next start, with whatever numbers it has."""
    assert {started(workshop, rig, "234 other\n")[path] for path in WANTED} == {"EPERM"}
    assert {started(workshop, rig, DRIVERS["580"])[path] for path in WANTED} == {"ENXIO"}


def test_unit_for_gpus_scores_well(workshop, rig):
    """By systemd's own judgement; `rigwright verify` fails above 2.0."""
    started(workshop, rig, DRIVERS["580"])
    assert float(workshop.on(rig, SCORE.format(UNIT))) <= 2.0
    assert workshop.on(rig, f"systemd-analyze verify {UNIT} 2>&1") == ""


def reaches(address):
    """Whether this machine can open a connection to the service."""
    try:
        socket.create_connection((address, 8080), 2).close()
    except TimeoutError:
        return False
    return True


def test_networks_that_are_not_allowed_get_no_answer(workshop, rig):
    """The kernel drops their packets; the rig itself, and who is allowed, is answered."""
    started(workshop, rig, DRIVERS["580"])
    address = next(one.address for one in workshop.lab.rigs() if one.name == rig)
    assert not reaches(address)
    dial = "import socket; socket.create_connection(('127.0.0.1', 8080), 2)"
    workshop.lab.exec(rig, ["python3", "-c", dial])
    workshop.on(rig, f"systemctl set-property --runtime {UNIT} IPAddressAllow={workshop.host_address}")
    assert reaches(address)
    workshop.on(rig, f"systemctl revert {UNIT}")


def test_service_on_one_of_two_gpus_of_amds_opens_that_one(workshop, rig):
    """By the link that udev makes for its place on the bus; nothing of the other, nor of ROCm."""
    node = "/dev/dri/renderD129"
    link = f"/dev/dri/by-path/pci-{AMD_ADDRESS}-render"
    group = "getent group render >/dev/null || groupadd -r render"  # which udev brings, and a rig of the lab has none
    workshop.on(rig, f"{group}; mkdir -p /dev/dri/by-path; ln -sfn ../renderD129 {link}")
    workshop.on(rig, f"chgrp render {node}; chmod 660 {node}")
    workshop.lab.exec(rig, ["sh", "-c", f"cat >/etc/systemd/system/{UNIT}"], input=FOR_AMD.read_text())
    try:
        found = started(workshop, rig, "226 drm\n")
        assert found[node] == "ENXIO", found
        assert {found[path] for path in {**WANTED, **OTHERS} if path != node} <= {"EPERM", "EACCES"}, found
        assert found["/dev/dri/renderD128"] == found["/dev/kfd"] == "EPERM"
        assert (found["/dev/null"], found["cache"]) == ("opened", "1")
        workshop.on(rig, f"rm {link}")
        assert started(workshop, rig, "226 drm\n")[node] == "EPERM"
        assert float(workshop.on(rig, SCORE.format(UNIT))) <= 2.0
        assert workshop.on(rig, f"systemd-analyze verify {UNIT} 2>&1") == ""
    finally:
        workshop.lab.exec(rig, ["sh", "-c", f"cat >/etc/systemd/system/{UNIT}"], input=RENDERED.read_text())
