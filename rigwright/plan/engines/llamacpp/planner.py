"""llama.cpp in plans."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace
from functools import cached_property

from rigwright.hardware.values import Hardware
from rigwright.plan.choice import Choice
from rigwright.plan.engines.llamacpp.capabilities import (
    Capabilities,
    kv_pairs_of,
    pinned_capabilities,
    read_capabilities,
)
from rigwright.plan.engines.llamacpp.layered import LayeredPlanner
from rigwright.plan.engines.llamacpp.overrides import Overrides
from rigwright.plan.engines.llamacpp.release import Release, plan_release, source_identity, uses_cuda
from rigwright.plan.engines.llamacpp.render import render
from rigwright.plan.engines.llamacpp.settings import LATEST, LlamacppSettings
from rigwright.plan.engines.rendered import RenderContext, Rendered
from rigwright.plan.memory.values import PROMPT_CACHE
from rigwright.units import GIB, MIB

_MAX_CACHE_MIB, _CACHE_STEP_MIB = 8192, 256


class LlamacppPlanner(LayeredPlanner):
    """llama.cpp's llama-server, built by the settings of the rig."""

    name = "llamacpp"
    label = "llama.cpp"
    other_format = "llama.cpp serves GGUF files; name one, or use vllm"
    can_spill = True
    can_replicate = True
    can_stretch = True
    program = "bin/llama-server"
    # Measured: a CPU build takes 1.2 GiB of disk while it runs; CUDA's objects are larger.
    install = "llama.cpp from source: 8 minutes on 2 cores, half an hour with CUDA, seconds where it is built"
    install_bytes = 3 * GIB
    settings_model = LlamacppSettings
    settings: LlamacppSettings

    @property
    def version(self) -> str:
        """The ref that is built; of `latest` the commit, where it is known."""
        is_latest = self.settings.ref == LATEST and not self.settings.archive
        return (is_latest and self.settings.commit(self.installed.commits)) or self.settings.version

    @property
    def flags(self) -> Container[str]:
        """All names of all options."""
        return self.capabilities.options

    @cached_property
    def capabilities(self) -> Capabilities:
        """What the llama-server that will run accepts: as its own build says, else as the pinned release does."""
        pairs = kv_pairs_of(self.settings.cmake_options)
        recorded = self.installed.flags.get(source_identity(self.settings, self.installed.commits) or "")
        pinned = replace(pinned_capabilities(), kv_pairs=pairs)
        if self.settings.is_pinned or recorded is None:
            return pinned
        found = read_capabilities(recorded, self.settings.ref, kv_pairs=pairs)
        # A file that was damaged on the rig names no option.
        return found if found.options else pinned

    def with_spare_ram(self, choice: Choice, free_bytes: int) -> tuple[Choice, int]:
        """Prompts kept in RAM: a quarter of what is left, in whole steps, up to llama-server's own default."""
        fixed, copies = Overrides.of(choice.wish).cache_mib, len(choice.replicas)
        steps = max(0, free_bytes) // 4 // copies // (_CACHE_STEP_MIB * MIB)
        mib = min(_MAX_CACHE_MIB, steps * _CACHE_STEP_MIB) if fixed is None else max(0, fixed)
        memory = choice.memory.with_part(PROMPT_CACHE, None, mib * MIB) if choice.memory and mib else choice.memory
        return replace(choice, cache_mib=mib, memory=memory), mib * MIB * copies

    def release(self, hardware: Hardware) -> str | None:
        """The directory of the build that this rig needs; None while its tag is not resolved.

        Raises:
            Refused: it cannot be built here.
        """
        found = self.build(hardware)
        return found.directory if found else None

    def build(self, hardware: Hardware) -> Release | None:
        """The build that this rig needs; None while its tag is not resolved.

        Raises:
            Refused: it cannot be built here.
        """
        identity = source_identity(self.settings, self.installed.commits)
        installed = self.installed
        cuda = installed.cuda_version if uses_cuda(self.settings, hardware) else None
        # Without a commit too it is seen whether it can be built at all.
        found = plan_release(
            self.settings,
            hardware,
            identity=identity or "",
            cuda_version=cuda,
            nvcc=installed.nvcc,
            no_toolkit=installed.no_toolkit,
        )
        return found if identity else None

    def render(self, choice: Choice, target: RenderContext) -> Rendered:
        """Flags of llama-server, in the words of the release that is built."""
        return render(choice, target, self.capabilities)


PLANNER = LlamacppPlanner
