"""The operations that other operations are made of, and the ground under every engine."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Generator
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from pyinfra.api import operation
from pyinfra.api.command import PyinfraCommand
from pyinfra.api.operation import OperationMeta

from rigwright import catalogue
from rigwright.hardware import Hardware
from rigwright.resources import script
from rigwright.roles.base.channel import Script
from rigwright.roles.base.facts import Rig, current_host, forget, rig_state
from rigwright.roles.base.probe import Probe

Commands = Generator[PyinfraCommand, None, None]
P = ParamSpec("P")

STATE_DIRECTORY = "/var/lib/rigwright"
CONFIG_DIRECTORY = "/etc/rigwright"
BUILDER = "rigwright"
INSTALLED_LIST = f"{STATE_DIRECTORY}/packages.installed"
BROUGHT_LIST = f"{STATE_DIRECTORY}/weights.brought"
_DIRECTORIES = (CONFIG_DIRECTORY, "/opt/rigwright", f"{STATE_DIRECTORY}/build", f"{STATE_DIRECTORY}/ccache")


def rig_operation(function: Callable[Concatenate[Rig, P], Commands]) -> Callable[..., OperationMeta]:
    """An operation that is handed the state of its rig, in place of the probe it is called with.

    What is remembered of the rig is dropped around each command: the next operation reads it anew. Nothing is dropped
    while planning, because nothing runs then.
    """

    @wraps(function)
    def with_state(probe: Probe, *args: P.args, **kwargs: P.kwargs) -> Commands:
        host = current_host()
        rig = rig_state(probe)
        if rig is None:
            yield from refuse("the rig's state could not be read; see above")
            return
        for command in function(rig, *args, **kwargs):
            if host.state.is_executing:
                forget(host)
            yield command
            forget(host)

    # Any keyword of pyinfra's own (name=, _sudo=) comes on top, which no type can say.
    decorated: Callable[..., OperationMeta] = operation()(with_state)
    return decorated


def refuse(reason: str) -> Commands:
    """Fail this rig with one line; the others go on. Raising would end the run for all of them."""
    yield Script(f"printf '%s\\n' {shlex.quote('::error ' + reason)}; exit 1")


@rig_operation
def packages(rig: Rig, names: tuple[str, ...], *, install: bool = True) -> Commands:
    """Have these packages, and remember which were not there before, so that removal is exact.

    + names: Debian package names
    + install: False where another tool owns the packages; then a missing one is refused
    """
    missing = [name for name in names if name not in rig.packages]
    if not missing:
        return
    if not install:
        yield from refuse(f"missing packages: {' '.join(missing)}; install them, or set rig.base.install_packages")
        return
    yield Script(script("base", "packages.sh", PACKAGES=" ".join(missing), RECORD=INSTALLED_LIST))


@rig_operation
def account(rig: Rig) -> Commands:
    """Have the account that builds and downloads, and its directories. Services do not run as it."""
    if rig.sections.get("account") and all(path in rig.files for path in _DIRECTORIES):
        return
    yield Script(script("base", "account.sh", BUILDER=BUILDER, STATE=STATE_DIRECTORY, CONFIG=CONFIG_DIRECTORY))


def build_packages(hardware: Hardware) -> tuple[str, ...] | None:
    """What the build needs on this distribution, None where it is not known."""
    by_version: dict[str, Any] | None = catalogue.load("packages")["build"].get(hardware.os_id)
    if by_version is None:
        return None
    return tuple(by_version.get(hardware.os_version) or by_version["*"])


def base_probe() -> Probe:
    """What the operations of this module ask."""
    every = {
        name for table in catalogue.load("packages")["build"].values() for names in table.values() for name in names
    }
    return Probe(
        packages=tuple(sorted(every)),
        files=_DIRECTORIES,
        disks=(STATE_DIRECTORY, "/opt/rigwright"),
        scripts=(("account", f"getent passwd {BUILDER}"),),
    )
