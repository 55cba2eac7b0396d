"""What is read of a rig for its driver, and what its repositories are asked for: NVIDIA's before it is set up, too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from pyinfra.api import FactBase

from rigwright.hardware import Hardware, capture, collection
from rigwright.hardware.software import Repository
from rigwright.plan.driver import DriverPlan, DriverWish, plan_driver
from rigwright.plan.driver.sources import Repositories
from rigwright.records.paths import STATE_DIRECTORY
from rigwright.resources import assignments, role_text
from rigwright.roles.base.facts import Rig, one_line
from rigwright.roles.base.packages import package_manager
from rigwright.roles.base.probe import Probe
from rigwright.roles.base.pyinfra_private import current_host, seen_environment
from rigwright.units import whole_number

STATE = f"{STATE_DIRECTORY}/nvidia"
UNPROVEN = f"{STATE}/unproven"
# Lists of a distribution are fetched for it, over a slow line too.
_ASK_SECONDS = 600
PROBE = Probe(
    files=(UNPROVEN, f"{STATE}/held"),
    scripts=(
        ("hardware", collection.script(everything=True, with_software=True)),
        ("driver files", f'for at in {STATE}/previous/packages; do [ ! -e "$at" ] || echo "$at"; done'),
    ),
)


@dataclass(frozen=True)
class Simulation:
    """What installing packages would do, as the rig's own package manager says.

    coming: `libcuda1 580.95.05-1` each. leaving: names. failure: why it cannot be done. refusal: why NVIDIA's
    repository is not used.
    """

    coming: tuple[str, ...] = ()
    leaving: tuple[str, ...] = ()
    download_bytes: int = 0
    disk_bytes: int = 0
    failure: tuple[str, ...] = ()
    refusal: tuple[str, ...] = ()
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
            refusal=(*told.get("refusal", ()), *told.get("update", ())),
            files=collection.files(sections),
        )


@dataclass(frozen=True)
class Asked:
    """A rig's plan beside what it stands on: what repositories said, where they were asked."""

    plan: DriverPlan
    simulation: Simulation | None = None


def hardware_of(rig: Rig, asked: Simulation | None = None, repositories: Repositories | None = None) -> Hardware:
    """The machine as the rig tells it; with what repositories offer that are not set up yet."""
    hardware = rig.hardware
    if not asked or not asked.files:
        return hardware
    software = hardware.software
    offers = capture.read_files(asked.files).software.offers
    added = (Repository(repositories.url, "/"),) if repositories and repositories.url else ()
    software = replace(
        software,
        offers=tuple(dict.fromkeys((*software.offers, *offers))),
        repositories=(*software.repositories, *added),
        answered=software.answered | {"offers"},
    )
    return replace(hardware, software=software)


def ask(rig: Rig, plan: DriverPlan, repositories: Repositories) -> Simulation | None:
    """What the rig's package manager says to a plan; None where it is not apt or does not answer."""
    manager = package_manager(rig.hardware)
    if manager is None or manager.name != "apt":
        return None
    names = [*repositories.names, *(f"{name}-" for name in repositories.leaving)]
    given = {**repositories.variables, "NAMES": " ".join(names), "STATE": STATE}
    given["MAY"] = "--allow-downgrades --allow-change-held-packages"
    texts = [role_text("base", name) for name in ("prelude.sh", *manager.scripts)]
    texts += [role_text("hardware", "software.sh"), role_text("nvidia", "source.sh"), role_text("nvidia", "ask.sh")]
    host = current_host()
    script = "\n".join([*assignments(given), *texts])
    found: Simulation = host.get_fact(
        RepositoriesAsked, script=script, _ignore_errors=True, _timeout=_ASK_SECONDS, **seen_environment(host)
    )
    return found if found.files or found.failure or found.coming else None


def plan_with(rig: Rig, wish: DriverWish, mirror: str, key: str) -> Asked:
    """The plan of a rig, by what its repositories really offer today: those that it would set up are asked first."""
    plan = plan_driver(rig.hardware, wish)
    if not any(step.kind in ("repository", "install", "headers") for step in plan.steps) and not _may_differ(plan):
        return Asked(plan)
    asked: Simulation | None = None
    for _ in range(3):
        repositories = Repositories.of(rig.hardware, plan, mirror, key)
        found = ask(rig, plan, repositories)
        if found is None:
            break
        asked = found
        again = plan_driver(hardware_of(rig, asked, repositories), wish)
        if again.steps == plan.steps and again.verdict == plan.verdict:
            plan = again
            break
        plan = again
    if asked and plan.verdict != "refuse":
        plan = replace(plan, download_bytes=asked.download_bytes, disk_bytes=asked.disk_bytes)
    return Asked(plan, asked)


def _may_differ(plan: DriverPlan) -> bool:
    """Whether a refusal stands on what repositories are believed to have."""
    return plan.verdict == "refuse" and "branch_not_offered" in plan.refused
