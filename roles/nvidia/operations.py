"""The driver on a rig: packages mended and installed, kept as they are, loaded, and proven by CUDA."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pyinfra.api import operation

from rigwright.plan.driver import DriverPlan, DriverWish, plan_driver
from rigwright.plan.driver.machine import Machine
from rigwright.plan.driver.sources import Repositories
from rigwright.records import paths
from rigwright.resources import role_text, script
from rigwright.roles.base.channel import Script
from rigwright.roles.base.drain import drains
from rigwright.roles.base.facts import Rig
from rigwright.roles.base.failures import remember
from rigwright.roles.base.operations import INSTALLED_LIST, Commands, current_rig, refuse
from rigwright.roles.base.packages import PackageManager, package_manager
from rigwright.roles.base.probe import Probe
from rigwright.roles.base.pyinfra_private import current_host
from rigwright.roles.nvidia.keeping import DEVICES, FILES, MODPROBE, UNATTENDED, kept
from rigwright.roles.nvidia.reading import NOTHING_ASKED, PROBE, STATE, UNPROVEN, Known, as_nvidias
from rigwright.roles.nvidia.reboot import QUIET_SECONDS, Reboot, was_rebooted
from rigwright.spec.driver import NvidiaSettings

# What replaces a driver may do that nothing else of ours does: take other versions, and held ones.
MAY = {"apt": "--allow-downgrades --allow-change-held-packages", "dnf": "--allowerasing"}
# Steps that the script which loads a driver takes.
_LOADING = frozenset(("load", "reload", "device nodes", "persistence", "module options", "fabric", "nouveau", "dkms"))


@dataclass(frozen=True, repr=False)
class Task:
    """What a run wants of one rig's driver, and what repositories said before anything was changed."""

    wish: DriverWish
    settings: NvidiaSettings
    known: Known = NOTHING_ASKED
    probe: Probe = PROBE

    def __repr__(self) -> str:
        """Short: pyinfra prints the arguments of an operation."""
        return "Task(…)"

    def plan(self, rig: Rig) -> DriverPlan:
        """The plan of the rig as it is now."""
        return plan_driver(self.known.of(rig.hardware), self.wish)

    def sources(self, rig: Rig) -> Repositories:
        """The repositories of that plan."""
        return Repositories.of(rig.hardware, self.plan(rig), self.settings.repository, self.settings.key)


def probe_of() -> Probe:
    """What the operations ask."""
    return PROBE | Probe(files=(*FILES, INSTALLED_LIST))


@operation()
def mend(task: Task) -> Commands:
    """Bring half-done packages to an end; take away NVIDIA's own installation where the inventory says so.

    + task: the driver that is wanted
    """
    rig = yield from current_rig(task.probe)
    kinds = _kinds(task.plan(rig), ("repair packages", "uninstall runfile"))
    if kinds and (manager := _manager(rig)):
        runfile = "yes" if "uninstall runfile" in kinds else ""
        yield Script(_script(manager, "mend.sh", RUNFILE=runfile))


@operation()
def repository(task: Task) -> Commands:
    """Set up the repository that the plan chose, by its key's fingerprint, and the branch that apt keeps to.

    + task: the driver that is wanted
    """
    rig = yield from current_rig(task.probe)
    plan, sources = task.plan(rig), task.sources(rig)
    # A toolkit of NVIDIA's may be wanted beside a driver that is there.
    machine = Machine(as_nvidias(rig.hardware, task.settings.repository))
    lacks = (bool(sources.url) and not machine.has_nvidias_repository) or (
        bool(sources.components) and machine.lacks_components
    )
    lacks = lacks and bool(plan.cuda.packages)
    if (_kinds(plan, ("repository",)) or lacks) and (manager := _manager(rig)):
        names = ("key.sh", f"source-{manager.name}.sh", "repository.sh")
        yield Script(_script(manager, *names, **sources.variables))


@operation()
def install(task: Task) -> Commands:
    """Have the packages of the driver; what fails leaves the rig as it was.

    + task: the driver that is wanted
    """
    rig = yield from current_rig(task.probe)
    plan = task.plan(rig)
    if plan.verdict == "refuse":
        yield from refuse(
            "\n".join(f"{one.where}: {one.what}; {one.do}" for one in plan.problems if one.code in plan.refused)
        )
        return
    driver = _packages(plan, ("install", "fabric"))
    headers = _packages(plan, ("headers", "compiler"))
    if not (driver or headers or _kinds(plan, ("dkms",))) or not (manager := _manager(rig)):
        return
    if plan.driver.packages or driver:
        yield Script(
            _script(
                manager,
                "install.sh",
                # A stream is enabled with its repository.
                FIRST=" ".join(name for name in _packages(plan, ("pin",)).split() if ":" not in name),
                HEADERS=headers,
                DRIVER=" ".join(_of_branch(driver.split(), plan, manager)),
                GOING=_packages(plan, ("remove",)),
                REPLACED=" ".join(Machine(rig.hardware).replaced),
                BRANCH=str(plan.driver.branch or ""),
                IS_BUILT="yes" if _kinds(plan, ("dkms",)) else "",
            )
        )
    else:
        yield Script(_script(manager, "rebuild.sh", HEADERS=headers))


@operation()
def keep(task: Task) -> Commands:
    """Hold the driver's packages, keep nouveau away, and have its device files made at boot.

    + task: the driver that is wanted
    """
    rig = yield from current_rig(task.probe)
    plan = task.plan(rig)
    wanted = kept(rig, plan, task.settings)
    stale = _kinds(plan, ("initramfs", "firmware"))
    is_cdi = _kinds(plan, ("cdi",))
    if (wanted.differs(rig) or stale or is_cdi) and (manager := _manager(rig)):
        yield Script(
            _script(
                manager,
                "keep.sh",
                HELD=" ".join(wanted.held),
                MODPROBE=wanted.files[MODPROBE],
                UNATTENDED=wanted.files[UNATTENDED],
                DEVICES=wanted.files.get(DEVICES, ""),
                DEVICES_UNIT=paths.DEVICES_UNIT,
                STALE="yes" if stale else "",
                CDI="yes" if is_cdi else "",
            )
        )


@operation()
def load(task: Task, is_after_reboot: bool = False) -> Commands:
    """Have the installed driver run, in place where nothing uses a GPU.

    + task: the driver that is wanted
    + is_after_reboot: nothing is done where this run did not reboot the rig
    """
    if is_after_reboot and not was_rebooted(current_host()):
        return
    rig = yield from current_rig(task.probe)
    plan = task.plan(rig)
    if _may_load(rig, plan) and not _is_guest(plan) and (manager := _manager(rig)):
        yield Script(_script(manager, "load.sh", MAY_UNLOAD="" if task.settings.reboot == "never" else "yes"))


def _may_load(rig: Rig, plan: DriverPlan) -> bool:
    """Whether there is something to load, or to load anew, on the kernel that runs."""
    machine = Machine(rig.hardware)
    waits = plan.reboot and (machine.loaded or machine.has_nouveau)
    return bool(_kinds(plan, _LOADING) or waits) and (bool(machine.loaded) or machine.has_module)


@operation()
def reboot(task: Task) -> Commands:
    """Reboot the rig where that alone makes its driver run, and the inventory allows it.

    + task: the driver that is wanted
    """
    rig = yield from current_rig(task.probe)
    plan = task.plan(rig)
    if not plan.reboot or _is_guest(plan):
        remember(current_host(), "")
        return
    if task.settings.reboot != "auto":
        why = f"a reboot is needed: {plan.reboot_because}; reboot it, then deploy again, which proves the driver"
        hint = "" if task.settings.reboot == "never" else "; with rig.nvidia.reboot: auto a deploy does both"
        remember(current_host(), why + hint)
        return
    running = [one for one in rig.records.deployed if one.is_active]
    quiet = role_text("base", "drain.sh")
    yield Script(script("nvidia", "reboot.sh", before=quiet, DRAINS=drains(running, QUIET_SECONDS)))
    yield Reboot(task.settings.reboot_timeout_seconds)


@operation()
def prove(task: Task) -> Commands:
    """Prove the driver by CUDA itself; what fails brings the one before it back, where there was one.

    + task: the driver that is wanted
    """
    rig = yield from current_rig(task.probe)
    plan = task.plan(rig)
    if UNPROVEN in rig.files and not plan.reboot and (manager := _manager(rig)):
        count = sum(1 for gpu in rig.hardware.gpus if gpu.vendor == "NVIDIA")
        fabric = "yes" if rig.hardware.software.has_nvswitch else ""
        came = " ".join(_driver_packages(rig))
        yield Script(_script(manager, "prove.sh", COUNT=count, FABRIC=fabric, CAME=came))


def _script(manager: PackageManager, *names: str, **variables: str | int) -> str:
    """Scripts of this role behind those of the package manager."""
    before = "\n".join(role_text("base", name) for name in (*manager.scripts, "bring.sh"))
    given = {"STATE": STATE, "RECORD": INSTALLED_LIST, "MAY": MAY.get(manager.name, ""), **variables}
    return script("nvidia", "driver.sh", f"driver-{manager.name}.sh", *names, before=before, **given)


def _manager(rig: Rig) -> PackageManager | None:
    return package_manager(rig.hardware)


def _kinds(plan: DriverPlan, kinds: Iterable[str]) -> set[str]:
    """Which of these steps a plan has."""
    return {step.kind for step in plan.steps} & set(kinds)


def _packages(plan: DriverPlan, kinds: tuple[str, ...]) -> str:
    """The packages of these steps, in the order of the plan."""
    return " ".join(dict.fromkeys(name for step in plan.steps if step.kind in kinds for name in step.packages))


def _of_branch(names: list[str], plan: DriverPlan, manager: PackageManager) -> list[str]:
    """Names as the package manager finds the branch by them: apt has preferences, dnf a stream or the version."""
    has_stream = any(":" in name for name in _packages(plan, ("pin",)).split())
    if manager.name != "dnf" or has_stream or plan.driver.source != "nvidia":
        return names
    return [name if "=" in name else f"{name}-{plan.driver.branch}.*" for name in names]


def _driver_packages(rig: Rig) -> list[str]:
    return [one.name for one in Machine(rig.hardware).driver_packages if one.state == "installed"]


def _is_guest(plan: DriverPlan) -> bool:
    """Whether the kernel is that of a host, and loads no module for us."""
    return plan.driver.source == "host"
