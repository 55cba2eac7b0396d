"""The checks of a driver over SSH, on a rig whose driver is simulated, with one thing wrong at a time."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rigwright.records.paths import DEVICES_UNIT, POWER_UNIT
from rigwright.resources import render_text, role_text, template
from rigwright.roles.nvidia.power import PROGRAM, SETTINGS

from .driver_breakages import HELP, MEND, PLANTED, SAVE
from .driver_repository import NEWEST, DriverRepositories

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="virtual rigs need root")]

NAME = "driven"
CARD = "GPU-1aff65f8-8897-eaee-29e4-6871ef7491a0"
WISH = {"branch": 580, "modules": "open", "power_watts": 350}
_APT = "DEBIAN_FRONTEND=noninteractive apt-get -qq --no-install-recommends -o Dpkg::Use-Pty=0 -y install"
_DRIVER = "nvidia-driver-cuda nvidia-kernel-open-dkms nvidia-persistenced"
CONTAINER = (
    "printf '#!/bin/sh\\necho lxc\\n' >/usr/local/bin/systemd-detect-virt; chmod 755 /usr/local/bin/systemd-detect-virt"
)


@pytest.fixture(scope="module")
def rig(workshop: Any, driver_repositories: DriverRepositories) -> Iterator[str]:
    """A rig with driver 580, loaded, and a Python that can ask CUDA."""
    workshop.boot(NAME, hardware="2x-rtx3090", driver="simulated")
    workshop.on(NAME, f"apt-get -qq update; {_APT} libpython3-stdlib >/dev/null")
    offer = driver_repositories.offer("verified", [NEWEST[580]], systems=["debian13"])
    with driver_repositories.serve(workshop.host_address) as address:
        sources = driver_repositories.use_distribution(address, "trixie", alone=True) + offer.use(address, "debian13")
        install = f"rm -rf /var/lib/apt/lists/*; apt-get -qq update; {_APT} nvidia-driver-pinning-580"
        build = f"{_APT} linux-headers-$(uname -r) gcc libc6-dev dkms initramfs-tools {_DRIVER}"
        workshop.on(NAME, f"{sources}{install} >/dev/null; {build} >/dev/null")
    workshop.lab.reboot(NAME)
    workshop.on(NAME, f"mkdir /root/driver; {SAVE}; {MEND}")
    yield NAME
    workshop.lab.down([NAME])


def verify(workshop: Any, name: str = NAME, **nvidia: Any) -> tuple[Any, dict[str, Any]]:
    """The outcome of the driver's own checks, and their rows."""
    rig = {"services": []} | ({"nvidia": nvidia} if nvidia else {})
    report = workshop.directory / "report.json"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--pyargs",
        "rigwright.roles.nvidia.verify",
        "-p",
        "no:cacheprovider",
    ]
    command += ["--rigs", str(workshop.inventory(rig, name)), "--rig-report", str(report), "--tb=line"]
    outcome = workshop._finish(workshop._start(*command))
    return outcome, {row["check"]: row for row in json.loads(report.read_text())}


def failed(rows: dict[str, Any]) -> set[str]:
    return {check for check, row in rows.items() if row["outcome"] == "failed"}


def test_driver_that_is_well_passes(workshop: Any, rig: str) -> None:
    """Each check but that of NVSwitches has something to look at; CUDA itself was asked."""
    outcome, rows = verify(workshop, **WISH)
    assert failed(rows) == set(), outcome.output
    skipped = {check: row["message"] for check, row in rows.items() if row["outcome"] == "skipped"}
    assert skipped == {
        "test_fabric_is_completed": "no NVSwitch is here",
        "test_packages_are_held": "no deploy brought this driver",
    }
    assert {planted.check for planted in PLANTED.values()} == set(rows)


@pytest.mark.parametrize("name", PLANTED)
def test_planted_defect_is_found_by_the_check_for_it(workshop: Any, rig: str, name: str) -> None:
    """And by no other one that it does not concern."""
    planted = PLANTED[name]
    workshop.on(rig, HELP + planted.how)
    if planted.fault:
        workshop.lab.fault(NAME, planted.fault)
    try:
        outcome, rows = verify(workshop, **(WISH | planted.nvidia))
    finally:
        if planted.fault:
            workshop.lab.fault(NAME, "clear")
        workshop.on(rig, MEND, check=False)
    assert failed(rows) == {planted.check, *planted.also}, outcome.output
    assert re.search(planted.reason, rows[planted.check]["message"]), rows[planted.check]["message"]


def test_programs_that_crashed_are_noted_alone(workshop: Any, rig: str) -> None:
    """Xid 31 is a program's own, and one that was recovered from is over."""
    lines = [
        "NVRM: Xid (PCI:0000:17:00): 31, pid=812, name=python, Ch 00000008, intr 10000000. MMU Fault",
        "NVRM: Xid (PCI:0000:17:00): 154, GPU recovery action changed from 0x1 (GPU Reset Required) to 0x0 (None)",
    ]
    said = "".join(f"echo '[ 9.1] {line}'\\n" for line in lines)
    workshop.on(rig, f'{HELP}printf "{said}" | in_place dmesg')
    outcome, rows = verify(workshop, **WISH)
    workshop.on(rig, MEND, check=False)
    row = rows["test_kernel_log_has_no_error_of_a_gpu"]
    assert (row["outcome"], row["message"]) == ("passed", "Xid 31 since boot: a program crashed on a GPU"), (
        outcome.output
    )


def test_modules_of_a_container_are_its_hosts(workshop: Any, rig: str) -> None:
    """They are skipped by name; that programs can compute is checked all the same."""
    workshop.on(rig, f"{HELP}echo 'echo lxc' | in_place systemd-detect-virt")
    outcome, rows = verify(workshop, **WISH)
    workshop.on(rig, MEND, check=False)
    assert failed(rows) == set(), outcome.output
    why = "modules are not checked: this is a container (lxc), and they are the host's"
    skipped = {check for check, row in rows.items() if row["message"] == why}
    assert len(skipped) == 7 and "test_next_kernel_has_its_module" in skipped
    passed = {check for check, row in rows.items() if row["outcome"] == "passed"}
    assert {"test_cuda_counts_every_gpu", "test_device_files_are_there"} <= passed


def test_driver_of_windows_is_left_alone(workshop: Any, rig: str) -> None:
    """WSL: what is asked is CUDA."""
    workshop.on(rig, "mknod /dev/dxg c 1 3")
    outcome, rows = verify(workshop, branch=580)
    workshop.on(rig, MEND, check=False)
    assert failed(rows) == set(), outcome.output
    passed = {check for check, row in rows.items() if row["outcome"] == "passed"}
    assert passed == {
        "test_driver_answers_for_every_gpu",
        "test_cuda_counts_every_gpu",
        "test_branch_is_the_wished_one",
    }


def test_cuda_that_nobody_can_ask_is_said(workshop: Any, rig: str) -> None:
    """Without ctypes and without a compiler; nvidia-smi alone is no proof."""
    workshop.on(rig, f"{HELP}echo 'exit 1' | in_place python3; mv /usr/bin/cc /root/ 2>/dev/null || :")
    _, rows = verify(workshop, **WISH)
    workshop.on(rig, MEND, check=False)
    row = rows["test_cuda_counts_every_gpu"]
    assert row["outcome"] == "skipped" and row["message"].startswith("not asked: install python3"), row


def test_rig_without_gpus_is_one_line(workshop: Any) -> None:
    """And costs no command of its own: what is there is told when the rig is first looked at."""
    workshop.boot("plain")
    try:
        _, rows = verify(workshop, "plain")
    finally:
        workshop.lab.down(["plain"])
    why = "this is a container (systemd-nspawn) without a GPU of NVIDIA's: no driver is checked"
    assert [(row["outcome"], row["message"]) for row in rows.values()] == [("skipped", why)]


def test_rig_without_a_driver_wants_one_only_where_something_does(workshop: Any) -> None:
    """A display's card is nobody's business, until the inventory speaks of a driver."""
    workshop.boot("bare", hardware="2x-rtx3090", driver="simulated")
    try:
        _, unwanted = verify(workshop, "bare")
        _, wanted = verify(workshop, "bare", branch=580)
    finally:
        workshop.lab.down(["bare"])
    why = "no driver is installed, and no service here is planned on a GPU"
    assert {row["message"] for row in unwanted.values()} == {why}
    assert {"test_driver_answers_for_every_gpu", "test_module_of_this_kernel_is_on_disk"} <= failed(wanted)


def test_device_files_come_with_the_boot(workshop: Any, rig: str) -> None:
    """Without a desktop nobody else makes them, and the daemon ends for want of them."""
    unit = f"/etc/systemd/system/{DEVICES_UNIT}"
    workshop.lab.reboot(NAME)
    _, without = verify(workshop, **WISH)
    workshop.lab.exec(rig, ["sh", "-c", f"cat >{unit}"], input=template("devices.service"))
    try:
        workshop.on(rig, f"systemctl daemon-reload; systemctl enable -q {DEVICES_UNIT}")
        workshop.lab.reboot(NAME)
        workshop.on(rig, "systemctl is-system-running --wait", check=False)
        outcome, rows = verify(workshop, **WISH)
    finally:
        workshop.on(
            rig, f"systemctl disable -q {DEVICES_UNIT}; rm {unit}; systemctl daemon-reload; {MEND}", check=False
        )
    assert {"test_device_files_are_there", "test_persistence_daemon_runs"} <= failed(without)
    assert failed(rows) == set(), outcome.output


# What an engine on GPUs needs, and no more: CUDA of the lab answers it, in the walls of a real unit.
_ENGINE = (
    "import ctypes, http.server, sys; "
    "sys.exit(1) if ctypes.CDLL('libcuda.so.1').cuInit(0) else "
    "http.server.HTTPServer(('127.0.0.1', 8080), http.server.SimpleHTTPRequestHandler).serve_forever()"
)
_LATE_SECONDS = 15


def test_service_on_gpus_outlives_a_driver_that_comes_late(workshop: Any, rig: str) -> None:
    """A9: it tries again and again; device files and the daemon come with it, and a power limit comes first."""
    unit = render_text(
        '{% extends "service.j2" %}', description="late", after="network.target", mounts="", uses_gpu=True,
        devices=DEVICES_UNIT, power=POWER_UNIT, exec_start=[f'ExecStart=/usr/bin/python3 -c "{_ENGINE}"'],
        environment=[], credential="", weights=[], has_steps=True, binds=[], allow="localhost",
        locks_memory=False, cpus="", device_files=[], stop_seconds=10, has_rdma=False,
    )  # fmt: skip
    units = {
        "rigwright-late.service": unit,
        DEVICES_UNIT: template("devices.service"),
        POWER_UNIT: template("power.service"),
    }
    texts = {f"/etc/systemd/system/{name}": text for name, text in units.items()}
    texts |= {PROGRAM: role_text("nvidia", "power.sh"), SETTINGS: f"{CARD} 280 210,1700\n"}
    for path, text in texts.items():
        workshop.lab.exec(rig, ["sh", "-c", f"mkdir -p {Path(path).parent}; cat >{path}"], input=text)
    workshop.on(rig, "systemctl enable -q rigwright-late nvidia-persistenced rigwright.power")
    workshop.on(rig, f"/usr/lib/rigwright-lab/bin/driver fault driver-late {_LATE_SECONDS}")
    try:
        workshop.lab.reboot(NAME)
        healthy = "timeout 2 bash -c 'exec 3<>/dev/tcp/127.0.0.1/8080' 2>/dev/null"
        assert workshop.on(rig, f"{healthy} && echo healthy", check=False) == ""
        workshop.on(rig, f"for n in $(seq 120); do {healthy} && exit; sleep 0.5; done; exit 1")
        # Before anything else wants it: a daemon that ends for want of device files is started by nobody.
        assert workshop.on(rig, "systemctl is-active nvidia-persistenced", check=False) == "active"
        tries = int(workshop.on(rig, "systemctl show -P NRestarts rigwright-late"))
        limited = f"nvidia-smi -i {CARD} --query-gpu=power.limit --format=csv,noheader | grep -q ^280"
        workshop.on(rig, f"for n in $(seq 80); do {limited} && exit; sleep 0.5; done; exit 1")
        states = workshop.on(rig, f"systemctl is-active {' '.join(units)} nvidia-persistenced", check=False).split()
        assert tries >= 2 and states == ["active"] * 4, (tries, states)
        # As the unit of a real engine, it is not loosened.
        assert workshop.on(rig, "systemctl show -P DevicePolicy rigwright-late") == "closed"
        outcome, rows = verify(workshop, **WISH | {"power_watts": {CARD: 280, "*": 350}})
        assert failed(rows) == set(), outcome.output
    finally:
        workshop.lab.fault(NAME, "clear")
        workshop.on(
            rig, f"systemctl disable -q --now rigwright-late rigwright.power; rm -f {' '.join(texts)}", check=False
        )
        workshop.on(rig, f"systemctl daemon-reload; {MEND}", check=False)
