"""Kernel modules and kernels: which one boots next, whose module is whose, and what the kernel's log says of them."""

from __future__ import annotations

import pytest

from rigwright.hardware.capture import read_files
from rigwright.hardware.software import KernelModule
from rigwright.plan.driver import DriverPlan, plan_driver
from rigwright.plan.driver.machine import Machine

EL9 = "5.14.0-570.23.1.el9_6.x86_64"
ROCKY = {
    "os-release": 'ID="rocky"\nVERSION_ID="9.6"\n',
    "uname.txt": f"Linux rig {EL9} #1 SMP PREEMPT_DYNAMIC x86_64 GNU/Linux\n",
    "lspci.txt": "01:00.0 3D controller [0302]: NVIDIA Corporation AD102GL [L40S] [10de:26b9] (rev a1)\n",
    "lsmod.txt": "Module                  Size  Used by\nxfs                  2478080  2\n",
    "modinfo.txt": "",
    "dkms-status.txt": "",
    "secure-boot.txt": "SecureBoot disabled\n",
}
SIGNED = "kmod-nvidia-580.95.05-5.14.0-570.12.1"
PACKAGES = (
    f"{SIGNED}-580.95.05-3.el9_6.x86_64\nnvidia-driver-cuda-580.95.05-1.el9.x86_64\nfilesystem-3.16-5.el9.x86_64\n"
)
UBUNTU = {
    "os-release": "ID=ubuntu\nVERSION_ID=24.04\n",
    "uname.txt": "Linux rig 6.8.0-107-generic #1 SMP x86_64 GNU/Linux\n",
    "lspci.txt": "01:00.0 VGA compatible controller [0300]: NVIDIA Corporation GA102 [10de:2204] (rev a1)\n",
    "lsmod.txt": "Module                  Size  Used by\next4                 1187840  1\n",
    "packages.txt": "ii  base-files 13ubuntu10\nii  dpkg 1.22.6\nii  nvidia-dkms-580-server-open 580.95.05-0ubuntu1\n"
    "ii  libnvidia-compute-580-server 580.95.05-0ubuntu1\n",
    "dkms-status.txt": "nvidia-srv/580.95.05, 6.8.0-107-generic, x86_64: installed\n",
}


def planned(files: dict[str, str]) -> DriverPlan:
    return plan_driver(read_files(files))


def codes(files: dict[str, str]) -> list[str]:
    return [problem.code for problem in planned(files).problems]


def offers(*rows: str) -> str:
    return "Available Packages\n" + "".join(f"{row}  cuda-rhel9-x86_64\n" for row in rows)


@pytest.mark.parametrize(
    ("listed", "following"),
    [
        ("6.8.0-107-generic\n6.8.0-90-generic\n", "6.8.0-107-generic"),
        ("5.14.0-570.23.1.el9_6.x86_64\n5.14.0-687.9.1.el9_8.x86_64\n", "5.14.0-687.9.1.el9_8.x86_64"),
        ("6.12.57+deb13-amd64\n6.12.6-amd64\n", "6.12.57+deb13-amd64"),
    ],
)
def test_next_kernel_is_the_newest_build(listed: str, following: str) -> None:
    """A folder lists kernels by their letters, and builds of one version differ behind it."""
    machine = Machine(read_files({"os-release": UBUNTU["os-release"], "lib-modules.txt": listed}))
    assert following == machine.next_kernel


@pytest.mark.parametrize(
    ("magic", "kernel"),
    [
        ("6.17.7-300.fc43.x86_64 SMP preempt mod_unload ", "6.17.7-300.fc43.x86_64"),
        ("6.17.7-300.fc43.x86_64 SMP preempt mod_unload modversions ", "6.17.10-300.fc43.x86_64"),
        ("", "6.17.10-300.fc43.x86_64"),
    ],
)
def test_module_is_for_the_kernel_that_takes_it(magic: str, kernel: str) -> None:
    """In weak-updates lie modules of another kernel, which only one whose symbols have versions takes."""
    file = "/lib/modules/6.17.10-300.fc43.x86_64/weak-updates/nvidia.ko.xz"
    text = f"filename:       {file}\nversion:        580.105.08\nlicense:        NVIDIA\n"
    text += f"vermagic:       {magic}\n" if magic else ""
    assert (KernelModule("580.105.08", "proprietary", kernel),) == read_files({"modinfo.txt": text}).software.on_disk


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("nvidia: version magic '6.8.0-90-generic SMP mod_unload ' should be '6.8.0-107-generic SMP mod_unload '",
         "module_of_other_kernel"),
        ("nvidia: disagrees about version of symbol module_layout", "module_of_other_kernel"),
        ("nvidia_uvm: disagrees about version of symbol __folio_put", "module_of_other_kernel"),
        ("nvidia: Unknown symbol i2c_get_adapter (err -22)", "module_of_other_kernel"),
        ("nvidia_modeset: Unknown symbol acpi_video_register_backlight (err -2)", "module_symbol_missing"),
        ("nvidia_drm: Unknown symbol drm_client_setup (err 0)", "module_symbol_missing"),
        ("nvidia_drm: Unknown symbol nvKmsKapiGetFunctionsTable (err -2)", None),
        ("nvidia: loading out-of-tree module taints kernel.", None),
    ],
)  # fmt: skip
def test_kernel_says_why_it_takes_no_module(said: str, code: str | None) -> None:
    """By its sentence, whether other lines stand around it; a module that wants another of NVIDIA's is no reason."""
    found = [problem.code for problem in read_files({"dmesg.txt": f"[    9.880431] {said}\n"}).problems]
    assert ([code] if code else []) == found


def test_unloaded_modules_are_mended_and_loaded_ones_left() -> None:
    """What only a screen lacks stops no CUDA: where nvidia is loaded, the log of the others is no defect."""
    log = {"dmesg.txt": "[    9.1] nvidia_drm: Unknown symbol drm_client_setup (err -2)\n"}
    plan = planned(UBUNTU | log)
    assert (plan.verdict, plan.problems[0].code) == ("repair", "module_symbol_missing")
    assert plan.steps[0].packages == ("linux-modules-extra-6.8.0-107-generic",)
    module = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build\n"
    assert codes(UBUNTU | log | {"proc-driver-nvidia-version.txt": module, "lsmod.txt": ""}) == []


def test_module_of_another_build_is_compiled_again() -> None:
    """dkms says installed, and the kernel does not take it."""
    plan = planned(UBUNTU | {"dmesg.txt": "[ 9.1] nvidia: disagrees about version of symbol module_layout\n"})
    assert (plan.verdict, [step.kind for step in plan.steps]) == ("repair", ["dkms", "load", "verify"])


@pytest.mark.parametrize(
    ("offered", "verdict", "packages"),
    [
        ([f"{SIGNED.replace('570.12.1', '570.23.1')}.x86_64  3:580.95.05-3.el9_6"], "repair",
         (SIGNED.replace("570.12.1", "570.23.1"),)),
        ([f"{SIGNED}.x86_64  3:580.95.05-3.el9_6"], "install", ()),
        ([], "repair", (SIGNED,)),
    ],
    ids=["its own", "none", "nobody asked"],
)  # fmt: skip
def test_modules_that_came_compiled_follow_the_kernel(offered, verdict, packages) -> None:
    """That of the kernel where it is offered; without one, modules that dkms compiles."""
    lists = {"dnf-list.txt": offers(*offered)} if offered else {}
    plan = planned(ROCKY | {"packages.txt": PACKAGES} | lists)
    assert verdict == plan.verdict
    assert "modules_of_other_kernel" in [problem.code for problem in plan.problems]
    if packages:
        assert packages == next(step for step in plan.steps if step.kind == "install").packages
    else:
        assert "kmod-nvidia-latest-dkms" in plan.driver.packages


def test_signed_modules_give_way_to_none_that_the_firmware_refuses() -> None:
    """With Secure Boot, dkms is no way out: refused, with both reasons."""
    lists = {"dnf-list.txt": offers(f"{SIGNED}.x86_64  3:580.95.05-3.el9_6")}
    plan = planned(ROCKY | {"packages.txt": PACKAGES, "secure-boot.txt": "SecureBoot enabled\n"} | lists)
    assert ("refuse", {"secure_boot", "modules_of_other_kernel"}) == (plan.verdict, {one.code for one in plan.problems})


@pytest.mark.parametrize("module", ["nvidia-580.95.05", "nvidia/580.95.05"])
def test_version_that_does_not_compile_is_not_tried_again(module: str) -> None:
    """As dkms 3.0 and 3.2 head their log: a newer version of the same branch is, where it is offered."""
    log = (
        f"DKMS make.log for {module} for kernel 6.8.0-107-generic (x86_64)\n/x/nv-drm.c:9:1: error: too few arguments\n"
    )
    files = UBUNTU | {"dkms-status.txt": "nvidia/580.95.05: added\n", "dkms-make.txt": log}
    plan = planned(files)
    assert "dkms_build_failed" in [problem.code for problem in plan.problems]
    assert "linux-modules-nvidia-580-server-open-generic" in plan.driver.packages
    assert "dkms_not_built" not in [problem.code for problem in plan.problems]


def test_power_cable_is_told_by_xid_too() -> None:
    """Xid 54 is the same, of cards for servers; that the card does not start is no second finding."""
    log = "[1.0] NVRM: Xid (PCI:0000:02:00): 54, Auxiliary power is not connected to the GPU board.\n"
    log += "[1.1] NVRM: GPU 0000:02:00.0: RmInitAdapter failed! (0x24:0x1c:1435)\n"
    problems = read_files({"dmesg.txt": log}).problems
    assert [(one.code, one.where) for one in problems] == [("gpu_unpowered", "0000:02:00.0")]


@pytest.mark.parametrize(
    ("error", "modules", "code"),
    [
        (3, "nvidia_uvm           2154496  0\nnvidia  14381056  1 nvidia_uvm\n", "uvm_hmm"),
        (3, "nvidia              14381056  0\n", "cuda_does_not_start"),
        (999, "nvidia_uvm           2154496  0\nnvidia  14381056  1 nvidia_uvm\n", "cuda_does_not_start"),
    ],
)
def test_cuda_that_does_not_start(error: int, modules: str, code: str) -> None:
    """3 with nvidia_uvm loaded is its memory management, on any system; without it, its device is missing."""
    module = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build\n"
    files = UBUNTU | {
        "proc-driver-nvidia-version.txt": module,
        "lsmod.txt": "Module                  Size  Used by\nfat  98304  1\n" + modules,
        "cuinit.txt": f"cuInit(0) = {error}\n",
    }
    assert [code] == codes(files)


@pytest.mark.parametrize(
    ("gpu", "said", "code", "do"),
    [
        ("GV100 [Tesla V100] [10de:1db5]", "no kernel image is available for execution on the device",
         "program_lacks_target", "by CUDA 11.5 to 12.9"),
        ("GA102 [GeForce RTX 3090] [10de:2204]", "the provided PTX was compiled with an unsupported toolchain.",
         "program_too_new_for_driver", "by CUDA 13.0 or older"),
        ("GA102 [GeForce RTX 3090] [10de:2204]", "CUDA driver version is insufficient for CUDA runtime version",
         "program_too_new_for_driver", "nvidia.branch"),
    ],
)  # fmt: skip
def test_program_that_does_not_go_with_the_driver(gpu: str, said: str, code: str, do: str) -> None:
    """The driver stays as it is, and the program's CUDA is named."""
    module = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.95.05  Release Build\n"
    lspci = f"01:00.0 3D controller [0302]: NVIDIA Corporation {gpu} (rev a1)\n"
    files = UBUNTU | {"lspci.txt": lspci, "proc-driver-nvidia-version.txt": module, "lsmod.txt": ""}
    plan = planned(files | {"cuda-error.txt": f"RuntimeError: CUDA error: {said}\n"})
    assert ("ok", [code]) == (plan.verdict, [problem.code for problem in plan.problems])
    assert do in plan.problems[0].do


def test_mig_devices_are_no_fault() -> None:
    """Where some are there, 100 has another reason; where cuInit is well nothing is said."""
    module = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build\n"
    lists = "GPU 0: NVIDIA A100 80GB PCIe (UUID: GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77)\n"
    lists += "  MIG 1g.10gb     Device  0: (UUID: MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f)\n"
    lspci = "01:00.0 3D controller [0302]: NVIDIA Corporation GA100 [A100 PCIe 80GB] [10de:20b5] (rev a1)\n"
    files = UBUNTU | {"lspci.txt": lspci, "proc-driver-nvidia-version.txt": module, "lsmod.txt": "", "list.txt": lists}
    assert codes(files | {"cuinit.txt": "cuInit(0) = 100\n"}) == ["cuda_does_not_start"]
    assert codes(files | {"cuinit.txt": "cuInit(0) = 0\n"}) == []


def test_card_that_fell_off_the_bus_is_reset_by_no_reboot_of_ours() -> None:
    """Though the driver asks for one: whoever stands before it looks at power and riser first."""
    log = "[1.0] NVRM: Xid (PCI:0000:01:00): 79, pid=1, name=x, GPU has fallen off the bus.\n"
    log += "[1.1] NVRM: Xid (PCI:0000:01:00): 154, GPU recovery action changed from 0x0 (None) to 0x2 (Node Reboot)\n"
    module = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build\n"
    plan = planned(UBUNTU | {"dmesg.txt": log, "proc-driver-nvidia-version.txt": module, "lsmod.txt": ""})
    assert plan.verdict == "refuse"


AKMODS = """\
akmods: Building RPM using the command '/usr/sbin/akmodsbuild --kernels 6.18.10-200.fc43.x86_64 nvidia-kmod.latest'
akmodsbuild: /tmp/akmodsbuild/nvidia-drm/nvidia-drm-drv.c:1710:5: error: implicit declaration of function 'drm_fbdev'
akmods: Building rpms failed; see /var/cache/akmods/nvidia/580.105.08-1-for-6.18.10-200.fc43.x86_64.failed.log for all
"""
FEDORA = UBUNTU | {
    "os-release": "ID=fedora\nVERSION_ID=43\n",
    "uname.txt": "Linux rig 6.18.10-200.fc43.x86_64 #1 SMP x86_64 GNU/Linux\n",
    "packages.txt": "akmod-nvidia-580.105.08-1.fc43.x86_64\nxorg-x11-drv-nvidia-cuda-580.105.08-1.fc43.x86_64\n"
    "filesystem-3.18-50.fc43.x86_64\nsetup-2.15.0-26.fc43.noarch\n",
    "dkms-status.txt": "",
    "akmods.log": AKMODS,
}


@pytest.mark.parametrize(("offered", "verdict"), [("580.105.08", "refuse"), ("580.126.09", "repair")])
def test_akmod_that_does_not_compile_is_no_matter_of_headers(offered: str, verdict: str) -> None:
    """A newer one of RPM Fusion's is the way out, and no other repository."""
    row = f"akmod-nvidia.x86_64  3:{offered}-1.fc43  rpmfusion-nonfree-updates\n"
    plan = planned(FEDORA | {"dnf-list.txt": f"Available packages\n{row}"})
    assert (verdict, ["dkms_build_failed"]) == (plan.verdict, [problem.code for problem in plan.problems])
    assert "nvidia-drm-drv.c:1710:5: error:" in plan.problems[0].what


@pytest.mark.parametrize(
    ("said", "is_refused"),
    [
        ("FATAL: modpost: GPL-incompatible module nvidia.ko uses GPL-only symbol '__rcu_read_lock'", True),
        ("gcc: fatal error: Killed signal terminated program cc1", False),
    ],
)
def test_build_that_ended_for_want_of_memory_is_tried_again(said: str, is_refused: bool) -> None:
    """What the kernel keeps for others no second build gets; what was killed does."""
    log = f"DKMS make.log for nvidia-580.95.05 for kernel 6.8.0-107-generic (x86_64)\n{said}\n"
    plan = planned(UBUNTU | {"dkms-status.txt": "nvidia/580.95.05: added\n", "dkms-make.txt": log})
    assert (plan.verdict, plan.problems[0].code) == ("repair", "dkms_build_failed")
    assert said in plan.problems[0].what
    assert ("dkms" not in [step.kind for step in plan.steps]) == is_refused


@pytest.mark.parametrize("has_next", [False, True])
def test_kernel_that_boots_next_wants_its_modules(has_next: bool) -> None:
    """Canonical's are of one kernel each: without those of the next one a reboot loses the GPUs."""
    stem = "ii  linux-modules-nvidia-580-server-open-6.8.0"
    packages = f"ii  base-files 13\nii  dpkg 1.22\n{stem}-90-generic 6.8.0-90.91\n"
    packages += "ii  libnvidia-compute-580-server 580.95.05-0ubuntu1\n"
    packages += f"{stem}-107-generic 6.8.0-107.107\n" if has_next else ""
    files = UBUNTU | {
        "uname.txt": "Linux rig 6.8.0-90-generic #1 SMP x86_64 GNU/Linux\n",
        "proc-driver-nvidia-version.txt": "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  x\n",
        "lsmod.txt": "",
        "packages.txt": packages,
        "dkms-status.txt": "",
        "lib-modules.txt": "6.8.0-107-generic\n6.8.0-90-generic\n",
    }
    plan = planned(files)
    if has_next:
        assert plan.verdict == "ok"
    else:
        assert (plan.verdict, plan.problems[0].where) == ("repair", "6.8.0-107-generic")
        assert "linux-modules-nvidia-580-server-open-6.8.0-107-generic" in plan.steps[0].packages


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ('"Unable to load cudart library /x/libcuda.so.575.57.08: cuda driver library init failure: 3"', 3),
        ('"Unable to load cudart library /x/libcudart.so.12.4.127: cudart init failure: 802"', 802),
        ("RuntimeError: CUDA driver initialization failed, you might not have a CUDA gpu.", 3),
        ("RuntimeError: CUDA error: CUDA driver is a stub library", 34),
    ],
)
def test_programs_say_what_cuda_answered(said: str, error: int) -> None:
    """Ollama and torch, each in its words."""
    assert error == read_files({"serve.log": f"{said}\n"}).software.cuda_error


SILENT = {"smi.txt": "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n"}
PROBED = "[9.1] nvidia 0000:01:00.0: probe with driver nvidia failed with error -1\n"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (PROBED, ["gpu_init_failed"]),
        ("[9.1] nvidia: probe of 0000:01:00.0 failed with error -1\n", ["gpu_init_failed"]),
        ("[0.9] pci 0000:01:00.0: BAR 1 [mem size 0x800000000 64bit pref]: can't assign; no space\n" + PROBED,
         ["bar_missing", "gpu_init_failed"]),
        ("[0.9] pci 0000:01:00.0: BAR 1: no space for [mem size 0x800000000 64bit pref]\n" + PROBED,
         ["bar_missing", "gpu_init_failed"]),
        ("[0.9] pci 0000:05:00.0: BAR 2 [mem size 0x800000]: can't assign; no space\n", []),
        ("[8.1] DMAR: [DMA Read NO_PASID] Request device [01:00.0] fault addr 0xfe0000 [fault reason 6] x\n" + PROBED,
         ["iommu_fault", "gpu_init_failed"]),
        ("[8.1] nvidia 0000:01:00.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x000f address=0xfe0000 flags=0x0]\n",
         ["iommu_fault"]),
        ("[8.1] DMAR: [DMA Write] Request device [00:1f.2] fault addr 0xfe0000 [fault reason 0x06] x\n", []),
    ],
)  # fmt: skip
def test_kernel_says_what_it_did_with_a_card(said: str, expected: list[str]) -> None:
    """Of other devices it says the same, which is nothing of a GPU."""
    assert expected == [problem.code for problem in read_files({"dmesg.txt": said}).problems]


def test_driver_whose_probe_failed_is_not_loaded_once_more() -> None:
    """That would end as before: what a person has to look at is said."""
    plan = planned(UBUNTU | SILENT | {"dmesg.txt": PROBED})
    assert (plan.verdict, plan.problems[0].code) == ("refuse", "gpu_init_failed")


@pytest.mark.parametrize(
    ("boot", "verdict"),
    [
        ("SecureBoot enabled\n", "refuse"),
        ("SecureBoot enabled\n/var/lib/dkms/mok.pub is already enrolled\n", "repair"),
        ("SecureBoot disabled\n", "repair"),
    ],
)
def test_module_of_a_key_that_nobody_enrolled(boot: str, verdict: str) -> None:
    """What was compiled here and does not load under Secure Boot, whatever the log kept of it."""
    plan = planned(UBUNTU | SILENT | {"secure-boot.txt": boot})
    assert verdict == plan.verdict
    assert (plan.problems[0].code == "key_rejected") == (verdict == "refuse")


@pytest.mark.parametrize(
    ("more", "virtualization", "verdict"),
    [("", "none", "refuse"), ("\tKernel driver in use: vfio-pci\n", "none", "ok"), ("", "lxc", "ok")],
)
def test_driver_that_lists_fewer_gpus_than_the_bus_has(more, virtualization, verdict):
    """A BIOS without Above 4G decoding, a riser; not a card of a virtual machine, nor a container's part of them."""
    line = "0000:0{}:00.0 3D controller [0302]: NVIDIA Corporation GA102GL [A40] [10de:2235] (rev a1)\n"
    files = {
        **{name: text for name, text in UBUNTU.items() if name in ("os-release", "uname.txt")},
        "lspci.txt": "".join(line.format(number) for number in range(1, 5)) + more,
        "list.txt": "".join(
            f"GPU {n}: NVIDIA A40 (UUID: GPU-aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeee{n})\n" for n in range(3)
        ),
        "proc-driver-nvidia-version.txt": "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.126.09\n",
        "dpkg.txt": "ii  libnvidia-compute-580-server:amd64  580.126.09-0ubuntu1  amd64  x\n",
        "virt.txt": f"$ systemd-detect-virt\n{virtualization}\n",
    }
    plan = planned(files)
    said = [one for one in plan.problems if one.code == "gpu_missing_from_driver"]
    assert plan.verdict == verdict
    assert [("4 GPUs" in one.what, "Above 4G" in one.do) for one in said] == [(True, True)] * (verdict == "refuse")


@pytest.mark.parametrize(
    ("said", "is_mended"),
    [
        ("Condition check resulted in NVIDIA Persistence Daemon being skipped.", True),
        (
            "nvidia-persistenced.service - NVIDIA Persistence Daemon was skipped because of an unmet condition check",
            True,
        ),
        ("nvidia-persistenced.service: Deactivated successfully.", False),
    ],
)
def test_persistenced_that_was_skipped_at_boot_is_started(said, is_mended):
    """Its condition wants device nodes that came later; one that its owner stopped stays so."""
    files = {
        **{name: text for name, text in UBUNTU.items() if name in ("os-release", "uname.txt", "lspci.txt")},
        "proc-driver-nvidia-version.txt": "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.126.09\n",
        "dpkg.txt": "ii  libnvidia-compute-580-server:amd64  580.126.09-0ubuntu1  amd64  x\n",
        "journal.txt": f"Jul 31 11:57:35 rig systemd[1]: {said}\n",
    }
    plan = planned(files)
    assert [one.code for one in plan.problems] == ["persistenced_failed"] * is_mended
    assert plan.verdict == ("repair" if is_mended else "ok")
