"""GPUs on NVSwitches: which rigs have them, what has to run there, and what is wrong where it does not."""

from __future__ import annotations

import pytest

from rigwright.hardware.capture import read_files
from rigwright.plan.driver import DriverPlan, plan_driver

SYSTEM = {
    "os-release": 'ID=ubuntu\nVERSION_ID="22.04"\n',
    "uname.txt": "Linux hgx 5.15.0-161-generic #171-Ubuntu SMP x86_64 GNU/Linux\n",
}
DRIVER = {
    "proc-driver-nvidia-version.txt": "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.126.09  Release\n",
    "dpkg.txt": "ii  linux-modules-nvidia-580-server-open-5.15.0-161-generic  5.15.0-161.171  amd64  x\n"
    "ii  libnvidia-compute-580-server:amd64  580.126.09-0ubuntu0.22.04.1  amd64  x\n"
    "ii  nvidia-fabricmanager  580.126.09-0ubuntu0.22.04.1  amd64  x\n",
}
SWITCH = "0000:07:00.0 Bridge [0680]: NVIDIA Corporation GH100 [H100 NVSwitch] [10de:22a3] (rev a1)\n"


def cards(device: str, count: int = 8) -> str:
    line = "0000:{:02x}:00.0 3D controller [0302]: NVIDIA Corporation {} (rev a1)\n"
    return "".join(line.format(0x10 + number, device) for number in range(count))


def planned(device: str, count: int = 8, more: str = "", **files: str) -> DriverPlan:
    texts = {name.replace("_", "-") + ".txt": text for name, text in files.items()}
    return plan_driver(read_files({**SYSTEM, "lspci.txt": cards(device, count) + more, **texts}))


@pytest.mark.parametrize(
    ("device", "count", "is_managed"),
    [
        ("GB100 [B200] [10de:2901]", 8, True),
        ("Device [10de:3182]", 8, True),
        ("GB100 [B200] [10de:2901]", 1, False),  # a guest with one of them
        ("GB100 [GB200] [10de:2941]", 4, False),  # its switches are in other machines
        ("GB202GL [RTX PRO 6000 Blackwell Server Edition] [10de:2bb5]", 8, False),
    ],
)
def test_blank_machine_on_nvlink5_gets_its_managers(device, count, is_managed):
    """Its switches are no devices of the PCI bus: the board is told by its GPUs."""
    plan = planned(device, count, lsmod="Module                  Size  Used by\next4                 1187840  1\n")
    found = [step.packages for step in plan.steps if step.kind == "fabric"]
    assert [("nvidia-fabricmanager", "nvlsm", "infiniband-diags")] * is_managed == found


@pytest.mark.parametrize(
    ("device", "more", "nvlsm", "state", "code"),
    [
        ("GH100 [H100 SXM5 80GB] [10de:2330]", SWITCH, "", "failed", "fabric_not_ready"),
        ("GH100 [H100 SXM5 80GB] [10de:2330]", SWITCH, "", "active", None),
        ("GB100 [B200] [10de:2901]", "", "", "failed", "fabric_needs_umad"),
        ("GB100 [B200] [10de:2901]", "", "ii  nvlsm  2025.10.1-1  amd64  x\n", "failed", "fabric_not_ready"),
        ("GB100 [B200] [10de:2901]", "", "", "active", None),
        ("GA102 [GeForce RTX 3090] [10de:2204]", "", "", "failed", "fabric_manager_not_needed"),
    ],
)
def test_fabric_manager_that_failed_is_explained(device, more, nvlsm, state, code):
    """By what it needs on that board; without a switch its failure harms nothing."""
    units = f"Id=nvidia-fabricmanager.service\nLoadState=loaded\nActiveState={state}\n"
    files = {**DRIVER, "dpkg.txt": DRIVER["dpkg.txt"] + nvlsm, "units.txt": units}
    plan = planned(device, more=more, **{name.removesuffix(".txt"): text for name, text in files.items()})
    assert [one.code for one in plan.problems] == ([code] if code else [])
    assert plan.verdict == ("repair" if code in ("fabric_not_ready", "fabric_needs_umad") else "ok")


@pytest.mark.parametrize(("cuda", "verdict"), [("cuInit(0) = 0\n", "ok"), ("cuInit(0) = 802\n", "repair")])
def test_guest_whose_host_manages_the_fabric_wants_no_manager(cuda, verdict):
    """Eight B200 in a virtual machine without InfiniBand: CUDA itself says whether they are set up."""
    files = {name.removesuffix(".txt"): text for name, text in DRIVER.items()}
    files["dpkg"] = "".join(line for line in files["dpkg"].splitlines(keepends=True) if "fabric" not in line)
    files["infiniband"] = "ls: cannot access '/dev/infiniband': No such file or directory\n"
    assert planned("GB100 [B200] [10de:2901]", cuinit=cuda, **files).verdict == verdict
