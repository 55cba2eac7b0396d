"""What is wrong with a driver as it stands, each with what puts it right: found before anything is touched."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rigwright.hardware.values import Problem
from rigwright.plan.driver.cuda_state import of_cdi, of_cuda
from rigwright.plan.driver.machine import Machine
from rigwright.plan.driver.module_state import of_modules
from rigwright.plan.driver.package_state import of_packages
from rigwright.plan.driver.packages import fabric_packages
from rigwright.plan.driver.stranded import gcc, is_akmod, older_compiler
from rigwright.plan.driver.tables import System, branch_of, failure_row, plain, version_of
from rigwright.plan.driver.values import Defect, DriverWish, Effect, Step

# Findings of the hardware that no driver mends; that a reboot does; that a driver which stays has to be mended for.
_BROKEN = frozenset(
    (
        "gpu_lost",
        "one_gpu_lost",
        "fallen_off_bus",
        "gpu_unpowered",
        "xid_48",
        "xid_95",
        "xid_140",
        "xid_143",
        "gpu_access_blocked",
        "bar_missing",
        "gpu_needs_power_off",
    )
)
_REBOOTS = frozenset(("xid_154", "gpu_requires_reset", "gsp_timeout", "driver_hangs"))
_UNEXPLAINED = frozenset(
    ("driver_not_running", "no_devices", "gpu_init_failed", "nvml_failed", "driver_library_missing",
     "device_handle_unknown_error")
)  # fmt: skip
_TOLD = frozenset(
    ("gpu_passed_through", "driver_too_new_for_gpu", "driver_does_not_support_gpu",
     "wrong_kernel_module", "iommu_fault", "nvml_unknown_error", "insufficient_permissions",
     "container_toolkit_missing")
)  # fmt: skip


# Why a driver leaves one GPU alone and drives the others.
_LEFT_ALONE = frozenset(
    ("gpu_passed_through", "driver_too_new_for_gpu", "driver_does_not_support_gpu", "wrong_kernel_module")
)


def defects(machine: Machine, system: System | None, wish: DriverWish, *, is_kept: bool = True) -> list[Defect]:
    """All, those that stop everything first; `is_kept`: the driver that is there stays."""
    found = [
        *of_packages(machine, system, wish, is_kept=is_kept),
        *_hardware(machine),
        *_missing(machine, is_kept=is_kept),
        *_compiler(machine),
        *of_modules(machine, is_kept=is_kept),
        *_initramfs(machine),
        *_fabric(machine, system),
        *_units(machine),
        *of_cuda(machine),
        *of_cdi(machine),
    ]
    if is_kept and all(one.effect == "note" for one in found):
        found += _unexplained(machine)
    order: tuple[Effect, ...] = ("refuse", "repair", "reboot", "note")
    unique = {(one.problem.code, one.problem.where): one for one in reversed(found)}
    return sorted(reversed(list(unique.values())), key=lambda one: order.index(one.effect))


def _hardware(machine: Machine) -> Iterator[Defect]:
    """What no driver mends, and what a reboot does: a lost GPU too, where the driver itself names a recovery."""
    found = machine.hardware.problems
    recovered = {one.where for one in found if one.code == "xid_154"}
    recovered -= {one.where for one in found if one.code == "fallen_off_bus"}
    for problem in machine.hardware.problems:
        if problem.code in _REBOOTS or (problem.code == "one_gpu_lost" and problem.where in recovered):
            yield Defect(problem, "reboot")
        elif problem.code in _BROKEN:
            yield Defect(problem, "refuse")
        elif problem.code == "gsp_firmware_missing":
            row = failure_row("firmware_missing")
            yield Defect(problem, "repair", row.steps if row else ())
        elif problem.code in _TOLD:
            yield Defect(problem, "note")


def _missing(machine: Machine, *, is_kept: bool) -> Iterator[Defect]:
    """A GPU that the bus has and a driver that fits does not list: no other driver mends that."""
    codes = {one.code for one in machine.hardware.problems}
    is_told = bool(codes & (_LEFT_ALONE | _REBOOTS | _BROKEN))
    for problem in machine.hardware.problems:
        # A container sees all of the bus and has the GPUs that it was given.
        if problem.code == "gpu_missing_from_driver" and not machine.is_container:
            yield Defect(problem, "refuse" if is_kept and not is_told else "note")


def _unexplained(machine: Machine) -> Iterator[Defect]:
    """A driver that is there, is the right one, and does not drive: loaded once more where it is not, else refused."""
    is_probed = any(one.code == "gpu_init_failed" for one in machine.hardware.problems)
    for problem in machine.hardware.problems:
        if problem.code == "driver_not_running" and is_probed:
            yield Defect(problem, "note")
        elif problem.code == "driver_not_running" and not machine.software.loaded and _is_unsigned(machine):
            what = "Secure Boot is on, and the module that was compiled here does not load: its key is not enrolled"
            row = failure_row("key_rejected")
            yield Defect(Problem("key_rejected", "the firmware", what, row.do if row else problem.do), "refuse")
        elif problem.code == "driver_not_running" and not machine.software.loaded:
            step = Step("load", "load NVIDIA's modules (modprobe nvidia), and make their device nodes")
            yield Defect(problem, "repair", (step,))
        elif problem.code in _UNEXPLAINED:
            yield Defect(problem, "refuse")


def _is_unsigned(machine: Machine) -> bool:
    """Whether the firmware refuses what was compiled here, as far as anybody says."""
    software = machine.software
    is_made_here = machine.is_compiled or is_akmod(machine)
    return bool(software.secure_boot) and software.mok_enrolled is not True and is_made_here


def _compiler(machine: Machine) -> Iterator[Defect]:
    """Modules want the compiler of the kernel, whose options an older one does not know."""
    if kernel := older_compiler(machine):
        what = (
            f"the kernel was built by gcc {kernel}, cc is gcc {gcc(machine.software.compiler)}: modules do not compile"
        )
        step = Step("compiler", f"install gcc-{kernel}, and compile the modules with it", (f"gcc-{kernel}",))
        do = f"install gcc-{kernel} and compile with CC=gcc-{kernel}, or take modules that are compiled already"
        yield Defect(Problem("compiler_differs", machine.kernel or "kernel", what, do), "repair", (step,))


def _initramfs(machine: Machine) -> Iterator[Defect]:
    """An older module in the initramfs is loaded before the one on disk is seen."""
    disk = {one.kernel: one.version for one in machine.software.on_disk}
    for one in machine.software.in_initramfs:
        current = disk.get(one.kernel) or machine.userland
        if current and version_of(current) != version_of(one.version):
            of = f" of {one.kernel}" if one.kernel else ""
            what = f"the initramfs{of} holds module {one.version}, on disk is {current}"
            step = Step("initramfs", "make the initramfs anew for every kernel")
            do = "update-initramfs -u -k all (dracut -f on RHEL), then reboot"
            yield Defect(Problem("initramfs_is_old", one.kernel or "initramfs", what, do), "repair", (step,))


def _fabric(machine: Machine, system: System | None) -> Iterator[Defect]:
    """GPUs on NVSwitches wait for Fabric Manager, of the very version of the driver; CUDA says 802 until then."""
    software, version = machine.software, machine.loaded or machine.userland
    waits = [one for one in machine.hardware.problems if one.code == "fabric_not_ready"]
    is_failed = software.unit("nvidia-fabricmanager") == "failed"
    # In a guest the host may have set up NVLink 5, and CUDA starts.
    is_on_board = machine.has_nvlink5 and software.cuda_error != 0
    has_switch = software.has_nvswitch or is_on_board or bool(waits) or software.cuda_error == 802
    managers = [one for one in machine.packages if re.match(r"nvidia-fabric-?manager", one.name)]
    if not has_switch:
        if managers and machine.gpus and is_failed:
            what = "Fabric Manager has nothing to do here, as no NVSwitch is there, and its failure harms nothing"
            do = "systemctl disable nvidia-fabricmanager"
            yield Defect(Problem("fabric_manager_not_needed", "nvidia-fabricmanager", what, do), "note")
        return
    is_nvlink5 = any(one.architecture == "Blackwell" for one in machine.gpus)
    is_stopped = is_failed or bool(waits) or software.cuda_error == 802
    lacks_nvlsm = is_stopped and software.knows("packages") and not software.installed("nvlsm")
    if is_nvlink5 and (software.has_umad is False or lacks_nvlsm):
        absent = (
            "and /dev/infiniband/umad* is not there" if software.has_umad is False else "and nvlsm is not installed"
        )
        what = f"NVLink 5 is managed over InfiniBand, {absent}"
        do = "install linux-modules-extra and nvlsm, modprobe ib_umad, then restart nvidia-fabricmanager"
        step = Step("fabric", "load ib_umad now and at boot, install nvlsm, restart Fabric Manager", ("nvlsm",))
        yield Defect(Problem("fabric_needs_umad", "NVSwitch", what, do), "repair", (step,))
        return
    start = Step("fabric", "start Fabric Manager of the driver's version, and wait for Fabric: Completed")
    branch, source = branch_of(version) or 0, machine.installed_source
    exact = f"nvidia-fabricmanager={version}" if version else "nvidia-fabricmanager"
    if system and version:
        exact = fabric_packages(system, source, branch, version, is_nvlink5=is_nvlink5)[0]
    if managers and version and version_of(managers[0].version) != version_of(version):
        what = f"Fabric Manager is {plain(managers[0].version)}, the driver {version}"
        do = f"install {exact}, and hold it with the driver"
        yield Defect(Problem("fabric_manager_differs", "nvidia-fabricmanager", what, do), "repair", (start,))
    elif not managers and software.knows("packages"):
        what = "GPUs on NVSwitches compute nothing before Fabric Manager has set them up, and it is not installed"
        yield Defect(Problem("fabric_manager_missing", "NVSwitch", what, f"install {exact}"), "repair", (start,))
    elif is_stopped:
        said = (
            "CUDA says 802: system not yet initialized" if software.cuda_error == 802 else "Fabric Manager has failed"
        )
        what = waits[0].what if waits else said
        do = "restart nvidia-fabricmanager, and read journalctl -u nvidia-fabricmanager; wait for Fabric: Completed"
        yield Defect(Problem("fabric_not_ready", waits[0].where if waits else "NVSwitch", what, do), "repair", (start,))


def _units(machine: Machine) -> Iterator[Defect]:
    state = machine.software.unit("nvidia-persistenced")
    if state in ("failed", "skipped") and not machine.is_container and machine.loaded:
        late = "its package starts it before its library is found" if state == "failed" else _BEFORE_DEVICES
        what = f"{late}, and nothing starts it again"
        step = Step("persistence", "systemctl reset-failed nvidia-persistenced, and restart it")
        do = step.what if state == "failed" else f"{step.what}, after /dev/nvidia* is made (nvidia-modprobe -c 0 -u)"
        yield Defect(Problem("persistenced_failed", "nvidia-persistenced", what, do), "repair", (step,))


_BEFORE_DEVICES = "at boot it was skipped, as /dev/nvidia* was not there yet"
