"""plan_driver: from a machine and the wishes to what has to be done, or to why it cannot be. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rigwright.hardware.values import Hardware, Problem
from rigwright.plan.driver.choice import Choice, Chosen, choose
from rigwright.plan.driver.elsewhere import in_container, not_ours, refused, unknown_system
from rigwright.plan.driver.installed import against, is_kept
from rigwright.plan.driver.limits import Allowed, allowed
from rigwright.plan.driver.machine import Machine
from rigwright.plan.driver.packages import fabric_packages, not_beside
from rigwright.plan.driver.power import with_power
from rigwright.plan.driver.room import full
from rigwright.plan.driver.state import defects
from rigwright.plan.driver.tables import branch_of, default_flavour, size
from rigwright.plan.driver.toolkit import plan_toolkit, toolkit_steps
from rigwright.plan.driver.values import ANYTHING, Cuda, Defect, Driver, DriverPlan, DriverWish, Step, Verdict

# The driver that is there stays.
KEPT = Choice(None, None, (), ())
# Source: NVIDIA/yum-packaging-precompiled-kmod#59.
_EXTENSIONS = "rhel-10-for-$(uname -m)-extensions-rpms"


def plan_driver(hardware: Hardware, wish: DriverWish = ANYTHING) -> DriverPlan:
    """The driver and the toolkit of a machine, solved for all its GPUs together, and the way there.

    What nobody asked the machine is assumed, and named in `assumed`: a list of its PCI devices and its os-release are
    enough for branch, modules and source.
    """
    return with_power(_driver(hardware, wish), hardware, wish)


def _driver(hardware: Hardware, wish: DriverWish) -> DriverPlan:
    machine = Machine(hardware)
    if plan := not_ours(machine):
        return plan
    within, problems = allowed(machine.gpus, wish)
    if problems:
        return refused(problems)
    system = machine.system
    keeps = is_kept(machine, within, wish)
    found = defects(machine, system, wish, is_kept=keeps)
    if not keeps:
        found += [Defect(one, "note") for one in against(machine, within)]
    if machine.is_container:
        return in_container(machine, wish, found)
    if keeps:
        return _Plan(machine, wish, within, tuple(found), KEPT).plan()
    if system is None:
        stops = [one.problem for one in found if one.effect == "refuse"] or [unknown_system(hardware)]
        plan = refused(stops)
        return replace(plan, problems=(*stops, *(one.problem for one in found if one.problem not in stops)))
    return _Plan(machine, wish, within, tuple(found), choose(machine, system, within, wish)).plan()


@dataclass(frozen=True)
class _Plan:
    machine: Machine
    wish: DriverWish
    within: Allowed
    defects: tuple[Defect, ...]
    choice: Choice

    def plan(self) -> DriverPlan:
        """The whole."""
        chosen = self.choice.chosen
        driver = self._driver()
        cuda, of_cuda = plan_toolkit(self.machine, self.wish, driver.branch)
        stops = [one.problem for one in self.defects if one.effect == "refuse" and not self._is_moot(one.problem)]
        stops += [one for one in self.choice.problems if not chosen and driver.packages == () and not self._is_kept]
        stops += [one for one in of_cuda if one.code == "no_toolkit_fits"]
        stops += full(self.machine, self._bytes(driver, cuda, "disk"), makes_initramfs=self._makes_initramfs)
        notes = [one.problem for one in self.defects if one.problem not in stops]
        notes += [one for one in (*self.choice.problems, *of_cuda) if one not in stops]
        steps = self._steps(driver, cuda)
        because = self._reboot()
        return DriverPlan(
            verdict=self._verdict(bool(stops), driver, cuda, because),
            driver=driver,
            cuda=cuda,
            reboot=bool(because) and not stops,
            reboot_because=because if not stops else "",
            steps=() if stops else steps,
            problems=(*stops, *notes),
            refused=tuple(dict.fromkeys(one.code for one in stops)),
            held=() if stops or not self.wish.has_hold else self._held(driver),
            download_bytes=self._bytes(driver, cuda, "download"),
            disk_bytes=self._bytes(driver, cuda, "disk"),
            reasons=self._reasons(driver, cuda),
            assumed=(*self.choice.assumed, *self._assumed(driver)),
        )

    def _is_moot(self, problem: Problem) -> bool:
        """Whether what stopped another driver does not stop this one: signed modules, or dkms with its repository."""
        chosen, system = self.choice.chosen, self.machine.system
        if not chosen or not system:
            return False
        if problem.code in ("key_rejected", "headers_missing"):
            return chosen.bill.has_prebuilt
        wants_dkms = problem.code == "dependency_missing" and problem.where.startswith("dkms")
        return wants_dkms and system.family == "el" and chosen.bill.is_built

    @property
    def _is_kept(self) -> bool:
        return self.choice is KEPT

    def _driver(self) -> Driver:
        machine, chosen = self.machine, self.choice.chosen
        if self._is_kept:
            kept = machine.installed_branch or branch_of(machine.loaded)
            only = next(iter(self.within.flavours)) if len(self.within.flavours) == 1 else None
            flavour = machine.flavour or only or default_flavour(kept or 0)
            return Driver(kept, flavour, machine.installed_source, machine.userland or machine.loaded)
        if chosen is None:
            wanted = self.choice.wanted
            return Driver(wanted.branch, wanted.modules, wanted.source) if wanted else Driver()
        names = (*chosen.bill.pin, *self._absent(chosen.bill.headers), *chosen.bill.driver)
        version = chosen.version if chosen.is_asked else None
        return Driver(chosen.branch, chosen.modules, chosen.source, version, names, chosen.bill.is_built)

    def _absent(self, names: Sequence[str]) -> tuple[str, ...]:
        return tuple(name for name in names if not self.machine.software.installed(name))

    def _steps(self, driver: Driver, cuda: Cuda) -> tuple[Step, ...]:
        mended = [step for one in self.defects for step in one.steps]
        if not self._is_kept:
            mended = [step for step in mended if step.kind not in ("headers", "dkms", "reload")]
        repairs = [
            step for step in mended if step.kind in ("uninstall runfile", "repair packages", "compiler", "headers")
        ]
        sources = [step for step in mended if step.kind == "repository"]
        later = [step for step in mended if step not in (*repairs, *sources)]
        installation = self._installation()
        added = [step for step in installation if step.kind == "repository"]
        found = [*repairs, *added, *sources, *(step for step in installation if step not in added)]
        found += toolkit_steps(cuda)
        found += later
        if self._reboot() and not any(step.kind == "reboot" for step in found):
            found.append(Step("reboot", f"reboot: {self._reboot()}"))
        if found:
            found.append(Step("verify", "cuInit counts as many GPUs as the PCI bus has"))
        return tuple(dict.fromkeys(found))

    def _installation(self) -> list[Step]:
        """From repository to device nodes, in the order in which nothing is touched before it can be undone."""
        chosen, system = self.choice.chosen, self.machine.system
        if chosen is None or system is None:
            return []
        steps: list[Step] = []
        bill = chosen.bill
        if chosen.source == "nvidia":
            wants_dkms = system.family == "el" and "dkms" in self._absent(bill.headers)
            dkms = "; EPEL as it is today, whose dkms they want, and CRB beside it" if wants_dkms else ""
            what = f"NVIDIA's repository {system.repository}, by its key's fingerprint{dkms}"
            steps.append(Step("repository", what))
        elif system.family == "debian":
            steps.append(
                Step("repository", "contrib, non-free, non-free-firmware of Debian, in -updates and -security too")
            )
        if chosen.source == "redhat":
            steps.append(Step("repository", "Red Hat's extensions: subscription-manager repos --enable=" + _EXTENSIONS))
        if bill.pin:
            steps.append(Step("pin", f"keep to branch {chosen.branch} before anything is installed", bill.pin))
        if other := self._replaced(chosen):
            steps.append(Step("remove", f"what is in the way of branch {chosen.branch}", other))
        if headers := self._absent(bill.headers):
            steps.append(Step("headers", "what modules are compiled with, before dkms wants it", headers))
        steps.append(Step("install", f"driver {chosen.branch}, {chosen.modules} modules", bill.driver))
        if bill.is_built:
            steps.append(Step("dkms", "`dkms status` says installed for the kernel that will boot"))
        if self.machine.has_nouveau is not False:
            steps.append(Step("nouveau", "keep nouveau from loading, and make the initramfs anew"))
        if self.wish.has_hold:
            steps.append(Step("hold", "hold these packages, and keep them from unattended upgrades"))
        steps.append(Step("persistence", "nvidia-persistenced, and /dev/nvidia* at boot before any engine"))
        if self.machine.software.has_nvswitch or self.machine.has_nvlink5:
            is_new = any(one.architecture == "Blackwell" for one in self.machine.gpus)
            names = fabric_packages(
                system,
                chosen.source,
                chosen.branch,
                chosen.version if chosen.is_asked else None,
                is_nvlink5=is_new,
            )
            steps.append(
                Step("fabric", "Fabric Manager of the driver's version; wait for Fabric: Completed", tuple(names))
            )
        return steps

    def _replaced(self, chosen: Chosen) -> tuple[str, ...]:
        """What cannot stand beside it: modules of another branch or flavour, all packages of another source.

        On Ubuntu each package of a driver has its branch in its name, and takes none of another one beside it.
        """
        machine, system = self.machine, self.machine.system
        is_other_source = machine.installed_source not in ("none", chosen.source)
        gone = machine.driver_packages if is_other_source else machine.module_packages
        kept = () if is_other_source else chosen.bill.driver
        found = [one.name for one in gone if one.name not in kept and one.state == "installed"]
        if system and system.family == "ubuntu":
            there = (one.name for one in machine.packages if one.state == "installed")
            found += not_beside(there, chosen.source, chosen.branch)
        return tuple(dict.fromkeys(found))

    def _reboot(self) -> str:
        """Why a reboot is needed at the end; '' where none is."""
        machine = self.machine
        waiting = next((one.problem.what for one in self.defects if one.effect == "reboot"), "")
        if not self.choice.chosen:
            return waiting if self._is_kept else ""
        if machine.loaded:
            return f"driver {machine.loaded} is loaded"
        if "nvidia" in machine.software.loaded_modules:
            return "NVIDIA's modules are loaded"
        if machine.has_nouveau:
            return "nouveau holds the GPUs"
        return "nobody asked whether nouveau holds the GPUs" if machine.has_nouveau is None else waiting

    def _verdict(self, is_stopped: bool, driver: Driver, cuda: Cuda, because: str) -> Verdict:
        effects = {one.effect for one in self.defects}
        if is_stopped:
            return "refuse"
        if "repair" in effects and (self._is_kept or any(one.problem.code in _BROKEN for one in self.defects)):
            return "repair"
        if driver.packages or cuda.packages:
            return "install"
        return "reboot" if because else "ok"

    def _held(self, driver: Driver) -> tuple[str, ...]:
        if self.choice.chosen:
            return self.choice.chosen.bill.driver
        return tuple(one.name for one in self.machine.driver_packages if one.name in self.machine.software.holds)

    @property
    def _makes_initramfs(self) -> bool:
        kinds = {step.kind for one in self.defects for step in one.steps}
        return bool(self.choice.chosen or kinds & {"repair packages", "dkms", "initramfs", "nouveau"})

    def _bytes(self, driver: Driver, cuda: Cuda, key: str) -> int:
        total = size("driver", key) if self.choice.chosen else 0
        total += size("headers", key) if self.choice.chosen and self._absent(self.choice.chosen.bill.headers) else 0
        return total + (size(f"toolkit_{cuda.source}", key) if cuda.packages else 0)

    def _reasons(self, driver: Driver, cuda: Cuda) -> tuple[str, ...]:
        found = []
        names = ", ".join(dict.fromkeys(one.label for one in self.machine.gpus))
        if self._is_kept and driver.branch:
            found.append(f"driver {driver.version or driver.branch} is there and drives {names}")
        elif driver.branch:
            until = f" to {self.within.last}" if self.within.last else " and newer"
            flavours = " or ".join(sorted(self.within.flavours))
            found.append(f"{names}: branches {self.within.first}{until}, {flavours} modules")
        if cuda.version:
            found.append(f"a toolkit as an engine is built here, for {', '.join(f'sm_{one}' for one in cuda.targets)}")
        elif driver.branch:
            found.append("no toolkit: nothing is built here, and releases bring their CUDA libraries")
        return tuple(found)

    def _assumed(self, driver: Driver) -> list[str]:
        """What would have been asked and was not."""
        software, found = self.machine.software, []
        if self._is_kept:
            asked = self.machine.flavour or len(self.within.flavours) == 1
            return [] if asked else ["which modules are loaded was not asked: the default of the branch is assumed"]
        if not self.machine.kernel:
            found.append("the kernel is not known: that of the release is assumed")
        if driver.is_built and software.secure_boot is None:
            found.append("whether Secure Boot is on was not asked: off is assumed")
        if not software.knows("packages"):
            found.append("what is installed was not asked: nothing is assumed")
        if self.machine.has_nouveau is None:
            found.append("whether nouveau is loaded was not asked: a reboot is assumed")
        return found


_BROKEN = frozenset(
    ("half_configured", "dkms_build_failed", "dpkg_interrupted", "filtered_by_module", "runfile_installed")
)
