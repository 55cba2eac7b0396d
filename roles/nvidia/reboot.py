"""Reboot: a rig goes away and comes back, as another boot; and what must not be cut by it."""

from __future__ import annotations

import time
from typing import Any
from weakref import WeakSet

from pyinfra.api.host import Host
from pyinfra.api.state import State

from rigwright.roles.base.facts import forget
from rigwright.roles.base.failures import complain
from rigwright.roles.base.pyinfra_private import Command, boot_id, connect_again, disconnect

_ASK_EVERY_SECONDS = 2
# A machine that shuts down stops its services first.
_SAY_EVERY_SECONDS = 30
# So long a service may take to be without a request: a reboot ends none.
QUIET_SECONDS = 60
_rebooted: WeakSet[Host] = WeakSet()


class Reboot(Command):
    """The wait for a rig that is on its way down: it answers again, as another boot, within a limit."""

    def __init__(self, limit_seconds: int) -> None:
        super().__init__()
        self.limit_seconds = limit_seconds

    def __repr__(self) -> str:
        return f"Reboot({self.limit_seconds})"

    def carry_out(self, state: State, host: Host, connector_arguments: Any) -> bool:
        """Wait; False when it stays away, after saying so."""
        forget(host)
        before = boot_id(host)
        began = spoke = time.monotonic()
        while time.monotonic() - began < self.limit_seconds:
            time.sleep(_ASK_EVERY_SECONDS)
            disconnect(host)
            if connect_again(host) and boot_id(host) not in (None, before):
                host.log(f"it is back after {time.monotonic() - began:.0f} s")
                forget(host)
                _rebooted.add(host)
                return True
            if time.monotonic() - spoke > _SAY_EVERY_SECONDS:
                spoke = time.monotonic()
                host.log(f"waiting for it to come back, {time.monotonic() - began:.0f} s")
        complain(
            host,
            f"it did not come back within {self.limit_seconds} s of its reboot: look at its console, by its BMC "
            "(ipmitool chassis power cycle) or at the machine; deploy again when it answers",
        )
        return False


def was_rebooted(host: Host) -> bool:
    """Whether this run rebooted a rig."""
    return host in _rebooted
