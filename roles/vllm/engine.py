"""vLLM as an engine of services: how its environments come to a rig, and how `vllm serve` proves that it serves."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from rigwright.errors import RigwrightError
from rigwright.plan.engines.vllm.settings import VllmSettings
from rigwright.records.paths import INSTALL_DIRECTORY, STATE_DIRECTORY
from rigwright.records.values import Work
from rigwright.resolve import Resolved
from rigwright.resolve.instance import Instance
from rigwright.resources import assignments, role_text
from rigwright.roles.base.channel import NO_STDIN
from rigwright.roles.base.disks import room_errors
from rigwright.roles.base.facts import Rig
from rigwright.roles.base.packages import all_names, package_names
from rigwright.roles.base.probe import Probe
from rigwright.roles.service.answer import CHAT, EMBEDDING, RANKING, Answer
from rigwright.roles.service.context import RigContext
from rigwright.roles.vllm.operations import install, release_of, sent_wheels
from rigwright.roles.vllm.wheels import total_bytes
from rigwright.spec.rig import RigSpec

_ANSWERS = {"embed": EMBEDDING, "embedding": EMBEDDING, "score": RANKING, "classify": RANKING}


class Vllm:
    """vLLM, in an environment of Python for each of its versions."""

    name = "vllm"
    health = "/health"

    def answer(self, instance: Instance) -> Answer:
        """A chat completion: /health says 200 for minutes after a worker died. Where flags say so an embedding."""
        flags = {flag.name: flag.value for flag in instance.flags}
        return _ANSWERS.get(flags.get("--convert") or "", EMBEDDING if flags.get("--runner") == "pooling" else CHAT)

    def work(self, instance: Instance) -> Work | None:
        """Its metrics, which it serves without a key."""
        return Work("/metrics", r"^vllm:num_requests_(running|waiting)\{.*\} [1-9]")

    def probe(self, spec: RigSpec) -> Probe:
        """Its packages, and the Python that the inventory names."""
        python = spec.settings(VllmSettings).python
        named = (f"/usr/bin/python{python}", f"/usr/include/python{python}/Python.h") if python else ()
        return Probe(packages=all_names("vllm"), stats=named)

    def packages(self, context: RigContext, rig: Rig) -> tuple[str, ...] | None:
        """The distribution's Python with its headers, and a compiler: programs for GPUs are made as it starts."""
        return package_names("vllm", rig.hardware)

    def ask(self, rig: Rig, context: RigContext) -> None:
        """Nobody: all is pinned."""

    def preflight_errors(self, rig: Rig, context: RigContext) -> Iterator[str]:
        """No Python that it runs on, wheels that are not there, or too small a disk."""
        try:
            release = release_of(context, rig)
            if release.directory in rig.records.installed.releases:
                return
            sent = sent_wheels(release, context)
        except RigwrightError as error:
            yield error.message
            return
        settings = context.spec.settings(VllmSettings)
        for path in self.probe(context.spec).stats if settings.python else ():
            if path not in rig.files:
                whole = f"install Python {settings.python} with its headers, or leave python out"
                yield f"rig.vllm.python: {path} is not on this rig; {whole}"
                return
        if context.is_stdin_taken:
            yield f"wheels cannot be sent to this rig: {NO_STDIN}"
            return
        coming = (
            ("the wheels of vLLM", total_bytes(sent), STATE_DIRECTORY),
            ("installing vLLM", release.installed_bytes, INSTALL_DIRECTORY),
        )
        yield from room_errors(rig, coming)

    def install(self, context: RigContext, probe: Probe) -> None:
        """Have its environment."""
        install(context=context, probe=probe, name="Install vLLM")

    def before_start(self, rig: Rig, instance: Instance, resolved: Resolved) -> str:
        """Its own parser: what that refuses is refused while what serves still serves."""
        known = {"ARGV": shlex.join(instance.argv), "CHECK": role_text("vllm", "check.py")}
        return "\n".join([*assignments(known), role_text("vllm", "check.sh")])


ENGINE = Vllm()
