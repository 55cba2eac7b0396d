"""The toy engine in plans: on the CPU, or where the inventory names one GPU on that; as large as its file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rigwright.hardware.values import Hardware
from rigwright.models.variants import Variant
from rigwright.plan.choice import Choice
from rigwright.plan.devices import Device
from rigwright.plan.engines.planner import Planner
from rigwright.plan.engines.rendered import RenderContext, Rendered
from rigwright.plan.engines.settings import EngineSettings
from rigwright.plan.layouts import GpuAssignment
from rigwright.plan.memory import Load
from rigwright.plan.ranking import Score
from rigwright.plan.reasons import Reason
from rigwright.plan.search_space import Candidate, SearchResult, SearchSpace
from rigwright.plan.service import Flag, Layout
from rigwright.plan.wish import ServiceWish

_TEMPLATE = """{% extends "service.j2" %}
{% block service %}
WorkingDirectory={{ directory }}
{% endblock %}
"""


class ToySettings(EngineSettings):
    """How the toy engine gets onto a rig."""

    engine: ClassVar[str] = "toychat"
    about: ClassVar[str] = "How the toy engine gets onto a rig."
    words: str = "Hello from the toy."

    @property
    def version(self) -> str:
        """The release that plans are made for."""
        return "1.0"


class ToyPlanner(Planner):
    """The toy engine."""

    name = "toychat"
    label = "Toy chat"
    is_automatic = False
    program = "bin/toychat"
    checks = "toychat.verify"
    settings_model = ToySettings
    settings: ToySettings

    @property
    def version(self) -> str:
        """The release that plans are made for."""
        return self.settings.version

    @property
    def template(self) -> str:
        """The unit of every engine, started in the directory of its release: its program is a script."""
        return _TEMPLATE

    def release(self, hardware: Hardware) -> str:
        """The directory of its only release, by what it says."""
        return f"/opt/rigwright/toychat/releases/1.0-{len(self.settings.words)}"

    def search(self, wish: ServiceWish, variants: Sequence[Variant], space: SearchSpace, found: SearchResult) -> None:
        """One way: each copy on the CPU, or the only one on the named GPU."""
        copies = wish.replicas or 1
        named = tuple(one for one in space.topology.devices if one.gpu.index == wish.gpu)
        for variant in variants:
            layout = Layout(kind="single" if named else "cpu", replicas=copies)
            assignment = GpuAssignment(layout, (named,) * copies)
            load = Load(wish.context or 256)
            choice = Choice(wish, variant, self.name, layout, assignment.replicas, load, None, None, None)
            found.candidates.append(Candidate(choice, Score(0, 0, 0, 0), {}, variant.file_bytes * copies, assignment))

    def render(self, choice: Choice, target: RenderContext) -> Rendered:
        """The file, where to listen, what to say."""
        wish = choice.wish
        values = {"--model": target.weights_path, "--host": wish.host, "--port": str(wish.port)}
        flags = tuple(
            Flag(name=key, value=value, reason=Reason(choice=key, because="toy")) for key, value in values.items()
        )
        return Rendered(flags, tuple(map(self._environment, choice.replicas)))

    def _environment(self, gpus: Sequence[Device]) -> tuple[tuple[str, str], ...]:
        seen = ",".join(str(one.gpu.index) for one in gpus)
        return (("TOY_WORDS", self.settings.words), *([("CUDA_VISIBLE_DEVICES", seen)] if seen else []))
