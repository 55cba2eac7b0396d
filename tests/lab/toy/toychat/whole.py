"""Another toy: it is given a whole repository of safetensors, and says what it finds there."""

from __future__ import annotations

from typing import ClassVar

from rigwright.roles.base.facts import Rig
from rigwright.roles.base.probe import Probe
from rigwright.roles.service.context import RigContext
from rigwright.spec.rig import RigSpec
from toychat.engine import Toy
from toychat.planner import ToyPlanner, ToySettings


class WholeSettings(ToySettings):
    """How it gets onto a rig."""

    engine: ClassVar[str] = "toywhole"
    about: ClassVar[str] = "How the toy of whole repositories gets onto a rig."


class WholePlanner(ToyPlanner):
    """The toy engine of whole repositories."""

    name = "toywhole"
    label = "Toy whole"
    file_format = "safetensors"
    settings_model = WholeSettings
    settings: WholeSettings

    def release(self, hardware: object) -> str:
        """The directory of its only release."""
        return "/opt/rigwright/toywhole/releases/1.0"


class Whole(Toy):
    """Its role. What a rig downloads is downloaded by curl."""

    name = "toywhole"

    def probe(self, spec: RigSpec) -> Probe:
        """Python for its program, curl for its model."""
        return Probe(packages=("python3", "curl"))

    def packages(self, context: RigContext, rig: Rig) -> tuple[str, ...]:
        """The same."""
        return ("python3", "curl")


ENGINE = Whole()
