"""NVIDIA's driver alone: `from rigwright.roles.nvidia.deploy import deploy`."""

from __future__ import annotations

import io
import threading
from dataclasses import replace
from weakref import WeakKeyDictionary

from pyinfra.api.deploy import deploy as as_deploy
from pyinfra.api.host import Host
from pyinfra.api.state import State
from rich.console import Console

from rigwright.errors import RigwrightError
from rigwright.resolve.driver import driver_wish
from rigwright.roles.base.facts import NO_STATE, Rig, rig_state
from rigwright.roles.base.failures import WrongInventory, close_with_failures, give_up
from rigwright.roles.base.packages import package_manager
from rigwright.roles.base.probe import Probe
from rigwright.roles.base.pyinfra_private import current_host, current_state, data_of, hosts_of, inventory_argument
from rigwright.roles.cuda.operations import bring_toolkit, cuda_probe
from rigwright.roles.nvidia import operations as nvidia
from rigwright.roles.nvidia.power import power, power_probe
from rigwright.roles.nvidia.reading import PROBE, Asked, plan_with
from rigwright.spec.cluster import own_spec
from rigwright.spec.rig import RigSpec
from rigwright.view.driver_table import show

_specs: WeakKeyDictionary[State, dict[str, RigSpec]] = WeakKeyDictionary()
_guard = threading.Lock()
_WIDTH = 110


def deploy() -> None:
    """Bring the driver that each rig of the inventory needs, or say why it cannot be before anything is touched.

    Raises:
        WrongInventory: before any rig is touched.
    """
    _deploy()


@as_deploy("NVIDIA driver")
def _deploy() -> None:
    host = current_host()
    spec = _spec_of(host)
    close_with_failures(host.state)
    probe = with_driver(Probe())
    rig = rig_state(probe)
    if rig is None:
        give_up(host, NO_STATE)
        return
    found = planned(host, rig, spec, probe)
    if found is None:
        return
    task, asked = found
    announce(host, rig, asked)
    if not any(gpu.vendor == "NVIDIA" for gpu in rig.hardware.gpus):
        return
    bring_driver(task)
    bring_toolkit(asked.plan.cuda, rig.hardware, probe, install=spec.base.install_packages)


def planned(host: Host, rig: Rig, spec: RigSpec, probe: Probe) -> tuple[nvidia.Task, Asked] | None:
    """What is done for a rig's driver, with its plan; None where it is refused, which takes the rig out of the run."""
    wish, settings = driver_wish(spec, rig.hardware), spec.nvidia
    asked = plan_with(rig, wish, settings.repository, settings.key)
    if lines := refusal(rig, asked, may_install=spec.base.install_packages):
        announce(host, rig, asked)
        give_up(host, *lines)
        return None
    return nvidia.Task(wish, settings, asked.known, probe), asked


def bring_driver(task: nvidia.Task) -> None:
    """The operations, from mended packages to limited power; each does nothing where nothing is to be done."""
    nvidia.mend(task=task, name="Mend the packages")
    nvidia.repository(task=task, name="Set up the repository of the driver")
    nvidia.install(task=task, name="Install the driver")
    nvidia.keep(task=task, name="Keep the driver as it is")
    nvidia.load(task=task, name="Load the driver")
    nvidia.reboot(task=task, name="Reboot")
    nvidia.load(task=task, is_after_reboot=True, name="Load the driver after the reboot")
    nvidia.prove(task=task, name="Prove the driver by CUDA")
    power(wish=task.wish, probe=task.probe, name="Limit the power")


def with_driver(probe: Probe) -> Probe:
    """A probe with what these operations ask: one question, and all of them read the machine from the same answer."""
    asked = probe | nvidia.probe_of() | power_probe() | cuda_probe()
    whole = PROBE.scripts[0]
    return replace(asked, scripts=tuple(one for one in asked.scripts if one == whole or one[0] != whole[0]))


def _spec_of(host: Host) -> RigSpec:
    """The checked data of the current host; the first one of a run checks that of all."""
    state = current_state()
    with _guard:
        if state not in _specs:
            _specs[state] = _check(state)
    return _specs[state][host.name]


def _check(state: State) -> dict[str, RigSpec]:
    found, wrong, inventory = {}, [], inventory_argument()
    for host in hosts_of(state):
        try:
            found[host.name] = own_spec(host.name, data_of(host, "rig", "cluster"), inventory)
        except RigwrightError as error:
            wrong.append(error.message)
    if wrong:
        raise WrongInventory("\n".join(dict.fromkeys(line for message in wrong for line in message.splitlines())))
    return found


def refusal(rig: Rig, asked: Asked, *, may_install: bool = True) -> list[str]:
    """Why nothing is done on this rig, a line each; `may_install`: packages are ours to install."""
    plan = asked.plan
    if plan.verdict == "refuse":
        return [f"{one.where}: {one.what}; {one.do}" for one in plan.problems if one.code in plan.refused]
    if plan.verdict == "ok":
        return []
    if asked.simulation and asked.simulation.refusal and asked.is_second_choice:
        return [
            f"NVIDIA's repository could not be asked, and nothing was touched: {asked.simulation.refusal[0]}; deploy "
            "again when it answers, name a mirror (nvidia.repository), or take the distribution's (source: distro)"
        ]
    if rig.uid != 0:
        return ["the SSH user is not root; set _sudo=True in the host data, or ssh_user='root'"]
    if package_manager(rig.hardware) is None:
        return [f"{rig.hardware.os_id} {rig.hardware.os_version} is not known here; see rigwright driver for the steps"]
    by_hand = [step for step in plan.steps if step.kind == "firmware" or (step.kind == "install" and not step.packages)]
    if by_hand:
        return [f"no deploy does this yet: {by_hand[0].what}; do it by hand, then deploy again"]
    missing = [name for step in plan.steps if step.kind in ("pin", "headers", "install") for name in step.packages]
    if missing and not may_install:
        return [f"missing packages: {' '.join(missing)}; install them, or set rig.base.install_packages"]
    if asked.simulation and asked.simulation.failure:
        return ["its package manager refuses that, and nothing was touched:", *asked.simulation.failure]
    leaving = set(asked.simulation.leaving if asked.simulation else ()) - set(_leaving(asked))
    # What is half there is taken out before.
    leaving -= {one.name for one in rig.hardware.software.packages if one.state == "half"}
    # A pin of NVIDIA's makes room for that of another branch.
    surprising = sorted(name for name in leaving if not name.startswith("nvidia-driver-pinning-"))
    if surprising:
        names = ", ".join(surprising)
        return [f"installing it would take away {names}, which the plan does not; nothing was touched"]
    return []


def _leaving(asked: Asked) -> list[str]:
    return [name for step in asked.plan.steps if step.kind == "remove" for name in step.packages]


def announce(host: Host, rig: Rig, asked: Asked) -> None:
    """The page of `rigwright driver`, and what the rig's package manager would fetch."""
    page = Console(file=io.StringIO(), width=_WIDTH, highlight=False)
    simulation = asked.simulation
    show(page, "", rig.hardware, asked.plan)
    text = page.file.getvalue()  # type: ignore[attr-defined]  # the StringIO above
    for line in text.splitlines():
        if line.strip():
            host.log(line.rstrip())
    if simulation and asked.plan.verdict != "refuse" and simulation.coming:
        host.log(
            f"  {len(simulation.coming)} packages come: {', '.join(one.split(' ')[0] for one in simulation.coming)}"
        )
    for line in (*simulation.refusal, *simulation.remarks)[:6] if simulation else ():
        host.log_styled(f"  {line}", fg="yellow")
