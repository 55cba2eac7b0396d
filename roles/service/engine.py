"""The contract of an engine's role: what `roles.service` asks of it, and nothing else.

A role keeps to it in `roles/<engine>/engine.py`, as a value called ENGINE. What plans must know of an engine is the
planner's: `rigwright.plan.engines.planner.Planner`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from rigwright.records.values import Work
from rigwright.resolve import Resolved
from rigwright.resolve.instance import Instance
from rigwright.roles.base.facts import Rig
from rigwright.roles.base.probe import Probe
from rigwright.roles.service.answer import Answer
from rigwright.roles.service.context import RigContext
from rigwright.spec.rig import RigSpec


class Engine(Protocol):
    """How one engine is brought to a rig, and how its instances prove that they serve."""

    @property
    def name(self) -> str:
        """The key in inventories and in the catalogue: `llamacpp`."""
        ...

    @property
    def health(self) -> str:
        """The path that answers 200 while an instance is healthy: `/health`."""
        ...

    def answer(self, instance: Instance) -> Answer:
        """The first request to an instance, and where its answer has text: the proof that it serves."""
        ...

    def work(self, instance: Instance) -> Work | None:
        """Where an instance tells whether a request is under way; None where it does not: then connections count."""
        ...

    def probe(self, spec: RigSpec) -> Probe:
        """What it asks of a rig beyond what every service asks."""
        ...

    def packages(self, context: RigContext, rig: Rig) -> tuple[str, ...] | None:
        """The packages of the distribution that it needs; None where the distribution is not known."""
        ...

    def ask(self, rig: Rig, context: RigContext) -> None:
        """Ask others than the rig what its plan depends on and nobody kept: `context.learn` takes it into all plans.

        It is called before the plan is shown, where the plan has an instance of this engine. What is kept, or on the
        rig already, is asked of nobody.

        Raises:
            RigwrightError: the rig cannot be deployed without an answer.
        """
        ...

    def preflight_errors(self, rig: Rig, context: RigContext) -> Iterator[str]:
        """Why it could not be brought to this rig, looked for before anything is changed."""
        ...

    def install(self, context: RigContext, probe: Probe) -> None:
        """Have its release on the rig: calls of pyinfra operations. What runs is left alone."""
        ...

    def before_start(self, rig: Rig, instance: Instance, resolved: Resolved) -> str:
        """Shell that runs before an instance of a plan is switched, and fails where it could not run; may be empty.

        $RELEASE is the directory of its release, $NAME the instance; `fail TEXT` refuses, `say TEXT` reports. It runs
        as root, so a program of the release runs by `in_sandbox SECONDS COMMAND`, never as it is.
        """
        ...
