"""llama.cpp as an engine of services: how its builds come to a rig, and how llama-server proves that it serves."""

from __future__ import annotations

from collections.abc import Iterator

from rigwright.errors import RigwrightError
from rigwright.hardware import Hardware
from rigwright.plan.engines.llamacpp.planner import LlamacppPlanner
from rigwright.plan.engines.llamacpp.release import build_bytes, installed_bytes
from rigwright.records.paths import INSTALL_DIRECTORY, STATE_DIRECTORY
from rigwright.resolve.instance import Instance
from rigwright.roles.base.channel import NO_STDIN
from rigwright.roles.base.facts import Rig
from rigwright.roles.base.packages import package_names
from rigwright.roles.base.probe import Probe
from rigwright.roles.llamacpp import operations as llamacpp
from rigwright.roles.llamacpp.dry_run import dry_run
from rigwright.roles.service.answer import CHAT, Answer
from rigwright.roles.service.context import RigContext
from rigwright.spec.rig import RigSpec
from rigwright.units import format_bytes


class Llamacpp:
    """llama.cpp, built from source on the rig."""

    name = "llamacpp"
    health = "/health"

    def answer(self, instance: Instance) -> Answer:
        """A chat completion."""
        return CHAT

    def probe(self, spec: RigSpec) -> Probe:
        """Nothing beyond what every service asks: releases and commits are among what is deployed."""
        return Probe()

    def packages(self, hardware: Hardware) -> tuple[str, ...] | None:
        """Compilers, cmake, git, curl."""
        return package_names("build", hardware)

    def preflight_errors(self, rig: Rig, context: RigContext) -> Iterator[str]:
        """No compiler for the GPUs, or too small a disk for a build."""
        settings = llamacpp.settings_of(context, rig)
        try:
            release = LlamacppPlanner(settings, rig.records.installed).release(rig.hardware)
        except RigwrightError as error:
            yield error.message
            return
        if release in rig.records.installed.releases:
            return
        if context.is_stdin_taken and settings.archive:
            yield f"the source archive cannot be sent to this rig: {NO_STDIN}"
            return
        building, installing = build_bytes(settings, rig.hardware), installed_bytes(settings, rig.hardware)
        for what, needed, where in (
            ("building", building, STATE_DIRECTORY),
            ("installing", installing, INSTALL_DIRECTORY),
        ):
            disk = rig.disks.get(where)
            if disk and disk.free_bytes < needed:
                have = format_bytes(disk.free_bytes)
                yield f"{what} needs {format_bytes(needed)} in {where}, the disk has {have}; free some"
                return

    def install(self, context: RigContext, probe: Probe) -> None:
        """Find the commit and build it."""
        llamacpp.resolve(context=context, probe=probe, name="Find the commit of llama.cpp")
        llamacpp.build(context=context, probe=probe, name="Build llama.cpp")

    def before_start(self, rig: Rig, instance: Instance) -> str:
        """llama.cpp's own dry run: what a GPU cannot hold is refused while what serves still serves."""
        return dry_run(instance, rig.hardware)


ENGINE = Llamacpp()
