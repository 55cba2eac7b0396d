"""What a bundle has, and lacks, of all that a build or a release is made of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rigwright.plan.driver import Cuda
from rigwright.plan.driver.wheels import wheels
from rigwright.plan.engines.llamacpp.planner import LlamacppPlanner
from rigwright.plan.engines.llamacpp.release import nccl_of
from rigwright.plan.engines.llamacpp.settings import LlamacppSettings
from rigwright.roles.base.facts import Rig
from rigwright.roles.base.operations import unbundled_packages
from rigwright.roles.cuda.packages import package_needs
from rigwright.roles.llamacpp.packages import build_packages
from rigwright.roles.service.context import RigContext


def bundled_tree(settings: LlamacppSettings, context: RigContext) -> Path | None:
    """The tree of a commit that is built from git, where a bundle has it."""
    if context.bundle is None or settings.archive or settings.is_prebuilt:
        return None
    found = context.bundle.tree(settings.git, settings.ref)
    is_it = found and found.tree and found.tree.commit == settings.commit({})
    return context.bundle.find(found.sha256) if found and is_it else None


def unbundled(planner: LlamacppPlanner, cuda: Cuda | None, context: RigContext, rig: Rig) -> Iterator[str]:
    """What a bundle lacks of all that a build on this rig is made of."""
    if context.bundle is None:
        return
    settings = planner.settings
    archives = settings.prebuilt or ((settings.archive,) if settings.archive else ())
    sums = [one.sha256 for one in archives] or [*settings.sums(rig.records.installed.commits).values()]
    if any(context.find(one) is None for one in sums) or len(sums) < len(settings.taken):
        yield f"llama.cpp {settings.version}"
    if settings.is_prebuilt:
        return
    if not archives and bundled_tree(settings, context) is None:
        yield f"{settings.git} at {settings.ref}"
    made = wheels(cuda.version or "", rig.hardware.architecture) if cuda and cuda.source == "pypi" else None
    if made and any(context.find(one) is None for one in made.sums.values()):
        yield f"the wheels of CUDA {made.version}"
    nccl = nccl_of(settings, rig.hardware, planner.installed.cuda_version)
    if nccl and any(context.find(one) is None for one in nccl.sums.values()):
        yield "the wheel of NCCL"
    install = context.spec.base.install_packages
    for names in (build_packages(settings, rig.hardware), package_needs(cuda, rig.hardware) if cuda else ()):
        yield from unbundled_packages(context.bundle, rig, names or (), install=install)
