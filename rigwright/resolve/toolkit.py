"""The toolkit that builds on a rig are made with: one that is there and fits, else one that comes before them."""

from __future__ import annotations

from dataclasses import replace

from rigwright.hardware.software import Toolkit
from rigwright.hardware.values import Hardware
from rigwright.plan.driver.machine import Machine
from rigwright.plan.driver.tables import branch_of
from rigwright.plan.driver.toolkit import architecture_of, compiler_of, plan_toolkit, row_of
from rigwright.plan.engines.installed import Installed
from rigwright.resolve.driver import driver_wish
from rigwright.spec.rig import RigSpec

_DISTRO_NVCC = "/usr/bin/nvcc"


def with_toolkit(installed: Installed, hardware: Hardware, spec: RigSpec) -> Installed:
    """What is on the rig, with the compiler that its driver, GPUs and C library want.

    One of which nothing is known stays, and so does one that does not fit where no better one can be had.
    """
    if not any(gpu.vendor == "NVIDIA" for gpu in hardware.usable_gpus):
        return installed
    there = installed.nvcc_path or installed.nvcc
    if installed.cuda_version and row_of(installed.cuda_version) is None:
        return installed
    known = [Toolkit(there, installed.cuda_version)] if installed.cuda_version else []
    known += [Toolkit(f"{one}/bin/nvcc", one.rpartition("/")[2].partition("-")[0]) for one in installed.toolkits]
    machine = Machine(replace(hardware, software=replace(hardware.software, toolkits=tuple(known))))
    cuda, problems = plan_toolkit(machine, driver_wish(spec), branch_of(hardware.driver_version))
    nvcc = compiler_of(cuda, architecture_of(machine))
    if cuda.path == there:
        return installed
    if nvcc and (cuda.path or cuda.source != "nvidia"):
        # One of the distribution is known by its name alone once it is there: that is what a release is told by.
        name = "nvcc" if nvcc == _DISTRO_NVCC else nvcc
        return replace(installed, nvcc=name, cuda_version=cuda.version, toolkit=None if cuda.path else cuda)
    if cuda.version:
        why = f"CUDA {cuda.version} is in NVIDIA's repository: have it by deploys/nvidia.py"
        return replace(installed, no_toolkit=why)
    return replace(installed, no_toolkit="; ".join(one.what for one in problems if one.code == "no_toolkit_fits"))
