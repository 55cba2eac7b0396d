"""Planner: the contract of an engine in plans, with one subclass in each `plan/engines/<name>/planner.py`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Container, Mapping, Sequence
from copy import copy
from typing import ClassVar, Self

from rigwright.catalogue import load
from rigwright.hardware.values import Hardware, Vendor
from rigwright.models.known import Format, Variant
from rigwright.plan.choice import Choice
from rigwright.plan.devices import Device
from rigwright.plan.engines.installed import NOTHING, Installed
from rigwright.plan.engines.rendered import RenderContext, Rendered
from rigwright.plan.engines.settings import EngineSettings
from rigwright.plan.known_issues import Configuration
from rigwright.plan.layouts import GpuAssignment
from rigwright.plan.search_space import Candidate, SearchResult, SearchSpace, configuration
from rigwright.plan.service import Flag, ServicePlan
from rigwright.plan.wish import ServiceWish


class Planner(ABC):
    """One engine in plans, with the settings that a rig gives it.

    name: the key in inventories and in the catalogue. label: what people call it. file_format: what it serves;
    `other_format` says so to who names a file of another. is_automatic: tried where the inventory names no engine.
    batches: built for many users at a time. can_spill: RAM may hold what a GPU does not. can_copy: several
    of them may serve the same model beside each other. install, install_bytes: what
    it takes to have it on a rig, in words and of disk. copies_weights: it keeps a copy of each file in its own store.
    program: what a unit starts, below the directory of a release. checks: the module of its checks, where another
    package brings the engine. threads_flag: how many threads work beside the GPUs. placing_flags: those by which an
    inventory says itself where threads run. is_deployed: there is a role that serves with it. command: the words before
    its flags on a command line, where that is not the name of the program.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    file_format: ClassVar[Format] = "gguf"
    other_format: ClassVar[str] = ""
    is_automatic: bool = True
    batches: ClassVar[bool] = False
    can_spill: ClassVar[bool] = False
    can_replicate: ClassVar[bool] = False
    install: str = ""
    install_bytes: int = 0
    copies_weights: ClassVar[bool] = False
    program: ClassVar[str] = ""
    checks: ClassVar[str] = ""
    threads_flag: ClassVar[str] = ""
    placing_flags: ClassVar[tuple[str, ...]] = ()
    is_deployed: ClassVar[bool] = True
    command: ClassVar[tuple[str, ...]] = ()
    settings_model: ClassVar[type[EngineSettings] | None] = None

    def __init__(self, settings: EngineSettings | None = None, installed: Installed = NOTHING) -> None:
        self.settings = settings
        self.installed = installed

    def sourced(self, hardware: Hardware, wishes: Sequence[ServiceWish]) -> Self:
        """The planner where it is decided from where the release comes to this rig.

        Raises:
            Refused: the inventory asks for one that does not fit.
        """
        return self

    def as_planned(self, wish: ServiceWish, plan: ServicePlan) -> ServiceWish:
        """The wish with what its plan has decided and the engine's release depends on."""
        return wish

    def named_only(self) -> Self:
        """The planner where it is taken only by who names it."""
        found = copy(self)
        found.is_automatic = False
        return found

    @property
    def vendors(self) -> frozenset[Vendor]:
        """Whose GPUs a deploy serves from, as its settings are."""
        return frozenset(("NVIDIA",))

    @property
    def is_for_cpus(self) -> bool:
        """Whether its release serves from CPUs alone, as its settings are."""
        return False

    @property
    def version(self) -> str:
        """The release that plans are made for."""
        row = load("engines").get(self.name, {})
        named = getattr(self.settings, "version", None)
        return named or str(row.get("version", row.get("ref", "")))

    @property
    def flags(self) -> Container[str]:
        """The flags that it knows: an inventory that uses others means another engine."""
        return ()

    def bias(self, wish: ServiceWish) -> float:
        """What its speed figures do not show, in the unit of a score: starts, batches under load."""
        return 0.0

    def open_slots(self, wish: ServiceWish) -> int:
        """Requests that it would serve at once where the inventory leaves that open; 0 where it does not."""
        return 0

    def contradiction(self, wish: ServiceWish, variant: Variant) -> str | None:
        """Why it would refuse a file with these wishes, or quietly do otherwise; None where it would not."""
        return None

    def unestimated(
        self, wish: ServiceWish, variants: Sequence[Variant], allowed: Sequence[Device]
    ) -> Candidate | None:
        """The one candidate for what cannot be estimated; None where it can be."""
        return None

    @abstractmethod
    def search(self, wish: ServiceWish, variants: Sequence[Variant], space: SearchSpace, found: SearchResult) -> None:
        """Add to `found` the candidates for `variants`, all of its own format, near misses and refusals."""

    def configuration(self, choice: Choice, space: SearchSpace) -> Configuration:
        """A choice in the terms of the catalogue of known issues."""
        assignment = GpuAssignment(choice.layout, choice.replicas)
        return configuration(choice.wish, choice.variant, space, assignment, engine=self.name, load=choice.load)

    def evaluated(self, choice: Choice) -> Choice:
        """The choice with its memory by part: what the search itself does not need."""
        return choice

    def full_speed(self, candidate: Candidate, space: SearchSpace) -> float | None:
        """Tokens per second of one request whose context is full; None where nobody can tell."""
        return None

    def with_spare_ram(self, choice: Choice, free_bytes: int) -> tuple[Choice, int]:
        """The choice with what it makes of `free_bytes` of RAM that nobody needs, and how many of them it takes."""
        return choice, 0

    def release(self, hardware: Hardware) -> str | None:
        """The directory of the release that services run on this rig; None while that cannot be told.

        Raises:
            Refused: none can be had here.
        """
        return None

    @property
    def template(self) -> str:
        """The template of its units: the name of a file in `templates/`, or the text of another."""
        return f"{self.name}.service.j2"

    def stop_seconds(self, flags: Sequence[Flag]) -> int:
        """How long a process with these flags may take to end before it is killed.

        By then requests have ended, or nobody waits for them any longer: what hangs costs no more.
        """
        return 10

    def unit_values(self, wish: ServiceWish, plan: ServicePlan) -> Mapping[str, str]:
        """What its template knows beyond what every unit has."""
        return {}

    def locks_memory(self, flags: Sequence[Flag]) -> bool:
        """Whether a process with these flags keeps its weights in RAM by mlock(2)."""
        return False

    def weights_path(self, plan: ServicePlan) -> str:
        """Where the weights of a plan lie on the rig; empty where none do."""
        flags = {flag.name: flag.value for flag in plan.flags}
        return flags.get("--model") or ""

    @abstractmethod
    def render(self, choice: Choice, target: RenderContext) -> Rendered:
        """Flags and environment of each replica.

        Raises:
            Refused: this release would not start so.
        """
