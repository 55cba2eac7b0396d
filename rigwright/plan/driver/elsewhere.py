"""Machines whose driver is not installed here: without a GPU of NVIDIA's, of a host, a hypervisor, a maker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rigwright.hardware.values import Hardware, Problem
from rigwright.plan.driver.machine import Machine, is_factory_kernel
from rigwright.plan.driver.state import defects
from rigwright.plan.driver.tables import branch_of, plain, system_titles, version_of
from rigwright.plan.driver.toolkit import plan_toolkit, toolkit_steps
from rigwright.plan.driver.values import ANYTHING, Cuda, Defect, Driver, DriverPlan, DriverWish, Step, Verdict


def not_ours(machine: Machine) -> DriverPlan | None:
    """Machines that rigwright installs no driver on: no GPU of NVIDIA's, Windows', a maker's, a hypervisor's."""
    hardware = machine.hardware
    if not machine.gpus:
        if hardware.gpu_count is None and not hardware.gpus:
            return _by_kernel(machine) or _without_list(machine)
        if machine.passed_through:
            return DriverPlan(
                "ok", reasons=("vfio-pci keeps the GPUs for virtual machines, which have drivers of theirs",)
            )
        others = ", ".join(dict.fromkeys(gpu.vendor for gpu in hardware.gpus if gpu.vendor)) or "no GPU"
        return DriverPlan("ok", reasons=(f"{others}: nothing for NVIDIA's driver to drive",))
    if machine.is_wsl:
        return _wsl(machine)
    if (gpu := machine.vgpu) and machine.is_driven:
        reason = f"{gpu.name} is a part of a GPU: its guest driver goes with the hypervisor's, and is left alone"
        version = machine.loaded
        return DriverPlan("ok", Driver(branch_of(version), "none", "host", version), reasons=(reason,))
    if gpu:
        what = f"{gpu.name} is a part of a GPU that a hypervisor gives, and wants the GRID driver of the host's release"
        do = "install the guest driver that the provider of the hypervisor names"
        said = [one for one in hardware.problems if one.code == "vgpu_guest_incompatible"]
        return refused([*said, Problem("vgpu_guest", gpu.label, what, do)])
    if factory := machine.factory or ("its maker" if is_factory_kernel(machine.kernel) and machine.loaded else None):
        return _factory(machine, factory)
    return None


def _by_kernel(machine: Machine) -> DriverPlan | None:
    """Machines that their kernel alone tells: WSL and Jetson, whose GPUs no PCI bus lists."""
    if machine.is_wsl:
        return _wsl(machine)
    return _factory(machine, machine.factory) if machine.factory else None


def _wsl(machine: Machine) -> DriverPlan:
    """The driver is that of Windows; one of Linux that is installed beside it is found first."""
    reason = "WSL: the driver is that of Windows, and one that is installed here would hide it"
    version = machine.userland or machine.loaded
    names = [one.name for one in machine.driver_packages if one.state == "installed"]
    fails = any(one.code in _HIDDEN for one in machine.hardware.problems)
    if names and fails:
        what = f"{', '.join(names[:3])} of Linux {'hides' if len(names) == 1 else 'hide'} the driver of Windows"
        do = f"take them out: apt-get purge {' '.join(names[:6])}; then wsl --shutdown in Windows"
        plan = refused([Problem("windows_driver_hidden", "WSL", what, do)])
        return replace(plan, reasons=(reason,))
    return DriverPlan("ok", Driver(branch_of(version), "none", "host", version), reasons=(reason,))


# What nvidia-smi says where it found other libraries than those of Windows.
_HIDDEN = ("driver_not_running", "driver_library_missing", "driver_library_mismatch", "nvml_failed", "no_devices")


def _without_list(machine: Machine) -> DriverPlan:
    """What can be said where nobody listed the GPUs: what the driver itself complains of."""
    found = defects(machine, machine.system, ANYTHING)
    if found and found[0].effect in ("repair", "reboot"):
        driver = Driver(branch_of(machine.userland), machine.flavour or "none", version=machine.userland)
        because = next((one.problem.what for one in found if one.effect == "reboot"), "")
        steps = tuple(dict.fromkeys(step for one in found for step in one.steps))
        problems = tuple(one.problem for one in found)
        verdict: Verdict = "repair" if found[0].effect == "repair" else "reboot"
        return DriverPlan(verdict, driver, Cuda(), bool(because), because, steps, problems)
    do = "record lspci -nn, or let `rigwright hardware --record` ask the machine"
    listed = Problem("gpus_unknown", "PCI bus", "nobody listed the GPUs of this machine", do)
    return refused([*(one.problem for one in found if one.effect == "refuse"), listed])


def _factory(machine: Machine, maker: str) -> DriverPlan:
    """DGX Spark and Jetson: kernel, driver and CUDA are one; ours would break the next update."""
    version = machine.loaded or machine.userland
    driver = Driver(branch_of(version), machine.flavour or "open", "factory", version)
    reason = f"{maker}: kernel, driver and CUDA come from the factory together, and are left alone"
    is_closed = machine.flavour == "proprietary" and machine.factory == "DGX Spark"
    found = [one.problem for one in defects(machine, None, ANYTHING) if one.effect != "note"]
    if is_closed:
        what = "proprietary modules are installed, and its Blackwell is driven by open ones alone"
        do = "install the open modules of the same branch from the maker's own repository (nvidia-driver-580-open)"
        found.insert(0, Problem("modules_of_wrong_flavour", maker, what, do))
    if not version and not any(one.name.startswith("nvidia-l4t-") for one in machine.packages):
        do = "restore the maker's system image; rigwright installs no driver here"
        found.append(Problem("factory_driver_missing", maker, "no driver answers on a machine that came with one", do))
    if found:
        return replace(refused(found), driver=replace(driver, modules="open"), reasons=(reason,))
    return DriverPlan("ok", driver, reasons=(reason,))


def in_container(machine: Machine, wish: DriverWish, found: Sequence[Defect]) -> DriverPlan:
    """User space of the host's version; its modules are the host's business."""
    host = machine.software.loaded.version if machine.software.loaded else machine.hardware.driver_version
    skipped = "modules, nouveau, initramfs and reboot are skipped: the kernel is that of the host"
    if not host:
        do = "install the driver on the host, and pass /dev/nvidia* in"
        what = f"this is a container ({machine.software.virtualization}), and its host runs no driver that shows here"
        return replace(refused([Problem("host_has_no_driver", "host", what, do)]), reasons=(skipped,))
    branch = branch_of(host)
    cuda, of_cuda = plan_toolkit(machine, wish, branch)
    stops = [*(one.problem for one in found if one.effect == "refuse"), *of_cuda]
    is_same = machine.userland and version_of(machine.userland) == version_of(host)
    names = () if is_same else _libraries(machine, host)
    if names and not _are_offered(machine, names, host):
        have = f"the libraries here are {machine.userland}" if machine.userland else "there are no libraries of it here"
        what = f"the host runs driver {host}, {have}, and no repository of this container has {host}"
        ours = f"bring the host to {machine.userland}, or " if machine.userland else ""
        run = f"NVIDIA-Linux-{machine.hardware.architecture or 'x86_64'}-{host}.run"
        do = f"{ours}install its libraries here by NVIDIA's own installer: {run} --no-kernel-modules"
        code = "driver_library_mismatch" if machine.userland else "libraries_not_offered"
        stops.insert(0, Problem(code, "driver", what, do))
    driver = Driver(branch, "none", "host", host, names)
    steps = [Step("install", f"the driver's libraries of {host}, without modules", names)] if names else []
    steps += toolkit_steps(cuda)
    verdict: Verdict = "refuse" if stops else "install" if names or cuda.packages else "ok"
    codes = tuple(dict.fromkeys(one.code for one in stops))
    notes = tuple(one.problem for one in found if one.effect != "refuse" and one.problem.code not in codes)
    return DriverPlan(
        verdict, driver, cuda, steps=() if stops else tuple(steps), problems=(*stops, *notes), refused=codes,
        reasons=(skipped,),
    )  # fmt: skip


def _libraries(machine: Machine, host: str) -> tuple[str, ...]:
    """The driver's libraries alone, in the names of the release."""
    family = machine.system.family if machine.system else "ubuntu"
    if family == "debian":
        return (f"libcuda1={host}*", f"libnvidia-ml1={host}*")
    if family in ("el", "fedora"):
        return (f"nvidia-driver-cuda-libs-{host}",)
    return (f"{_ubuntus(machine, host)}={host}*",)


def _ubuntus(machine: Machine, host: str) -> str:
    """The name of the libraries' package: the one that is installed, else one that has this version."""
    branch = branch_of(host)
    names = (f"libnvidia-compute-{branch}", f"libnvidia-compute-{branch}-server", "libnvidia-compute")
    there = [name for name in names if machine.software.installed(name)]
    known = [name for name in names if _versions(machine, name)]
    having = [name for name in known if host in _versions(machine, name)]
    return next(iter([*(name for name in there if name in having), *having, *there, *known, names[0]]))


def _versions(machine: Machine, name: str) -> set[str]:
    """The versions of a package that can be had; its neighbour's where nobody asked for it: they are of one source."""
    neighbour = name.replace("libnvidia-compute", "nvidia-utils")
    offers = machine.software.offers
    return {plain(one.version) for one in offers if one.name == name} or {
        plain(one.version) for one in offers if one.name == neighbour
    }


def _are_offered(machine: Machine, names: Sequence[str], host: str) -> bool:
    """Whether the repositories have these libraries in the host's version; so it is taken where nobody asked."""
    name = names[0].partition("=")[0].removesuffix(f"-{host}")
    versions, software = _versions(machine, name), machine.software
    is_whole = "offers" in software.answered and "offers" not in software.is_partial
    return host in versions if versions or is_whole else True


def unknown_system(hardware: Hardware) -> Problem:
    name = f"{hardware.os_id} {hardware.os_version}".strip()
    what = f"drivers for {name} are not known" if hardware.os_id != "unknown" else "nobody recorded the system"
    do = f"take one of {', '.join(system_titles())}; or install a driver yourself: rigwright uses one that works"
    return Problem("system_unknown", name, what, do)


def refused(problems: Sequence[Problem]) -> DriverPlan:
    codes = tuple(dict.fromkeys(one.code for one in problems))
    return DriverPlan("refuse", problems=tuple(problems), refused=codes)
