"""What upstream's host is asked before a plan is shown: whether the binaries that the plan takes can be had today."""

from __future__ import annotations

from rigwright.errors import RigwrightError
from rigwright.plan.engines.llamacpp.archives import LATEST
from rigwright.plan.engines.llamacpp.newest import newest_key, release_key
from rigwright.plan.engines.llamacpp.planner import LlamacppPlanner
from rigwright.roles.base.channel import NO_STDIN
from rigwright.roles.base.facts import Rig
from rigwright.roles.base.pyinfra_private import current_host
from rigwright.roles.llamacpp.operations import planner_of
from rigwright.roles.service.context import RigContext


def ask_upstream(rig: Rig, context: RigContext) -> None:
    """Learn the newest release and the sums of its archives, where they are taken, not there yet, and nobody kept them.

    Where they cannot be had, `source: auto` builds instead: all plans of this run say so. What the inventory or a lock
    asks for by name is not exchanged for anything.

    Raises:
        RigwrightError: binaries are asked for and cannot be had; or they are other ones than were told before.
    """
    planner = planner_of(context, rig)
    if not planner.settings.taken or context.bundle or _is_there(planner, rig):
        return
    from rigwright.roles.llamacpp.published import Unavailable  # http, which few runs need

    is_asked = planner.settings.source == "prebuilt"
    try:
        if context.is_stdin_taken and not is_asked:
            raise Unavailable(f"they cannot be sent to this rig: {NO_STDIN}")
        _learn(planner, rig, context)
    except Unavailable as error:
        if is_asked:
            raise
        settings = planner_of(context, rig).settings  # of `latest` it may be known by now which release it is
        context.learn({}, missing={release_key(settings): error.why})
        current_host().log_styled(
            f"upstream's binaries cannot be had: {error.why}; llama.cpp is built instead", fg="yellow"
        )
    except OSError as error:
        raise RigwrightError(f"the cache of this machine fails: {error}; mend it, or set XDG_CACHE_HOME") from None


def _learn(planner: LlamacppPlanner, rig: Rig, context: RigContext) -> None:
    from rigwright.roles.llamacpp.prebuilt import is_kept
    from rigwright.roles.llamacpp.published import newest, published_sums, reach

    if planner.settings.ref == LATEST:
        context.learn({newest_key(planner.settings): newest(planner.settings)})
        planner = planner_of(context, rig)
    settings = planner.settings
    if not settings.taken:  # now that it is known which release is the newest one
        return
    known = settings.sums(planner.installed.commits)
    found = published_sums(settings, [name for name in settings.taken if name not in known])
    context.learn({settings.sum_key(name): digest for name, digest in found.items()})
    planner = planner_of(context, rig)
    release = planner.build(rig.hardware)
    if release and not _is_there(planner, rig) and not is_kept(release):
        reach(settings, settings.sums(planner.installed.commits))


def _is_there(planner: LlamacppPlanner, rig: Rig) -> bool:
    return planner.release(rig.hardware) in rig.records.installed.releases
