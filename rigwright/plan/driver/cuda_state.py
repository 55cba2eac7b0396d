"""What is wrong by CUDA's own word, which a healthy nvidia-smi does not tell."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rigwright.hardware.values import Problem
from rigwright.plan.driver.machine import Machine
from rigwright.plan.driver.module_state import RELOAD, RELOADING, of_versions
from rigwright.plan.driver.tables import branch_of, toolkits, version_of
from rigwright.plan.driver.values import Defect, Step

# Of a program, while the driver is well: it has no code for the GPU, or code that only a newer driver takes.
# Source: cuda.h of CUDA 13.5.
_NO_CODE, _TOO_NEW = (200, 209), (35, 222)


def of_cuda(machine: Machine) -> Iterator[Defect]:
    """What CUDA itself says, which a healthy nvidia-smi does not tell."""
    error, kernel = machine.software.cuda_error, machine.kernel
    if error in (None, 0, 802):
        return
    if error in (*_NO_CODE, *_TOO_NEW):
        yield _of_program(machine, error)
        return
    if error == 34:
        what = "CUDA says 34: the program finds the libcuda that a toolkit brings for linking alone, not the driver's"
        do = "take the folder .../stubs out of LD_LIBRARY_PATH and of /etc/ld.so.conf.d, then ldconfig"
        yield Defect(Problem("cuda_stub_first", "libcuda", what, do), "note")
        return
    if error in (3, 100, 101) and machine.gpus and all(one.gpu.mig and not one.gpu.mig_devices for one in machine.gpus):
        what = f"cuInit says {error}: the GPUs are in MIG mode and have no MIG devices, which a reboot takes away"
        do = "make them again, at each boot (nvidia-smi mig -cgi PROFILE -C); or nvidia-smi -mig 0 for the whole GPU"
        yield Defect(Problem("mig_has_no_devices", machine.gpus[0].label, what, do), "refuse")
        return
    if error in (803, 804):
        is_same = machine.loaded and machine.userland and version_of(machine.loaded) == version_of(machine.userland)
        if is_same:
            names = " ".join(one.name for one in machine.packages if one.name.startswith("cuda-compat"))
            by = f" ({names})" if names else ""
            what = f"CUDA says {error} though module and libraries agree: another libcuda is found first{by}"
            do = "cuda-compat stands before the driver's: set LD_LIBRARY_PATH=/usr/local/nvidia/lib64, or take it out"
            do = f"take out {names}, which GeForce cannot use and a newer driver does not want" if names else do
            yield Defect(Problem("cuda_compat_first", "libcuda", what, do), "refuse")
        elif not any(of_versions(machine)):
            what = f"CUDA says {error}: the loaded module and the libraries are of different versions"
            yield Defect(Problem("driver_library_mismatch", "driver", what, RELOAD), "reboot", (RELOADING,))
    elif (error == 3 and _has_uvm(machine)) or (re.search(r"\.el9", kernel) and error in (1, 3, 100, 101, 304, 999)):
        what = f"nvidia-smi is well and cuInit says {error}: memory management (HMM) of nvidia_uvm fails on this kernel"
        do = "write options nvidia_uvm uvm_disable_hmm=1 into /etc/modprobe.d, and load nvidia_uvm again"
        step = Step("module options", "set uvm_disable_hmm=1 for nvidia_uvm, and load it again")
        yield Defect(Problem("uvm_hmm", "nvidia_uvm", what, do), "repair", (step,))
    elif not any(one.problem.code == "cdi_is_stale" for one in of_cdi(machine)):
        what = f"cuInit says {error} though nvidia-smi answers"
        do = "see that /dev/nvidia-uvm is there (nvidia-modprobe -c 0 -u), and in a container that it was passed in"
        step = Step("device nodes", "make /dev/nvidia-uvm: nvidia-modprobe -c 0 -u")
        yield Defect(Problem("cuda_does_not_start", "libcuda", what, do), "repair", (step,))


def _of_program(machine: Machine, error: int) -> Defect:
    """What is no defect of the driver, and is said for who sees the program fail."""
    branch = branch_of(machine.loaded) or branch_of(machine.userland) or 0
    versions = sorted(toolkits(), key=version_of)
    if error in _NO_CODE:
        wanted = {int(one.capability.replace(".", "")) for one in machine.gpus if one.capability}
        names = ", ".join(f"sm_{one}" for one in sorted(wanted)) or "this GPU"
        able = [one for one in versions if wanted <= toolkits()[one].targets] or versions
        until = "or newer" if able[-1] == versions[-1] else f"to {able[-1]}"
        what = f"CUDA says {error}: the program that was run has no code for {names}, and the driver is well"
        do = f"take a build of it for {names}, by CUDA {able[0]} {until}"
        return Defect(Problem("program_lacks_target", "CUDA", what, do), "note")
    known = [one for one in versions if toolkits()[one].bundled <= branch]
    what = f"CUDA says {error}: the program was built by a newer CUDA than driver {branch or 'that is here'} knows"
    do = "write nvidia.branch with the driver that its CUDA came with"
    do = f"take a build of it by CUDA {known[-1]} or older, or {do}" if known else do
    return Defect(Problem("program_too_new_for_driver", "CUDA", what, do), "note")


def _has_uvm(machine: Machine) -> bool:
    return bool(machine.software.uvm_major) or "nvidia_uvm" in machine.software.loaded_modules


def of_cdi(machine: Machine) -> Iterator[Defect]:
    """What containers are given is that of another boot, or of the driver before."""
    own, cdi = machine.software.uvm_major, machine.software.cdi_uvm_major
    given, driver = machine.software.cdi_version, machine.userland or machine.loaded
    if own and cdi and own != cdi:
        what = f"the CDI specification gives containers nvidia-uvm as {cdi}, the kernel has {own}: CUDA says 999 there"
    elif given and driver and version_of(given) != version_of(driver):
        what = f"the CDI specification gives containers the libraries of {given}, the driver is {driver}"
    else:
        return
    step = Step("cdi", "nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml, and restart containers")
    yield Defect(Problem("cdi_is_stale", "/etc/cdi/nvidia.yaml", what, step.what), "repair", (step,))
