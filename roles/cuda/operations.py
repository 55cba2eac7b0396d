"""Have a CUDA toolkit on the rig: of wheels in a folder of ours, or of packages; proven by what it compiles."""

from __future__ import annotations

from collections.abc import Callable

from pyinfra.api import operation

from rigwright.bundle.opened import Bundle
from rigwright.hardware import Hardware
from rigwright.hardware.sections import SECTIONS
from rigwright.plan.driver import Cuda
from rigwright.plan.driver.packages import toolkit_packages
from rigwright.plan.driver.tables import size, toolkits
from rigwright.plan.driver.toolkit import compiler_of
from rigwright.plan.driver.wheels import Wheels, wheels
from rigwright.records.paths import INSTALL_DIRECTORY, STATE_DIRECTORY
from rigwright.resources import script
from rigwright.roles.base import operations as base
from rigwright.roles.base.channel import Script, Upload
from rigwright.roles.base.facts import Rig
from rigwright.roles.base.fetching import Find, nowhere
from rigwright.roles.base.operations import Commands, always, current_rig, refuse
from rigwright.roles.base.packages import all_names
from rigwright.roles.base.probe import Probe
from rigwright.roles.cuda.packages import package_needs

_STATE = f"{STATE_DIRECTORY}/cuda"


def cuda_probe() -> Probe:
    """What the operations here ask of a rig: its packages among those that toolkits are made of, and the room."""
    named = {name for source in ("distro", "nvidia") for one in toolkits() for name in toolkit_packages(source, one)}
    where = ("/usr", STATE_DIRECTORY, INSTALL_DIRECTORY)
    return Probe(packages=(*all_names("cuda"), *sorted(named)), disks=where, scripts=SECTIONS)


def bring_toolkit(
    cuda: Cuda,
    hardware: Hardware,
    probe: Probe,
    *,
    install: bool = True,
    needed: Callable[[], bool] = always,
    bundle: Bundle | None = None,
) -> None:
    """Have the toolkit of a plan, and what it compiles with: two operations; none where no toolkit is wanted.

    Args:
        cuda: What `plan_driver` says.
        hardware: The rig's.
        probe: The questions that the operations of a run share, with `cuda_probe` among them.
        install: False where another tool owns the packages.
        needed: Whether this rig compiles after all, asked when it is this one's turn.
        bundle: Where packages and wheels are, for a rig that reaches no mirror.
    """
    if not cuda.version:
        return
    if names := package_needs(cuda, hardware):
        base.packages(
            packages=names,
            probe=probe,
            install=install,
            needed=needed,
            bundle=bundle,
            name=f"Install packages for CUDA {cuda.version}",
        )
    toolkit(cuda=cuda, probe=probe, needed=needed, bundle=bundle, name=f"Have CUDA {cuda.version}")


def toolkit_room(cuda: Cuda, hardware: Hardware) -> dict[str, int]:
    """The bytes that it needs, by where: while its archive waits, where it lies, where packages go."""
    made = wheels(cuda.version or "", hardware.architecture) if cuda.source == "pypi" else None
    if cuda.path or not cuda.version:
        return {}
    if made:
        return {STATE_DIRECTORY: made.sent_bytes, INSTALL_DIRECTORY: made.disk_bytes}
    return {"/usr": size(f"toolkit_{cuda.source}", "disk")}


@operation()
def toolkit(cuda: Cuda, probe: Probe, needed: Callable[[], bool] = always, bundle: Bundle | None = None) -> Commands:
    """Have a toolkit that compiles for the GPUs of the rig: one of wheels is brought, one of packages is tried.

    What was there stays where this fails, and nothing half is left.

    + cuda: what the plan says: version, source, targets
    + probe: the questions that the operations of a run share
    + needed: whether this rig compiles
    + bundle: where wheels are, for a controller without PyPI
    """
    if not needed():
        return
    rig = yield from current_rig(probe)
    nvcc = compiler_of(cuda, rig.hardware.architecture)
    if not cuda.version or (nvcc and _is_proven(cuda, nvcc, rig)):
        return
    if nvcc is None:
        known_as = rig.hardware.architecture or "its processor, which it does not tell"
        yield from refuse(f"CUDA {cuda.version} has no wheels for {known_as}; set rig.cuda.source")
        return
    known = {"VERSION": cuda.version, "TARGETS": " ".join(cuda.targets), "STATE": _STATE}
    made = wheels(cuda.version, rig.hardware.architecture) if cuda.source == "pypi" else None
    if made is None or made.nvcc != nvcc or made.directory in rig.records.installed.toolkits:
        yield Script(script("cuda", "host.sh", "prove.sh", "try.sh", NVCC=nvcc, **known))
    elif rig.uid != 0:
        yield from refuse("the SSH user is not root; set _sudo=True in the host data, or ssh_user='root'")
    else:
        yield from _from_wheels(made, known, bundle.find if bundle else nowhere)
    if rig.records.installed.toolkits - {made.directory if made else ""}:
        yield Script(script("base", "prune.sh"))


def _from_wheels(made: Wheels, known: dict[str, str], find: Find) -> Commands:
    from rigwright.roles.cuda.archive import toolkit_archive  # zip, tar and pip, which few runs need

    where = {"AT": made.directory, "ARCHIVE": f"{_STATE}/{made.version}-{made.id}.tar.gz"}
    sent, lies = made.sent_bytes, made.disk_bytes
    yield Script(script("cuda", "place.sh", **where, STATE=_STATE, NEED=sent, NEED_INSTALLED=lies))
    yield Upload(lambda: toolkit_archive(made, find), where["ARCHIVE"])
    yield Script(script("cuda", "host.sh", "prove.sh", "install.sh", **where, **known))


def _is_proven(cuda: Cuda, nvcc: str, rig: Rig) -> bool:
    """Whether it is there, and has compiled for all these targets."""
    words = rig.records.installed.proven.split()
    return words[:2] == [nvcc, cuda.version] and set(cuda.targets) <= set(words[2:])
