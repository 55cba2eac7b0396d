"""llama.cpp as an engine of services: how its builds come to a rig, and how llama-server proves that it serves."""

from __future__ import annotations

from collections.abc import Iterator

from rigwright.errors import RigwrightError
from rigwright.plan.driver.tables import version_of
from rigwright.plan.engines.installed import Installed
from rigwright.plan.engines.llamacpp.backends import OLDEST_ROCM, ROCM
from rigwright.plan.engines.llamacpp.release import build_bytes, installed_bytes, received_bytes
from rigwright.plan.engines.llamacpp.settings import LlamacppSettings
from rigwright.records.paths import INSTALL_DIRECTORY, STATE_DIRECTORY
from rigwright.records.values import Work
from rigwright.resolve import Resolved
from rigwright.resolve.instance import Instance
from rigwright.roles.base import operations as base
from rigwright.roles.base.channel import NO_STDIN
from rigwright.roles.base.disks import room_errors
from rigwright.roles.base.facts import Rig, rig_state
from rigwright.roles.base.operations import always
from rigwright.roles.base.probe import Probe
from rigwright.roles.cuda.operations import bring_toolkit, cuda_probe, toolkit_room
from rigwright.roles.llamacpp import operations as llamacpp
from rigwright.roles.llamacpp.bundled import unbundled
from rigwright.roles.llamacpp.distribution import packages_errors, packages_probe
from rigwright.roles.llamacpp.dry_run import dry_run
from rigwright.roles.llamacpp.packages import asked_packages, build_packages, running_packages
from rigwright.roles.llamacpp.upstream import ask_upstream
from rigwright.roles.service.answer import CHAT, EMBEDDING, RANKING, Answer
from rigwright.roles.service.context import RigContext
from rigwright.spec.rig import RigSpec

# In each of their spellings: the inventory's own flags may have any.
_TO_ASK = ("ca-certificates", "git")
EMBEDS, RANKS = frozenset(("--embedding", "--embeddings")), frozenset(("--rerank", "--reranking"))


class Llamacpp:
    """llama.cpp, built from source on the rig."""

    name = "llamacpp"
    health = "/health"

    def answer(self, instance: Instance) -> Answer:
        """A chat completion; an embedding or a ranking where it is for these."""
        flags = {flag.name for flag in instance.flags}
        if flags & RANKS:
            return RANKING
        return EMBEDDING if flags & EMBEDS else CHAT

    def work(self, instance: Instance) -> Work | None:
        """Its slots; where the inventory turns these off its metrics, which reading resets the averages of."""
        flags = {flag.name for flag in instance.flags}
        if "--no-slots" not in flags:
            return Work("/slots", "is_processing.:true")
        return Work("/metrics", "^llamacpp:requests_processing [1-9]") if "--metrics" in flags else None

    def probe(self, spec: RigSpec) -> Probe:
        """The packages of toolkits where one may come; releases, commits and compilers are among what is deployed."""
        settings = spec.settings(LlamacppSettings)
        own = cuda_probe() if settings.backend in ("auto", "cuda") else Probe(packages=asked_packages(settings))
        return own | packages_probe() if settings.is_distro else own

    def packages(self, context: RigContext, rig: Rig) -> tuple[str, ...] | None:
        """What a release needs to run; compilers come where one is built."""
        return running_packages(context.spec.settings(LlamacppSettings), rig.hardware)

    def ask(self, rig: Rig, context: RigContext) -> None:
        """Upstream's host, where its binaries are taken and not kept yet."""
        ask_upstream(rig, context)

    def preflight_errors(self, rig: Rig, context: RigContext) -> Iterator[str]:
        """No compiler for the GPUs, or too small a disk for a build; of a rig that gets what is built, for that."""
        try:
            planner = llamacpp.planner_of(context, rig)
            release, cuda = planner.release(rig.hardware), llamacpp.toolkit_of(context, rig)
            if release in rig.records.installed.releases:
                return
            is_given = llamacpp.is_given(context, rig)
        except RigwrightError as error:
            yield error.message
            return
        settings = planner.settings
        if settings.is_distro and (errors := [*packages_errors(planner, rig, context)]):
            yield from errors
            return
        if settings.backend == "hip" and not settings.is_prebuilt and (why := lacking_rocm(planner.installed)):
            yield why
            return
        if context.bundle and not is_given and (lacks := [*unbundled(planner, cuda, context, rig)]):
            yield context.bundle.lacks(lacks, context.inventory)
            return
        if context.is_stdin_taken and cuda and cuda.source == "pypi":
            yield f"CUDA {cuda.version} cannot be sent to this rig: {NO_STDIN}"
            return
        if context.is_stdin_taken and settings.archive:
            yield f"the source archive cannot be sent to this rig: {NO_STDIN}"
            return
        if context.is_stdin_taken and settings.is_prebuilt and not settings.is_distro:
            yield f"binaries cannot be sent to this rig: {NO_STDIN}"
            return
        room = toolkit_room(cuda, rig.hardware) if cuda and not is_given else {}
        is_built = not is_given and not settings.is_prebuilt
        arriving = "building", build_bytes(settings, rig.hardware)
        if not is_built:
            arriving = "receiving llama.cpp", received_bytes(settings, rig.hardware)
        coming = (
            (*arriving, STATE_DIRECTORY),
            ("installing", installed_bytes(settings, rig.hardware), INSTALL_DIRECTORY),
            ("the CUDA toolkit", 0, "/usr"),
        )
        yield from room_errors(rig, [(what, own + room.get(where, 0), where) for what, own, where in coming])

    def install(self, context: RigContext, probe: Probe) -> None:
        """Have the compilers and the toolkit that it wants, and build it; or get what another rig built."""
        rig, install = rig_state(probe), context.spec.base.install_packages
        cuda = llamacpp.toolkit_of(context, rig) if rig else None
        builds = llamacpp.builds_here(context, rig) if rig else always
        names = build_packages(context.spec.settings(LlamacppSettings), rig.hardware) if rig else None
        if rig and names and llamacpp.is_unresolved(context, rig):
            # Who gets a release asks which one that is, and needs no more.
            base.packages(
                packages=tuple(name for name in names if name in _TO_ASK),
                probe=probe,
                install=install,
                needed=lambda: not builds(),
                bundle=context.bundle,
                name="Install git",
            )
        if rig and names:
            base.packages(
                packages=names,
                probe=probe,
                install=install,
                needed=builds,
                bundle=context.bundle,
                name="Install compilers",
            )
        if rig and cuda:
            bring_toolkit(cuda, rig.hardware, probe, install=install, needed=builds, bundle=context.bundle)
        llamacpp.resolve(context=context, probe=probe, name="Find the commit of llama.cpp")
        if rig and llamacpp.is_unresolved(context, rig):
            llamacpp.enlist(context=context, probe=probe, name="Agree on who builds llama.cpp")
        llamacpp.build(context=context, probe=probe, name="Build llama.cpp")

    def before_start(self, rig: Rig, instance: Instance, resolved: Resolved) -> str:
        """llama.cpp's own dry run: what a GPU cannot hold is refused while what serves still serves."""
        local = resolved.models.get(instance.service)
        return dry_run(instance, rig.hardware, local.model if local else None, is_locked=resolved.is_locked)


def lacking_rocm(installed: Installed) -> str | None:
    """Why no build for HIP can be made; None where one can."""
    version = installed.rocm
    if not version:
        found = f"no ROCm is in {ROCM}"
    elif version_of(version) < version_of(OLDEST_ROCM):
        found = f"the ROCm in {ROCM} is {version}"
    else:
        return None
    return f"{found}; llama.cpp for HIP is built with {OLDEST_ROCM} or later: install AMD's, or set backend to vulkan"


ENGINE = Llamacpp()
