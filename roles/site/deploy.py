"""The whole machine: `from rigwright.roles.site.deploy import deploy`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pyinfra.api.deploy import deploy as as_deploy
from pyinfra.api.host import Host

from rigwright.plan.driver import Cuda
from rigwright.roles.base.facts import NO_STATE, Rig, answered_by, rig_state
from rigwright.roles.base.failures import WrongInventory, close_with_failures, give_up
from rigwright.roles.base.probe import Probe
from rigwright.roles.base.pyinfra_private import current_host, inventory_argument
from rigwright.roles.cuda.operations import bring_toolkit
from rigwright.roles.nvidia.deploy import announce, bring_driver, planned, with_driver
from rigwright.roles.nvidia.operations import Task
from rigwright.roles.service.announce import foresee
from rigwright.roles.service.context import RigContext, current_context
from rigwright.roles.service.deploy import act, make_ready, probe_of
from rigwright.roles.service.engine import Engine
from rigwright.roles.service.meeting import is_later
from rigwright.roles.service.preflight import machine_errors
from rigwright.roles.site import operations as site
from rigwright.roles.site.checks import lacking
from rigwright.roles.site.engines import engines as known_engines


def deploy() -> None:
    """Bring each rig of the inventory to what it shall be, and check that it is: driver, engines, models, services.

    Where the driver has to come first, what is served is planned once it is there: only then is the hardware known.

    Raises:
        WrongInventory: before any rig is touched.
    """
    _deploy(engines=known_engines())


@as_deploy("Site", data_defaults={"verify": True})
def _deploy(engines: Sequence[Engine]) -> None:
    context, host = current_context(), current_host()
    is_verified = _is_verified(host.data.verify)
    close_with_failures(host.state)
    if not _converge(host, context, engines, probe_of(context, engines)):
        return
    if is_verified:
        site.verify(inventory=inventory_argument(), name="Check that it serves as planned")


def _converge(host: Host, context: RigContext, engines: Sequence[Engine], probe: Probe) -> bool:
    """The operations; False where this rig is out of the run."""
    whole = with_driver(probe)
    answered_by(probe, whole)
    rig = rig_state(whole)
    if rig is None:
        give_up(host, NO_STATE)
        return False
    if lines := [*machine_errors(rig)]:
        give_up(host, *lines)
        return False
    task, is_first = None, False
    if any(gpu.vendor == "NVIDIA" for gpu in rig.hardware.gpus):
        found = planned(host, rig, context.spec, whole)
        if found is None:
            return False
        task, asked = found
        cuda = asked.plan.cuda
        is_first = comes_first(task, rig, cuda)
        if is_first:
            announce(host, rig, asked)
        bring_driver(task)
        if cuda.source == "nvidia":  # others come with what is built
            bring_toolkit(cuda, rig.hardware, whole, install=context.spec.base.install_packages)
    later = site.Later(task, context, engines, probe) if is_later(host, context, mine=is_first) else None
    # Each operation is called at one place for all rigs of a run: they begin it together.
    if later is None:
        ready = make_ready(host, context, engines, probe)
        if ready:
            act(ready)
        return ready is not None
    foresee(host, context, rig, engines)
    site.plan_again(later=later, name="Plan what it serves, now that its driver is there")
    site.serve_now(later=later, name="Serve what was planned")
    return True


def comes_first(task: Task, rig: Rig, cuda: Cuda) -> bool:
    """Whether a driver, or a toolkit of NVIDIA's repository, comes before anything can be planned.

    A toolkit that is ours comes where something is built: a rig that gets what another one built goes without.
    """
    alone = replace(task, wish=replace(task.wish, cuda_source="none"))
    return alone.plan(rig).verdict != "ok" or (cuda.source == "nvidia" and bool(cuda.packages))


def _is_verified(told: Any) -> bool:
    """What `--data verify=` says.

    Raises:
        WrongInventory: neither true nor false, or nothing here can check.
    """
    if not isinstance(told, bool):
        raise WrongInventory(f"verify: {told!r} is neither true nor false; say one of them")
    if told and (package := lacking()):
        raise WrongInventory(
            f"verify: {package} is not installed; pip install 'rigwright[verify]', or deploy with --data verify=false"
        )
    return told
