"""What a run does after the driver came: it plans the rig anew and serves; and what it ends with, the checks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyinfra.api import operation
from pyinfra.api.exceptions import NestedOperationError, PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.state import State

from rigwright.roles.base.facts import rig_state
from rigwright.roles.base.failures import complain, remember
from rigwright.roles.base.operations import Commands, refuse
from rigwright.roles.base.probe import Probe
from rigwright.roles.base.pyinfra_private import Command, current_host, executes, has_failed, nesting
from rigwright.roles.nvidia.operations import Task
from rigwright.roles.service.context import RigContext
from rigwright.roles.service.deploy import Ready, act, make_ready
from rigwright.roles.service.engine import Engine
from rigwright.roles.site.checks import check


@dataclass
class Later:
    """What a rig serves once its driver is there; `ready` is filled in then.

    Two operations share it, so that all rigs of a run are planned before the first one builds or downloads: who builds
    for others, and who hands model files on, is known from the plans. `task` is that of its driver, None without one.
    """

    task: Task | None
    context: RigContext
    engines: Sequence[Engine]
    probe: Probe
    ready: Ready | None = field(default=None)

    def __repr__(self) -> str:
        """Short: pyinfra prints the arguments of an operation."""
        return f"Later({self.context.rig})"


class _Now(Command):
    """Work of a deploy at its place among the operations, where it may call others: pyinfra runs these at once."""

    def __init__(self, work: Callable[[Host], bool]) -> None:
        super().__init__()
        self.work = work

    def __repr__(self) -> str:
        return "Now(…)"

    def carry_out(self, state: State, host: Host, connector_arguments: Any) -> bool:
        """Do it; False where it failed, after saying why."""
        try:
            return self.work(host) and not has_failed(host)
        except NestedOperationError:  # it said why
            return False
        except PyinfraError:
            if has_failed(host):  # the last rig of the run was given up
                return False
            raise


@nesting
def plan_again(later: Later) -> Commands:
    """Plan the rig as it is with its driver.

    + later: what is known of the rig
    """
    yield _Now(lambda host: _plan(host, later))


def _plan(host: Host, later: Later) -> bool:
    rig = rig_state(later.task.probe if later.task else later.probe)
    driver = later.task.plan(rig) if rig and later.task else None
    if driver and driver.reboot:
        remember(host, "")
        complain(
            host,
            f"a reboot is needed before anything is served: {driver.reboot_because}; reboot it and deploy again; with "
            "rig.nvidia.reboot: auto a deploy does both",
        )
        return False
    later.ready = make_ready(host, later.context, later.engines, later.probe)
    return later.ready is not None


@nesting
def serve_now(later: Later) -> Commands:
    """Bring what that plan needs, and serve.

    + later: what is known of the rig
    """
    yield _Now(lambda host: _serve(later))


def _serve(later: Later) -> bool:
    if later.ready:
        act(later.ready)
    return later.ready is not None


@operation()
def verify(inventory: str | None) -> Commands:
    """Have `rigwright verify` check the rig; what fails there fails the run. Nothing is changed by it.

    + inventory: where the rig is named
    """
    host = current_host()
    if not executes(host.state):
        return
    found = check(inventory, host.name)
    host.log(found.summary)
    if found.failures:
        yield from refuse("\n".join(found.failures))
