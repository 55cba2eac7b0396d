"""Operations for what every engine needs: packages; and what all operations share."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Generator, Iterator

from pyinfra.api import OperationError, operation
from pyinfra.api.command import PyinfraCommand

from rigwright.bundle.opened import Bundle
from rigwright.records.paths import INSTALL_DIRECTORY, STATE_DIRECTORY
from rigwright.resources import script
from rigwright.roles.base.channel import Script, Upload
from rigwright.roles.base.facts import Rig, rig_state
from rigwright.roles.base.packages import all_names, package_manager
from rigwright.roles.base.probe import Probe
from rigwright.roles.base.sent import sent_packages

Commands = Generator[PyinfraCommand, None, None]

BUILDER = "rigwright"
INSTALLED_LIST = f"{STATE_DIRECTORY}/packages.installed"
BROUGHT_LIST = f"{STATE_DIRECTORY}/weights.brought"


def refuse(reason: str) -> Commands:
    """Fail this rig with a reason; the others go on. Raising would end the run for all of them."""
    lines = " ".join(shlex.quote(f"::error {line}") for line in reason.splitlines())
    yield Script(f"printf '%s\\n' {lines}; exit 1")


def current_rig(probe: Probe) -> Generator[PyinfraCommand, None, Rig]:
    """The state of the rig that an operation runs for: `rig = yield from current_rig(probe)`.

    Where it cannot be read the rig fails: pyinfra asks an operation for nothing more after a command that failed.
    """
    rig = rig_state(probe)
    if rig is None:
        yield from refuse("the rig's state could not be read; see above")
        raise OperationError("an operation went on after its rig could not be read")
    return rig


def always() -> bool:
    """True: what is asked for is needed."""
    return True


def never() -> bool:
    """False: it is not."""
    return False


@operation()
def packages(
    packages: tuple[str, ...],
    probe: Probe,
    install: bool = True,
    needed: Callable[[], bool] = always,
    bundle: Bundle | None = None,
) -> Commands:
    """Have these packages, and remember which of them and of what they need this brought: removal takes no others.

    + packages: names of the rig's own distribution
    + probe: the questions that the operations of a run share
    + install: False where another tool owns the packages; then a missing one is refused
    + needed: whether they are, asked when it is this rig's turn
    + bundle: where their files are, for a rig that reaches no mirror
    """
    if not needed():
        return
    rig = yield from current_rig(probe)
    missing = tuple(name for name in packages if name not in rig.packages)
    manager = package_manager(rig.hardware)
    if not missing:
        return
    if not install or manager is None:
        yield from refuse(f"missing packages: {' '.join(missing)}; install them, or set rig.base.install_packages")
        return
    if bundle is None:
        yield Script(manager.install(missing, record=INSTALLED_LIST))
        return
    sent = sent_packages(bundle, rig.hardware, missing)
    if sent is None:
        yield from refuse(f"{bundle.path} has no packages for {' '.join(missing)}; make another bundle for this rig")
        return
    archive = f"{STATE_DIRECTORY}/packages-{sent.id}.tar"
    yield Script(script("base", "room.sh", ARCHIVE=archive, NEED=2 * sent.size_bytes))
    yield Upload(sent.archive, archive)
    yield Script(manager.install_sent(missing, record=INSTALLED_LIST, archive=archive, sums=sent.sums))


def unbundled_packages(bundle: Bundle, rig: Rig, names: tuple[str, ...], *, install: bool = True) -> Iterator[str]:
    """The packages that a rig lacks and a bundle has not."""
    missing = tuple(name for name in names if name not in rig.packages)
    if missing and install and sent_packages(bundle, rig.hardware, missing) is None:
        system = f"{rig.hardware.os_id} {rig.hardware.os_version} {rig.hardware.architecture}"
        yield f"packages of {system} ({' '.join(missing)})"


def base_probe() -> Probe:
    """What the operations of this module ask."""
    names = dict.fromkeys((*all_names("build"), *all_names("binaries")))
    return Probe(packages=tuple(names), disks=(STATE_DIRECTORY, INSTALL_DIRECTORY))
