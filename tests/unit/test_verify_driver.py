"""What the checks of a driver go by: what the bus says, what CUDA says in Python and in C, what a wish is for."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rigwright.hardware.values import Gpu, Hardware
from rigwright.plan.driver import DriverWish, plan_power
from rigwright.roles.nvidia.verify import _flavours, _is_harmless, _watts
from rigwright.spec.rig import RigSpec
from rigwright.verify import driver
from rigwright.verify.driver import DriverUnderTest

FILES = Path(__file__).parents[1] / "lab/driver_files"
LSPCI = (
    "0000:17:00.0 VGA compatible controller [0300]: NVIDIA Corporation GA102 [GeForce RTX 3090] [10de:2204] (rev a1)\n"
    "0000:17:00.1 Audio device [0403]: NVIDIA Corporation GA102 Audio [10de:1aef] (rev a1)\n"
    "\tKernel driver in use: snd_hda_intel [0300] [10de:2204]\n"
    "05:00.0 Bridge [0680]: NVIDIA Corporation GH100 [H100 NVSwitch] [10de:22a3] (rev a1)\n"
    "0000:0a:00.0 Display controller [0380]: Advanced Micro Devices [1002:740f]\n"
    "0001:01:00.0 3D controller [0302]: NVIDIA Corporation GB202GL [RTX PRO 6000] [10de:2bb5] (rev a1)\n"
)


class Rig:
    """A rig that nothing is planned on."""

    spec = RigSpec()
    records: dict[str, str] = {}  # noqa: RUF012  # nobody writes to it


def seen(said: str) -> list[list[str]]:
    return [line.split(" ") for line in said.splitlines()]


def look(tmp_path: Path, **tools: str) -> list[list[str]]:
    """What LOOK says on this machine with other tools."""
    for name, text in tools.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    command = ["sh", "-c", driver.LOOK]
    path = {"PATH": f"{tmp_path}:/usr/bin:/bin:/sbin:/usr/sbin"}
    return seen(subprocess.run(command, env=path, capture_output=True, text=True, check=False).stdout)


def test_bus_is_read_by_class_and_vendor(tmp_path: Path) -> None:
    """GPUs and switches of NVIDIA's, not its sound cards, nor what stands below a device."""
    lspci = f"cat <<'END'\n{LSPCI}END"
    rows = look(tmp_path, lspci=lspci, **{"systemd-detect-virt": "echo none; exit 1"})
    assert [row[:4] for row in rows if row[0] == "pci"] == [
        ["pci", "0000:17:00.0", "0300", "2204"],
        ["pci", "0000:05:00.0", "0680", "22a3"],
        ["pci", "0001:01:00.0", "0302", "2bb5"],
    ]
    found = DriverUnderTest(Rig(), [row for row in rows if row[0] != "node"])
    assert (found.gpu_count, found.has_switch, found.container, found.nothing) == (2, True, "", "")
    assert found.device_ids == [0x2204, 0x2BB5]


@pytest.mark.parametrize(
    ("said", "count", "nothing"),
    [
        ("virt none", 0, "this rig has no GPU of NVIDIA's"),
        ("pci 0000:17:00.0 0300 2204 nvidia\nvirt none", 1, ""),
        ("pci 0000:17:00.0 0300 2204 vfio-pci\nvirt none", 0, "vfio-pci keeps the GPUs for virtual machines"),
        ("pci 0000:17:00.0 0300 2204 vfio-pci\npci 0000:65:00.0 0300 2204 nvidia\nvirt none", 1, ""),
        ("pci 0000:05:00.0 0680 22a3 \nvirt none", 0, "this rig has no GPU of NVIDIA's"),
        # The bus of a container is that of its host.
        ("pci 0000:17:00.0 0300 2204 nvidia\nvirt lxc", 0, "this is a container (lxc) without a GPU of NVIDIA's"),
        ("pci 0000:17:00.0 0300 2204 nvidia\nnode /dev/nvidia0\nnode /dev/nvidia1\nvirt docker", 2, ""),
        ("virt none\nwsl", 0, ""),
    ],
)
def test_gpus_are_those_that_a_rig_can_use(said: str, count: int, nothing: str) -> None:
    """Not those of its virtual machines, nor of the host that it is a container on."""
    found = DriverUnderTest(Rig(), seen(said))
    assert found.gpu_count == count and found.nothing.startswith(nothing) and bool(found.nothing) == bool(nothing)


@pytest.fixture
def libcuda(tmp_path: Path) -> Path:
    """A folder with the lab's libcuda, which finds no driver on this machine."""
    if not shutil.which("gcc"):
        pytest.skip("no gcc, which `make test` installs")
    if Path("/proc/driver/nvidia/version").exists():
        pytest.skip("this machine has a driver")
    command = ["gcc", "-shared", "-fPIC", '-DVERSION="580.95.05"', "-DCUDA=13000", "-Wl,-soname,libcuda.so.1"]
    subprocess.run([*command, "-o", str(tmp_path / "libcuda.so.1"), str(FILES / "driver.c")], check=True)
    return tmp_path


@pytest.mark.parametrize("asks", ["python3", "cc", "nobody"])
def test_cuda_is_asked_in_python_or_in_c(libcuda: Path, asks: str) -> None:
    """100: no device. Without both nobody can ask, which is no answer of CUDA's."""
    tools = libcuda / "bin"
    tools.mkdir()
    for name in ("timeout", "env", "mktemp", "rm", "as", "ld", "collect2", "gcc", *({asks} & {"cc"})):
        if found := shutil.which(name):
            (tools / name).symlink_to(found)
    if asks == "python3":
        (tools / asks).write_text(f'#!/bin/sh\nexec {Path(sys.executable).resolve()} "$@"\n')
        (tools / asks).chmod(0o755)
    text = driver._CUDA % (shlex.quote(driver._PYTHON), shlex.quote(driver._C))
    environment = {"PATH": str(tools), "LD_LIBRARY_PATH": str(libcuda), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(["/bin/sh", "-c", text], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == ("nobody\n" if asks == "nobody" else "cuda 100 -1\n"), done


UUIDS = ("GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", "GPU-1b2c3d4e-0000-4106-c12f-20bd9faed9f6")
CARDS = (
    (UUIDS[0], "00000000:01:00.0", "NVIDIA GeForce RTX 3090"),
    (UUIDS[1], "00000000:41:00.0", "NVIDIA GeForce RTX 3090 Ti"),
)


@pytest.mark.parametrize(
    "wished",
    [
        280,
        {"*": 280},
        {UUIDS[0]: 300, "*": 250},
        {UUIDS[1][:14].lower(): 300},
        {"01:00.0": 300},
        {"0000:41:00.0": 300, "RTX 3090": 250},
        {"3090": 250, "rtx 3090 ti": 300},
        {UUIDS[0]: None, "*": 250},
    ],
)
def test_check_takes_a_wish_for_the_gpus_that_the_plan_takes_it_for(wished: Any) -> None:
    """Two ways of reading it that share nothing."""
    gpus = [
        Gpu(index=at, uuid=uuid, pci_address=place[4:], vendor="NVIDIA", name=name, state="ok")
        for at, (uuid, place, name) in enumerate(CARDS)
    ]
    pairs = tuple(wished.items()) if isinstance(wished, dict) else (("*", wished),)
    planned = plan_power(Hardware(gpus=tuple(gpus), vendor="NVIDIA"), DriverWish(power_watts=pairs))
    by_uuid = {one.uuid: one.watts for one in planned.settings}
    assert [_watts(wished, *card) for card in CARDS] == [by_uuid.get(card[0]) for card in CARDS]


def test_flavours_go_by_the_id() -> None:
    """GTX 1080 Ti, V100, RTX 2080 Ti, A100, L40S, H100, GB10, RTX 5090."""
    ids = (0x1B06, 0x1DB6, 0x1E04, 0x20B0, 0x26B9, 0x2330, 0x2E12, 0x2B85)
    own = [" ".join(_flavours(one)) for one in ids]
    assert own == ["proprietary"] * 2 + ["open proprietary"] * 4 + ["open"] * 2


@pytest.mark.parametrize(
    ("line", "is_harmless"),
    [
        ("NVRM: Xid (PCI:0000:17:00): 79, pid='<unknown>', GPU has fallen off the bus.", False),
        ("NVRM: Xid (PCI:0000:17:00): 31, pid=812, name=python, Ch 00000008", True),
        ("NVRM: Xid (PCI:0000:17:00): 13, Graphics SM Warp Exception", True),
        ("NVRM: Xid (PCI:0000:17:00): 43, pid=1, Ch 0000", True),
        ("NVRM: Xid (PCI:0000:17:00): 45, pid=1, Ch 0000", True),
        ("NVRM: Xid (PCI:0000:17:00): 48, pid=1, DBE", False),
        ("NVRM: Xid (PCI:0000:17:00): 431, of a number that begins like another", False),
        (
            "NVRM: Xid (PCI:0000:17:00): 154, recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)",
            False,
        ),
        (
            "NVRM: Xid (PCI:0000:17:00): 154, recovery action changed from 0x1 (GPU Reset Required) to 0x0 (None)",
            True,
        ),
        ("nvidia-nvswitch0: SXid (PCI:0000:05:00.0): 12028, Non-fatal, Link 32 egress", True),
        ("nvidia-nvswitch0: SXid (PCI:0000:05:00.0): 20034, Fatal, Link 30 LTSSM Fault Up", False),
        ("NVRM: GPU 0000:17:00.0: RmInitAdapter failed! (0x22:0x56:762)", False),
    ],
)
def test_kernel_log_tells_programs_from_machines(line: str, is_harmless: bool) -> None:
    """Source: NVIDIA, "XID Errors": 13, 31, 43 and 45 come from programs."""
    assert _is_harmless(f"   1 {line}") is is_harmless
