"""What is wrong with a driver's kernel modules: of another version than its libraries, or of another kernel."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from rigwright.hardware.values import Problem
from rigwright.plan.driver.machine import Machine
from rigwright.plan.driver.packages import kernel_flavour
from rigwright.plan.driver.stranded import failed_build, following_modules, is_akmod, is_stranded, lacks_modules
from rigwright.plan.driver.tables import plain, version_of
from rigwright.plan.driver.values import Defect, Step

RELOAD = "unload and load the modules while nothing uses a GPU, else reboot"
RELOADING = Step("reload", "unload and load NVIDIA's modules where nothing uses a GPU; reboot where that fails")
_LOAD = Step("load", "load NVIDIA's modules (modprobe nvidia), and make their device nodes")
_REBUILD = Step("dkms", "compile the modules for the kernel that will boot, and see `dkms status` say installed")
# Modules that came compiled: `linux-modules-nvidia-580-server-open-6.8.0-90-generic`, akmods'
# `kmod-nvidia-6.16.10-200.fc42.x86_64`.
_COMPILED = re.compile(
    r"(?P<stem>linux-modules-nvidia-\d+(?:-server)?(?:-open)?|kmod-nvidia)-(?P<kernel>\d{1,2}\.\d+\.\d+-.+)"
)


def of_modules(machine: Machine, *, is_kept: bool = True) -> Iterator[Defect]:
    """All of them; a driver that does not stay wants no modules."""
    yield from of_versions(machine, is_kept=is_kept)
    found = [*_not_built(machine, is_kept=is_kept), *_none_for_kernel(machine)]
    if is_kept:
        found += [*_not_followed(machine), *_next_not_followed(machine), *_waits_for_reboot(machine)]
    yield from found or (_not_taken(machine) if is_kept else ())


def of_versions(machine: Machine, *, is_kept: bool = True) -> Iterator[Defect]:
    """The libraries of one version, the module of another: after an upgrade nobody rebooted for."""
    loaded, userland = machine.software.loaded, machine.userland
    said = [one for one in machine.hardware.problems if one.code == "driver_library_mismatch"]
    is_other = loaded and userland and version_of(loaded.version) != version_of(userland)
    if machine.is_container and is_other and loaded:
        what = f"the host runs driver {loaded.version}, the libraries here are {userland}"
        do = f"install the libraries of {loaded.version} in the container"
        yield Defect(Problem("driver_library_mismatch", "driver", what, do), "repair", (Step("install", do),))
    elif is_kept and (is_other or said) and loaded and not _helps_reboot(machine, loaded.version):
        yield _left_behind(machine, loaded.version)
    elif is_other and loaded:
        what = f"the loaded module is {loaded.version}, the libraries on disk are {userland}"
        busy = f" ({', '.join(machine.software.users[:3])} use the GPUs)" if machine.software.users else ""
        yield Defect(Problem("driver_library_mismatch", "driver", what, f"{RELOAD}{busy}"), "reboot", (RELOADING,))
    elif said:
        yield Defect(Problem("driver_library_mismatch", "driver", said[0].what, RELOAD), "reboot", (RELOADING,))


def _not_built(machine: Machine, *, is_kept: bool) -> Iterator[Defect]:
    """dkms has the source and no module for the kernel that runs, or for the one that boots next."""
    mine = [one for one in machine.software.dkms if one.name.startswith("nvidia")]
    kernels = machine.built_kernels
    failed = failed_build(machine)
    if machine.is_container or not mine:
        return
    for kernel in kernels:
        if failed and failed.kernel == kernel:
            continue  # said with what the compiler said
        if any(one.kernel == kernel and one.state == "installed" for one in mine):
            continue
        if any(one.kernel in ("", kernel) for one in machine.software.on_disk):
            continue
        which = "the running kernel" if kernel == machine.kernel else "a kernel that may boot next"
        of = next((one for one in mine if one.kernel in ("", kernel)), mine[0])
        how = f"for {of.kernel} alone" if of.kernel not in ("", kernel) else f"as {of.state}"
        what = f"dkms has nvidia {of.version} {how} and no module for {kernel}, {which}"
        if is_kept:
            yield _unbuilt(machine, what, kernel)
        else:
            do = (
                "the plan replaces this driver"
                if machine.system
                else f"mend the build, then dkms autoinstall -k {kernel}"
            )
            yield Defect(Problem("dkms_not_built", kernel, what, do), "note")


def _waits_for_reboot(machine: Machine) -> Iterator[Defect]:
    """A driver that is on the disk and does not run yet: nouveau holds the GPUs, or its kernel is the next one."""
    if machine.loaded or machine.is_container:
        return
    if machine.has_nouveau:
        own = "nova_core" if "nova_core" in machine.software.loaded_modules else "nouveau"
        what = f"the driver is installed, and {own} holds the GPUs"
        step = Step("nouveau", f"keep {own} from loading, and make the initramfs anew")
        yield Defect(Problem("nouveau_loaded", "nouveau", what, "reboot"), "reboot", (step, RELOADING))
        return
    have = {one.kernel for one in machine.software.on_disk}
    have |= {one.kernel for one in machine.software.dkms if one.state == "installed"}
    following = machine.next_kernel
    if following != machine.kernel and following in have and machine.kernel not in have and "" not in have:
        what = f"the modules are there for {following}, which boots next, and {machine.kernel} runs"
        yield Defect(Problem("kernel_waits_for_reboot", machine.kernel, what, "reboot"), "reboot")


def _helps_reboot(machine: Machine, loaded: str) -> bool:
    """Whether another module than the one that runs waits on the disk; so it is taken to be where nobody asked."""
    software = machine.software
    waiting = {one.version for one in software.on_disk}
    waiting |= {one.version for one in software.dkms if one.name.startswith("nvidia") and one.state == "installed"}
    return not waiting or any(version_of(one) != version_of(loaded) for one in waiting)


def _left_behind(machine: Machine, loaded: str) -> Defect:
    """Half of the packages were upgraded, or the modules come from elsewhere: after a reboot it is the same."""
    whole = [one for one in machine.module_packages if one.state == "installed"]
    names = [one.name for one in whole]
    said = next((one.what for one in machine.hardware.problems if one.code == "driver_library_mismatch"), "")
    libraries = f"the libraries are {machine.userland}" if machine.userland else said
    what = f"the module on disk is {loaded} as the one that runs, and {libraries}: a reboot changes nothing"
    if machine.userland and any(version_of(plain(one.version)) == version_of(machine.userland) for one in whole):
        return _unbuilt(machine, f"the modules of {machine.userland} were not compiled: {what}")
    if names:
        held = [name for name in names if name in machine.software.holds]
        what += f"; apt-mark holds {' '.join(held)}" if held else ""
        free = f"apt-mark unhold {' '.join(held)}, then " if held else ""
        do = f"{free}bring all packages of the driver to one version: {' '.join(names)}, and hold them together"
        step = Step("install", "bring the modules to the version of the libraries", tuple(names))
        problem = Problem("modules_left_behind", "driver", what, do)
        # Of a release that is not known nobody here knows the package manager.
        return Defect(problem, "repair", (step, RELOADING)) if machine.system else Defect(problem, "refuse")
    do = f"no package owns these modules: install libraries of {loaded}, or take the modules out the way they came"
    return Defect(Problem("modules_left_behind", "driver", what, do), "refuse")


def _unbuilt(machine: Machine, what: str, kernel: str = "") -> Defect:
    """What dkms has the source of and has not compiled: it wants the kernel's headers and compiler."""
    kernel = kernel or machine.kernel
    headers = machine.headers(kernel)
    stem = headers.removesuffix(f"-{kernel}")
    is_here = machine.software.installed(headers) or (kernel == machine.kernel and _is_of_kernel(machine, stem))
    rest = f"the kernel's compiler, then dkms autoinstall -k {kernel}"
    do = f"install {rest}; {headers} is here" if is_here else f"install {headers} and {rest}"
    steps = () if is_here else (Step("headers", f"install {headers}", (headers,)),)
    return Defect(Problem("dkms_not_built", kernel, what, do), "repair", (*steps, _REBUILD))


def _not_followed(machine: Machine) -> Iterator[Defect]:
    """The kernel was upgraded and the modules that came compiled for it were not: there is nothing to load."""
    compiled = [found for one in machine.module_packages if (found := _COMPILED.fullmatch(one.name))]
    makes_akmod = is_akmod(machine)
    has_one = any(found["kernel"] == machine.kernel for found in compiled)
    on_disk = any(one.kernel in ("", machine.kernel) for one in machine.software.on_disk)
    if (
        failed_build(machine)
        or not (compiled or makes_akmod)
        or not machine.kernel
        or has_one
        or on_disk
        or machine.is_container
        or machine.loaded
    ):
        return
    if any(one.kernel == machine.kernel and one.state == "installed" for one in machine.software.dkms):
        return
    kernel = machine.kernel
    of = f"for {compiled[-1]['kernel']}" if compiled else "for no kernel yet"
    what = f"the modules are compiled {of}, and {kernel} runs"
    if makes_akmod:
        names: tuple[str, ...] = (f"kernel-devel-{kernel}",)
        do = f"install {names[0]}, then akmods --force --kernels {kernel}"
        steps: tuple[Step, ...] = (
            Step("headers", f"install {names[0]}", names),
            Step("dkms", f"akmods --force --kernels {kernel}"),
        )
    elif machine.system and (flavour := kernel_flavour(machine, machine.system)):
        stem = compiled[-1]["stem"]
        names = (f"{stem}-{kernel}", f"{stem}-{flavour}")
        held = [one.name for one in machine.module_packages if one.name in machine.software.holds]
        what += f"; apt-mark holds {' '.join(held)}" if held else ""
        free = f"apt-mark unhold {' '.join(held)}, then " if held else ""
        do = f"{free}install {names[0]}, and {names[1]}, which follows the kernel"
        steps = (Step("install", do, names),)
    else:
        return
    yield Defect(Problem("modules_of_other_kernel", kernel, what, do), "repair", (*steps, _LOAD))


def _next_not_followed(machine: Machine) -> Iterator[Defect]:
    """A kernel was installed, and Canonical's modules for it were not: the next reboot loses the GPUs."""
    following, system = machine.next_kernel, machine.system
    whole = "packages" in machine.software.answered - machine.software.is_partial
    if not whole or not machine.loaded or not machine.kernel or following == machine.kernel or machine.is_container:
        return
    if system is None or system.family != "ubuntu" or following.rpartition("-")[2] != machine.kernel.rpartition("-")[2]:
        return
    compiled = [found for one in machine.module_packages if (found := _COMPILED.fullmatch(one.name))]
    has_one = any(found["kernel"] == following for found in compiled)
    is_made_here = any("dkms" in one.name for one in machine.module_packages)
    if not compiled or has_one or is_made_here or any(one.kernel == following for one in machine.software.on_disk):
        return
    flavour, stem = kernel_flavour(machine, system), compiled[-1]["stem"]
    names = (f"{stem}-{following}", *((f"{stem}-{flavour}",) if flavour else ()))
    what = f"{following} boots next, and the modules are compiled for {compiled[-1]['kernel']} alone"
    do = f"install {' and '.join(names)}, before the next reboot"
    yield Defect(Problem("modules_of_other_kernel", following, what, do), "repair", (Step("install", do, names),))


def _none_for_kernel(machine: Machine) -> Iterator[Defect]:
    """RHEL's kernel was upgraded, and the modules that came compiled are for the one before."""
    if machine.system is None or machine.system.family not in ("el", "fedora") or not lacks_modules(machine):
        return
    mine = [one.name for one in machine.module_packages if one.state == "installed"]
    what = f"{', '.join(mine[:2])} came compiled and {_have(mine)} no module for {machine.kernel}, the running kernel"
    if is_stranded(machine):
        do = "boot the kernel that they are for; or take modules that dkms compiles for every kernel"
        yield Defect(Problem("modules_of_other_kernel", machine.kernel, what, do), "note")
        return
    names = following_modules(machine) or tuple(mine)
    do = f"dnf upgrade {' '.join(names)}, which follows the kernel; until it has come, boot the kernel before"
    steps = (Step("install", f"modules for {machine.kernel}", names), _LOAD)
    yield Defect(Problem("modules_of_other_kernel", machine.kernel, what, do), "repair", steps)


def _have(names: list[str]) -> str:
    return "has" if len(names) == 1 else "have"


def _not_taken(machine: Machine) -> Iterator[Defect]:
    """What the kernel's log says of modules that are there: a symbol is missing, or they are of another build."""
    kernel = machine.kernel
    for problem in machine.hardware.problems if not machine.loaded and not machine.is_container else ():
        if problem.code == "module_symbol_missing":
            names = _rest_of_kernel(machine)
            do = f"install {' '.join(names)}, then modprobe nvidia" if names else problem.do
            steps = (Step("install", "the rest of the kernel's own modules", names), _LOAD) if names else ()
            yield Defect(replace(problem, do=do), "repair" if names else "refuse", steps)
        elif problem.code == "module_of_other_kernel":
            if any(one.name.startswith("nvidia") for one in machine.software.dkms) and kernel:
                do = f"dkms install --force for this kernel: dkms autoinstall -k {kernel}"
                yield Defect(replace(problem, do=do), "repair", (_REBUILD, _LOAD))
            else:
                yield Defect(problem, "refuse")


def _rest_of_kernel(machine: Machine) -> tuple[str, ...]:
    """The package with the modules of the kernel that a small installation leaves out; () where it is here."""
    family = machine.system.family if machine.system else ""
    if not machine.kernel or not machine.software.knows("packages"):
        return ()
    if family in ("el", "fedora"):
        return () if _is_of_kernel(machine, "kernel-modules") else (f"kernel-modules-{machine.kernel}",)
    extra = f"linux-modules-extra-{machine.kernel}"
    return () if family != "ubuntu" or machine.software.installed(extra) else (extra,)


def _is_of_kernel(machine: Machine, name: str) -> bool:
    """Whether a package of RHEL that goes with a kernel is here for the running one: `kernel-devel`."""
    mine = (one.version for one in machine.packages if one.name in (name, f"{name}-{machine.kernel}"))
    return any(not one or machine.kernel == one or machine.kernel.startswith(f"{one}.") for one in mine)
