"""Have a build of llama.cpp on the rig: built there, or by another rig of its kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from pyinfra.api import operation
from pyinfra.api.command import PyinfraCommand

from rigwright import __version__
from rigwright.errors import Refused, RigwrightError
from rigwright.plan.driver import Cuda
from rigwright.plan.driver.wheels import directory_of
from rigwright.plan.engines.llamacpp.archives import Prebuilt
from rigwright.plan.engines.llamacpp.planner import LlamacppPlanner
from rigwright.plan.engines.llamacpp.release import (
    TARGETS,
    Release,
    build_bytes,
    capabilities,
    compiles_for_cuda,
    installed_bytes,
    jobs,
    nccl_of,
    source_identity,
    uses_cuda,
)
from rigwright.plan.engines.llamacpp.settings import LlamacppSettings
from rigwright.records.paths import STATE_DIRECTORY
from rigwright.resources import role_text, script
from rigwright.roles.base.channel import Script, Upload
from rigwright.roles.base.facts import Rig
from rigwright.roles.base.fetching import Find
from rigwright.roles.base.operations import (
    BUILDER,
    Commands,
    always,
    current_rig,
    never,
    refuse,
)
from rigwright.roles.base.probe import Probe
from rigwright.roles.base.pyinfra_private import current_host, has_host
from rigwright.roles.llamacpp.bundled import bundled_tree
from rigwright.roles.llamacpp.distribution import chosen, packaged
from rigwright.roles.service.context import RigContext
from rigwright.roles.service.kept_releases import Kept
from rigwright.roles.service.shipping import Bring, Later, builds, receives, settle, yard_of


@operation()
def resolve(context: RigContext, probe: Probe) -> Commands:
    """Find the commit of the wanted tag, or of the newest release, once; of binaries and packages their sums.

    + context: the rig's part of the inventory
    + probe: the questions that the operations of a run share
    """
    rig = yield from current_rig(probe)
    planner, kept = planner_of(context, rig), rig.records.installed.commits
    settings = planner.settings
    if learned := {key: value for key, value in context.learned.items() if key not in kept}:
        yield _keep(learned, settings)
    if source_identity(settings, planner.installed.commits) is not None:
        return
    if settings.is_distro:
        yield chosen(settings)
    elif settings.taken:
        yield Later(lambda: [_sums(settings)])
    else:
        stamp = f"{STATE_DIRECTORY}/refs/{settings.ref_key}"
        yield Script(script("llamacpp", "resolve.sh", BUILDER=BUILDER, GIT=settings.git, REF=settings.ref, STAMP=stamp))


@operation()
def enlist(context: RigContext, probe: Probe) -> Commands:
    """Count the rig among those that want its release, where that is known only now.

    + context: the rig's part of the inventory
    + probe: the questions that the operations of a run share
    """
    rig = yield from current_rig(probe)
    builds_here(context, rig)


@operation()
def build(context: RigContext, probe: Probe) -> Commands:
    """Have the wanted build on the rig, in a unit that outlives this connection.

    + context: the rig's part of the inventory
    + probe: the questions that the operations of a run share
    """
    rig = yield from current_rig(probe)
    planner = planner_of(context, rig)
    settings = planner.settings
    try:
        release = planner.build(rig.hardware)
    except RigwrightError as error:
        yield from refuse(error.message)
        return
    if release is None:
        yield from refuse(f"rig.llamacpp.ref {settings.ref} is not resolved to a commit yet")
        return
    is_there = release.directory in rig.records.installed.releases
    settle(current_host(), release.directory, has=is_there)
    if is_there:
        return

    def receive(archive: Path, digest: str) -> list[PyinfraCommand]:
        # By its sum: no two archives of a release need be alike, and an upload that is continued is of one.
        received = f"{STATE_DIRECTORY}/build/{release.id}-{digest[:12]}.release.tar.gz"
        known = _where(release, received, settings, rig) | {"SHA256": digest, "KEPT": str(archive)}
        known["GPUS"] = " ".join(capabilities(rig.hardware)) if uses_cuda(settings, rig.hardware) else ""
        text = script("llamacpp", "settle.sh", "fatbins.sh", "proof.sh", "receive.sh", **known)
        return [Upload(lambda: archive, received), Script(text)]

    if settings.is_distro:
        known = _where(release, "", settings, rig)
        yield packaged(settings, release, known, rig.hardware, install=context.spec.base.install_packages)
        return
    if settings.is_prebuilt:
        commits = planner.installed.commits
        yield Later(lambda: receive(*_prebuilt(settings, release, commits, context.find)))
        return
    built = list(_build_commands(planner, release, rig, context))
    if not settings.share:
        yield from built
        return
    try:
        kept = Kept.of(context.inventory, release.id)
    except RigwrightError as error:
        yield from refuse(error.message)
        return
    yield Bring(release.directory, kept, build=built, receive=receive)


def _sums(settings: LlamacppSettings) -> Script:
    from rigwright.roles.llamacpp.published import published_sums  # http, which few runs need

    sums = published_sums(settings, settings.taken)
    return _keep({settings.sum_key(name): digest for name, digest in sums.items()}, settings)


def _keep(found: Mapping[str, str], settings: LlamacppSettings) -> Script:
    """Have the rig keep what was asked once."""
    sums = [one[:12] for one in found.values() if len(one) == 64]
    told = f"upstream's binaries of {settings.ref} have the sha256 {' and '.join(sums)}"
    if not sums:
        told = f"latest is {settings.ref}"
    lines = "\n".join(f"{key} {value}" for key, value in found.items())
    return Script(script("llamacpp", "sums.sh", REFS=f"{STATE_DIRECTORY}/refs", SUMS=lines, TOLD=told))


def _prebuilt(settings: LlamacppSettings, release: Release, commits: Mapping[str, str], find: Find) -> tuple[Path, str]:
    from rigwright.roles.llamacpp.prebuilt import prebuilt_release  # tar and http, which few runs need
    from rigwright.roles.llamacpp.published import downloads

    def at_hand(digest: str) -> Prebuilt | None:
        path = find(digest)
        return Prebuilt(path=str(path), sha256=digest) if path else None

    if settings.prebuilt:
        return prebuilt_release(lambda: [at_hand(one.sha256) or one for one in settings.prebuilt], release)
    sums = settings.sums(commits)
    here = [one for digest in sums.values() if (one := at_hand(digest))]
    return prebuilt_release(lambda: here if len(here) == len(sums) else downloads(settings, sums), release)


def _where(release: Release, archive: str, settings: LlamacppSettings, rig: Rig) -> dict[str, str]:
    """What building and receiving both know."""
    return {
        "ID": release.id,
        "RELEASE": release.directory,
        "WORK": f"{STATE_DIRECTORY}/build/{release.id}",
        "BUILDER": BUILDER,
        "ARCHIVE": archive,
        "NEED_INSTALLED": str(installed_bytes(settings, rig.hardware)),
    }


# What the builder runs.
_STEPS = ("cuda", "host.sh"), ("llamacpp", "fatbins.sh"), ("llamacpp", "steps.sh")


def _build_commands(planner: LlamacppPlanner, release: Release, rig: Rig, context: RigContext) -> Commands:
    settings = planner.settings
    tree = bundled_tree(settings, context)
    archive = f"{STATE_DIRECTORY}/build/{release.identity[:16]}.tar.gz" if settings.archive or tree else ""
    if wanted := settings.archive:
        from rigwright.roles.llamacpp.archive import source_tree  # tar and http, which few runs need

        yield Upload(lambda: source_tree(wanted, context.find), archive)
    elif tree:
        yield Upload(lambda: tree, archive)
    nccl = nccl_of(settings, rig.hardware, planner.installed.cuda_version)
    if nccl:
        from rigwright.roles.cuda.archive import toolkit_archive

        yield Upload(lambda: toolkit_archive(nccl, context.find), f"{STATE_DIRECTORY}/build/{release.id}.nccl.tar.gz")
    yield Script(
        script(
            "llamacpp",
            "settle.sh",
            "build.sh",
            **_where(release, archive, settings, rig),
            NEED=build_bytes(settings, rig.hardware),
            OPTIONS="\n".join(release.options),
            STEPS="".join(role_text(*one) for one in _STEPS),
            SASS=" ".join(release.machine_code),
            GIT="" if archive else settings.git,
            REF=settings.ref,
            COMMIT=release.identity,
            NVCC=planner.installed.nvcc if compiles_for_cuda(settings, rig.hardware) else "",
            TOOLKIT=directory_of(planner.installed.nvcc) or "",
            NCCL=f"{STATE_DIRECTORY}/build/{release.id}.nccl.tar.gz" if nccl else "",
            TARGETS=" ".join(TARGETS),
            JOBS=settings.jobs or jobs(settings, rig.hardware),
            MANIFEST=release.manifest(),
            VERSION=__version__,
        )
    )


def builds_here(context: RigContext, rig: Rig) -> Callable[[], bool]:
    """Whether this rig builds, or another one for it: asked while the deploy goes on. The run learns who has what."""
    planner, host = planner_of(context, rig), current_host()
    settings = planner.settings
    if settings.is_prebuilt:
        return never
    try:
        kind, kept = planner.kind(rig.hardware), _kept(planner, context, rig)
    except RigwrightError:
        return always  # the build says why
    is_there = kind in rig.records.installed.releases
    if not settings.share:
        return never if is_there else always
    yard_of(host.state, kind).register(host, has=is_there)
    if kept is None:  # before its commit is known there is nothing to wait for
        return lambda: not receives(host, kind, None)
    return lambda: builds(host, kind, kept)


def is_given(context: RigContext, rig: Rig) -> bool:
    """Whether what this rig will serve from is built elsewhere: by another rig of the run, or earlier.

    Raises:
        RigwrightError: the rig cannot serve what is wished.
    """
    planner = planner_of(context, rig)
    if planner.settings.is_prebuilt or not planner.settings.share or not has_host():
        return False
    builds_here(context, rig)  # has the run know of it
    return receives(current_host(), planner.kind(rig.hardware), _kept(planner, context, rig))


def _kept(planner: LlamacppPlanner, context: RigContext, rig: Rig) -> Kept | None:
    """Where the release is kept on this machine; None while its commit is not known, and where nothing is shared."""
    release = planner.build(rig.hardware)
    return Kept.of(context.inventory, release.id) if release and planner.settings.share else None


def is_unresolved(context: RigContext, rig: Rig) -> bool:
    """Whether the rig has to ask which commit it builds; False where it cannot serve what is wished."""
    try:
        planner = planner_of(context, rig)
        return source_identity(planner.settings, planner.installed.commits) is None
    except RigwrightError:
        return False


def toolkit_of(context: RigContext, rig: Rig) -> Cuda | None:
    """The CUDA toolkit that has to come before the build; None where none has to, all is built, or nothing can be.

    Raises:
        RigwrightError: the rig cannot serve what is wished.
    """
    planner = planner_of(context, rig)
    if not compiles_for_cuda(planner.settings, rig.hardware):
        return None
    try:
        is_built = planner.release(rig.hardware) in rig.records.installed.releases
    except Refused:
        return None  # preflight says why
    return None if is_built else planner.installed.toolkit


def planner_of(context: RigContext, rig: Rig) -> LlamacppPlanner:
    """What is built, with which compiler, as the plan of the rig has it.

    Raises:
        RigwrightError: the rig cannot serve what is wished.
    """
    found = context.resolved(rig).engines["llamacpp"]
    if isinstance(found, LlamacppPlanner):
        return found
    return LlamacppPlanner(context.spec.settings(LlamacppSettings), rig.records.installed)
