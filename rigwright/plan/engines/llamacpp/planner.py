"""llama.cpp in plans."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import replace
from functools import cached_property
from urllib.parse import urlsplit

from rigwright.errors import Refused
from rigwright.hardware.values import Hardware, Vendor
from rigwright.plan.choice import Choice
from rigwright.plan.devices import on_backend
from rigwright.plan.engines.llamacpp.archives import LATEST
from rigwright.plan.engines.llamacpp.backends import FOR_AMD
from rigwright.plan.engines.llamacpp.binaries import fitting
from rigwright.plan.engines.llamacpp.capabilities import (
    Capabilities,
    Pair,
    kv_pairs_of,
    pinned_capabilities,
    read_capabilities,
)
from rigwright.plan.engines.llamacpp.distribution import packages_for
from rigwright.plan.engines.llamacpp.layered import LayeredPlanner
from rigwright.plan.engines.llamacpp.newest import at_newest, release_key
from rigwright.plan.engines.llamacpp.overrides import Overrides
from rigwright.plan.engines.llamacpp.release import (
    Release,
    capabilities,
    plan_release,
    source_identity,
    uses_cuda,
    uses_gpus,
)
from rigwright.plan.engines.llamacpp.render import locks_memory, render
from rigwright.plan.engines.llamacpp.settings import LlamacppSettings
from rigwright.plan.engines.rendered import RenderContext, Rendered
from rigwright.plan.memory.values import PROMPT_CACHE
from rigwright.plan.reasons import Reason
from rigwright.plan.service import Flag, ServicePlan
from rigwright.plan.wish import ServiceWish
from rigwright.units import GIB, MIB

# GGML_CUDA_MAX_DEVICES.
_MOST_SHARING = 16
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
    threads_flag = "--threads"
    placing_flags = ("--numa", "--cpu-mask", "--cpu-range", "-C", "-Cr")
    # Measured: a CPU build takes 1.2 GiB of disk while it runs; CUDA's objects are larger.
    install = "llama.cpp from source: 8 minutes on 2 cores, half an hour with CUDA, seconds where it is built"
    install_bytes = 3 * GIB
    settings_model = LlamacppSettings
    settings: LlamacppSettings

    origin: Reason | None = None

    def sourced(self, hardware: Hardware, wishes: Sequence[ServiceWish]) -> LlamacppPlanner:
        """The planner with upstream's binaries where they fit, unless the rig has a build of the same already.

        Nor are they taken where the run that this is planned for found that they cannot be had.

        Raises:
            Refused: the inventory asks for them, and they do not fit.
        """
        settings = at_newest(self.settings, self.installed.commits)
        if settings is not self.settings:
            return LlamacppPlanner(settings, self.installed).sourced(hardware, wishes)
        ours = [wish for wish in wishes if wish.engine in ("auto", self.name)]
        is_asked = settings.source == "prebuilt"
        if settings.is_distro:
            return self._packaged(hardware, ours) if ours else self
        if not ours or settings.prebuilt or settings.source == "build" or (not is_asked and settings.archive):
            return self
        # A build for the CPU takes minutes; of a rig that is only described nobody knows what it could run.
        if not is_asked and not (uses_gpus(settings, hardware) and hardware.os_id):
            return self
        found = fitting(settings, hardware, ours, is_asked=is_asked)
        if isinstance(found, str):
            if is_asked:
                raise Refused(f"rig.llamacpp.source: upstream's binaries do not fit: {found}; set it to auto, or build")
            return self._from(self.settings, "is built here", f"upstream's binaries do not fit: {found}")
        if not is_asked and self._has_build(hardware):
            return self._from(self.settings, "stays as it was built here", "upstream's binaries are of the same source")
        if not is_asked and settings.ref == LATEST and (commit := settings.commit(self.installed.commits)):
            return self._from(self.settings, "is built here", f"latest is {commit[:12]} here since it was first asked")
        if not is_asked and (why := self.installed.missing.get(release_key(settings))):
            return self._from(self.settings, "is built here", f"upstream's binaries cannot be had: {why}")
        taken = settings.taking(found.archives(settings.ref))
        code = f"for CUDA {found.cuda}, with code for {_gpus(hardware)}" if found.cuda else f"for {found.label}"
        held = "their sums are given or locked"
        if not {*taken.taken} <= taken.binaries.keys():
            asked = "which release that is and their sums are" if settings.ref == LATEST else "their sums are"
            held = f"{asked} what {urlsplit(settings.releases).hostname} says at the first deploy, and kept"
        return self._from(taken, "comes as upstream's binaries", f"{settings.ref} {code}, in seconds; {held}")

    def _from(self, settings: LlamacppSettings, how: str, because: str) -> LlamacppPlanner:
        """The planner with settings of a known origin."""
        installed = replace(self.installed, toolkit=None) if settings.is_prebuilt else self.installed
        own = LlamacppPlanner(settings, installed)
        if settings.taken:
            own.install = "llama.cpp as upstream's binaries, which your machine fetches: seconds where it has them"
            own.install_bytes = 2 * GIB
        if settings.is_distro:
            own.install = "llama.cpp as packages of the distribution, which the rig's own apt fetches: seconds"
            own.install_bytes = 2 * GIB
        own.origin = Reason(choice=f"llama.cpp {how}", because=because)
        return own

    def _packaged(self, hardware: Hardware, wishes: Sequence[ServiceWish]) -> LlamacppPlanner:
        found = packages_for(self.settings, hardware, wishes)
        if isinstance(found, str):
            raise Refused(f"rig.llamacpp.source: {found}; set it to build, prebuilt or auto")
        which = f"{found[0]} {self.settings.distro_version or 'as its own sources have it'}"
        held = "fetched by its apt, kept beside other releases; no upgrade changes it"
        return self._from(self.settings.packaged(found), "comes as the distribution's packages", f"{which}, {held}")

    def _has_build(self, hardware: Hardware) -> bool:
        try:
            return self.release(hardware) in self.installed.releases
        except Refused:
            return False

    def as_planned(self, wish: ServiceWish, plan: ServicePlan) -> ServiceWish:
        """With the layout where GPUs share layers: a build takes NCCL along for that."""
        shares = plan.layout.tensor_parallel
        if shares == 1 or self.settings.is_prebuilt or self.settings.is_distro:
            return wish
        return wish.model_copy(update={"layout": f"tp{shares}"})

    @property
    def most_sharing(self) -> int:
        """Two where the binaries are others': more want NCCL to be fast, which those have not."""
        if FOR_AMD.get(self.settings.backend) == "vulkan":
            return 0
        return 2 if self.settings.is_prebuilt or self.settings.is_distro else _MOST_SHARING

    @property
    def vendors(self) -> frozenset[Vendor]:
        """NVIDIA's by CUDA, AMD's by Vulkan and HIP."""
        return frozenset(("AMD",) if self.settings.is_for_amd else ("NVIDIA",))

    @property
    def version(self) -> str:
        """The ref that is built; of `latest` the commit, where it is known."""
        is_latest = self.settings.ref == LATEST and not self.settings.archive
        return (is_latest and self.settings.commit(self.installed.commits)) or self.settings.version

    @property
    def template(self) -> str:
        """That of llama.cpp; packages of a distribution look for more in a place of the distribution's."""
        return "llamacpp-distro.service.j2" if self.settings.is_distro else super().template

    @property
    def flags(self) -> Container[str]:
        """All names of all options."""
        return self.capabilities.options

    @cached_property
    def capabilities(self) -> Capabilities:
        """What the llama-server that will run accepts: as its own build says, else as the pinned release does."""
        pairs = self._kv_pairs
        recorded = self.installed.flags.get(source_identity(self.settings, self.installed.commits) or "")
        pinned = replace(pinned_capabilities(), kv_pairs=pairs)
        if self.settings.is_pinned or recorded is None:
            return pinned
        named = self.settings.version if self.settings.is_distro else self.settings.ref
        found = read_capabilities(recorded, named, kv_pairs=pairs)
        # A file that was damaged on the rig names no option.
        return found if found.options else pinned

    @property
    def _kv_pairs(self) -> frozenset[Pair] | None:
        settings = self.settings
        return kv_pairs_of({} if settings.is_prebuilt else settings.asked_options | settings.cmake_options)

    def with_spare_ram(self, choice: Choice, free_bytes: int) -> tuple[Choice, int]:
        """Prompts kept in RAM: a quarter of what is left, in whole steps, up to llama-server's own default."""
        fixed, copies = Overrides.of(choice.wish).cache_mib, len(choice.replicas)
        steps = max(0, free_bytes) // 4 // copies // (_CACHE_STEP_MIB * MIB)
        mib = min(_MAX_CACHE_MIB, steps * _CACHE_STEP_MIB) if fixed is None else max(0, fixed)
        memory = choice.memory.with_part(PROMPT_CACHE, None, mib * MIB) if choice.memory and mib else choice.memory
        return replace(choice, cache_mib=mib, memory=memory), mib * MIB * copies

    def _told(self, choice: Choice) -> Choice:
        """The choice whose devices are called as the backend that is built calls them."""
        backend = FOR_AMD.get(self.settings.backend)
        if backend is None:
            return choice
        replicas = tuple(tuple(on_backend(one, backend) for one in group) for group in choice.replicas)
        return replace(choice, replicas=replicas)

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
        found = self._release(hardware, identity or "")  # without a commit too it is seen whether it can be built
        return found if identity else None

    def kind(self, hardware: Hardware) -> str:
        """The directory of the build, or where its tag is not resolved a stand-in for it: rigs with the same one share.

        Raises:
            Refused: it cannot be built here.
        """
        identity = source_identity(self.settings, self.installed.commits)
        return self._release(hardware, identity or f"{self.settings.git} {self.settings.ref}").directory

    def _release(self, hardware: Hardware, identity: str) -> Release:
        installed = self.installed
        cuda = installed.cuda_version if uses_cuda(self.settings, hardware) else None
        return plan_release(
            self.settings,
            hardware,
            identity=identity,
            cuda_version=cuda,
            nvcc=installed.nvcc,
            no_toolkit=installed.no_toolkit,
        )

    def locks_memory(self, flags: Sequence[Flag]) -> bool:
        """`--load-mode mlock`, or as releases before spell it."""
        return locks_memory(flags)

    def render(self, choice: Choice, target: RenderContext) -> Rendered:
        """Flags of llama-server, in the words of the release that is built."""
        rendered = render(self._told(choice), target, self.capabilities)
        return rendered._replace(reasons=(*rendered.reasons, *((self.origin,) if self.origin else ())))


def _gpus(hardware: Hardware) -> str:
    """`sm_86 and sm_120`."""
    return " and ".join(f"sm_{one}" for one in capabilities(hardware))


PLANNER = LlamacppPlanner
