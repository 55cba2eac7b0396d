"""What a plan asks of the machine itself: its CPU's governor and its swappiness, each only where a service gains. Pure.

Not asked: huge pages, for which no engine here has a flag; limits of amdgpu, which the kernel reads at boot: a plan
tells what would give more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rigwright.hardware.software import CONTAINERS
from rigwright.hardware.values import Hardware
from rigwright.plan.occupants import Occupant
from rigwright.plan.reasons import Reason
from rigwright.plan.service import ServicePlan, Tuning
from rigwright.plan.spill import in_ram_by_flags

GOVERNOR, SWAPPINESS = ("governor", "performance"), ("swappiness", "10")
# Of governors: "causes the highest frequency … to be requested". Of swappiness: "the rough relative IO cost of swapping
# and filesystem paging", by default 60.
_SOURCES = {GOVERNOR: "Linux, admin-guide/pm/cpufreq", SWAPPINESS: "Linux, admin-guide/sysctl/vm"}
_BECAUSE = {
    GOVERNOR: "the CPU computes {what}, and a clock that follows the load comes late; some watts more at rest",
    SWAPPINESS: "{what} lie in memory that Linux would swap out beside a large copy of files",
}


def tunings(services: Sequence[ServicePlan], occupants: Sequence[Occupant], hardware: Hardware) -> tuple[Tuning, ...]:
    """What the services of a plan ask, and those that stay beside them; nothing of a container, whose host decides."""
    if hardware.software.virtualization in CONTAINERS or hardware.vendor == "Apple":
        return ()
    found = []
    for one in (GOVERNOR, SWAPPINESS):
        asking = [(service.service, _computes(service)) for service in services if one in _asked(service)]
        theirs = [occupant.name for occupant in occupants if one in occupant.tunings]
        what = " and ".join([*(f"{part} of {name}" for name, part in asking), *theirs])
        if what:
            because = f"{_BECAUSE[one].format(what=what)}; rig.base.tune_host: false leaves it as it is"
            reason = Reason(choice=" ".join(one), because=because, source=_SOURCES[one])
            found.append(Tuning(name=one[0], value=one[1], reason=reason))
    return tuple(found)


def _asked(service: ServicePlan) -> tuple[tuple[str, str], ...]:
    if service.not_deployed or not _computes(service):
        return ()
    return _of_flags((flag.name, flag.value) for flag in service.flags)


def _computes(service: ServicePlan) -> str | None:
    """What of a service the CPU computes; None where GPUs do it all."""
    return service.in_ram if service.uses_gpu else "all"


def asked_by(flags: Sequence[tuple[str, str | None]], *, has_gpus: bool) -> tuple[tuple[str, str], ...]:
    """What a service asks that runs with these flags, by what its record tells."""
    return _of_flags(flags) if not has_gpus or in_ram_by_flags(flags) else ()


def _of_flags(flags: Iterable[tuple[str, str | None]]) -> tuple[tuple[str, str], ...]:
    """With a mapped file less swappiness would do harm: what is dropped beside it is the file."""
    given = {*flags}
    is_copied = ("--load-mode", "none") in given or ("--no-mmap", None) in given
    return (GOVERNOR, SWAPPINESS) if is_copied else (GOVERNOR,)
