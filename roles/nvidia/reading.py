"""What is read of a rig for its driver, and what its repositories are asked for: NVIDIA's before it is set up, too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from pyinfra.api import FactBase

from rigwright.hardware import Hardware, capture, collection
from rigwright.hardware.software import Offer, Package, Repository
from rigwright.hardware.sources import software_text
from rigwright.plan.driver import DriverPlan, DriverWish, plan_driver
from rigwright.plan.driver.sources import Repositories
from rigwright.records.paths import STATE_DIRECTORY
from rigwright.resources import assignments, role_text
from rigwright.roles.base.facts import Rig, one_line
from rigwright.roles.base.packages import package_manager
from rigwright.roles.base.probe import Probe
from rigwright.roles.base.pyinfra_private import current_host, seen_environment
from rigwright.units import whole_number

_Named = TypeVar("_Named", Offer, Package)
STATE = f"{STATE_DIRECTORY}/nvidia"
UNPROVEN = f"{STATE}/unproven"
_OF_OFFERS = frozenset(("branch_not_offered", "headers_missing", "dkms_too_old", "package_is_broken"))
# Lists of a distribution are fetched for it, over a slow line too.
_ASK_SECONDS = 600
# A plan that stands on what was believed; the one by what is offered; one that this left; and it, asked for its size.
_MOST_QUESTIONS = 4
PROBE = Probe(
    files=(UNPROVEN, f"{STATE}/held"),
    scripts=(("hardware", collection.script(everything=True, with_software=True)),),
)


@dataclass(frozen=True)
class Simulation:
    """What installing packages would do, as the rig's own package manager says.

    coming: `libcuda1 580.95.05-1` each. leaving: names. failure: why it cannot be done. refusal: why NVIDIA's
    repository is not used. remarks: what is said of others.
    """

    coming: tuple[str, ...] = ()
    leaving: tuple[str, ...] = ()
    download_bytes: int = 0
    disk_bytes: int = 0
    failure: tuple[str, ...] = ()
    refusal: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)


class RepositoriesAsked(FactBase[Simulation]):
    """What repositories offer that are not set up on the rig yet, and what installing from them would do there."""

    shell_executable = "sh"
    default = Simulation

    def command(self, script: str) -> str:
        """The question."""
        return one_line(script)

    def process(self, output: Iterable[str]) -> Simulation:
        """The answer."""
        sections = collection.split(output)
        told = {name.removeprefix("asked "): [line[1:] for line in lines] for name, lines in sections.items()}
        coming = told.get("coming", [])
        numbers = dict(line.partition("=")[::2] for name in ("download", "disk") for line in told.get(name, []))
        return Simulation(
            coming=tuple(line for line in coming if not line.startswith("-")),
            leaving=tuple(line[1:] for line in coming if line.startswith("-")),
            download_bytes=whole_number(numbers.get("download", "")) or 0,
            disk_bytes=whole_number(numbers.get("disk", "")) or 0,
            failure=tuple(told.get("failure", ())),
            refusal=tuple(told.get("refusal", ())),
            remarks=tuple(told.get("update", ())),
            files=collection.files(sections),
        )


@dataclass(frozen=True)
class Known:
    """What repositories were asked, and what they offer: those that are not set up on the rig among them.

    mirror: the address of a mirror of NVIDIA's repositories, whose packages are NVIDIA's, whatever its path.
    """

    offers: tuple[Offer, ...] = ()
    repositories: tuple[Repository, ...] = ()
    mirror: str = ""

    def with_answer(self, found: Simulation, url: str) -> Known:
        """Once more was asked."""
        offers = capture.read_files(found.files).software.offers
        asked = (Repository(url, "/"),) if url else ()
        return replace(
            self,
            offers=tuple(dict.fromkeys((*self.offers, *offers))),
            repositories=tuple(dict.fromkeys((*self.repositories, *asked))),
        )

    def of(self, hardware: Hardware) -> Hardware:
        """A machine that knows it."""
        software = hardware.software
        if self.offers:
            software = replace(
                software,
                offers=tuple(dict.fromkeys((*software.offers, *self.offers))),
                repositories=(*software.repositories, *self.repositories),
                answered=software.answered | {"offers"},
            )
        return as_nvidias(replace(hardware, software=software), self.mirror)


def as_nvidias(hardware: Hardware, mirror: str) -> Hardware:
    """A machine on which what comes from a mirror comes from NVIDIA; its address says so to nobody else."""
    if not mirror:
        return hardware
    software, place = hardware.software, software_text.origin(mirror)

    def of_nvidia(one: _Named) -> _Named:
        is_mirrored = one.origin == place or one.origin.startswith(f"{place}/")
        found = f"{software_text.NVIDIAS_REPOSITORIES}{one.origin.removeprefix(place)}"
        return replace(one, origin=found) if is_mirrored else one

    software = replace(
        software,
        offers=tuple(map(of_nvidia, software.offers)),
        packages=tuple(map(of_nvidia, software.packages)),
        repositories=tuple(
            replace(one, url=one.url.replace(mirror, f"https://{software_text.NVIDIAS_REPOSITORIES}", 1))
            for one in software.repositories
        ),
    )
    return replace(hardware, software=software)


NOTHING_ASKED = Known()


@dataclass(frozen=True)
class Asked:
    """A rig's plan, what its repositories said, and what its package manager makes of the plan.

    is_second_choice: the distribution's driver is planned after NVIDIA's repository was asked.
    """

    plan: DriverPlan
    known: Known = NOTHING_ASKED
    simulation: Simulation | None = None
    is_second_choice: bool = False


def ask(rig: Rig, repositories: Repositories) -> Simulation | None:
    """What the rig's package manager says to what a plan wants; None where it is not apt or does not answer."""
    manager = package_manager(rig.hardware)
    if manager is None or manager.name != "apt":
        return None
    names = [*repositories.names, *(f"{name}-" for name in repositories.leaving)]
    given = {**repositories.variables, "NAMES": " ".join(names), "STATE": STATE}
    given["MAY"] = "--allow-downgrades --allow-change-held-packages"
    texts = [role_text("base", name) for name in ("prelude.sh", *manager.scripts)]
    texts += [
        role_text("hardware", "software.sh"),
        *(role_text("nvidia", name) for name in ("key.sh", "source-apt.sh", "ask.sh")),
    ]
    host = current_host()
    script = "\n".join([*assignments(given), *texts])
    found: Simulation = host.get_fact(
        RepositoriesAsked, script=script, _ignore_errors=True, _timeout=_ASK_SECONDS, **seen_environment(host)
    )
    return found if found.files or found.failure or found.coming else None


def plan_with(rig: Rig, wish: DriverWish, mirror: str, key: str) -> Asked:
    """The plan of a rig, by what its repositories really offer today: those that it would set up are asked first."""
    known = Known(mirror=mirror)
    plan, said = plan_driver(known.of(rig.hardware), wish), None
    if not any(step.kind in ("repository", "install", "headers") for step in plan.steps) and not _may_differ(plan):
        return Asked(plan, known)
    refusal: tuple[str, ...] = ()
    # NVIDIA's comes first on Debian, whatever the catalogue believes that it has.
    is_open = wish.source is None and rig.hardware.os_id == "debian" and plan.driver.source == "distro"
    for number in range(_MOST_QUESTIONS):
        asks_all = is_open and number == 0
        repositories = Repositories.of(rig.hardware, plan, mirror, key, asks_all=asks_all)
        found = ask(rig, repositories)
        if found is None:
            break
        said, known = found, known.with_answer(found, repositories.url)
        refusal = tuple(dict.fromkeys((*refusal, *found.refusal)))
        before, plan = plan, plan_driver(known.of(rig.hardware), wish)
        if not asks_all and before.steps == plan.steps and before.verdict == plan.verdict:
            break
    if said and plan.verdict != "refuse":
        plan = replace(plan, download_bytes=said.download_bytes, disk_bytes=said.disk_bytes)
    # What the plan fell back on as the better source did not answer is no choice of it.
    is_second = wish.source is None and plan.driver.source == "distro" and rig.hardware.os_id == "debian"
    return Asked(plan, known, replace(said, refusal=refusal) if said else None, is_second and bool(known.repositories))


def _may_differ(plan: DriverPlan) -> bool:
    """Whether a refusal stands on what repositories are believed to have, or had when their lists were read last."""
    return plan.verdict == "refuse" and bool(_OF_OFFERS & set(plan.refused))
