"""The driver that is installed already: whether it stays, and why it does not."""

from __future__ import annotations

from collections.abc import Iterator

from rigwright.hardware.software import Flavour
from rigwright.hardware.values import Problem
from rigwright.plan.driver.choice import uncompilable
from rigwright.plan.driver.limits import Allowed
from rigwright.plan.driver.machine import Machine
from rigwright.plan.driver.stranded import is_stranded
from rigwright.plan.driver.tables import kernel_problem
from rigwright.plan.driver.values import DriverWish


def is_kept(machine: Machine, within: Allowed, wish: DriverWish) -> bool:
    """Whether the driver that is there stays: it drives every GPU, and the inventory asks for no other."""
    branch, flavour = machine.installed_branch, machine.flavour
    if machine.software.runfile or is_stranded(machine):
        return False
    if branch is None:
        # A driver answered, and nobody recorded which.
        return wish.branch is None and all(one.gpu.state == "ok" for one in machine.gpus)
    is_whole = machine.loaded or any(one.state == "installed" for one in machine.module_packages)
    flavours: tuple[Flavour, ...] = (flavour,) if flavour else tuple(within.flavours)
    fits = any(within.takes(branch, one) for one in flavours)
    wanted = wish.source in (None, machine.installed_source) or machine.installed_source == "none"
    return bool(is_whole) and fits and wanted and _uncompiled(machine) is None


def against(machine: Machine, within: Allowed) -> Iterator[Problem]:
    """Why the driver that is there does not stay: it does not drive these GPUs, or not on this kernel."""
    branch, version = machine.installed_branch, machine.userland or machine.loaded
    if branch is None:
        return
    names = ", ".join(dict.fromkeys(one.label for one in machine.gpus))
    flavours: tuple[Flavour, ...] = (machine.flavour,) if machine.flavour else tuple(within.flavours)
    if not any(within.takes(branch, one) for one in flavours):
        until = f" to {within.last}" if within.last else " or newer"
        have = f"{version}{f' with {machine.flavour} modules' if machine.flavour else ''}"
        what = (
            f"driver {have} is there, and {names} wants {within.first}{until}, {' or '.join(sorted(within.flavours))}"
        )
        yield Problem("driver_does_not_fit", "driver", what, "the plan replaces it")
    elif (why := _uncompiled(machine)) and version:
        yield uncompilable(machine.kernel, version, why)


def _uncompiled(machine: Machine) -> str | None:
    """Why modules that dkms has the source of will never be there for the running kernel; None where they may."""
    version = machine.userland
    is_built = any("dkms" in one.name for one in machine.module_packages)
    if not version or not is_built or machine.loaded or machine.is_container or machine.is_compiled:
        return None
    if any(one.kernel == machine.kernel for one in machine.software.on_disk):
        return None
    return kernel_problem(machine.kernel, version, machine.flavour or "open")
