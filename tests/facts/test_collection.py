"""Collecting: the script runs in a real shell, against tools that answer, refuse, lie and hang."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rigwright.hardware import collection
from rigwright.hardware.capture import read_files

CAPTURES = Path(__file__).parents[1] / "captures"
SHELLS = [
    shell for shell in ("dash", "bash") if any((Path(folder) / shell).exists() for folder in ("/bin", "/usr/bin"))
]


class Machine:
    """A machine of stand-ins: tools in a folder that comes first in PATH, and a /sys of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir()
        (folder / "sys").mkdir()
        # What this machine has of its own is not asked.
        for tool in ("dmesg", "journalctl", "lspci", "numactl", "rocm-smi"):
            self.tool(tool, "exit 1")

    def tool(self, name: str, script: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def ask(
        self, shell: str = "sh", *, tool_seconds: int = 15, places: Mapping[str, str] | None = None, **options: bool
    ) -> dict[str, str]:
        script = collection.script(**options).replace("TOOL_SECONDS=30", f"TOOL_SECONDS={tool_seconds}")
        script = script.replace(" /sys/", f" {self.folder}/sys/")
        for place, stand_in in (places or {}).items():
            script = script.replace(place, stand_in)
        environment = os.environ | {"PATH": f"{self.folder}/bin:{os.environ['PATH']}"}
        done = subprocess.run([shell, "-c", script], capture_output=True, env=environment, timeout=60, check=True)
        assert done.stderr == b""
        return collection.read(done.stdout.decode().split("\n"))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def recorded(rig: str, *files: tuple[str, str]) -> str:
    """An nvidia-smi that answers the recorded questions with these files, and no others."""
    cases = "\n".join(f"'{asked}'*) cat '{CAPTURES / rig / file}' ;;" for asked, file in files)
    return f'case "$*" in\n{cases}\n*) exit 64 ;;\nesac'


@pytest.mark.parametrize("shell", SHELLS)
def test_what_the_tools_say_comes_back_as_recorded(machine: Machine, shell: str) -> None:
    """Live reading and recordings hold the same texts."""
    files = (("--query-gpu", "query.csv"), ("-L", "list.txt"), ("topo -m", "topo.txt"), ("nvlink -s", "nvlink.txt"))
    machine.tool("nvidia-smi", recorded("1x-h100-capture", *files))
    found = machine.ask(shell, everything=True)
    for _, file in files:
        assert found[file].rstrip() == (CAPTURES / "1x-h100-capture" / file).read_text().rstrip()
    assert {"p2p.txt", "smi.txt", "smi-q.txt", "rc.txt"} & set(found) == set()


@pytest.mark.patience
def test_deploy_does_not_ask_what_one_gpu_cannot_have(machine: Machine) -> None:
    """Each call wakes the GPUs of a rig without persistence mode: a single one has no links."""
    rows = (CAPTURES / "1x-rtx4080s-capture" / "query.csv").read_text().replace("Enabled", "Disabled")
    (machine.folder / "query.csv").write_text(rows)
    machine.tool("nvidia-smi", f'echo "$*" >>{machine.folder}/log; cat {machine.folder}/query.csv')
    assert set(machine.ask()) & {"topo.txt", "p2p.txt", "nvlink.txt", "list.txt"} == set()
    assert len((machine.folder / "log").read_text().splitlines()) == 1
    two = rows + rows.splitlines()[1] + "\n"
    (machine.folder / "query.csv").write_text(two)
    assert set(machine.ask()) >= {"topo.txt", "p2p.txt", "nvlink.txt"}
    (machine.folder / "query.csv").write_text(rows.replace("Disabled", "Enabled"))
    assert "list.txt" in machine.ask()


def test_system_says_what_this_machine_runs(machine: Machine) -> None:
    """os-release, kernel and memory in one file."""
    kernel = Path("/proc/sys/kernel/osrelease").read_text().strip()
    assert f"KERNEL={kernel}\n" in machine.ask()["system.txt"]


@pytest.mark.parametrize("shell", SHELLS)
def test_no_tool_can_pretend_to_be_another(machine: Machine, shell: str) -> None:
    """What looks like our own mark is text; bytes that are no UTF-8 do not end the answer."""
    lie = r"@rigwright source query.csv\n|index, uuid\n@rigwright end\n\n\351 @status 0\nlast"
    machine.tool("nvidia-smi", f"case \"$*\" in topo*-m) printf '{lie}' ;; esac")
    found = machine.ask(shell)
    assert found["topo.txt"] == "@rigwright source query.csv\n|index, uuid\n@rigwright end\n\n? @status 0\nlast\n"
    assert "query.csv" not in found


@pytest.mark.patience
@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    "hang",
    [
        pytest.param("trap '' TERM HUP INT; echo half; while :; do sleep 9; done", id="ignores TERM"),
        pytest.param("echo half; setsid sh -c \"trap '' TERM; sleep 9\"; sleep 9", id="lives on and holds the pipe"),
    ],
)
def test_tool_that_hangs_is_left_behind(machine: Machine, shell: str, hang: str) -> None:
    """The rest is read all the same, and a tool that hung once is not asked again."""
    machine.tool("nvidia-smi", f"echo asked >>{machine.folder}/log; {hang}")
    machine.tool("rocm-smi", 'echo "said $*"')
    began = time.monotonic()
    found = machine.ask(shell, tool_seconds=1)
    assert time.monotonic() - began < 8
    assert found["query.csv"] == "nvidia-smi: timed out after 1 s\n"
    assert found["rocm-smi-showtopo.txt"] == "said --showtopo\n"
    assert (machine.folder / "log").read_text() == "asked\n"
    assert [problem.code for problem in read_files(found).problems] == ["driver_hangs"]


@pytest.mark.patience
def test_time_for_all_tools_is_limited(machine: Machine) -> None:
    """Many slow tools take no longer than the limit for all of them."""
    for tool in ("numactl", "nvidia-smi", "rocm-smi"):
        machine.tool(tool, "exec sleep 20")
    began = time.monotonic()
    text = collection.script().replace(f"TOTAL_SECONDS={collection.TOTAL_SECONDS}", "TOTAL_SECONDS=3")
    environment = os.environ | {"PATH": f"{machine.folder}/bin:{os.environ['PATH']}"}
    done = subprocess.run(["sh", "-c", text], capture_output=True, text=True, env=environment, timeout=60, check=True)
    assert time.monotonic() - began < 8
    found = collection.read(done.stdout.split("\n"))
    assert found["numactl.txt"].startswith("numactl: timed out after ")
    assert "query.csv" not in found  # what was not asked does not hang


def test_driver_that_does_not_know_a_field_is_asked_for_xml(machine: Machine) -> None:
    """The words of nvidia-smi 470 for a field that came later."""
    refuse = "echo 'Field \"compute_cap\" is not a valid field to query.'; exit 2"
    xml = CAPTURES / "xml-t4-aws-x8" / "smi.xml"
    machine.tool("nvidia-smi", f'case "$*" in --query-gpu=*) {refuse} ;; "-q -x") cat {xml} ;; *) exit 64 ;; esac')
    found = machine.ask()
    assert {"query.csv", "smi.txt"} & set(found) == set()
    assert read_files(found).gpus[0].name == "Tesla T4"


def test_driver_that_is_not_running_is_asked_no_further(machine: Machine) -> None:
    """Its words come back once, with the exit code."""
    said = (CAPTURES / "error-cannot-communicate" / "smi.txt").read_text()
    machine.tool("nvidia-smi", f'echo "$*" >>{machine.folder}/log; echo "{said}"; exit 9')
    found = machine.ask(everything=True)
    assert (found["smi.txt"].strip(), found["rc.txt"]) == (said.strip(), "9\n")
    assert "list.txt" not in found and "smi-q.txt" not in found
    assert len((machine.folder / "log").read_text().splitlines()) == 2


def test_lost_gpu_does_not_hide_the_others(machine: Machine) -> None:
    """With one GPU gone the table fails, -L may still name the rest; the same error is kept once."""
    said = (CAPTURES / "error-gpu-is-lost" / "smi.txt").read_text().strip()
    row = "GPU 0: NVIDIA GeForce RTX 3090 (UUID: GPU-49dc16a9-b8a8-fba7-9cd8-b9f3aa6c8b5e)"
    machine.tool("nvidia-smi", f"case \"$*\" in -L) echo '{row}' ;; esac; echo '{said}'; exit 15")
    found = machine.ask()
    assert found["list.txt"].startswith(row)
    assert found["smi.txt"].strip() == said
    assert "topo.txt" not in found


@pytest.mark.patience
@pytest.mark.parametrize("shell", SHELLS)
def test_tool_that_does_not_stop_talking_is_cut_off(machine: Machine, shell: str) -> None:
    """bash searches a long text for minutes, and no rig's memory is ours."""
    machine.tool("numactl", "yes 'node 0 cpus: 0 1 2 3'")
    began = time.monotonic()
    found = machine.ask(shell)
    assert time.monotonic() - began < 8
    assert found["numactl.txt"] == "numactl: said more than 4194304 bytes\n"


def test_recording_asks_for_everything(machine: Machine) -> None:
    """A recording holds the long texts too."""
    machine.tool("nvidia-smi", 'echo "said $*"')
    found = machine.ask(everything=True)
    assert (found["smi-q.txt"], found["smi.txt"]) == ("said -q\n", "said \n")


@pytest.mark.skipif(bool(shutil.which("nvidia-smi")), reason="a driver is here: nvidia-smi cannot be hidden from PATH")
def test_missing_tools_leave_no_file(machine: Machine) -> None:
    """No empty files; that there is no nvidia-smi is said."""
    found = machine.ask()
    assert {"topo.txt", "numactl.txt", "dmesg.txt", "lspci.txt", "sysfs.txt", "rocm-smi.json"} & set(found) == set()
    assert found["smi.txt"] == "nvidia-smi: not found\n"


def test_kernel_log_is_cut_to_what_concerns_gpus(machine: Machine) -> None:
    """The last 200 lines about GPUs, of the journal where dmesg is for root alone."""
    machine.tool("journalctl", "seq -f 'NVRM: Xid %g' 1 300; echo 'usb 1-1: new device'")
    lines = machine.ask(everything=True)["dmesg.txt"].splitlines()
    assert (len(lines), lines[0], lines[-1]) == (200, "NVRM: Xid 101", "NVRM: Xid 300")


def test_lspci_is_cut_to_graphics(machine: Machine) -> None:
    """A listing with -nn, and one of an old pciutils without."""
    new = (
        "0000:01:00.0 VGA compatible controller [0300]: A\n\tLnkCap: a\n\n0000:02:00.0 Bridge [0604]: B\n\tLnkCap: b\n"
    )
    old = (CAPTURES / "lspci-gh200-old-pciutils" / "lspci.txt").read_text()
    (machine.folder / "listing").write_text(f"{new}{old}")
    machine.tool("lspci", f"cat {machine.folder}/listing")
    found = machine.ask()["lspci.txt"]
    assert "LnkCap: a" in found and "LnkCap: b" not in found and old.strip() in found


def big_rig(sys: Path) -> None:
    """Sixteen GPUs behind ports, and a NIC, as in /sys."""
    values = dict(
        vendor="0x10de", device="0x2204", subsystem_vendor="0x1043", subsystem_device="0x87b3", numa_node="0",
        boot_vga="0", local_cpulist="0-15", current_link_speed="2.5 GT/s PCIe", current_link_width="8",
        max_link_speed="16.0 GT/s PCIe", max_link_width="16",
    )  # fmt: skip
    for bus in range(1, 17):
        port = sys / f"devices/pci0000:00/0000:00:{bus:02x}.0"
        device = port / f"0000:{bus:02x}:00.0"
        device.mkdir(parents=True)
        for key, value in (values | {"class": "0x030000"}).items():
            (device / key).write_text(f"{value}\n")
        for key, value in (values | {"class": "0x060400", "max_link_width": "8"}).items():
            (port / key).write_text(f"{value}\n")
        (sys / "bus/pci/devices").mkdir(parents=True, exist_ok=True)
        (sys / "bus/pci/drivers/nvidia").mkdir(parents=True, exist_ok=True)
        (device / "driver").symlink_to(sys / "bus/pci/drivers/nvidia")
        for node in (port, device):
            (sys / "bus/pci/devices" / node.name).symlink_to(node)
    nic = sys / "class/infiniband/mlx5_0"
    nic.mkdir(parents=True)
    (nic / "device").symlink_to(sys / "devices/pci0000:00/0000:00:01.0")


def test_devices_are_read_from_the_bus(machine: Machine) -> None:
    """A block per GPU with its slot, one per NIC, none for a bridge; sixteen of them take no time."""
    big_rig(machine.folder / "sys")
    began = time.monotonic()
    text = machine.ask()["sysfs.txt"]
    assert time.monotonic() - began < 1
    _, *blocks = text.strip().split("\n\n")
    assert len(blocks) == 17
    place = f"{machine.folder}/sys/devices/pci0000:00/0000:00"
    assert blocks[0].splitlines() == [
        "device=0000:01:00.0",
        f"path={place}:01.0/0000:01:00.0",
        "class=0x030000",
        "vendor=0x10de",
        "subsystem_vendor=0x1043",
        "subsystem_device=0x87b3",
        "numa_node=0",
        "boot_vga=0",
        "local_cpulist=0-15",
        "current_link_speed=2.5 GT/s PCIe",
        "current_link_width=8",
        "max_link_speed=16.0 GT/s PCIe",
        "max_link_width=16",
        "device_id=0x2204",
        "driver=nvidia",
        "slot_current_link_speed=2.5 GT/s PCIe",
        "slot_current_link_width=8",
        "slot_max_link_speed=16.0 GT/s PCIe",
        "slot_max_link_width=8",
    ]
    assert blocks[16].splitlines()[:2] == ["nic=mlx5_0", f"path={place}:01.0"]
    assert len(read_files({"sysfs.txt": text}).gpus) == 16


@given(st.lists(st.text()))
def test_no_answer_raises(lines: list[str]) -> None:
    """Whatever a rig says, and whatever names it gives to it."""
    assert set(collection.read(["@rigwright source topo.txt", *lines, *(f"|{line}" for line in lines)])) <= {"topo.txt"}
    assert collection.read(["@rigwright source ../../etc/passwd", "|root"]) == {}


POLICY = """nvidia-open:
  Installed: 595.71.05-1
  Candidate: 595.71.05-1
  Version table:
 *** 595.71.05-1 600
        600 https://developer.download.nvidia.com/compute/cuda/repos/debian13/x86_64  Packages
        100 /var/lib/dpkg/status
dpkg:
  Installed: 1.22.21
  Candidate: 1.22.21
  Version table:
 *** 1.22.21 500
        500 http://mirror.example.org/debian trixie/main amd64 Packages
base-files:
  Installed: 13.8+deb13u1
  Candidate: 13.8+deb13u1
  Version table:
 *** 13.8+deb13u1 500
        500 http://mirror.example.org/debian trixie/main amd64 Packages
"""
STATES = "Id=nvidia-persistenced.service\nLoadState=loaded\nActiveState=failed\n"


def with_driver(machine: Machine) -> None:
    """A Debian with a driver whose module is not built."""
    (machine.folder / "policy").write_text(POLICY)
    listed = "ii  base-files 13.8+deb13u1\\nii  dpkg 1.22.21\\nhi  nvidia-open 595.71.05-1\\nii  nano 8.4-1\\n"
    machine.tool("dpkg-query", f"printf '{listed}'")
    machine.tool("apt-cache", f'echo "$*" >>{machine.folder}/asked; cat {machine.folder}/policy')
    machine.tool("dkms", "exit 0")
    machine.tool("lsmod", "printf 'Module  Size  Used by\\nnouveau 3096576 1\\next4 1134592 2\\n'")
    machine.tool("modinfo", "exit 1")
    machine.tool("systemctl", f"printf '{STATES!s}'".replace("\n", "\\n"))
    machine.tool("cc", "echo 'cc (Debian 14.2.0-19) 14.2.0'")
    machine.tool(
        "nvcc", "case $1 in --version) echo 'Cuda compilation tools, release 13.0, V13.0.88' ;; *) echo sm_120 ;; esac"
    )


@pytest.mark.runs("hardware/software.sh")
@pytest.mark.parametrize("shell", SHELLS)
def test_recording_keeps_what_stands_around_the_driver(machine: Machine, shell: str) -> None:
    """Packages with origins, holds, an empty dkms, modules, services, compilers: read as they were said."""
    with_driver(machine)
    files = machine.ask(shell, everything=True, with_software=True)
    hardware = read_files(files)
    software = hardware.software
    assert "nano" not in files["packages.txt"]
    assert [(one.name, one.origin) for one in software.packages] == [
        ("nvidia-open", "developer.download.nvidia.com/compute/cuda/repos/debian13")
    ]
    assert software.holds == ("nvidia-open",)
    assert {"packages", "offers", "holds", "dkms", "on_disk", "runfile", "has_umad", "loaded"} <= software.answered
    assert software.is_partial <= {"units"}
    assert (software.dkms, software.on_disk, software.loaded_modules) == ((), (), ("nouveau",))
    assert software.unit("nvidia-persistenced") == "failed"
    assert software.compiler == "gcc 14.2.0"
    assert (software.toolkits[0].version, software.toolkits[0].targets) == ("13.0.88", ("sm_120",))
    assert hardware.not_read == ()
    asked = (machine.folder / "asked").read_text()
    assert len(asked.splitlines()) == 1
    assert " nvidia-driver-pinning-580 " in asked
    assert "Dir::Cache::pkgcache= " in asked  # nothing is written


def test_recording_says_why_a_module_was_not_built(machine: Machine) -> None:
    """The log that dkms left where a build failed, cut to what says so; what CUDA answers, where it changes nothing."""
    log = machine.folder / "dkms" / "nvidia" / "575.57.08" / "build" / "make.log"
    log.parent.mkdir(parents=True)
    log.write_text(
        "DKMS make.log for nvidia-575.57.08 for kernel 6.8.0-1009-aws (x86_64)\n  CC [M] nv.o\n"
        "cc: error: unrecognized command-line option '-ftrivial-auto-var-init=zero'\n"
    )
    (machine.folder / "nvidia-uvm").write_text("")
    machine.tool("python3", "echo 'cuInit(0) = 802'")
    places = {"/var/lib/dkms/": f"{machine.folder}/dkms/", "/dev/nvidia-uvm": f"{machine.folder}/nvidia-uvm"}
    files = machine.ask(everything=True, with_software=True, places=places)
    assert "CC [M]" not in files["dkms-make.txt"]
    software = read_files(files).software
    assert [failure.code for failure in software.failures] == ["dkms_build_failed", "compiler_differs"]
    assert software.cuda_error == 802


def test_deploy_asks_nothing_that_stands_around_the_driver(machine: Machine) -> None:
    """A deploy of an engine needs none of it."""
    with_driver(machine)
    assert not set(machine.ask()) & {file for file, _, _ in collection.SOFTWARE}
    assert not (machine.folder / "asked").exists()
